"""Which Gaussians a hand means: by where they are, how they look, who they are, and these joined.

Functions take arrays and give masks. A `Selection` is the expression itself and not its outcome: it is evaluated on the
rows that there are when it is looked at or acted on, so that of a scene that is being learnt it takes in what was born
since. Places are in the rows' own frame; `moved` takes a shape along with it. N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from typing_extensions import assert_never

from h3d.renderers.cameras import quat_to_rotation

from .gaussians import Gaussians
from .similarity import Similarity

NEIGHBOURS = 8
MOST_IDS = 1 << 31
How = Literal["add", "subtract", "intersect", "toggle"]
Triple = tuple[float, float, float]
Quat = tuple[float, float, float, float]


# Arrays in, masks out.


def in_box(means: torch.Tensor, center: Triple, half_sizes: Triple, wxyz: Quat) -> torch.Tensor:  # [N, 3] -> [N]
    """Places in a box, turned by `wxyz` about its centre, its faces included."""
    local = (means - means.new_tensor(center)) @ _turn(wxyz, means)
    return (local.abs() <= means.new_tensor(half_sizes)).all(dim=1)


def in_sphere(means: torch.Tensor, center: Triple, radius: float) -> torch.Tensor:  # [N, 3] -> [N]
    """Places in a ball."""
    return (means - means.new_tensor(center)).norm(dim=1) <= radius


def in_rectangle(
    means: torch.Tensor,  # [N, 3]
    position: Triple,
    wxyz: Quat,
    slopes: Quat,
) -> torch.Tensor:  # [N]
    """Places that a camera sees within a rectangle: `slopes` are x / z and y / z of its left, top, right, bottom."""
    x, y, z = ((means - means.new_tensor(position)) @ _turn(wxyz, means)).unbind(dim=1)
    left, top, right, bottom = slopes
    return (z > 0) & (x >= left * z) & (x <= right * z) & (y >= top * z) & (y <= bottom * z)


def floating(means: torch.Tensor, factor: float) -> torch.Tensor:  # [N, 3] -> [N]
    """Places whose mean distance to their nearest `NEIGHBOURS` is above `factor` times the median of all.

    Statistical outlier removal as in PCL, by the median: a few floaters very far away do not hide the others.
    """
    if len(means) <= NEIGHBOURS:
        return torch.zeros(len(means), dtype=torch.bool, device=means.device)
    from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]

    points = means.cpu().numpy().astype(np.float64)
    distances = cKDTree(points).query(points, NEIGHBOURS + 1, workers=-1)[0][:, 1:].mean(axis=1)
    return torch.from_numpy(distances > factor * np.median(distances)).to(means.device)


def _turn(wxyz: Quat, like: torch.Tensor) -> torch.Tensor:  # [3, 3], whose columns are the axes
    return torch.from_numpy(quat_to_rotation(np.array(wxyz))).to(like)


# The same as values that can be moved, joined and written down.


@dataclass(frozen=True)
class Box:
    """Rows whose centre lies in a box, or outside it."""

    center: Triple
    half_sizes: Triple
    wxyz: Quat = (1.0, 0.0, 0.0, 0.0)
    inside: bool = True

    def mask(self, rows: Gaussians) -> torch.Tensor:
        return in_box(rows.means, self.center, self.half_sizes, self.wxyz) == self.inside

    def moved(self, by: Similarity) -> Box:
        x, y, z = (by.scale * half for half in self.half_sizes)
        return Box(by.point(self.center), (x, y, z), by.turn(self.wxyz), self.inside)


@dataclass(frozen=True)
class Sphere:
    """Rows whose centre lies in a ball, or outside it."""

    center: Triple
    radius: float
    inside: bool = True

    def mask(self, rows: Gaussians) -> torch.Tensor:
        return in_sphere(rows.means, self.center, self.radius) == self.inside

    def moved(self, by: Similarity) -> Sphere:
        return Sphere(by.point(self.center), by.scale * self.radius, self.inside)


@dataclass(frozen=True)
class Rectangle:
    """Rows whose centre a camera sees within a rectangle, behind others or not. See `in_rectangle`."""

    position: Triple
    wxyz: Quat
    slopes: Quat

    def mask(self, rows: Gaussians) -> torch.Tensor:
        return in_rectangle(rows.means, self.position, self.wxyz, self.slopes)

    def moved(self, by: Similarity) -> Rectangle:
        return Rectangle(by.point(self.position), by.turn(self.wxyz), self.slopes)


@dataclass(frozen=True)
class Fainter:
    """Rows of less opacity."""

    opacity: float

    def mask(self, rows: Gaussians) -> torch.Tensor:
        return rows.opacities < self.opacity

    def moved(self, by: Similarity) -> Fainter:
        del by
        return self


@dataclass(frozen=True)
class Larger:
    """Rows whose longest standard deviation is above this."""

    size: float

    def mask(self, rows: Gaussians) -> torch.Tensor:
        return rows.scales.amax(dim=1) > self.size

    def moved(self, by: Similarity) -> Larger:
        return Larger(by.scale * self.size)


@dataclass(frozen=True)
class Floaters:
    """Rows that stand alone. See `floating`."""

    factor: float

    def mask(self, rows: Gaussians) -> torch.Tensor:
        return floating(rows.means, self.factor)

    def moved(self, by: Similarity) -> Floaters:
        del by
        return self


@dataclass(frozen=True)
class All:
    """Every row."""

    def mask(self, rows: Gaussians) -> torch.Tensor:
        return torch.ones(len(rows), dtype=torch.bool, device=rows.ids.device)

    def moved(self, by: Similarity) -> All:
        del by
        return self


@dataclass(frozen=True)
class Rows:
    """Rows by their ids, in runs of neighbours: the first and the last of each."""

    ids: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if any(last < first for first, last in self.ids) or self.count > MOST_IDS:
            raise ValueError("ids: a run ends before it begins, or there are more than 2^31; write first and last")

    @staticmethod
    def of(ids: torch.Tensor) -> Rows:  # [M] int64
        """The rows of these ids, in any order."""
        ordered = np.unique(ids.cpu().numpy())
        if len(ordered) == 0:
            return Rows(())
        breaks = np.flatnonzero(np.diff(ordered) != 1)
        firsts, lasts = ordered[np.append(0, breaks + 1)], ordered[np.append(breaks, -1)]
        return Rows(tuple(zip(firsts.tolist(), lasts.tolist(), strict=True)))

    @property
    def count(self) -> int:
        return sum(last - first + 1 for first, last in self.ids)

    @cached_property
    def array(self) -> torch.Tensor:  # [M] int64, sorted
        """The ids one by one; `Rows.of` is the inverse."""
        parts = [torch.arange(first, last + 1) for first, last in self.ids]
        return torch.cat(parts) if len(parts) > 0 else torch.zeros(0, dtype=torch.int64)

    def mask(self, rows: Gaussians) -> torch.Tensor:
        return torch.isin(rows.ids, self.array.to(rows.ids.device))

    def moved(self, by: Similarity) -> Rows:
        del by
        return self


Shape = Box | Sphere | Rectangle | Fainter | Larger | Floaters | All | Rows
SHAPES: dict[str, type[Shape]] = {kind.__name__.lower(): kind for kind in get_args(Shape)}


@dataclass(frozen=True)
class Selection:
    """Shapes joined one after the other, beginning with nothing."""

    parts: tuple[tuple[How, Shape], ...] = ()

    def mask(self, rows: Gaussians) -> torch.Tensor:  # [N] bool
        """Which of these rows are meant."""
        chosen = torch.zeros(len(rows), dtype=torch.bool, device=rows.ids.device)
        for how, shape in self.parts:
            found = shape.mask(rows)
            match how:
                case "add":
                    chosen = chosen | found
                case "subtract":
                    chosen = chosen & ~found
                case "intersect":
                    chosen = chosen & found
                case "toggle":
                    chosen = chosen ^ found
                case _:
                    assert_never(how)
        return chosen

    def then(self, how: How, shape: Shape) -> Selection:
        """With one more part."""
        return Selection((*self.parts, (how, shape)))

    @property
    def inverted(self) -> Selection:
        """All the others."""
        return self.then("toggle", All())

    def moved(self, by: Similarity) -> Selection:
        """Of rows that have moved like this."""
        return replace(self, parts=tuple((how, shape.moved(by)) for how, shape in self.parts))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain lists and numbers; `from_json` is the inverse."""
        return [{"how": how, "shape": type(shape).__name__.lower(), **_numbers(shape)} for how, shape in self.parts]

    @staticmethod
    def from_json(value: Any) -> Selection:
        """Raises: ValueError where it is none; the sentence quotes the part."""
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError(f"selection: {value!r}; must be a list of shapes")
        return Selection(tuple(_part(entry) for entry in value))


def _numbers(shape: Shape) -> dict[str, Any]:
    return {field.name: getattr(shape, field.name) for field in fields(shape)}


def _part(entry: Any) -> tuple[How, Shape]:
    try:
        how, kind = entry["how"], SHAPES[entry["shape"]]
        shape = kind(**{field.name: _tuples(entry[field.name]) for field in fields(kind)})
    except (KeyError, TypeError) as error:
        raise ValueError(f"selection: {entry!r}; must be a shape of {', '.join(SHAPES)} with its numbers") from error
    if how not in get_args(How):
        raise ValueError(f"selection: how is {how!r}; must be one of {', '.join(get_args(How))}")
    return how, shape


def _tuples(value: Any) -> Any:
    """Lists of a JSON file as the tuples that they were."""
    return tuple(_tuples(entry) for entry in value) if isinstance(value, list) else value
