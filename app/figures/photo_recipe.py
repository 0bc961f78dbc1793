"""Photos in recipes: named by their data set and found again in it, as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from h3d.models import datasets
from h3d.models.photo_field import PhotoField

from .recipe_error import RecipeError


def photo_to_json(photo: PhotoField) -> dict[str, Any]:
    """Where it lies and how it is shown; `photo_from_json` is the inverse."""
    data = None if photo.data is None else str(photo.data.resolve())
    return {"data": data, "downscale": photo.downscale, "opacity": photo.opacity}


def photo_from_json(entry: dict[str, Any], file: str, sha256: str, data: Path | None) -> PhotoField:
    """The photo named `file` in the data set of the entry, or at `data` where that is given.

    Raises:
        RecipeError: the data set is gone or cannot be read, or its photo is another one or stands elsewhere.
    """
    lies = data or (None if entry["data"] is None else Path(entry["data"]))
    what, way_out = f"the picture shows {file} of a data set", "say by --data where it lies now"
    if lies is None:
        raise RecipeError(f"{what}, which no path leads to; {way_out}")
    if not lies.exists():
        raise RecipeError(f"{what}, {lies}, which is not there; {way_out}")
    try:
        dataset = datasets.read(lies)
    except datasets.DatasetError as error:
        raise RecipeError(f"{what} that cannot be read: {error}") from error
    known = [posed for posed in dataset.images if posed.path.name == file]
    for posed in known:
        photo = PhotoField(posed, int(entry["downscale"]), float(entry["opacity"]), dataset.path)
        if photo.sha256 == sha256:
            return photo
    rule = "has no such photo" if len(known) == 0 else "has changed since: the photo, its pose or its lens is another"
    raise RecipeError(f"{what}; {lies} {rule}; give that data set by --data, or make the picture again")
