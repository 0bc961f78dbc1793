"""`h3d render`: a scene file in, a picture file out, through the same `capture` as the viewer's panel."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from h3d.app.workspace.scene import Layer
from h3d.app.workspace.workspace import Workspace
from h3d.models.field_view import FieldView
from h3d.models.gaussians import Gaussians
from h3d.renderers.cameras import Camera, camera_from_json

from .capture import CaptureSettings, Progress, capture
from .compare import Comparison
from .display import Display, Mode, Shape
from .framing import frame_camera, home_direction
from .pictures import Backend, View
from .recipe import read_recipe, subject_from

DEFAULT_SIZE = (1280, 720)


@dataclass(frozen=True)
class RenderConfig:
    """Render a scene into a picture (.png) or a depth map (.npy)."""

    scenes: tyro.conf.Positional[tuple[Path, ...]]
    """Scene files or folders, drawn together."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """File to write: .png for colours, .npy for depth as float32."""
    camera: str | None = None
    """JSON file, JSON itself, or a picture of h3d-view to take the camera of; none = the whole scene in view."""
    like: Path | None = None
    """Picture of h3d-view to follow in everything: camera, display, settings, transforms, hidden rows, comparison."""
    data: Path | None = None
    """Data set of the photos in the picture to follow; none = where it lay when the picture was made."""
    mode: Mode = "rgb"
    """What a pixel shows."""
    width: int | None = None
    """Width in pixels, up to 16384; none = the camera's."""
    height: int | None = None
    """Height in pixels, up to 16384; none = the camera's."""
    samples: int = 1
    """Samples along each side of a pixel, 1 to 4."""
    background: str = "0,0,0"
    """R,G,B in [0, 1], or transparent."""
    bit_depth: Literal[8, 16] = 8
    """Bits of each channel."""
    margin: int = 0
    """Pixels of margin on every side."""
    margin_color: Literal["white", "black", "transparent"] = "white"
    """Colour of the margin."""
    scale_bar: bool = False
    """Draw what the colours mean into depth and contribution pictures."""
    shape: Shape = "splats"
    """How a Gaussian is drawn."""
    sh_degree: int = 3
    """Highest degree of view-dependent colour."""
    splat_scale: float = 1.0
    """Factor on every standard deviation."""
    point_size: float = 3.0
    """Diameter of a point in pixels (shape points)."""
    antialiased: Literal["auto", "on", "off"] = "auto"
    """Keep the energy of Gaussians smaller than a pixel; auto = as the file was trained."""
    near_plane: float = 0.01
    """Gaussians nearer than this are not drawn."""
    far_plane: float = 10000.0
    """Gaussians farther than this are not drawn."""
    exposure: float = 0.0
    """Brightens (or darkens) colours by this many stops."""
    path_seconds: float = 4.0
    """Time that a picture of a path-traced scene gets; more is less noise."""
    cached: bool = True
    """Whether path-traced scenes ask their radiance cache."""
    compensated: bool = True
    """Whether Gaussians that have a compensation network show what it makes of them; off: the raw picture."""
    backend: Backend = "auto"
    """What renders."""


def render_command(config: RenderConfig, *, progress: Progress | None = None) -> dict[str, Any]:
    """Does what `h3d render` was asked for and returns the recipe of the picture.

    Raises:
        ValueError: a flag, the camera or a scene is wrong (FormatError and RecipeError are ValueErrors).
        OSError: a file cannot be read or written.
    """
    if len(config.scenes) == 0:
        raise ValueError("render: no scene was given; name a scene file, such as `h3d render scene.ply -o out.png`")
    if config.data is not None and config.like is None:
        raise ValueError("--data: it goes with --like, for pictures that show photos; leave it out")
    layers = read_layers(config.scenes)
    if config.like is not None:
        subject, camera, settings = _like(config, layers)
    else:
        subject = View(layers, _display(config, layers))
        camera = _camera(config, layers)
        settings = _settings(config, camera)
    return capture(subject, camera, settings, config.output, backend=config.backend, progress=progress)


def read_layers(paths: Sequence[Path]) -> tuple[Layer, ...]:
    """Scene files as layers, opened by the very code that the viewer opens them with: recipes must agree."""
    workspace = Workspace()
    return tuple(workspace.open(path) for path in paths)


def parse_background(text: str) -> tuple[float, float, float] | Literal["transparent"]:
    """ "R,G,B" in [0, 1], or "transparent"."""
    if text == "transparent":
        return "transparent"
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--background {text!r}: write R,G,B in [0, 1], such as 1,1,1, or transparent") from error
    return red, green, blue


def load_camera(text: str) -> Camera:
    """The camera in a JSON file, in JSON itself, or in the recipe of a picture.

    Raises:
        ValueError: it is none of these, or it does not hold a camera.
    """
    if text.lstrip().startswith("{"):
        source, content = "--camera", text
    elif Path(text).suffix.lower() in (".png", ".npy"):
        return camera_from_json(read_recipe(Path(text))["camera"])
    else:
        source, content = text, _camera_text(text)
    try:
        value = json.loads(content)
    except ValueError as error:
        raise ValueError(
            f"{source}: not JSON ({error}); a camera is an object with camera_to_world and more"
        ) from error
    return camera_from_json(value)


def _camera_text(name: str) -> str:
    try:
        return Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{name}: no camera can be read ({error}); --camera takes a JSON file, JSON, or a picture of h3d-view"
        ) from error


def _camera(config: RenderConfig, layers: tuple[Layer, ...]) -> Camera:
    if config.camera is not None:
        return load_camera(config.camera)
    width, height = config.width or DEFAULT_SIZE[0], config.height or DEFAULT_SIZE[1]
    home = next((layer.home for layer in layers if layer.home is not None), None)
    if home is not None and home.camera is not None:
        return home.camera.resized(width, height)
    if home is None:
        return frame_camera(layers, width=width, height=height)
    return frame_camera(layers, direction=home_direction(home), up=home.up, width=width, height=height)


def _display(config: RenderConfig, layers: tuple[Layer, ...]) -> Display:
    trained_so = any(isinstance(layer.asset, Gaussians) and layer.asset.antialiased for layer in layers)
    antialiased = config.antialiased == "on" or (config.antialiased == "auto" and trained_so)
    own = ("background", "antialiased", "field")
    shared = {f.name: getattr(config, f.name) for f in fields(Display) if f.name not in own}
    return Display(antialiased=antialiased, field=FieldView(cached=config.cached), **shared)


def _settings(config: RenderConfig, camera: Camera) -> CaptureSettings:
    shared = {f.name: getattr(config, f.name) for f in fields(CaptureSettings)}
    size = {"width": config.width or camera.width, "height": config.height or camera.height}
    return CaptureSettings(**{**shared, **size, "background": parse_background(config.background)})


def _like(config: RenderConfig, layers: tuple[Layer, ...]) -> tuple[View | Comparison, Camera, CaptureSettings]:
    """Subject, camera and settings of the picture to follow; size and samples may be given anew."""
    assert config.like is not None
    recipe = read_recipe(config.like)
    subject = subject_from(recipe, layers, data=config.data)
    camera = load_camera(config.camera) if config.camera is not None else camera_from_json(recipe["camera"])
    stored = dict(recipe["capture"])
    if stored["background"] != "transparent":
        stored["background"] = tuple(stored["background"])
    settings = CaptureSettings(**stored)
    settings = replace(settings, width=config.width or settings.width, height=config.height or settings.height)
    return subject, camera, settings
