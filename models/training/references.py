"""Reference pictures: one view of a subject, cut out, with where it was taken from and, of our own, what is true of it.

Pictures that this program makes say both in a PNG text chunk named `h3d`, as JSON: `pose` (azimuth and elevation in
degrees, radius) and `object`, the seed of the procedural object in them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from h3d.models import pictures
from h3d.models.diffusion import Reference
from h3d.models.formats.atomic import replacing
from h3d.models.formats.errors import DAMAGED, FormatError
from h3d.models.procedural import make_object, render_views, view_camera

CHUNK = "h3d"
RADIUS = 2.0
"""Distance that a picture is taken from where nothing says so, as the priors have it."""
LARGEST, KEPT = 8192, 512
"""Longest side in pixels that is read, and the side of what is kept of it."""
CLEAR = 0.02
"""Share of clear pixels above which a picture is of something cut out."""
CUT_OUT = "cut the object out (rembg does) and save it as a PNG with transparency"


@dataclass(frozen=True, eq=False)
class ReferencePicture:
    """A reference, and the seed of the object that it shows where it is one of ours."""

    reference: Reference
    seed: int | None = None


def is_cut_out(path: Path) -> bool:
    """Whether a path is a picture of something cut out: a part of it is clear."""
    if not pictures.is_picture(path):
        return False
    try:
        with Image.open(path) as image:
            if max(image.size) > LARGEST or not image.has_transparency_data:
                return False
            alpha = np.asarray(image.convert("RGBA"))[..., 3]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False  # Whoever opens it says what is wrong.
    return float((alpha < 8).mean()) > CLEAR


def read_reference(path: Path, elevation_degrees: float) -> ReferencePicture:
    """The reference in a picture file; its elevation where the file does not say it.

    Raises:
        FormatError: it is no picture, not square, too large, or nothing in it is cut out.
    """
    try:
        with Image.open(path) as image:
            _check(path, image)
            said = image.info.get(CHUNK)
            rgba = np.asarray(image.convert("RGBA").resize((min(image.size[0], KEPT),) * 2, Image.Resampling.BOX))
    except Image.DecompressionBombError as error:
        raise FormatError(path, "size", str(error), f"scale it to {LARGEST} pixels a side or less") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise FormatError(path, "file", f"it is no picture that can be read ({error})", DAMAGED) from error
    alpha = rgba[..., 3]
    if not bool((alpha > 127).any()):
        raise FormatError(path, "alpha", "all of it is transparent, there is nothing to see", CUT_OUT)
    if float((alpha < 8).mean()) <= CLEAR:
        raise FormatError(
            path, "alpha", "nothing of it is transparent, so what is object and what is behind it", CUT_OUT
        )
    values = torch.from_numpy(rgba.astype(np.float32) / 255.0).permute(2, 0, 1)
    pose, seed = _said(path, said, elevation_degrees)
    return ReferencePicture(Reference(values[:3], values[3:], pose), seed)


def picture_of_object(seed: int, pose: tuple[float, float, float], size: int = 256) -> ReferencePicture:
    """What a camera sees of the procedural object of a seed."""
    seen = render_views(make_object(seed).solid, [view_camera(*pose, size)])
    rgba = torch.from_numpy(np.concatenate([seen.rgb[0], seen.alpha[0][..., None]], axis=-1)).permute(2, 0, 1)
    rgb = torch.where(rgba[3:] > 0.0, rgba[:3] / rgba[3:].clamp(min=1e-6), 0.0).clamp(0.0, 1.0)
    return ReferencePicture(Reference(rgb, rgba[3:], pose), seed)


def write_reference(path: Path, picture: ReferencePicture) -> None:
    """Writes a PNG that says where it was taken from and what it shows; `read_reference` is the inverse."""
    reference = picture.reference
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text(CHUNK, json.dumps({"pose": list(reference.pose), "object": picture.seed}))
    values = torch.cat([reference.rgb, reference.alpha]).permute(1, 2, 0)
    rgba = (255.0 * values).round().to(torch.uint8).numpy()
    with replacing(path) as file:
        Image.fromarray(rgba).save(file, format="PNG", pnginfo=chunk, optimize=True)


def _check(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if max(width, height) > LARGEST:
        rule = f"it is {width} x {height} pixels, more than {LARGEST} a side"
        raise FormatError(path, "size", rule, "scale it down, 512 pixels a side are enough")
    if width != height:
        rule = f"it is {width} x {height} pixels; a reference must be square, with the object in its middle"
        raise FormatError(path, "size", rule, "pad or crop it to a square")
    if not image.has_transparency_data:
        raise FormatError(path, "alpha", "it has no transparency, so what is object and what is behind it", CUT_OUT)


def _said(path: Path, said: object, elevation: float) -> tuple[tuple[float, float, float], int | None]:
    if said is None:
        return (0.0, elevation, RADIUS), None
    try:
        value = json.loads(str(said))
        azimuth, elevation, radius = (float(number) for number in value["pose"])
        seed = value["object"]
        return (azimuth, elevation, radius), None if seed is None else int(seed)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(
            path, f"chunk {CHUNK}", f"it does not say a pose and an object ({error!r})", DAMAGED
        ) from error
