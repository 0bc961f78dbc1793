"""The settings of a comparison: which two views, and how they share the picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

from h3d.app.figures.display import Display, Mode, Shape

CompareMode = Literal["off", "wipe", "side_by_side", "difference", "flip"]


@dataclass(frozen=True)
class OwnDisplay:
    """The display settings that B may have of its own; all others are A's."""

    mode: Mode = "rgb"
    shape: Shape = "splats"
    sh_degree: int = 3
    splat_scale: float = 1.0
    cached: bool = True
    """Whether path-traced scenes ask their radiance cache."""
    compensated: bool = True

    @classmethod
    def of(cls, display: Display) -> OwnDisplay:
        own = (display.mode, display.shape, display.sh_degree, display.splat_scale)
        return cls(*own, display.field.cached, display.compensated)

    def over(self, display: Display) -> Display:
        """`display` with these in place of its own."""
        own = {name: value for name, value in asdict(self).items() if name != "cached"}
        return replace(display, field=replace(display.field, cached=self.cached), **own)


@dataclass(frozen=True)
class PhotoShown:
    """A photo of a run's data set in the picture."""

    run: int  # key of the run
    index: int  # into the data set's images
    overlay: float = 0.0  # opacity over view A; 0 = it is view B of the comparison


@dataclass(frozen=True)
class CompareSettings:
    """View A is what the tab shows; view B has its own layers and may have its own display settings."""

    mode: CompareMode = "off"
    layer_a: int | None = None  # a layer's key; None = all visible layers
    layer_b: int | None = None
    own_b: OwnDisplay | None = None  # None = drawn as A
    split: float = 0.5  # where the wipe's line stands, 0 = left or top
    orientation: Literal["vertical", "horizontal"] = "vertical"  # of the line
    show: Literal["a", "b"] = "a"  # which one the flip shows
    photo: PhotoShown | None = None  # in place of view B, or over view A
