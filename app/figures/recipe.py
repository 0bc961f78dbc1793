"""The recipe of a picture: what it shows, from where, and how, as JSON inside the file; enough to make it again.

A recipe holds no time and no path, so that the same picture made elsewhere is the same file: scenes are named by file
name and sha256. Photos alone say where their data set lies, to be found again. `recipe_of` writes one, `read_recipe`
reads it back, `subject_from` turns it into what was drawn.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from h3d.app.workspace.scene import Asset, Layer
from h3d.models.field_files import RUN_FIELD
from h3d.models.field_view import FieldView
from h3d.models.gaussians import Gaussians
from h3d.models.photo_field import PhotoField
from h3d.renderers.cameras import Camera, camera_to_json

from . import png
from .compare import Comparison
from .display import Display
from .photo_recipe import photo_from_json, photo_to_json
from .pictures import View
from .recipe_error import RecipeError

KEYWORD = "h3d-view"
MAX_MASK_BYTES = 1 << 28


def recipe_of(
    subject: View | Comparison,
    camera: Camera,
    settings: Mapping[str, Any],
    *,
    backend: str,
    legend: Sequence[Any] | None,
    suffix: str = ".png",
) -> dict[str, Any]:
    """The recipe of a capture, ready for JSON. `settings` are the fields of its CaptureSettings."""
    layers = _layers_of(subject)
    recipe: dict[str, Any] = {
        "program": "h3d-view",
        "version": metadata.version("h3d-view"),
        "backend": backend,
        "scenes": [_layer_to_json(layer) for layer in layers],
        "camera": camera_to_json(camera),
        "capture": dict(settings),
        "legend": None if legend is None else list(legend),
    }
    if isinstance(subject, View):
        recipe["view"] = _view_to_json(subject, layers)
    else:
        parts = {f.name: getattr(subject, f.name) for f in fields(subject) if f.name not in ("a", "b")}
        sides = {"a": _view_to_json(subject.a, layers), "b": _view_to_json(subject.b, layers)}
        recipe["comparison"] = {**parts, **sides}
    recipe["command"] = command_of(subject, camera, settings, output=f"OUT{suffix}")
    return recipe


def recipe_text(recipe: dict[str, Any]) -> str:
    """The recipe as the text that goes into the file: keys sorted, one line."""
    return json.dumps(recipe, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe inside a PNG that this program made, or beside a depth map (`NAME.npy.json`).

    Raises:
        RecipeError: there is none, or it is damaged.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".npy":
            text = Path(f"{path}.json").read_text("utf-8")
        else:
            text = png.read_text(path, KEYWORD)
    except (OSError, ValueError) as error:
        raise RecipeError(f"no recipe can be read: {error}") from error
    if text is None:
        raise RecipeError(
            f"{path.name}: the picture carries no recipe of h3d-view; give --camera and the rest by flags"
        )
    try:
        recipe = json.loads(text)
    except ValueError as error:
        raise RecipeError(f"{path.name}: its recipe is not JSON ({error}); make the picture again") from error
    if not isinstance(recipe, dict) or not {"scenes", "camera", "capture"} <= recipe.keys():
        raise RecipeError(f"{path.name}: its recipe lacks scenes, camera or capture; make the picture again")
    return recipe


def subject_from(recipe: dict[str, Any], loaded: Sequence[Layer], *, data: Path | None = None) -> View | Comparison:
    """What the recipe draws, with its scenes found among `loaded` layers by hash.

    Photos are read from their data set: where the recipe says, or at `data` where that is given.

    Raises:
        RecipeError: a scene is missing or is another file than the one drawn, or a part of the recipe is malformed.
    """
    try:
        layers = [_layer_from_json(key, entry, loaded, data) for key, entry in enumerate(recipe["scenes"])]
        if "view" in recipe:
            return _view_from_json(recipe["view"], layers)
        parts = dict(recipe["comparison"])
        a, b = (_view_from_json(parts.pop(side), layers) for side in ("a", "b"))
        parts["labels"] = None if parts["labels"] is None else tuple(parts["labels"])
        return Comparison(a, b, **parts)
    except (KeyError, IndexError, TypeError, ValueError, zlib.error) as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"the recipe cannot be followed: {error!r}; it may be of another version") from error


def _layers_of(subject: View | Comparison) -> list[Layer]:
    """The visible layers in order, each once; a comparison's views may share some."""
    views = [subject] if isinstance(subject, View) else [subject.a, subject.b]
    layers: list[Layer] = []
    for view in views:
        for layer in view.layers:
            if layer.visible and not any(_alike(layer, known) for known in layers):
                layers.append(layer)
    return layers


