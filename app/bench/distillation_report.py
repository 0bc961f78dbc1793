"""The studies of Hash3D as tables in Markdown. Differences are paired: the same object and seed, with and without."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from .distilled_runs import OFF

Row = Mapping[str, str]
T95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 9: 2.26, 19: 2.09, 29: 2.05, 59: 2.00}
"""Student's t of 95 % by degrees of freedom; the next lower ones stand for those that are not here."""

COLUMNS = (
    "cache",
    "runs",
    "full passes",
    "UNet time",
    "whole run",
    "PSNR, dB",
    "change, dB (95 %)",
    "SSIM",
    "IoU",
    "reprojection",
)


def compared(rows: Sequence[Row]) -> list[str]:
    """A line a cache: cost, quality, and the difference from the run without one."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    without = _by_case(rows, OFF)
    for name in dict.fromkeys(row["name"] for row in rows):
        mine = _by_case(rows, name)
        both = sorted(set(mine) & set(without))
        if len(both) == 0:
            continue
        unet = _ratio(both, without, mine, "unet_seconds")
        whole = _ratio(both, without, mine, "seconds")
        cells = [
            name,
            str(len(both)),
            f"{100 * _mean(mine[k]['full_share'] for k in both):.0f} %",
            f"1 / {unet:.2f}",
            f"1 / {whole:.2f}",
            f"{_mean(mine[k]['psnr'] for k in both):.2f}",
            _interval([float(mine[k]["psnr"]) - float(without[k]["psnr"]) for k in both]),
            f"{_mean(mine[k]['ssim'] for k in both):.4f}",
            f"{_mean(mine[k]['iou'] for k in both):.3f}",
            f"{_mean(mine[k]['reprojection'] for k in both):.4f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def gridded(rows: Sequence[Row]) -> list[str]:
    """A line for eta and cells: whole time against no cache, hit rate, change of PSNR."""
    lines = [
        "| eta | angle cells | timestep cells | runs | hit rate | full passes | whole run | change, dB |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    without = _by_case(rows, OFF)
    for name in dict.fromkeys(row["name"] for row in rows if row["name"] != OFF):
        mine = _by_case(rows, name)
        both = sorted(set(mine) & set(without))
        change = [float(mine[k]["psnr"]) - float(without[k]["psnr"]) for k in both]
        cells = [
            *name.split(","),
            str(len(both)),
            f"{100 * _mean(mine[k]['hit_rate'] for k in both):.0f} %",
            f"{100 * _mean(mine[k]['full_share'] for k in both):.0f} %",
            f"1 / {_ratio(both, without, mine, 'seconds'):.2f}",
            f"{statistics.mean(change):+.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _by_case(rows: Sequence[Row], name: str) -> dict[tuple[str, str, str], Row]:
    return {(row["object"], row["seed"], row["steps"]): row for row in rows if row["name"] == name}


def _ratio(
    cases: Sequence[tuple[str, str, str]],
    without: Mapping[tuple[str, str, str], Row],
    mine: Mapping[tuple[str, str, str], Row],
    column: str,
) -> float:
    """How many times less: the median of the cases' own ratios, which a noisy neighbour moves little."""
    return statistics.median(float(without[k][column]) / float(mine[k][column]) for k in cases)


def _mean(values: Iterable[str]) -> float:
    return statistics.mean(float(value) for value in values)


def _interval(differences: Sequence[float]) -> str:
    mean = statistics.mean(differences)
    if len(differences) < 2:
        return f"{mean:+.2f}"
    freedom = len(differences) - 1
    t = T95[max(known for known in T95 if known <= freedom)]
    half = t * statistics.stdev(differences) / math.sqrt(len(differences))
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"
