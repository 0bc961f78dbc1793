"""`h3d prune --report`: SUNDAE's tables for one's own scene: shares kept, the notch, every criterion side by side.

Every cut is compared with the whole scene, in pictures from all around or from a data set's cameras, before fine-tune.
Writes report.csv, report.md, report.tex and report.pdf; a report that was interrupted goes on where it was.
Source of the tables: arXiv 2405.00676, tables 1, 4 and 6 and figure 7.
"""

from __future__ import annotations

import csv
import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from h3d.models import formats, losses
from h3d.models.formats.atomic import replacing
from h3d.models.gaussians import Gaussians
from h3d.models.merging import merged
from h3d.models.meshing import Progress
from h3d.models.pruning import CRITERIA, WITH_CAMERAS, Criterion, PruningOptions, ranking
from h3d.models.sundae import Spectrum
from h3d.models.viewpoints import Viewpoints, seen_from
from h3d.renderers import Contributions, RasterOptions, rasterize_gaussians

KEEPS = (1.0, 0.8, 0.5, 0.3, 0.1, 0.01)
RATIOS = (0.1, 0.3, 0.5, 0.7, 0.9)
RATIOS_KEEP = 0.1
SIDE_BY_SIDE = (0.3, 0.1)
VIEWS = 8
"""Pictures that are compared, evenly from those there are."""
COLUMNS = ("share kept", "gamma", "Gaussians", "PSNR, dB", "SSIM", ".ply, MB", ".spz, MB", "ms a picture")
TITLES = {
    "keep": "Share kept, by the band-stop",
    "gamma": "Band-stop ratio, at a tenth kept",
    "criteria": "Criteria side by side",
}


@dataclass(frozen=True)
class Case:
    """One cut of a table; by is a criterion, or merging."""

    table: str
    by: str
    keep: float
    ratio: float


@dataclass(frozen=True)
class Found:
    """What a cut leaves."""

    count: int
    psnr: float
    ssim: float
    ply_bytes: int
    spz_bytes: int
    milliseconds: float


def cases() -> Iterator[Case]:
    """All cuts in the order of the tables."""
    for keep in KEEPS:
        yield Case("keep", "band_stop", keep, 0.5)
    for ratio in RATIOS:
        yield Case("gamma", "band_stop", RATIOS_KEEP, ratio)
    for keep in SIDE_BY_SIDE:
        for criterion in CRITERIA:
            yield Case("criteria", criterion, keep, 0.5)
        yield Case("criteria", "merging", keep, 0.5)


def report(
    gaussians: Gaussians, views: Viewpoints, folder: Path, options: PruningOptions, progress: Progress | None = None
) -> str:
    """Measures what the folder does not hold yet and writes the tables; says what was done.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.csv"
    rows, wanted = read_rows(path), list(cases())
    judge, ranks = Judge(gaussians, views), Ranks(gaussians, views, options)
    for done, case in enumerate(wanted):
        if case not in rows:
            rows[case] = judge.of(ranks.cut(case))
            _write_csv(path, rows)
        if progress is not None:
            progress((done + 1) / len(wanted))
    rows = {case: rows[case] for case in wanted}
    text = markdown(rows, views.description)
    for name, lines in (("report.md", text), ("report.tex", latex(rows))):
        with replacing(folder / name) as file:
            file.write(("\n".join(lines) + "\n").encode())
    _plot(folder / "report.pdf", rows)
    return f"{len(wanted)} cuts compared with the whole from {judge.description}, before fine-tune"


class Ranks:
    """Ranks by each criterion, worked out when they are first asked for."""

    def __init__(self, gaussians: Gaussians, views: Viewpoints, options: PruningOptions) -> None:
        self._gaussians, self._views, self._options = gaussians, views, options
        self._known: dict[str, Spectrum] = {}
        self._seen: Contributions | None = None

    def cut(self, case: Case) -> Gaussians:
        """What is left."""
        if case.by == "merging":
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


class Judge:
    """Pictures of the whole, and how far those of a part are from them."""

    def __init__(self, gaussians: Gaussians, views: Viewpoints) -> None:
        chosen = np.unique(np.linspace(0, len(views.views) - 1, VIEWS).round().astype(int))
        self._views = [views.views[i] for i in chosen]
        self.description = f"{len(self._views)} of {views.description}"
        self._whole = self._pictures(gaussians)[0]

    def of(self, part: Gaussians) -> Found:
        """Means over the views; of nothing at all a black picture."""
        pictures, seconds = self._pictures(part)
        pairs = list(zip(pictures, self._whole, strict=True))
        sizes = _bytes(part)
        return Found(
            count=len(part),
            psnr=float(np.mean([float(losses.psnr(a, b)) for a, b in pairs])),
            ssim=float(np.mean([float(losses.ssim(a, b)) for a, b in pairs])),
            ply_bytes=sizes[".ply"],
            spz_bytes=sizes[".spz"],
            milliseconds=1e3 * seconds / len(pictures),
        )

    def _pictures(self, rows: Gaussians) -> tuple[list[torch.Tensor], float]:
        arrays = (rows.means, rows.quats, rows.scales, rows.opacities, rows.sh)
        options, seen, began = RasterOptions(antialiased=rows.antialiased, depth=False), [], time.perf_counter()
        for view in self._views:
            viewmat, K = np.linalg.inv(view.camera_to_world)[None], view.K[None]
            seen.append(rasterize_gaussians(*arrays, viewmat, K, view.width, view.height, options=options).rgb[0])
        return [rgb.clamp(0.0, 1.0) for rgb in seen], time.perf_counter() - began


def _bytes(rows: Gaussians) -> dict[str, int]:
    if len(rows) == 0:
        return {".ply": 0, ".spz": 0}
    with tempfile.TemporaryDirectory(prefix="h3d-report-") as folder:
        paths = {suffix: Path(folder) / f"rows{suffix}" for suffix in (".ply", ".spz")}
        for path in paths.values():
            formats.write(path, rows)
        return {suffix: formats.file_bytes(path) for suffix, path in paths.items()}


Rows = dict[Case, Found]
Value = TypeVar("Value", Case, Found)


def read_rows(path: Path) -> Rows:
    """What is measured so far. Raises: ValueError, the file is none of a report."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    try:
        return {_typed(Case, row): _typed(Found, row) for row in table}
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: it is no report of h3d prune; remove it or name another folder") from error


