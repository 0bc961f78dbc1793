"""The studies of Hash3D: caches against none on held-out objects, eta against cell sizes, and the paper's premise.

python -m h3d.app.bench.distillation_study compare --out FOLDER [--objects 20] [--seeds 3] [--part 1/2]
    five caches on every object: compare.csv, compare.md
python -m h3d.app.bench.distillation_study beyond --out FOLDER [--objects 5] [--seeds 1] [--part 1/2]
    what goes beyond the paper, each switch by itself, as compare does: beyond.csv, beyond.md
python -m h3d.app.bench.distillation_study grid --out FOLDER [--objects 5] [--part 1/2]
    eta x cells of angle x cells of timesteps: grid.csv, grid.md
python -m h3d.app.bench.distillation_study premise --out FOLDER
    how alike features are by distances of camera and timestep: premise.csv, premise.png, premise.pdf
Hours: a row is written when its run ends, rows that are there are not measured again, and --part I/N takes every Nth.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from h3d.models.procedural import HELD_OUT
from h3d.models.training.distilled_config import CacheSettings

from . import distillation_report, feature_premise
from .distilled_runs import ARMS, BEYOND, STEPS, Measured, measure
from .metrics import write_text

ETAS = (0.1, 0.3, 0.5, 0.7, 0.9)
ANGLES = ("10", "20", "30", "adaptive")
TIMESTEPS = (30.0, 100.0, 250.0)
RADIUS = 1.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One run of a study."""

    name: str
    settings: CacheSettings
    seed: int  # of the object
    run_seed: int


def compare_cases(arms: Mapping[str, CacheSettings], objects: int, seeds: int) -> Iterator[Case]:
    """All arms of an object and seed follow one another: what is compared was measured at the same time."""
    for run_seed, seed in itertools.product(range(seeds), list(HELD_OUT)[:objects]):
        for name, settings in arms.items():
            yield Case(name, settings, seed, run_seed)


def grid_cases(objects: int) -> Iterator[Case]:
    """Every combination for an object before the next one; the run without a cache first."""
    for seed in list(HELD_OUT)[:objects]:
        yield Case("off", ARMS["off"], seed, 0)
        for timesteps, angle, eta in itertools.product(TIMESTEPS, ANGLES, ETAS):
            adaptive = angle == "adaptive"
            size = 30.0 if adaptive else float(angle)
            settings = CacheSettings(
                eta=eta, azimuth=size, elevation=size, radius=RADIUS, timesteps=timesteps, adaptive=adaptive
            )
            yield Case(f"{eta:g},{angle},{timesteps:g}", settings, seed, 0)


def run(cases: Iterator[Case], path: Path, steps: int, part: tuple[int, int]) -> None:
    """Measures what `path` does not hold yet; objects and seeds are shared out among parts."""
    index, parts = part
    done = {(row["name"], int(row["object"]), int(row["seed"])) for row in read_rows(path)}
    group: dict[tuple[int, int], int] = {}
    for case in cases:
        number = group.setdefault((case.seed, case.run_seed), len(group))
        if number % parts != index - 1 or (case.name, case.seed, case.run_seed) in done:
            continue
        found = measure(case.seed, case.settings, run_seed=case.run_seed, steps=steps)
        log.info("%s object %d seed %d: %.2f dB", case.name, case.seed, case.run_seed, found.psnr)
        add_row(path, {"name": case.name, "object": case.seed, "seed": case.run_seed, "steps": steps, **asdict(found)})


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a study so far."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, row: dict[str, object]) -> None:
    """Appends a row, and the header where there is none yet; one write, so that parts may share a file."""
    names = ["name", "object", "seed", "steps", *(field.name for field in fields(Measured))]
    with open(path, "a", newline="", encoding="utf-8") as file:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        if file.tell() == 0:
            table.writerow(names)
        values = (row[name] for name in names)
        table.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
        file.write(text.getvalue())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=("compare", "beyond", "grid", "premise"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--objects", type=int, help="held-out objects; none = 20 to compare, else 5")
    parser.add_argument("--seeds", type=int, help="of each object; none = 3 to compare, else 1")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--part", default="1/1", help="I/N: the Ith of N processes that share the work")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 = as it likes")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s")
    if options.threads > 0:
        from h3d.renderers import set_num_threads

        torch.set_num_threads(options.threads)
        set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.study == "premise":
        feature_premise.study(options.out)
        return
    index, _, parts = options.part.partition("/")
    path = options.out / f"{options.study}.csv"
    if options.study == "compare":
        cases = compare_cases(ARMS, options.objects or 20, options.seeds or 3)
    elif options.study == "beyond":
        cases = compare_cases(BEYOND, options.objects or 5, options.seeds or 1)
    else:
        cases = grid_cases(options.objects or 5)
    run(cases, path, options.steps, (int(index), int(parts or 1)))
    table = distillation_report.gridded if options.study == "grid" else distillation_report.compared
    write_text(path.with_suffix(".md"), "\n".join(table(read_rows(path))) + "\n")


if __name__ == "__main__":
    main()
