"""The study of encodings as a table in Markdown and as a plot of quality over parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .metrics import write_text

Row = dict[str, Any]
"""One measurement, as `encodings_study.measure` returns it, with its scene and variant."""

MARKS = {
    "hash": ("o-", "tab:blue"),
    "sum": ("s--", "tab:orange"),
    "dense": ("^--", "tab:green"),
    "frequency": ("x", "k"),
}
LABELS = {"hash": "hash, concatenated", "sum": "hash, summed", "dense": "dense grids", "frequency": "frequencies"}


def write(folder: Path, rows: Sequence[Row]) -> None:
    """Writes encodings.md and encodings.jpg into the folder."""
    write_text(folder / "encodings.md", "\n".join(table(rows)) + "\n")
    plot(folder / "encodings.jpg", rows)


def table(rows: Iterable[Row]) -> list[str]:
    """A line a variant, the scenes side by side."""
    scenes = list(dict.fromkeys(row["scene"] for row in rows))
    by_variant: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_variant.setdefault(row["variant"], {})[row["scene"]] = row
    head = "".join(f" {scene}: PSNR, dB | ms a step |" for scene in scenes)
    lines = [f"| encoding | finest level | parameters |{head}", "|---|---|---|" + "---|---|" * len(scenes)]
    for variant, of_scene in by_variant.items():
        any_row = next(iter(of_scene.values()))
        cells = "".join(
            f" {of_scene[scene]['psnr']:.2f} | {of_scene[scene]['ms_per_step']:.1f} |" if scene in of_scene else " | |"
            for scene in scenes
        )
        lines.append(f"| {label(variant)} | {any_row['finest']} | {any_row['parameters']:,} |{cells}")
    return lines


def label(variant: str) -> str:
    """What a person reads for a variant such as hash_T14."""
    kind, _, size = variant.partition("_T")
    if kind == "dense":
        return f"dense grids, as many parameters as T = 2^{size}"
    return f"{LABELS[kind]}, T = 2^{size}" if size else LABELS[kind]


def plot(path: Path, rows: Sequence[Row]) -> None:
    """Test PSNR over trained parameters and over time, a column a scene."""
    from matplotlib.figure import Figure

    scenes = list(dict.fromkeys(row["scene"] for row in rows))
    figure = Figure(figsize=(5.0 * len(scenes), 7.5), layout="constrained")
    axes = figure.subplots(2, len(scenes), squeeze=False)
    for column, scene in enumerate(scenes):
        for kind, (mark, color) in MARKS.items():
            chosen = [row for row in rows if row["scene"] == scene and row["variant"].partition("_T")[0] == kind]
            for line, key in enumerate(("parameters", "ms_per_step")):
                values = [row[key] for row in chosen], [row["psnr"] for row in chosen]
                axes[line][column].plot(*values, mark, color=color, label=LABELS[kind])
        axes[0][column].set(title=scene, xlabel="parameters", xscale="log", ylabel="test PSNR, dB")
        axes[1][column].set(xlabel="milliseconds a step (median)", ylabel="test PSNR, dB")
        for line in range(2):
            axes[line][column].grid(alpha=0.3)
    axes[0][0].legend()
    figure.savefig(path, dpi=110)
