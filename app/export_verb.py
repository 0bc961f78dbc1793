"""`h3d export`: the surface of a field or of Gaussians as a mesh or points, by the same code as the viewer's panel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from h3d.models import formats, meshes
from h3d.models.field_files import is_field, read_field
from h3d.models.formats import FormatError, point_cloud
from h3d.models.meshing import Meshable, MeshingOptions, Progress, isosurface
from h3d.models.meshing import point_cloud as surface_points
from h3d.renderers.cancel import CancelFlag

from .homes import home_of_asset


@dataclass(frozen=True)
class ExportConfig:
    """Write the surface of a field or of Gaussians as a mesh (.obj, .ply, .glb) or as a point cloud (.ply)."""

    field: tyro.conf.Positional[Path]
    """A field's file (.safetensors), Gaussians' (.ply, .splat, .spz, .sog), or the folder of a run of h3d train."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """File to write: .obj, .ply or .glb (which glTF has y-up) for a mesh, .ply for points."""
    points: int | None = None
    """Write this many points on the surface, with colours and normals; none = a mesh."""
    resolution: int = 256
    """Cells of the marching cubes along the longest side of what is exported."""
    threshold: float | None = None
    """Where the surface is: a density for radiance fields (none = 12.2 per length of the unit cube) and for
    Gaussians (the sum of opacity * exp(-d^2 / 2), none = 0.25), a distance for distance fields (none = 0)."""
    colors: bool = True
    """Whether vertices and points get colours, where the field has some."""
    largest_component: bool = False
    """Leave out all but the largest connected part."""
    crop_low: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Low corner of what is exported, as a share of the field's box."""
    crop_high: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """High corner of what is exported, as a share of the field's box."""
    seed: int = 0
    """Of where points lie."""

    @property
    def meshing(self) -> MeshingOptions:
        """Raises: ValueError for a value out of its range."""
        return MeshingOptions(
            resolution=self.resolution,
            threshold=self.threshold,
            colors=self.colors,
            largest_component=self.largest_component,
            crop_low=self.crop_low,
            crop_high=self.crop_high,
        )


def export_command(config: ExportConfig, *, progress: Progress | None = None) -> str:
    """Does what `h3d export` was asked for; returns what was written, for a person.

    Raises:
        ValueError: a flag, the field or what it holds is wrong (FormatError is a ValueError).
        OSError: a file cannot be read or written.
    """
    check_output(config.output, points=config.points is not None)
    options = config.meshing
    field = _read(config.field)
    if config.points is None:
        home = home_of_asset(field)
        up = meshes.Z_UP if home is None else home.up
        return export_mesh(field, config.output, options, up=up, progress=progress)
    return export_points(field, config.output, config.points, options, seed=config.seed, progress=progress)


def _read(path: Path) -> Meshable:
    if meshes.is_mesh(path):  # Else a .ply of triangles would be read as the points that its vertices are.
        raise FormatError(path, "file", "is a mesh already", "give a field, Gaussians, or the folder of a run")
    return read_field(path) if is_field(path) else formats.read(path)


def check_output(path: Path, *, points: bool) -> None:
    """Whether the file can be one that is written: asked before minutes of work.

    Raises:
        FormatError: the suffix is not one for this.
        FileNotFoundError: the folder does not exist.
    """
    known = (".ply",) if points else meshes.WRITABLE
    if path.suffix.lower() not in known:
        what = "points are" if points else "a mesh is"
        rule = f"{what} not written as {path.suffix or 'a name without a suffix'}"
        raise FormatError(path, "name", rule, f"use {' or '.join(known)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist; create it first")


def export_mesh(
    field: Meshable,
    path: Path,
    options: MeshingOptions,
    *,
    up: tuple[float, float, float] = meshes.Z_UP,
    progress: Progress | None = None,
    cancel: CancelFlag | None = None,
) -> str:
    """Writes a surface as triangles, `up` as `meshes.write`; what was written.

    Raises: as `export_command`, and `Cancelled`.
    """
    mesh = isosurface(field, options, progress=progress, cancel=cancel)
    meshes.write(path, mesh, up=up)
    colored = "" if mesh.colors is None else ", with colours"
    return f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces{colored}, {_size(path)}"


def export_points(
    field: Meshable,
    path: Path,
    count: int,
    options: MeshingOptions,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: CancelFlag | None = None,
) -> str:
    """Writes points on a surface; what was written. Raises as `export_command`, and `Cancelled`."""
    found = surface_points(field, count, options, seed=seed, progress=progress, cancel=cancel)
    point_cloud.write(path, found.points, colors=found.colors, normals=found.normals)
    colored = "" if found.colors is None else ", with colours"
    return f"{len(found.points):,} points{colored}, {_size(path)}"


def _size(path: Path) -> str:
    return f"{path.stat().st_size / 2**20:.1f} MiB"
