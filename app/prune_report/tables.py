"""A report for people and papers: Markdown, LaTeX, and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from h3d.models.formats.atomic import replacing

from .cases import OFF, SIDE_BY_SIDE, Case, Found, Rows

COLUMNS = ("share kept", "gamma", "Gaussians", "PSNR, dB", "SSIM", ".ply, MB", ".spz, MB", "ms a picture")
TUNED_COLUMNS = ("steps", "network", "s", "peak, MiB")
TITLES = {
    "keep": "Share kept, by the band-stop",
    "gamma": "Band-stop ratio, at a tenth kept",
    "criteria": "Criteria side by side",
    "tuned_keep": "Share kept, by the band-stop, fine-tuned",
    "tuned_gamma": "Band-stop ratio, at a tenth kept, fine-tuned",
    "tuned_criteria": "Criteria side by side, fine-tuned",
    "networks": "Neural compensation, learnt in the second half of the steps",
}


def markdown(rows: Rows, compared: str) -> list[str]:
    """A table for each title that there are rows of."""
    lines = [compared]
    for table, title, columns in _tables(rows):
        lines += ["", f"## {title}", "", f"| by | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
        lines += [f"| {' | '.join(_cells(case, found))} |" for case, found in _of(rows, table)]
    return lines


def latex(rows: Rows) -> list[str]:
    """The same tables for a paper; needs the package booktabs."""
    lines: list[str] = []
    for table, title, columns in _tables(rows):
        lines += [f"% {title}", r"\begin{tabular}{l" + "r" * len(columns) + "}", r"\toprule"]
        lines += [" & ".join(("by", *columns)) + r" \\", r"\midrule"]
        for case, found in _of(rows, table):
            cells = (cell.replace("%", r"\%").replace("_", r"\_") for cell in _cells(case, found))
            lines.append(" & ".join(cells) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}", ""]
    return lines


def plot(path: Path, rows: Rows) -> None:
    """PSNR over the share kept, over gamma, and of the criteria; a row of these before fine-tune, one after."""
    from matplotlib.figure import Figure

    kinds = [""] + (["tuned_"] if len(_of(rows, "tuned_keep")) > 0 else [])
    made = Figure(figsize=(7.2, 2.6 * len(kinds)), layout="constrained")
    panels = made.subplots(len(kinds), 3, squeeze=False)
    for kind, (keep, gamma, criteria) in zip(kinds, panels, strict=True):
        for axes, table, column, label in ((keep, "keep", "keep", "share kept"), (gamma, "gamma", "ratio", "gamma")):
            chosen = _of(rows, f"{kind}{table}")
            points = [(getattr(case, column), found.psnr) for case, found in chosen if np.isfinite(found.psnr)]
            axes.plot(*np.array(points).reshape(-1, 2).T, "o-", markersize=3)
            axes.set_xlabel(label)
            axes.set_ylabel("PSNR, dB" + (", fine-tuned" if kind else ""))
        chosen = _of(rows, f"{kind}criteria")
        named = sorted((found.psnr, case.by) for case, found in chosen if case.keep == SIDE_BY_SIDE[0])
        criteria.barh([name for _, name in named], [psnr for psnr, _ in named])
        criteria.tick_params(axis="y", labelsize=6)
        criteria.set_xlabel(f"PSNR, dB, {100 * SIDE_BY_SIDE[0]:g} % kept")
    with replacing(path) as file:
        made.savefig(file, format="pdf")


def _tables(rows: Rows) -> list[tuple[str, str, tuple[str, ...]]]:
    """Name, title and columns of the tables that there are rows of."""
    found = []
    for table, title in TITLES.items():
        there = _of(rows, table)
        if len(there) > 0:
            found.append((table, title, COLUMNS + (TUNED_COLUMNS if there[0][0].steps > 0 else ())))
    return found


def _of(rows: Rows, table: str) -> list[tuple[Case, Found]]:
    return [(case, found) for case, found in rows.items() if case.table == table]


def _cells(case: Case, found: Found) -> Sequence[str]:
    plain = (
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
    if case.steps == 0:
        return plain
    network = "" if case.network == OFF else case.network
    return (*plain, f"{case.steps:,}", network, f"{found.seconds:.0f}", f"{found.peak_mib:,.0f}")
