"""Which task a path is: photos to a radiance field, a mesh to a distance field, a picture to an image field, one of
something cut out to 3D, a scene of surfaces to its radiance cache; and words, which have no path.

One table; a new primitive is a row of it and a module beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from h3d.models import datasets, meshes, pictures, surface_scene

from . import Progress, Task
from .cache_task import RadianceCacheTask
from .distilled_task import DistilledTask
from .distilled_task import Model as DistilledModel
from .gaussians_task import GaussiansTask
from .mesh_task import SignedDistanceTask
from .photos import PhotosTask
from .picture_task import ImageTask
from .references import is_cut_out

Model = Literal["gaussians", "hash_grid", "sdf", "image", "radiance_cache"]
"""Names that --model takes."""

Open = Callable[[Path, Mapping[str, Any], Progress | None], Task[Any]]
"""The task of a path and its settings (fields of its config); progress is told of what takes a while."""


@dataclass(frozen=True)
class Kind:
    """One row: what is learnt from what, as a person calls it, and how its task is opened."""

    learns: str
    """Completes "--model NAME: ...": help texts and labels say it so."""
    open: Open
    fits: Callable[[Path], bool]
    """Whether this is what a person means who names the path and no model."""


def _at_once(opens: Callable[[Path, Mapping[str, Any]], Task[Any]]) -> Open:
    """For tasks that open in a moment, with nothing to tell meanwhile."""
    return lambda path, settings, progress: opens(path, settings)


def _from_photos_or_one(
    opens: Callable[[Path, Mapping[str, Any]], Task[Any]], model: DistilledModel
) -> Callable[[Path, Mapping[str, Any]], Task[Any]]:
    """Posed photos are fitted; what one picture does not show, a denoiser says."""

    def open_either(path: Path, settings: Mapping[str, Any]) -> Task[Any]:
        return DistilledTask.open(path, settings, model) if pictures.is_picture(path) else opens(path, settings)

    return open_either


KINDS: dict[Model, Kind] = {
    "gaussians": Kind(
        "3D Gaussians from posed photos, or from one picture of something cut out",
        _at_once(_from_photos_or_one(GaussiansTask.open, "gaussians")),
        is_cut_out,  # Photos without a model mean a field.
    ),
    "hash_grid": Kind(
        "a radiance field from the same",
        _at_once(_from_photos_or_one(PhotosTask.open, "hash_grid")),
        datasets.is_dataset,
    ),
    "sdf": Kind("a signed distance field from a mesh", _at_once(SignedDistanceTask.open), meshes.is_mesh),
    "image": Kind("an image field from a picture", ImageTask.open, pictures.is_picture),
    "radiance_cache": Kind(
        "the light in a scene that is path traced", _at_once(RadianceCacheTask.open), surface_scene.is_scene
    ),
}


OF_WORDS: dict[Model | None, DistilledModel] = {None: "gaussians", "gaussians": "gaussians", "hash_grid": "hash_grid"}
"""What words can become, by what --model says."""


def models_text() -> str:
    """What --model takes, for help texts."""
    return "; ".join(f"{name} = {kind.learns}" for name, kind in KINDS.items())


def model_for(path: Path) -> Model | None:
    """The model that is meant by a path alone; None where nothing can be learnt from it."""
    return next((model for model, kind in KINDS.items() if kind.fits(path)), None)


def open_task(
    path: Path | None,
    model: Model | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    progress: Progress | None = None,
) -> Task[Any]:
    """The task of learning `model` (None: the one that the path means) from `path`, or of words where there is none.

    `settings` are fields of the task's config; those that it does not have are left out, so that one set of flags
    serves all models; words are the `prompt` among them. `progress` is told how far it is where opening takes a while.

    Raises:
        ValueError: nothing can be learnt from the path, it is damaged, or neither it nor words are there.
    """
    if path is None:
        if model not in OF_WORDS:
            raise ValueError(f"--model {model}: words become gaussians or a hash_grid")
        return DistilledTask.open(None, settings or {}, OF_WORDS[model])
    if not path.exists():
        raise ValueError(f"{path}: no such file or folder")
    model = model or model_for(path)
    if model is None:
        rule = f"{path}: nothing can be learnt from it"
        way_out = (
            "give a data set of posed photos, a mesh, a picture or a .scene.json, or name what you mean with --model"
        )
        raise ValueError(f"{rule}; {way_out}")
    if model not in get_args(Model):
        raise ValueError(f"--model {model}: must be one of {', '.join(get_args(Model))}")
    return KINDS[model].open(path, settings or {}, progress)
