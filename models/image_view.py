"""Looking at an image field: where rays meet its plane, how much of the picture a pixel sees there. R rays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.fields import RenderedRays
from h3d.renderers.threads import one_torch_thread

from .field_view import FieldView, Pixels

if TYPE_CHECKING:
    from .image_field import ImageField

CHUNK = 1 << 16  # points a query, between two looks at the cancel flag
GRAZING = 1e-6  # cosine below which a ray passes along the plane


def look(
    field: ImageField,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    view: FieldView,
    cancel: CancelFlag | None,
) -> RenderedRays:
    """See `Field.render`. Raises `Cancelled`."""
    with one_torch_thread(), torch.no_grad():
        pixels = view.pixels or pixels_of(directions)
        rgb, alpha, depth = torch.zeros(len(origins), 3), torch.zeros(len(origins)), torch.zeros(len(origins))
        for first in range(0, len(origins), CHUNK):
            if cancel is not None and cancel.is_set():
                raise Cancelled
            rows = slice(first, first + CHUNK)
            rgb[rows], alpha[rows], depth[rows] = _seen(field, origins[rows], directions[rows], view, pixels)
        seen = alpha > 0.0
        normals = None
        if view.normals:
            normals = torch.zeros_like(rgb)
            normals[:, 2] = -torch.sign(directions[:, 2]) * alpha
        return RenderedRays(rgb, alpha, depth, seen.to(torch.int32), normals=normals)


def _seen(
    field: ImageField,
    origins: torch.Tensor,  # [R, 3]
    directions: torch.Tensor,  # [R, 3]
    view: FieldView,
    pixels: Pixels,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # [R, 3], [R], [R]
    """Premultiplied colours, alpha and depth."""
    # Float64: a thousandth of a pixel of a picture that is a million pixels wide.
    ahead = directions[:, 2].double()
    t = torch.where(ahead.abs() > GRAZING, -origins[:, 2].double() / ahead, -1.0)
    places = field.height * (origins[:, :2].double() + t[:, None] * directions[:, :2].double())
    footprints = field.height * _footprints(directions.double(), t, pixels)
    size = torch.tensor([field.width, field.height], dtype=torch.float64)
    low, high = (size * torch.tensor(corner[:2], dtype=torch.float64) for corner in (view.crop_low, view.crop_high))
    alpha = torch.where(t > 0.0, _coverage(places, footprints, low, high), 0.0).float()
    rgb, depth = torch.zeros(len(t), 3), torch.zeros(len(t))
    rows = (alpha > 0.0).nonzero()[:, 0]
    inside = torch.minimum(torch.maximum(places[rows], low), high)
    # A pixel of the picture is a sample at its centre; inside the outermost half pixels nothing is known.
    inside = torch.minimum(torch.maximum(inside, torch.full_like(size, 0.5)), size - 0.5)
    mask = view.level_mask & ((1 << field.encoding.levels) - 1)
    rgb[rows] = field.colors(inside, footprints[rows], level_mask=mask) * alpha[rows, None]
    depth[rows] = t[rows].float()
    return rgb, alpha, depth


def _coverage(
    places: torch.Tensor,  # [R, 2] pixels
    footprints: torch.Tensor,  # [R] pixels
    low: torch.Tensor,  # [2]
    high: torch.Tensor,  # [2]
) -> torch.Tensor:  # [R]
    """The share of each footprint, a square about its place, that lies in the rectangle: smooth borders."""
    width = footprints.clamp(min=1e-9)[:, None]
    covered = torch.minimum(places + 0.5 * width, high) - torch.maximum(places - 0.5 * width, low)
    return (covered / width).clamp(0.0, 1.0).prod(dim=1)


def _footprints(directions: torch.Tensor, t: torch.Tensor, pixels: Pixels) -> torch.Tensor:  # [R, 3], [R] -> [R]
    """Sides of the squares of the same area as the patches of the plane that pixels see, in units of the plane.

    Across the view a pixel is as wide as at its depth; along it, it is longer by how much the plane leans away.
    """
    forward = torch.tensor(pixels.forward, dtype=torch.float64)
    along = (directions @ forward).clamp(min=GRAZING)
    lean = (directions[:, 2].abs().clamp(min=GRAZING) / along).clamp(max=1.0)
    return pixels.width * t.clamp(min=0.0) * along / lean.sqrt()


def pixels_of(directions: torch.Tensor) -> Pixels:  # [R, 3] unit
    """The camera of rays that come pixel by pixel: it looks along their mean, most of them lie beside the one before.

    A single ray has no neighbour and sees a point.
    """
    if len(directions) < 2:
        return Pixels((0.0, 0.0, 1.0), 0.0)
    precise = directions.double()
    forward = torch.nn.functional.normalize(precise.mean(dim=0), dim=0)
    on_sensor = precise / (precise @ forward).clamp(min=GRAZING)[:, None]
    x, y, z = forward.tolist()
    return Pixels((x, y, z), float((on_sensor[1:] - on_sensor[:-1]).norm(dim=1).median()))


def rows_in_turn(height: int, width: int, cancel: CancelFlag | None) -> Iterator[torch.Tensor]:
    """Row numbers of a picture, as many at a time as make a query. Raises `Cancelled`."""
    at_once = max(1, CHUNK // width)
    for first in range(0, height, at_once):
        if cancel is not None and cancel.is_set():
            raise Cancelled
        yield torch.arange(first, min(first + at_once, height))
