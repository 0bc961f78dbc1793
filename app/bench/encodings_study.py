"""Which encoding, how large a table? The paper's comparisons, by fields trained alike on lego and on one's own scene.

Each variant trains for the same number of steps, so that quality does not depend on who else uses the machine; time is
the median of its steps. Lego is read from H3D_DATA, one's own scene from H3D_STUDY_DATA (any data set; else photos of
the demo scene are rendered). Runs for tens of minutes: what is done is kept in the study's folder (H3D_STUDY_OUT; else
beside the program's other state), from which an interrupted study goes on. There it leaves results.json, a table in
Markdown and a plot.
Source: Mueller et al. 2022, figures 2 and 5, and section 3 on concatenation against sums.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from h3d.app.workspace.recent import state_folder
from h3d.models import datasets
from h3d.models.datasets import PosedImages, auto_downscale
from h3d.models.hash_grid import HashGridField
from h3d.models.training.evaluation import evaluate, verdict
from h3d.models.training.hash_grid import HashGridTraining, train
from h3d.renderers.hash_encoding import HashGridConfig, layout

from . import study_report
from .demo_photos import write_demo_photos
from .metrics import EXACT, Effort, Metric, Skipped, milliseconds, write_text

log = logging.getLogger(__name__)

STEPS = 1500
BASE = HashGridTraining(samples_per_step=1 << 14)
FREQUENCY_RATE = 5e-3
"""Learning rate of the network alone, of 1e-3, 2e-3 and 5e-3 the one with which it learns lego the quickest."""
PSNR_TOLERANCE = 0.02


@dataclass(frozen=True)
class Scene:
    """What is trained on."""

    name: str
    dataset: PosedImages
    downscale: int


def variants() -> dict[str, HashGridTraining]:
    """Every variant by name; T is 2 to the number in it."""
    found = {f"hash_T{size}": replace(BASE, log2_table_size=size) for size in range(12, 20)}
    found |= {f"sum_T{size}": replace(BASE, log2_table_size=size, combine="sum") for size in (14, 19)}
    found |= {f"dense_T{size}": replace(BASE, log2_table_size=size, encoding="dense") for size in (14, 19)}
    found["frequency"] = replace(BASE, encoding="frequency", learning_rate=FREQUENCY_RATE)
    return found


def encodings(effort: Effort) -> Iterator[Metric]:
    """Test PSNR, milliseconds a step and parameters of every variant on every scene."""
    if effort.quick:
        raise Skipped("it trains a field for every variant, tens of minutes in all; run without --quick")
    folder = Path(os.environ.get("H3D_STUDY_OUT") or state_folder() / "study")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / "unfinished.json"
    rows: list[dict[str, Any]] = json.loads(unfinished.read_text()) if unfinished.exists() else []
    done = {_case(row): row for row in rows}
    results: list[dict[str, Any]] = []
    for scene in _scenes(folder):
        for name, config in variants().items():
            wanted = {"scene": scene.name, "variant": name, "steps": STEPS, "config": asdict(_fitted(config, scene))}
            row = done.get(_case(wanted)) or wanted | measure(scene, _fitted(config, scene), STEPS)
            results.append(row)
            write_text(unfinished, json.dumps(results, indent=1))
            yield from _metrics(row)
    study_report.write(folder, results)
    write_text(folder / "results.json", json.dumps(results, indent=1))
    unfinished.unlink()


def measure(scene: Scene, config: HashGridTraining, steps: int) -> dict[str, Any]:
    """Trains one field and judges it on the test photos."""
    seconds: list[float] = []
    running = train(scene.dataset, config)
    step = next(running)
    while step.step < steps:
        before = step.seconds
        step = next(running)
        seconds.append(step.seconds - before)
    field = step.snapshot()
    indices = scene.dataset.test or scene.dataset.train
    judged = verdict(list(evaluate(field, scene.dataset, indices, downscale=scene.downscale)))
    return {
        "psnr": judged.psnr,
        "photos": judged.photos,
        "ms_per_step": 1e3 * statistics.median(seconds),
        "parameters": parameters(field, config),
        "finest": finest(field),
    }


def parameters(field: HashGridField, config: HashGridTraining) -> int:
    """Numbers that were trained: table and networks, a matrix that all levels share once."""
    first = field.density_weights[0].numel()
    shared = first - first // field.encoding.levels if config.combine == "sum" else 0
    return field.table.numel() + sum(w.numel() for w in (*field.density_weights, *field.rgb_weights)) - shared


def finest(field: HashGridField) -> int:
    """Corners a side of the finest level, or half waves of the highest octave."""
    encoding = field.encoding
    return layout(encoding)[-1].resolution if isinstance(encoding, HashGridConfig) else 2 ** (encoding.levels - 1)


def _fitted(config: HashGridTraining, scene: Scene) -> HashGridTraining:
    return replace(config, downscale=scene.downscale)


def _case(row: dict[str, Any]) -> str:
    """What makes two rows the same measurement."""
    return json.dumps([row["scene"], row["variant"], row["steps"], row["config"]], sort_keys=True)


def _scenes(folder: Path) -> Iterator[Scene]:
    if data := os.environ.get("H3D_DATA"):
        yield _scene("lego", Path(data) / "lego", downscale=2)
    else:
        log.warning("H3D_DATA is not set: the study leaves lego out")
    own = os.environ.get("H3D_STUDY_DATA")
    yield _scene("own", Path(own) if own else write_demo_photos(folder / "demo_photos"))


def _scene(name: str, path: Path, downscale: int | None = None) -> Scene:
    try:
        dataset = datasets.read(path)
    except ValueError as error:
        raise Skipped(f"the study's scene {name} cannot be read: {error}") from error
    return Scene(name, dataset, downscale or auto_downscale(dataset))


def _metrics(row: dict[str, Any]) -> Iterator[Metric]:
    key = f"study/{row['scene']}/{row['variant']}"
    yield Metric(f"{key}/psnr", row["psnr"], "dB", "higher", PSNR_TOLERANCE)
    yield milliseconds(f"{key}/ms_per_step", row["ms_per_step"])
    yield Metric(f"{key}/parameters", row["parameters"], "", "lower", EXACT)