def _typed(kind: type[Value], row: dict[str, str]) -> Value:
    kinds = {"str": str, "float": float, "int": int}
    return kind(**{field.name: kinds[str(field.type)](row[field.name]) for field in fields(kind)})


def _write_csv(path: Path, rows: Rows) -> None:
    with replacing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
        writer = csv.DictWriter(text, [f.name for kind in (Case, Found) for f in fields(kind)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(case) | asdict(found) for case, found in rows.items())
        text.detach()


def markdown(rows: Rows, cameras: str) -> list[str]:
    """Three tables."""
    lines = [f"Compared with the whole scene, before fine-tune; {cameras}."]
    for table, title in TITLES.items():
        lines += ["", f"## {title}", "", f"| by | {' | '.join(COLUMNS)} |", "|---|" + "---:|" * len(COLUMNS)]
        lines += [f"| {' | '.join(_cells(case, found))} |" for case, found in _of(rows, table)]
    return lines


def latex(rows: Rows) -> list[str]:
    """The same tables for a paper; needs the package booktabs."""
    lines: list[str] = []
    for table, title in TITLES.items():
        lines += [f"% {title}", r"\begin{tabular}{l" + "r" * len(COLUMNS) + "}", r"\toprule"]
        lines += [" & ".join(("by", *COLUMNS)) + r" \\", r"\midrule"]
        for case, found in _of(rows, table):
            lines.append(
                " & ".join(cell.replace("%", r"\%").replace("_", r"\_") for cell in _cells(case, found)) + r" \\"
            )
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return lines


def _of(rows: Rows, table: str) -> list[tuple[Case, Found]]:
    return [(case, found) for case, found in rows.items() if case.table == table]


def _cells(case: Case, found: Found) -> Sequence[str]:
    return (
        case.by,
        f"{100.0 * case.keep:g} %",
        f"{case.ratio:g}" if case.by == "band_stop" else "",
        f"{found.count:,}",
        "equal" if np.isinf(found.psnr) else f"{found.psnr:.2f}",
        f"{found.ssim:.4f}",
        f"{found.ply_bytes / 1e6:.2f}",
        f"{found.spz_bytes / 1e6:.2f}",
        f"{found.milliseconds:.1f}",
    )


def _plot(path: Path, rows: Rows) -> None:
    """PSNR over the share kept, over gamma, and of the criteria."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(7.2, 2.6), layout="constrained")
    keep, gamma, criteria = made.subplots(1, 3)
    for axes, table, column, label in ((keep, "keep", "keep", "share kept"), (gamma, "gamma", "ratio", "gamma")):
        points = [(getattr(case, column), found.psnr) for case, found in _of(rows, table) if np.isfinite(found.psnr)]
        axes.plot(*np.array(points).reshape(-1, 2).T, "o-", markersize=3)
        axes.set_xlabel(label)
        axes.set_ylabel("PSNR, dB")
    named = [(case.by, found.psnr) for case, found in _of(rows, "criteria") if case.keep == SIDE_BY_SIDE[0]]
    named.sort(key=lambda pair: pair[1])
    criteria.barh([name for name, _ in named], [psnr for _, psnr in named])
    criteria.tick_params(axis="y", labelsize=6)
    criteria.set_xlabel(f"PSNR, dB, {100 * SIDE_BY_SIDE[0]:g} % kept")
    with replacing(path) as file:
        made.savefig(file, format="pdf")
