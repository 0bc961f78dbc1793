"""How long the spectrum of Gaussians takes, what it needs of memory, and how quick a cut and a second time are.

On made-up points of a thick shell in random order, the worst that a file can have. The peer is what everybody has at
hand: scipy's k-d tree asked in the order of the file, for the same neighbours with as many threads.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from scipy.spatial import KDTree

from h3d.app.figures import compare, images
from h3d.app.figures.compare import Comparison
from h3d.app.figures.display import Display
from h3d.app.figures.pictures import View
from h3d.app.workspace.scene import Layer
from h3d.models.compensation import Compensation, CompensationNetwork, CompensationPlan, Size
from h3d.models.gaussians import Gaussians
from h3d.models.neighbours import nearest
from h3d.models.sundae import spectrum
from h3d.renderers import num_threads

from . import scenes
from .frames import overview
from .metrics import (
    MEMORY_TOLERANCE,
    RATIO_TOLERANCE,
    TIME_TOLERANCE,
    Effort,
    Metric,
    Skipped,
    best_of_blocks,
    in_turns,
    milliseconds,
    ratio,
    timed,
)

K = 10
MANY = 3_000_000
PEER_ROWS = 200_000


def points(count: int) -> np.ndarray:  # -> [N, 3] float32
    """A thick shell."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(count, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * rng.uniform(0.8, 1.0, (count, 1)).astype(np.float32)


def responses(effort: Effort) -> Iterator[Metric]:
    """From points to ranks, without the disk; of three million also the memory beyond the points, in a process."""
    small, large = points(100_000), points(1_000_000)
    seconds = best_of_blocks(lambda: timed(lambda: spectrum(small, k=K, cached=False)), effort)
    yield Metric("sundae/response/100k_s", seconds, "s", "lower", TIME_TOLERANCE)
    # Long enough to be measured once or twice.
    seconds = min(timed(lambda: spectrum(large, k=K, cached=False)) for _ in range(1 if effort.quick else 3))
    yield Metric("sundae/response/1m_s", seconds, "s", "lower", TIME_TOLERANCE)
    found = spectrum(large, k=K, cached=False)
    shares = iter(np.linspace(0.0, 1.0, 10_000))
    seconds = best_of_blocks(lambda: timed(lambda: found.mask(0.3, next(shares))), effort)
    yield milliseconds("sundae/mask/1m_ms", 1e3 * seconds)
    if sys.platform != "linux":
        raise Skipped("resident memory at its highest is read from /proc, which only Linux has")
    command = [sys.executable, "-c", "from h3d.app.bench.sundae import measure_many; measure_many()"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    yield Metric("sundae/response/3m_s", float(said[0]), "s", "lower", TIME_TOLERANCE)
    yield Metric("sundae/response/3m_extra_mib", float(said[1]), "MiB", "lower", MEMORY_TOLERANCE)


def measure_many() -> None:
    """Prints the seconds that three million points take, and the MiB above those of the points."""
    many = points(MANY)
    spectrum(many[:1000], k=K)  # Everything is loaded.
    before = _resident_mib("VmRSS")
    print(timed(lambda: spectrum(many, k=K, cached=False)))
    # What the process had at its highest while the points were made counts too, if that was more.
    print(_resident_mib("VmHWM") - before)


def drag(effort: Effort) -> Iterator[Metric]:
    """From a slider to the picture: another cut of a capture, drawn under the wipe."""
    asset = scenes.biker()
    found, camera = spectrum(asset.means, k=K), overview(asset, 640, 360)
    layer = Layer(1, "biker", asset)
    shares = itertools.cycle(np.linspace(0.1, 0.9, 17).tolist())

    def cut_and_draw() -> None:
        pruned = replace(layer, hidden_rows=~found.mask(next(shares), 0.5))
        both = Comparison(View((layer,), Display()), View((pruned,), Display()))
        compare.render(both, camera, backend="cpu")

    cut_and_draw()
    seconds = best_of_blocks(lambda: timed(cut_and_draw), effort)
    yield milliseconds("sundae/drag/biker_640x360_ms", 1e3 * seconds)


def cached(effort: Effort) -> Iterator[Metric]:
    """The second time, from the disk."""
    large = points(1_000_000)
    before = os.environ.get("H3D_CACHE")
    with tempfile.TemporaryDirectory(prefix="h3d-bench-") as folder:
        os.environ["H3D_CACHE"] = folder
        try:
            seconds = best_of_blocks(lambda: timed(lambda: spectrum(large, k=K)), effort)
        finally:
            if before is None:
                del os.environ["H3D_CACHE"]
            else:
                os.environ["H3D_CACHE"] = before
    yield Metric("sundae/cached/1m_s", seconds, "s", "lower", TIME_TOLERANCE)


def compensated(effort: Effort) -> Iterator[Metric]:
    """A picture through the network against the picture alone; what it has learnt does not matter to the clock."""
    rows = scenes.biker()
    camera, chance = overview(rows, 640, 360), torch.Generator().manual_seed(0)

    def seconds(asset: Gaussians) -> float:
        view = View((Layer(1, "biker", asset),), Display())
        return best_of_blocks(lambda: timed(lambda: images.render(view, camera, backend="cpu")), effort)

    raw, sizes = seconds(rows), get_args(Size)[:2]
    for size in sizes:
        plan = CompensationPlan(size)
        features = torch.randn(len(rows), plan.blended, generator=chance)
        took = seconds(replace(rows, features=features, compensation=Compensation(CompensationNetwork(plan))))
        yield milliseconds(f"sundae/compensated/{size}_640x360_ms", 1e3 * took)
        yield Metric(f"sundae/compensated/{size}_over_raw", took / raw, "x", "lower", RATIO_TOLERANCE)


def against_scipy(effort: Effort) -> Iterator[Metric]:
    """Our neighbours against a plain k-d tree's."""
    few, threads = points(PEER_ROWS), num_threads()

    def theirs() -> None:
        KDTree(few).query(few, k=K + 1, workers=threads)

    mine, other = in_turns(lambda: nearest(few, K, cached=False), theirs, effort)
    yield ratio("peers/scipy/neighbours_200k_speedup", other / mine)


def _resident_mib(name: str) -> float:
    with open("/proc/self/status") as file:
        found = next(line for line in file if line.startswith(f"{name}:"))
    return int(found.split()[1]) / 1024
