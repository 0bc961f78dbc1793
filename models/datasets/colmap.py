"""COLMAP's sparse models as data sets: which folder holds what, and its cameras in our terms.

A model is three files in the opened folder, in sparse/0, in sparse or in colmap/sparse/0. Photos lie in the folder
`images` of the opened folder; of one of the two above it when the model's own folder was opened; else in the opened
folder itself. How the scene lies in NGP's cube is fitted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from h3d.renderers.cameras import quat_to_rotation

from .assembly import Frame, assemble
from .colmap_model import ColmapCamera, ColmapImage, read_cameras, read_images, read_points
from .errors import DAMAGED, LARGEST, DatasetError
from .intrinsics import LONGEST_SIDE
from .ngp_space import fitted
from .posed_images import Distortion, PosedImages
from .splits import every_eighth

MODEL_FOLDERS = (".", "sparse/0", "sparse", "colmap/sparse/0")
PARTS = ("cameras", "images")


def find_model(folder: Path) -> Path | None:
    """The folder with cameras.* and images.* in or below `folder`; None when there is none."""
    for place in MODEL_FOLDERS:
        model = folder / place
        if any((model / f"cameras{suffix}").is_file() for suffix in (".bin", ".txt")):
            return model
    return None


def read_colmap(opened: Path, model: Path) -> PosedImages:
    """The data set of the model in the folder `model`, in or below the opened folder.

    Raises: DatasetError, one sentence.
    """
    for part in PARTS:
        if not any((model / f"{part}{suffix}").is_file() for suffix in (".bin", ".txt")):
            rule = f"there is a COLMAP model, but neither {part}.bin nor {part}.txt"
            raise DatasetError(model, "files", rule, "copy the whole model")
    cameras = read_cameras(model)
    source = model / ("images.bin" if (model / "images.bin").is_file() else "images.txt")
    home, prefix = _photo_home(opened, model)
    assembled = assemble(opened, [_frame(source, home, prefix, image, cameras) for image in read_images(model)])
    points, colors = read_points(model)
    remarks = list(assembled.remarks)
    good = (np.abs(points) <= LARGEST).all(axis=1)
    if not good.all():
        remarks.append(f"{int((~good).sum())} points are not finite and were left out")
        points, colors = points[good], colors[good]
    points = points.astype(np.float32)
    poses = np.stack([image.camera_to_world for image in assembled.images])
    space, aabb_scale = fitted(poses, points)
    train, test = every_eighth(len(assembled.images))
    return PosedImages(
        name=opened.resolve().name,
        path=opened,
        images=tuple(assembled.images),
        train=train,
        test=test,
        space=space,
        aabb_scale=aabb_scale,
        points=points if len(points) > 0 else None,
        point_colors=colors if len(points) > 0 else None,
        skipped=tuple(remarks),
    )


def _photo_home(opened: Path, model: Path) -> tuple[Path, str]:
    """The folder that photos must not leave, and where in it their names begin."""
    # A model opened by itself (scene/sparse/0) has its photos two folders above; that rule is ours, not the file's.
    above = opened.resolve().parents[:2] if model == opened else ()
    home = next((folder for folder in (opened, *above) if (folder / "images").is_dir()), None)
    return (opened, "") if home is None else (home, "images/")


def _frame(source: Path, home: Path, prefix: str, image: ColmapImage, cameras: dict[int, ColmapCamera]) -> Frame:
    place = f"image {image.id} ({ascii(image.name[-60:])[1:-1]})"
    camera = cameras.get(image.camera_id)
    if camera is None:
        raise DatasetError(source, place, f"its camera {image.camera_id} is not in the list of cameras", DAMAGED)
    K, lens = _intrinsics(source, camera)
    return Frame(
        source=source,
        place=place,
        name=prefix + image.name,
        folder=home,
        camera_to_world=_pose(source, place, image),
        stated=(camera.width, camera.height),
        K=lambda width, height: K.copy(),
        distortion=lens,
    )


def _pose(source: Path, place: str, image: ColmapImage) -> np.ndarray:
    """Camera to world from a world-to-camera quaternion and translation."""
    wxyz, translation = np.array(image.wxyz), np.array(image.translation)
    if not (np.abs([*wxyz, *translation]) <= LARGEST).all():
        raise DatasetError(source, place, "its pose is not finite", "remove this photo or solve its pose again")
    if np.linalg.norm(wxyz) < 1e-9:
        raise DatasetError(source, place, "its quaternion is all zero", "remove this photo or solve its pose again")
    pose = np.eye(4)
    pose[:3, :3] = quat_to_rotation(wxyz).T
    pose[:3, 3] = -pose[:3, :3] @ translation
    return pose


def _intrinsics(source: Path, camera: ColmapCamera) -> tuple[np.ndarray, Distortion | None]:
    """K and lens of a camera; the order of the parameters is COLMAP's."""
    place = f"camera {camera.id}"
    if not (0 < camera.width <= LONGEST_SIDE and 0 < camera.height <= LONGEST_SIDE):
        rule = f"its size is {camera.width} x {camera.height}, must be 1 to {LONGEST_SIDE:,} pixels a side"
        raise DatasetError(source.with_stem("cameras"), place, rule, DAMAGED)
    if not (np.abs(camera.parameters) <= LARGEST).all():
        raise DatasetError(source.with_stem("cameras"), place, "its parameters are not finite", DAMAGED)
    values = camera.parameters
    one_focal = camera.model.startswith("SIMPLE_") or camera.model in ("RADIAL", "RADIAL_FISHEYE")
    focal, rest = ((values[0], values[0]), values[1:]) if one_focal else (values[:2], values[2:])
    center, bending = rest[:2], rest[2:]
    if min(focal) <= 0:
        raise DatasetError(source.with_stem("cameras"), place, f"its focal length is {min(focal):g}", DAMAGED)
    match camera.model:
        case "SIMPLE_PINHOLE" | "PINHOLE":
            lens = None
        case "SIMPLE_RADIAL" | "RADIAL":
            lens = Distortion("radial", *bending)
        case "OPENCV":
            k1, k2, p1, p2 = bending
            lens = Distortion("radial", k1, k2, p1=p1, p2=p2)
        case "OPENCV_FISHEYE" | "SIMPLE_RADIAL_FISHEYE" | "RADIAL_FISHEYE":
            lens = Distortion("fisheye", *bending)
        case _:
            rule = f"camera model {camera.model} is not read"
            way_out = "undistort the photos with COLMAP's image_undistorter"
            raise DatasetError(source.with_stem("cameras"), place, rule, way_out)
    K = np.array([[focal[0], 0, center[0]], [0, focal[1], center[1]], [0, 0, 1]], np.float64)
    return K, None if lens == Distortion("radial") else lens
