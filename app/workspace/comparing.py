"""The settings of a comparison: which two views, and how they share the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from h3d.app.figures.display import Display

CompareMode = Literal["off", "wipe", "side_by_side", "difference", "flip"]


@dataclass(frozen=True)
class CompareSettings:
    """View A is what the tab shows; view B has its own layers and may have its own display settings."""

    mode: CompareMode = "off"
    layer_a: int | None = None  # a layer's key; None = all visible layers
    layer_b: int | None = None
    display_b: Display | None = None  # None = as A
    split: float = 0.5  # where the wipe's line stands, 0 = left or top
    orientation: Literal["vertical", "horizontal"] = "vertical"  # of the line
    show: Literal["a", "b"] = "a"  # which one the flip shows
