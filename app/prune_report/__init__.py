"""`h3d prune --report`: SUNDAE's tables for one's own scene: shares kept, the notch, every criterion side by side.

Every cut is compared with the whole scene, in pictures from all around or from a data set's cameras, before fine-tune.
With photos it is fine-tuned as well, without and with the compensation network, and judged on the test photos.
Writes report.csv, report.md, report.tex and report.pdf; a report that was interrupted goes on where it was.
Source of the tables: arXiv 2405.00676, tables 1 to 4 and 6 and figure 7.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from h3d.app.fine_tune import FineTuning
from h3d.models.formats.atomic import replacing
from h3d.models.gaussians import Gaussians
from h3d.models.meshing import Progress
from h3d.models.pruning import PruningOptions
from h3d.models.viewpoints import Viewpoints

from .cases import Case, Rows, cuts, read_rows, tuned_cuts, write_rows
from .measuring import Beside, Ranks, Tuning
from .tables import latex, markdown, plot


@dataclass(frozen=True)
class Photos:
    """What the cuts are fine-tuned on, and how."""

    wish: FineTuning
    settings: dict[str, object]
    """Of the run that made the scene."""
    by: str
    """Criterion whose cuts the networks are compared on."""


def report(
    gaussians: Gaussians,
    views: Viewpoints,
    folder: Path,
    options: PruningOptions,
    photos: Photos | None = None,
    *,
    minutes: float | None = None,
    progress: Progress | None = None,
) -> str:
    """Measures what the folder does not hold yet and writes the tables; says what was done.

    After `minutes` the cut that is being measured is the last one.

    Raises:
        ValueError: the folder holds something else, or the data set is wrong.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path, began = folder / "report.csv", time.monotonic()
    rows, wanted = read_rows(path), list(cuts())
    beside, ranks = Beside(gaussians, views), Ranks(gaussians, views, options)
    tuning = None if photos is None else Tuning(gaussians, photos.wish, photos.settings, beside)
    if photos is not None:
        wanted += tuned_cuts(photos.wish.steps, photos.by)
    for done, case in enumerate(wanted):
        measured = case not in rows
        if measured:
            rows[case] = tuning.of(case, ranks) if tuning is not None and case.steps > 0 else beside.of(ranks.cut(case))
            write_rows(path, rows)
        if progress is not None:
            progress((done + 1) / len(wanted))
        if measured and minutes is not None and time.monotonic() - began > 60.0 * minutes:
            break
    found = {case: rows[case] for case in wanted if case in rows}
    compared = f"compared with the whole from {beside.description}, before fine-tune"
    if tuning is not None:
        compared += f"; fine-tuned, with photos of {tuning.name} (the whole: {tuning.whole})"
    _write(folder, found, compared)
    number = f"{len(found)}" if len(found) == len(wanted) else f"{len(found)} of {len(wanted)}"
    return f"{number} cuts {compared}"


def _write(folder: Path, rows: Rows, compared: str) -> None:
    text = markdown(rows, f"Cuts {compared}.")
    for name, lines in (("report.md", text), ("report.tex", latex(rows))):
        with replacing(folder / name) as file:
            file.write(("\n".join(lines) + "\n").encode())
    plot(folder / "report.pdf", rows)


__all__ = ["Case", "Photos", "cuts", "read_rows", "report", "tuned_cuts"]
