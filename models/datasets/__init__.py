"""Posed images: one door to all data sets, `read(path)`.

Dialects: transforms.json of instant-ngp and nerfstudio, Blender's transforms_{train,val,test}.json, COLMAP's sparse
models (text and binary). A path is a folder, a .json in it, or the folder of a sparse model.
"""

from __future__ import annotations

from pathlib import Path

from .colmap import find_model, read_colmap
from .errors import DatasetError
from .lenses import camera_directions, camera_to_pixels, pixel_grid, rays, world_to_pixels
from .ngp_space import NgpSpace
from .pictures import Downscale, ImageCache, auto_downscale, image, known
from .posed_images import Distortion, PosedImage, PosedImages
from .transforms import LABELS, read_transforms

__all__ = [
    "DatasetError",
    "Distortion",
    "Downscale",
    "ImageCache",
    "NgpSpace",
    "PosedImage",
    "PosedImages",
    "auto_downscale",
    "camera_directions",
    "camera_to_pixels",
    "image",
    "is_dataset",
    "known",
    "pixel_grid",
    "rays",
    "read",
    "world_to_pixels",
]


def read(path: Path | str) -> PosedImages:
    """The posed images of a folder or a .json.

    Raises: DatasetError, one sentence with file, place, rule and way out.
    """
    path = Path(path)
    try:
        return _read(path)
    except OSError as error:
        raise DatasetError(path, "file", f"cannot be read ({error.strerror or error})", "check permissions") from error


def is_dataset(path: Path | str) -> bool:
    """Whether `read` would find a data set here, judged by names alone."""
    path = Path(path)
    if path.is_file():
        return path.suffix.lower() == ".json" and path.name.startswith("transforms")
    return len(_jsons(path)) > 0 or find_model(path) is not None


def _read(path: Path) -> PosedImages:
    if path.is_file():
        if path.suffix.lower() != ".json":
            rule = "is no data set: its name does not end in .json"
            raise DatasetError(path, "name", rule, "open the folder or its transforms.json")
        return read_transforms(path, [(path, None)])
    if not path.is_dir():
        raise DatasetError(path, "path", "there is no such file or folder", "check the path")
    files = _jsons(path)
    if len(files) > 0:
        return read_transforms(path, files)
    model = find_model(path)
    if model is not None:
        return read_colmap(path, model)
    rule = "holds no transforms.json, no transforms_train.json and no COLMAP model (sparse/0/cameras.bin)"
    raise DatasetError(path, "folder", rule, "solve the cameras first, with COLMAP or ns-process-data")


def _jsons(folder: Path) -> list[tuple[Path, str | None]]:
    """The .json files of a folder that make up its data set, each with the label of its frames."""
    if (folder / "transforms.json").is_file():
        return [(folder / "transforms.json", None)]
    named = [(folder / f"transforms_{label}.json", label) for label in LABELS]
    return [(path, label) for path, label in named if path.is_file()]