def _alike(a: Layer, b: Layer) -> bool:
    """Whether two layers draw the same; a comparison may hold one layer twice, as two objects."""
    same_rows = a.asset is b.asset and a.hidden_rows is b.hidden_rows
    return same_rows and (a.wxyz, a.position, a.scale) == (b.wxyz, b.position, b.scale)


def _file_name(layer: Layer) -> str:
    """The name to give to `h3d render`: that of the file, or of the folder of a scene in several files."""
    if isinstance(layer.asset, PhotoField):
        return layer.asset.posed.path.name
    if layer.path is None:
        return layer.name
    return layer.path.parent.name if layer.path.name in ("meta.json", RUN_FIELD) else layer.path.name


def _layer_to_json(layer: Layer) -> dict[str, Any]:
    photo = {"photo": photo_to_json(layer.asset)} if isinstance(layer.asset, PhotoField) else {}
    return {
        **photo,
        "file": _file_name(layer),
        "sha256": layer.sha256 or content_sha256(layer.asset),
        "count": len(layer.asset) if isinstance(layer.asset, Gaussians) else 1,
        "wxyz": [float(v) for v in layer.wxyz],
        "position": [float(v) for v in layer.position],
        "scale": float(layer.scale),
        "hidden_rows": _mask_to_text(layer.hidden_rows),
    }


def _layer_from_json(key: int, entry: dict[str, Any], loaded: Sequence[Layer], data: Path | None) -> Layer:
    if "photo" in entry:
        photo = photo_from_json(entry["photo"], str(entry["file"]), str(entry["sha256"]), data)
        found = Layer(key, photo.remark, photo)
    else:
        found = _named(entry, loaded)
    w, x, y, z = (float(v) for v in entry["wxyz"])
    px, py, pz = (float(v) for v in entry["position"])
    asset = found.asset
    hidden = _mask_from_text(entry["hidden_rows"], len(asset) if isinstance(asset, Gaussians) else 0)
    return replace(
        found,
        key=key,
        visible=True,
        wxyz=(w, x, y, z),
        position=(px, py, pz),
        scale=float(entry["scale"]),
        hidden_rows=hidden,
    )


def _named(entry: dict[str, Any], loaded: Sequence[Layer]) -> Layer:
    """The layer that an entry means: the same file, or what was a snapshot then and has been saved to a file since."""
    wanted = entry["sha256"]
    for layer in loaded:
        if wanted == layer.sha256 or wanted == content_sha256(layer.asset):
            return layer
    given = ", ".join(_file_name(layer) for layer in loaded) or "none"
    raise RecipeError(
        f"the picture was made of {entry['file']} with sha256 {str(wanted)[:12]}...; "
        f"the scenes given ({given}) are other files: give that file"
    )


def _view_to_json(view: View, layers: list[Layer]) -> dict[str, Any]:
    shown = [
        next(i for i, known in enumerate(layers) if _alike(layer, known)) for layer in view.layers if layer.visible
    ]
    return {"layers": shown, "display": asdict(view.display)}


def _view_from_json(entry: dict[str, Any], layers: list[Layer]) -> View:
    display = dict(entry["display"])
    r, g, b = (float(v) for v in display.pop("background"))
    stored: dict[str, Any] = dict(display.pop("field", {}))
    stored |= {key: tuple(value) for key, value in stored.items() if isinstance(value, list)}
    drawn = Display(background=(r, g, b), field=FieldView(**stored), **display)
    return View(tuple(layers[int(index)] for index in entry["layers"]), drawn)


