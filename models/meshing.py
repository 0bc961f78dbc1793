"""Surfaces out of fields and of Gaussians: triangle meshes by marching cubes, and points all over them.

The field is asked block by block, and only where its surface can be, so that fine grids cost neither the memory nor the
time of their volume. Vertices that blocks share have the same bits in both and become one: the mesh is as closed as the
surface is. B blocks, P points.
Source: Lewiner et al. 2003 (the marching cubes of scikit-image).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from h3d.renderers.cancel import CancelFlag, Cancelled
from h3d.renderers.threads import one_torch_thread

from .gaussian_colors import seen_colors
from .gaussians import Gaussians
from .hash_grid import HashGridField
from .meshes import Mesh
from .meshes.mesh import SurfaceSampler
from .meshing_volumes import Meshable, Volume, volume_of
from .signed_distance import SignedDistanceField

BLOCK = 16
"""Cells along each side of a block: few enough that a surface leaves most blocks alone."""
MAX_RESOLUTION = 2048
REPORTED_BLOCKS = 64
POINT_RESOLUTION = 256
"""Of the mesh that points are strewn over."""
NEWTON_STEPS = 3
"""By which points come from the mesh of a distance field to its surface."""

Progress = Callable[[float], None]
"""Told the share that is done, from 0 to 1."""
MARCHED_SHARE = 0.8
"""Of the work, that finding the surface is; the rest is what it looks like."""


@dataclass(frozen=True)
class MeshingOptions:
    """Which surface, and how fine."""

    resolution: int = 256
    """Cells along the longest side of what is meshed, 8 to 2048."""
    threshold: float | None = None
    """Where the surface is. Radiance fields: the density per unit of the field's length, none = 12.2 per length of the
    unit cube; Gaussians: their opacities times exp(-d^2 / 2) summed up, none = 0.25; distance fields: the distance,
    none = 0."""
    colors: bool = True
    """Whether vertices get the colour that is seen of them; distance fields have none."""
    largest_component: bool = False
    """Leave out all but the largest connected part: what floats about it goes."""
    crop_low: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Low corner of what is meshed, as a share of the field's box."""
    crop_high: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """High corner of what is meshed, as a share of the field's box."""

    def __post_init__(self) -> None:
        if not 8 <= self.resolution <= MAX_RESOLUTION:
            raise ValueError(f"resolution {self.resolution}: must be 8 to {MAX_RESOLUTION}")
        if self.threshold is not None and not abs(self.threshold) < float("inf"):
            raise ValueError(f"threshold {self.threshold}: must be finite")
        if any(not 0.0 <= low < high <= 1.0 for low, high in zip(self.crop_low, self.crop_high, strict=True)):
            raise ValueError(f"crop {self.crop_low} to {self.crop_high}: must be 0 <= low < high <= 1 along each axis")


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Points on a surface, in the axes of the field."""

    points: np.ndarray  # [P, 3] float32
    normals: np.ndarray  # [P, 3] float32, unit, outwards
    colors: np.ndarray | None  # [P, 3] float32, sRGB in [0, 1]; None of a field without colours


def isosurface(
    field: Meshable,
    options: MeshingOptions = MeshingOptions(),
    *,
    progress: Progress | None = None,
    cancel: CancelFlag | None = None,
) -> Mesh:
    """The surface of a field or of Gaussians in its own axes, with normals; it is open where the crop box cuts it.

    Raises:
        ValueError: there is no surface there, or this kind of field has none; one sentence.
        Cancelled: `cancel` was set before it was done.
    """
    volume = volume_of(field, options.threshold, options.crop_low, options.crop_high)
    with one_torch_thread():
        report = progress or _silent
        mesh = _marched(volume, options.resolution, report, cancel)
        if options.largest_component:
            mesh = mesh.largest_component()
        return _dressed(field, mesh, options.colors, report, cancel)


def point_cloud(
    field: Meshable,
    count: int,
    options: MeshingOptions = MeshingOptions(resolution=POINT_RESOLUTION),
    *,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: CancelFlag | None = None,
) -> SurfacePoints:
    """Points evenly all over the surface that `isosurface` finds, with what is seen of them.

    Raises:
        ValueError: as `isosurface`, or `count` is out of range.
        Cancelled: `cancel` was set before it was done.
    """
    if not 1 <= count <= 100_000_000:
        raise ValueError(f"count {count}: must be 1 to 100,000,000 points")
    mesh = isosurface(field, replace(options, colors=False), progress=progress, cancel=cancel)
    draws = np.random.default_rng(seed).random((count, 3))
    points, faces = SurfaceSampler(mesh)(draws)
    assert mesh.normals is not None
    normals = mesh.normals[mesh.faces[faces]].mean(axis=1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    with one_torch_thread():
        if isinstance(field, SignedDistanceField):
            points, normals = _settled(field, points, normals, options.threshold or 0.0, cancel)
        colors = _seen_colors(field, points, normals, progress or _silent, cancel) if options.colors else None
    return SurfacePoints(points.astype(np.float32), normals.astype(np.float32), colors)


def _marched(volume: Volume, resolution: int, progress: Progress, cancel: CancelFlag | None) -> Mesh:
    """All blocks together, in the axes of the field."""
    sides = volume.box[1] - volume.box[0]
    cell = float(sides.max()) / resolution
    cells = np.maximum(np.ceil(sides / cell - 1e-6).astype(np.int64), 1)
    along = (np.arange(0, int(count), BLOCK) for count in cells)
    starts = np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 3)  # [B, 3]
    occupied = []
    for part in np.split(starts, range(AT_ONCE, len(starts), AT_ONCE)):
        _poll(cancel)
        lows = volume.box[0] + part * cell
        occupied.append(volume.occupied(lows, lows + BLOCK * cell))
    starts = starts[np.concatenate(occupied)]
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for done, start in enumerate(starts):
        _poll(cancel)
        if done % REPORTED_BLOCKS == 0:
            progress(MARCHED_SHARE * done / len(starts))
        parts += _block(volume, start, np.minimum(cells - start, BLOCK), cell)
    if len(parts) == 0:
        raise ValueError(f"{volume.name}: there is no surface at this threshold; choose another, or a larger region")
    return _joined(parts).transformed(_scaled(volume.asset_from_box, cell, volume.box[0]))


def _block(volume: Volume, start: np.ndarray, size: np.ndarray, cell: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertices [V, 3] in cells from the corner of the volume, and faces; nothing where no surface passes."""
    from skimage.measure import marching_cubes

    corners = [np.arange(first, first + count + 1) for first, count in zip(start, size, strict=True)]
    nodes = np.stack(np.meshgrid(*corners, indexing="ij"), axis=-1).reshape(-1, 3)
    values = volume.values((volume.box[0] + cell * nodes).astype(np.float32))
    # A node right on the surface would give faces without area, and differently in neighbouring blocks.
    values = np.where(values == 0.0, np.float32(1e-7), values)
    if not values.min() < 0.0 < values.max():
        return []
    vertices, faces, _, _ = marching_cubes(values.reshape(size + 1), 0.0, gradient_direction="ascent")
    return [(vertices.astype(np.float64) + start, faces.astype(np.int64))]


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> Mesh:
    """One mesh of all parts; vertices on the borders of blocks become one where they are the same."""
    counts = np.array([len(vertices) for vertices, _ in parts])
    offsets = np.cumsum(counts) - counts
    vertices = np.concatenate([vertices for vertices, _ in parts])
    faces = np.concatenate([faces + offset for (_, faces), offset in zip(parts, offsets, strict=True)])
    border = np.flatnonzero((vertices % BLOCK == 0.0).any(axis=1))
    rows = np.ascontiguousarray(vertices[border]).view([("", np.float64)] * 3).ravel()
    _, first, place = np.unique(rows, return_index=True, return_inverse=True)
    same = np.arange(len(vertices))
    same[border] = border[first][place.reshape(-1)]
    return Mesh(vertices, same[faces].astype(np.int32)).without_idle()


