"""transforms.json in its three dialects: instant-ngp's, Blender's (NeRF-synthetic) and nerfstudio's.

All hold "frames" with "file_path" and "transform_matrix", camera to world in OpenGL axes (+y up, looking along -z).
Blender's come as transforms_{train,val,test}.json with camera_angle_x alone; instant-ngp's add aabb_scale, scale,
offset or aabb; nerfstudio's add camera_model, {train,val,test}_filenames, mask_path, ply_file_path and what was done
to the world (`saved_world`). Depth maps and colmap_im_id are not looked at.
Where a file does not say how the scene lies in NGP's cube, it is fitted to the cameras; Blender's fits as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h3d.models.formats import FormatError, point_cloud
from h3d.renderers.harmonics import dc_to_rgb

from .assembly import Frame, assemble
from .entries import Entries
from .errors import RECAPTURE, DatasetError
from .files import below, read_json
from .intrinsics import distortion, intrinsics, stated_size
from .ngp_space import SCALE, NgpSpace, boxed, fitted
from .posed_images import PosedImages
from .poses import opencv_pose
from .saved_world import saved_world
from .splits import by_labels, every_eighth

LABELS = ("train", "val", "test")
LARGEST_AABB_SCALE = 128


def read_transforms(opened: Path, files: Sequence[tuple[Path, str | None]]) -> PosedImages:
    """The data set of one or more .json files; each labels its frames "train", "val", "test" or not at all.

    Raises: DatasetError, one sentence.
    """
    metas = [(path, label, read_json(path)) for path, label in files]
    frames = [frame for path, label, meta in metas for frame in _frames(path, label, meta)]
    assembled = assemble(opened, frames)
    if any(label is not None for label in assembled.labels):
        train, test = by_labels(assembled.labels)
    else:
        train, test = every_eighth(len(assembled.images))
    path, _, meta = metas[0]
    points, colors, remarks = _points(path, meta)
    if points is not None:
        points = saved_world(Entries(path, "file", {}, meta)).points(points).astype(np.float32)
    poses = np.stack([image.camera_to_world for image in assembled.images])
    space, aabb_scale = _space(Entries(path, "file", {}, meta), poses, points)
    unused = len(assembled.images) - len(set(train) | set(test))
    if unused > 0:
        remarks.append(f"{unused} photos belong neither to training nor to the test and are not used")
    return PosedImages(
        name=opened.stem if opened.is_file() else opened.resolve().name,
        path=opened,
        images=tuple(assembled.images),
        train=train,
        test=test,
        space=space,
        aabb_scale=aabb_scale,
        points=points,
        point_colors=colors,
        skipped=(*assembled.remarks, *remarks),
    )


def _frames(source: Path, label: str | None, meta: dict[str, Any]) -> list[Frame]:
    listed = meta.get("frames")
    if not isinstance(listed, list) or len(listed) == 0:
        state = "is missing" if listed is None else "is empty" if listed == [] else "is no list"
        raise DatasetError(source, "frames", f"the list of photos {state}", "open a file with posed photos")
    named = _named(source, meta)
    world = saved_world(Entries(source, "file", {}, meta))
    found = [_frame(source, i, frame, meta) for i, frame in enumerate(listed)]
    labels = [named.get(_plain(frame.name)) if len(named) > 0 else label for frame in found]
    return [
        replace(frame, camera_to_world=world.pose(frame.camera_to_world), label=own)
        for frame, own in zip(found, labels, strict=True)
    ]


def _frame(source: Path, index: int, frame: Any, meta: dict[str, Any]) -> Frame:
    place = f"frames[{index}]"
    if not isinstance(frame, dict):
        raise DatasetError(source, place, f"is {ascii(frame)[:40]}, must be an object", RECAPTURE)
    name = frame.get("file_path")
    if not isinstance(name, str) or name == "":
        raise DatasetError(source, place, "has no file_path", RECAPTURE)
    place = f"{place} ({ascii(name[-60:])[1:-1]})"
    entries = Entries(source, place, frame, meta)
    # instant-ngp writes a pose at the start and one at the end of a moving exposure; the start stands for both.
    matrix = frame.get("transform_matrix", frame.get("transform_matrix_start"))
    if matrix is None:
        raise DatasetError(source, place, "has no transform_matrix", RECAPTURE)
    return Frame(
        source=source,
        place=place,
        name=name,
        folder=source.parent,
        camera_to_world=opencv_pose(source, f"{place}, transform_matrix", matrix),
        stated=stated_size(entries),
        K=lambda width, height: intrinsics(entries, width, height),
        distortion=distortion(entries),
        mask=entries.text("mask_path"),
    )


def _named(source: Path, meta: dict[str, Any]) -> dict[str, str]:
    """Which photo nerfstudio's lists put where."""
    found = {}
    for label in LABELS:
        names = meta.get(f"{label}_filenames", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DatasetError(source, f"{label}_filenames", "must be a list of file names", RECAPTURE)
        found |= {_plain(name): label for name in names}
    return found


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def _space(entries: Entries, poses: np.ndarray, points: np.ndarray | None) -> tuple[NgpSpace, int]:
    """How the scene lies in NGP's cube, by the file's keys, else by its cameras."""
    aabb_scale = entries.positive("aabb_scale")
    if aabb_scale is not None and (aabb_scale > LARGEST_AABB_SCALE or aabb_scale not in [2**i for i in range(8)]):
        raise entries.refused("aabb_scale", aabb_scale, "must be a power of two from 1 to 128")
    box = entries.get("aabb")
    if box is not None:
        if not isinstance(box, list) or len(box) != 2:
            raise entries.refused("aabb", box, "must be two corners")
        low, high = (np.array(entries.vector("aabb", 3, corner if corner is not None else [])) for corner in box)
        return boxed(low, high), int(aabb_scale or 1)
    scale, offset = entries.positive("scale"), entries.get("offset")
    is_synthetic = entries.get("fl_x") is None and entries.get("camera_angle_x") is not None
    if aabb_scale is None and scale is None and offset is None and not is_synthetic:
        return fitted(poses, points)
    if type(offset) in (int, float):
        offset = [offset] * 3
    x, y, z = entries.vector("offset", 3, offset) or (0.5, 0.5, 0.5)
    return NgpSpace(scale or SCALE, (x, y, z)), int(aabb_scale or 1)


def _points(source: Path, meta: dict[str, Any]) -> tuple[np.ndarray | None, np.ndarray | None, list[str]]:
    """The sparse points that nerfstudio names, and remarks: they help, but nothing depends on them."""
    name = meta.get("ply_file_path")
    if name is None:
        return None, None, []
    if not isinstance(name, str):
        raise DatasetError(source, "ply_file_path", f"is {ascii(name)[:40]}, must be text", RECAPTURE)
    path = below(source, source.parent, name)
    if not path.is_file():
        return None, None, [f"the point cloud {ascii(name)[1:-1]} is missing"]
    try:
        cloud = point_cloud.read(path)
    except (FormatError, OSError) as error:
        raise DatasetError(source, "ply_file_path", str(error), "repair it or remove the entry") from error
    colors = (dc_to_rgb(cloud.sh[:, 0]).clamp(0, 1) * 255).round().to(torch.uint8)
    return cloud.means.numpy(), colors.numpy(), []
