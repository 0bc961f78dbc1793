"""What the Hash3D panel writes: the colour bar of the sphere, and the counters of the whole cache."""

from __future__ import annotations

import html

import numpy as np
from numpy.typing import NDArray

from h3d.app.figures.colormaps import SEQUENTIAL
from h3d.models.hash3d import CacheView
from h3d.models.hash3d.sphere import MEANINGS, Patches

STOPS = 9
"""Colours that the bar runs through."""


def legend(found: Patches, timesteps: NDArray[np.float64] | None) -> str:  # [2], None = all
    """The colour bar as HTML: what the colours mean, and the values at its ends."""
    colors = np.round(255 * SEQUENTIAL[np.linspace(0, 255, STOPS).astype(int)]).astype(int)
    stops = ",".join(f"rgb({r},{g},{b})" for r, g, b in colors.tolist())
    low, high = found.span
    which = "all timesteps" if timesteps is None else f"timesteps {timesteps[0]:g} to {timesteps[1]:g}"
    title = html.escape(f"{MEANINGS[found.quantity]}, {which}")
    return (
        f'<div style="font-size:.8em;margin:.2em .6em"><div style="opacity:.75">{title}</div>'
        f'<div style="height:.7em;border-radius:2px;background:linear-gradient(90deg,{stops})"></div>'
        f'<div style="display:flex;justify-content:space-between"><span>{low:g}</span><span>{high:.4g}</span></div>'
        "</div>"
    )


def counters(view: CacheView) -> list[tuple[str, str]]:
    """Of the whole life of the cache: passes of the UNet, tries, what came and went, memory."""
    statistics, passes = view.statistics, view.passes
    totals = statistics.totals
    share = f" ({100.0 * totals['hits'] / totals['tries']:.1f} %)" if totals["tries"] > 0 else ""
    rows = [
        ("step", f"{statistics.step:,}"),
        ("calls", f"{passes.calls:,}, {passes.bypassed:,} of them let through"),
        ("passes", f"{passes.full_passes:,} full, {passes.hit_passes:,} of hits"),
        ("elements in full", f"{100.0 * passes.full_share:.1f} %"),
        *((name, f"{milliseconds:.2f} ms") for name, milliseconds in passes.milliseconds.items()),
        ("hits", f"{totals['hits']:,} of {totals['tries']:,} tries{share}"),
    ]
    rows += [(name.replace("_", " "), f"{count:,}") for name, count in totals.items() if name not in ("hits", "tries")]
    return [
        *rows,
        ("cells", f"{len(statistics.grid):,}"),
        ("entries", f"{statistics.entries:,}"),
        ("memory", f"{statistics.nbytes / 1e6:,.2f} MB of {statistics.budget_bytes / 1e6:,.0f} MB"),
    ]