def _scaled(asset_from_box: np.ndarray, cell: float, low: np.ndarray) -> np.ndarray:  # [4, 4]
    """Cells from the corner of the box to the axes of the field."""
    box_from_cells = np.diag([cell, cell, cell, 1.0])
    box_from_cells[:3, 3] = low
    return asset_from_box @ box_from_cells


def _dressed(field: Meshable, mesh: Mesh, colors: bool, progress: Progress, cancel: CancelFlag | None) -> Mesh:
    """The mesh with normals and, where the field has them, colours."""
    mesh = mesh.with_normals()
    assert mesh.normals is not None
    if isinstance(field, SignedDistanceField):
        normals = _slopes(field, torch.from_numpy(mesh.vertices), cancel)
        return replace(mesh, normals=normals)
    seen = _seen_colors(field, mesh.vertices, mesh.normals, progress, cancel) if colors else None
    return replace(mesh, colors=seen)


def _seen_colors(
    field: Meshable, points: np.ndarray, normals: np.ndarray, progress: Progress, cancel: CancelFlag | None
) -> np.ndarray | None:  # [P, 3] twice -> [P, 3]
    """The colours that are seen straight from above the surface; of Gaussians, from all around."""
    if isinstance(field, Gaussians):

        def share(done: float) -> None:
            progress(MARCHED_SHARE + (1.0 - MARCHED_SHARE) * done)

        return seen_colors(field, points, normals, progress=share, cancel=cancel)
    if not isinstance(field, HashGridField):
        return None
    matrix = field.ngp_from_world
    placed = (torch.from_numpy(points).double() @ matrix[:3, :3].T + matrix[:3, 3]).float()
    inwards = torch.nn.functional.normalize(-torch.from_numpy(normals).double() @ matrix[:3, :3].T, dim=1).float()
    found = []
    for part in range(0, len(placed), AT_ONCE):
        _poll(cancel)
        progress(MARCHED_SHARE + (1.0 - MARCHED_SHARE) * part / len(placed))
        found.append(field.query(placed[part : part + AT_ONCE], inwards[part : part + AT_ONCE])[1])
    return torch.cat(found).clamp(0.0, 1.0).numpy()


def _slopes(field: SignedDistanceField, points: torch.Tensor, cancel: CancelFlag | None) -> np.ndarray:
    """Unit normals of a distance field, [P, 3] float32."""
    placed, found = field.unit_from_asset(points), []
    for part in placed.split(AT_ONCE):
        _poll(cancel)
        found.append(torch.nn.functional.normalize(field.unit_gradient(part), dim=1))
    return torch.cat(found).numpy()


def _settled(
    field: SignedDistanceField, points: np.ndarray, normals: np.ndarray, threshold: float, cancel: CancelFlag | None
) -> tuple[np.ndarray, np.ndarray]:
    """Points moved along the slope onto the surface itself, and its normals there."""
    places = torch.from_numpy(points)
    for _ in range(NEWTON_STEPS):
        _poll(cancel)
        places = places - (field.query(places) - threshold).double()[:, None] * torch.from_numpy(normals).double()
        normals = _slopes(field, places, cancel)
    return places.numpy(), normals


AT_ONCE = 1 << 16


def _poll(cancel: CancelFlag | None) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled


def _silent(share: float) -> None:
    """For callers that show no progress."""
