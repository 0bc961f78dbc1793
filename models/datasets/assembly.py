"""Frames of any dialect become a data set: photos are found or counted as missing, sizes compared, poses kept.

Every dialect hands over `Frame`s; what happens to them then is the same for all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from .errors import DatasetError
from .files import find_photo, natural
from .lenses import folds
from .pictures import picture_header
from .posed_images import Distortion, PosedImage

PHOTOS, COPIES = "images", (2, 4, 8)
"""The folder of photos as COLMAP and nerfstudio name it, and the factors that are ended to it for reduced copies."""
SHAPE_SLACK = 0.02
"""How far width/height of a photo may be from what the cameras say."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A photo as a file describes it, before anybody looked whether it is there."""

    source: Path
    place: str
    name: str
    """Path below `folder`, perhaps without an extension."""
    folder: Path
    camera_to_world: np.ndarray  # [4, 4] OpenCV axes
    stated: tuple[int, int] | None
    """Width and height that the intrinsics are for; None for those of the photo itself."""
    K: Callable[[int, int], np.ndarray]
    """Intrinsics for the stated width and height."""
    distortion: Distortion | None
    label: str | None = None
    mask: str | None = None
    """Path of its mask below `folder`."""


@dataclass
class Assembled:
    """Photos that are there, each with the label of its frame, and sentences about the rest."""

    images: list[PosedImage] = field(default_factory=list)
    labels: list[str | None] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def assemble(opened: Path, frames: Sequence[Frame]) -> Assembled:
    """The frames whose photos exist, in natural order of their names (those of one label stay together).

    Raises: DatasetError when there are no frames, no photos, or photos of another shape than their cameras.
    """
    if len(frames) == 0:
        raise DatasetError(opened, "frames", "there are 0 frames", "open a data set with photos and their cameras")
    labels = list(dict.fromkeys(frame.label for frame in frames))
    ordered = sorted(frames, key=lambda frame: (labels.index(frame.label), natural(frame.name)))
    result = Assembled()
    missing, resized, folded, unmasked = [], 0, 0, 0
    for frame in ordered:
        photo = find_photo(frame.source, frame.folder, frame.name)
        if photo is None:
            missing.append(frame.name)
            continue
        posed = _posed(frame, photo)
        resized += frame.stated is not None and frame.stated != (posed.width, posed.height)
        folded += folds(posed)
        unmasked += frame.mask is not None and posed.mask_path is None
        result.images.append(posed)
        result.labels.append(frame.label)
    if len(result.images) == 0:
        rule = f"all {len(missing)} photos are missing, the first is {ascii(missing[0])} below {frames[0].folder}"
        raise DatasetError(opened, "frames", rule, "copy the photos beside the cameras")
    if len(missing) > 0:
        result.remarks.append(f"{len(missing)} of {len(frames)} photos are missing ({_few(missing)})")
    if resized > 0:
        result.remarks.append(f"{resized} photos are not of the size that their cameras state; these were scaled")
    if folded > 0:
        result.remarks.append(f"the lens distortion of {folded} photos folds over in the corners; rays there are bent")
    if unmasked > 0:
        result.remarks.append(f"the masks of {unmasked} photos are missing; these are used whole")
    return result


def _posed(frame: Frame, photo: Path) -> PosedImage:
    width, height, alpha = picture_header(photo)
    stated = frame.stated or (width, height)
    if abs(width * stated[1] / (height * stated[0]) - 1) > SHAPE_SLACK:
        rule = f"{photo.name} is {width} x {height}, its camera is for {stated[0]} x {stated[1]}: another shape"
        raise DatasetError(frame.source, frame.place, rule, "use the photos that the cameras were solved for")
    K = frame.K(*stated)
    K[0] *= width / stated[0]
    K[1] *= height / stated[1]
    return PosedImage(
        photo,
        frame.camera_to_world,
        K,
        width,
        height,
        frame.distortion,
        alpha,
        _copies(frame, photo),
        None if frame.mask is None else find_photo(frame.source, frame.folder, frame.mask),
    )


def _copies(frame: Frame, photo: Path) -> tuple[tuple[int, Path], ...]:
    """The copies that lie in images_2, images_4 and images_8, for a photo of the folder images."""
    first, *inside = PurePosixPath(frame.name.replace("\\", "/")).parts
    if first != PHOTOS or len(inside) == 0:
        return ()
    named = [(factor, "/".join([f"{PHOTOS}_{factor}", *inside[:-1], photo.name])) for factor in COPIES]
    found = [(factor, find_photo(frame.source, frame.folder, name)) for factor, name in named]
    return tuple((factor, path) for factor, path in found if path is not None)


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(ascii(name)[1:-1] for name in names[:3])
    return shown if len(names) <= 3 else f"{shown}, ..."
