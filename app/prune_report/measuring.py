"""Makes the cuts of a report and measures them: pictures beside the whole scene's, or beside test photos after
fine-tuning."""

from __future__ import annotations

import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from h3d.app.fine_tune import FineTuning
from h3d.models import formats, losses
from h3d.models.compensated_picture import compensated_picture
from h3d.models.compensation import Size
from h3d.models.gaussians import Gaussians
from h3d.models.merging import merged
from h3d.models.pruning import CRITERIA, WITH_CAMERAS, Criterion, PruningOptions, ranking
from h3d.models.sundae import Spectrum
from h3d.models.training.compensating import CompensationTraining
from h3d.models.training.fine_tuning import fine_tuning
from h3d.models.viewpoints import Viewpoints, seen_from
from h3d.renderers import Contributions, RasterOptions

from .cases import MERGING, OFF, Case, Found

VIEWS = 8
"""Pictures that are compared, evenly from those there are."""


class Ranks:
    """Cuts; ranks by each criterion are worked out when they are first asked for."""

    def __init__(self, gaussians: Gaussians, views: Viewpoints, options: PruningOptions) -> None:
        self._gaussians, self._views, self._options = gaussians, views, options
        self._known: dict[str, Spectrum] = {}
        self._seen: Contributions | None = None

    def cut(self, case: Case) -> Gaussians:
        """What is left."""
        if case.by == MERGING:
            return merged(self._gaussians, case.keep)
        criterion: Criterion = next(known for known in CRITERIA if known == case.by)
        if criterion not in self._known:
            self._known[criterion] = self._ranked(criterion)
        ratio = case.ratio if criterion == "band_stop" else 1.0
        return self._gaussians.keep(self._known[criterion].mask(case.keep, ratio))

    def _ranked(self, criterion: Criterion) -> Spectrum:
        if criterion in WITH_CAMERAS and self._seen is None:
            self._seen = seen_from(self._views, self._gaussians, sensitivity=True)
        return ranking(self._gaussians, criterion, self._options, self._seen)


class Beside:
    """Pictures of the whole, and how far those of a part are from them."""

    def __init__(self, gaussians: Gaussians, views: Viewpoints) -> None:
        chosen = np.unique(np.linspace(0, len(views.views) - 1, VIEWS).round().astype(int))
        self._views = [views.views[i] for i in chosen]
        self.description = f"{len(self._views)} of {views.description}"
        self._whole = self.pictures(gaussians)[0]

    def of(self, part: Gaussians) -> Found:
        """Means over the views; of nothing at all a black picture."""
        pictures, milliseconds = self.pictures(part)
        pairs = list(zip(pictures, self._whole, strict=True))
        psnr = float(np.mean([float(losses.psnr(a, b)) for a, b in pairs]))
        ssim = float(np.mean([float(losses.ssim(a, b)) for a, b in pairs]))
        return Found(len(part), psnr, ssim, *_bytes(part), milliseconds)

    def pictures(self, rows: Gaussians) -> tuple[list[torch.Tensor], float]:
        """What is seen, and the milliseconds of a picture."""
        options, seen, began = RasterOptions(antialiased=rows.antialiased, depth=False), [], time.perf_counter()
        for view in self._views:
            viewmat = np.linalg.inv(view.camera_to_world)
            seen.append(compensated_picture(rows, viewmat, view.K, view.width, view.height, options=options))
        return seen, 1e3 * (time.perf_counter() - began) / len(seen)


class Tuning:
    """Learns cuts on from photos; what was learnt of a cut is kept for the networks that go on from it."""

    def __init__(self, whole: Gaussians, wish: FineTuning, settings: dict[str, object], beside: Beside) -> None:
        self._wish, self._settings, self._beside = wish, settings, beside
        self._last: tuple[Case, Gaussians] | None = None
        task = fine_tuning(wish.data, whole, settings=settings)
        self.name, self.whole = task.name, task.judge(whole).sentence

    def of(self, case: Case, ranks: Ranks) -> Found:
        """Judged over the test photos."""
        _forget_peak()
        began = time.perf_counter()
        asset = self._learnt(case, ranks)
        seconds, peak = time.perf_counter() - began, _peak_mib()
        metrics = fine_tuning(self._wish.data, asset, settings=self._settings).judge(asset).metrics
        milliseconds = self._beside.pictures(asset)[1]
        ssim = metrics.get("ssim", float("nan"))
        return Found(len(asset), metrics["psnr"], ssim, *_bytes(asset), milliseconds, seconds, peak)

    def _learnt(self, case: Case, ranks: Ranks) -> Gaussians:
        if case.table != "networks":
            return self._on(ranks.cut(case), case.steps, OFF)
        begun = Case("networks", case.by, case.keep, case.ratio, case.steps // 2)
        if self._last is None or self._last[0] != begun:
            self._last = begun, self._on(ranks.cut(case), begun.steps, OFF)
        return self._on(self._last[1], case.steps - begun.steps, case.network)

    def _on(self, asset: Gaussians, steps: int, network: str) -> Gaussians:
        size: Size | None = next((size for size in get_args(Size) if size == network), None)
        wish = CompensationTraining("off" if size is None else size)
        known = {"seed": self._wish.seed, "settings": self._settings}
        task = fine_tuning(self._wish.data, asset, compensation=wish, **known)
        return next(islice(task.train(), steps - 1, None)).snapshot()


def _bytes(rows: Gaussians) -> tuple[int, int]:
    """Of a .ply, with what lies beside it, and of an .spz."""
    if len(rows) == 0:
        return 0, 0
    with tempfile.TemporaryDirectory(prefix="h3d-report-") as folder:
        ply, spz = (Path(folder) / f"rows{suffix}" for suffix in (".ply", ".spz"))
        formats.write(ply, rows)
        formats.write(spz, rows)
        return formats.file_bytes(ply), formats.file_bytes(spz)


def _forget_peak() -> None:
    """Begin to measure anew, where the system lets a process do so (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # Then the peak is that since the program began.


def _peak_mib() -> float:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