def command_of(
    subject: View | Comparison,
    camera: Camera,
    settings: Mapping[str, Any],
    *,
    output: str = "OUT.png",
    full_paths: bool = False,
) -> str:
    """The shell line that makes the picture again: by flags where they can say it all, else after the picture itself.

    `full_paths` names the scenes by where they lie on this machine, for a person to paste; recipes hold bare names.
    """
    layers = _layers_of(subject)
    scenes = [x for x in layers if not isinstance(x.asset, PhotoField)]
    names = [str(x.path) if full_paths and x.path is not None else _file_name(x) for x in scenes]
    files = [shlex.quote(name) for name in names]
    plain = all(
        layer.hidden_rows is None and layer.scale == 1.0 and not any(layer.position) and not any(layer.wxyz[1:])
        for layer in layers
    )
    plain = plain and len(scenes) == len(layers)
    if not isinstance(subject, View) or not plain or subject.display.field != FieldView():
        return f"h3d render {' '.join(files)} --like {shlex.quote(output)} -o AGAIN{Path(output).suffix}"
    view_json = json.dumps(camera_to_json(camera), separators=(",", ":"))
    words = ["h3d", "render", *files, "-o", shlex.quote(output), "--camera", shlex.quote(view_json)]
    flags = {name: value for name, value in asdict(subject.display).items() if name != "field"}
    for name, value in {**flags, **settings}.items():
        words += _flag(name, value)
    return " ".join(words)


def _flag(name: str, value: Any) -> list[str]:
    """One setting as words of a command line."""
    flag = f"--{name.replace('_', '-')}"
    if name == "antialiased":
        return [flag, "on" if value else "off"]
    if isinstance(value, bool):
        return [flag if value else f"--no-{name.replace('_', '-')}"]
    if isinstance(value, (tuple, list)):
        return [flag, ",".join(repr(float(v)) for v in value)]
    return [flag, str(value)]


def _mask_to_text(hidden: torch.Tensor | None) -> str | None:
    if hidden is None or not bool(hidden.any()):
        return None
    bits = np.packbits(hidden.cpu().numpy().astype(bool))
    return base64.b64encode(zlib.compress(bits.tobytes(), 9)).decode("ascii")


def _mask_from_text(text: str | None, count: int) -> torch.Tensor | None:
    """Inverse of `_mask_to_text` for `count` rows."""
    if text is None:
        return None
    data = zlib.decompressobj().decompress(base64.b64decode(text), min(count // 8 + 1, MAX_MASK_BYTES))
    return torch.from_numpy(np.unpackbits(np.frombuffer(data, np.uint8), count=count).astype(bool))


def content_sha256(asset: Asset) -> str:
    """For what no file holds: the hash of its arrays and settings."""
    if isinstance(asset, PhotoField):
        return asset.sha256
    digest = hashlib.sha256()
    _digest(asset, type(asset).__name__, digest.update)
    return digest.hexdigest()


def _digest(value: Any, name: str, update: Callable[[bytes], object]) -> None:
    if isinstance(value, torch.Tensor):
        value = value.cpu().contiguous().numpy()
    if isinstance(value, np.ndarray):
        update(f"{name} {list(value.shape)}".encode())
        update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        for field in fields(value):
            found = getattr(value, field.name)
            newer = isinstance(value, Gaussians) and field.name in ("features", "compensation")
            if field.name != "remark" and not (newer and found is None):  # Or recipes from before would not fit.
                _digest(found, field.name, update)
    elif isinstance(value, torch.nn.Module):
        for key, array in value.state_dict().items():
            _digest(array, f"{name}.{key}", update)
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            _digest(item, f"{name}.{index}", update)
    else:
        update(f"{name} {value!r}".encode())
