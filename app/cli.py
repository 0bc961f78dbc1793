"""The command line: `h3d-view SCENE` opens the browser, `h3d VERB` does one thing without one. Each verb is a function.

Exit code 0 = done, 1 = a sentence on stderr says what was wrong, 2 = wrong usage. Only this file prints.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from h3d.models.training.tasks import Model, models_text

from .distill_flags import DistillFlags
from .export_verb import ExportConfig, export_command
from .figures.render_verb import RenderConfig, load_camera, render_command
from .generate_verb import GenerateConfig
from .generate_verb import generate as generate_run
from .progress_line import ProgressLine
from .prune_verb import PruneConfig, prune_command
from .train_verb import TrainConfig
from .train_verb import train as train_run
from .workspace.scene import kind_of

if TYPE_CHECKING:
    from h3d.models.field_files import FieldDescription

Backend = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class ViewOptions:
    """Open scenes in the browser and look at them live."""

    scenes: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Splat files, fields, data sets of posed photos, meshes, pictures, scenes to path-trace, runs of h3d train;
    none = the demo scene. A picture of something cut out becomes 3D."""
    prompt: str | None = None
    """Words to make 3D of, or that say what the picture shows."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets other machines in that have the token."""
    port: int = 8080
    """Port to listen on; a busy one moves on to the next."""
    token: str | None = None
    """Secret in the page's address; none = a new one each time."""
    open: bool = True
    """Whether to open the page in this machine's browser."""
    backend: Backend = "auto"
    """What renders: auto takes CUDA where it loads."""
    threads: int = 0
    """Threads of the CPU kernels; 0 = all cores."""
    up: Literal["+x", "-x", "+y", "-y", "+z", "-z"] | None = None
    """Which way is up in the scenes; none = as the photos were taken, else -y."""
    model: Annotated[Model | None, tyro.conf.arg(help=f"{models_text()}; none = what the data is for.")] = None
    distill: tyro.conf.OmitArgPrefixes[DistillFlags] = DistillFlags()
    pause: bool = False
    """Whether what is learnt from data waits to be started in the browser."""


def view(options: ViewOptions) -> None:
    """Serve the viewer until Ctrl-C."""
    from h3d import assets
    from h3d.renderers import backends, set_num_threads

    from .guard import start_guarded_server
    from .panels.camera import AXES
    from .session import Settings
    from .viewer import Viewer
    from .workspace.folders import AllowedFolders
    from .workspace.optimisation import Optimisation
    from .workspace.recent import RecentScenes
    from .workspace.workspace import Workspace

    if options.threads != 0:
        set_num_threads(options.threads)
    backends.choose(options.backend)  # A backend that does not work here is said before anything is read.
    scenes = options.scenes or (() if options.prompt is not None else (assets.DEMO_SCENE,))
    folders = AllowedFolders.given(options.scenes or (Path.cwd(),))
    workspace = Workspace(RecentScenes() if options.scenes else None)
    optimisation = Optimisation(workspace)
    with start_guarded_server(host=options.host, port=options.port, token=options.token) as guarded:
        _open_all(workspace, optimisation, scenes, options)
        workspace.recent = RecentScenes()
        camera = None if options.scenes or options.prompt is not None else load_camera(str(assets.DEMO_CAMERA))
        given = options.up is not None
        settings = Settings(backend=options.backend, up=AXES[options.up or "-y"], up_is_given=given, camera=camera)
        viewer = Viewer(guarded.viser, workspace, optimisation, folders, settings)
        for line in (backends.describe(options.backend), *guarded.notes):
            print(f"h3d-view: {line}", file=sys.stderr)
        print(f"h3d-view: {guarded.url}", flush=True)
        if options.open and _has_screen():  # In a thread: a browser in the terminal would hold the program up.
            threading.Thread(target=webbrowser.open, args=(guarded.url,), daemon=True).start()
        try:
            _wait_for_the_end(workspace)
        finally:
            viewer.close()
            optimisation.close()


def info(file: Annotated[Path, tyro.conf.Positional]) -> None:
    """Say what a scene file holds."""
    from h3d.models import formats
    from h3d.models.field_files import describe_field, is_field

    if is_field(file):
        _print_field(describe_field(file))
        return
    found = formats.describe(file)
    rows = {
        "file": found.path,
        "format": f"{found.format} ({found.version})" if found.version else found.format,
        "Gaussians": f"{found.count:,}",
        "SH degree": found.sh_degree,
        "bounds": " to ".join(
            "(" + ", ".join(f"{v:.4g}" for v in p) + ")" for p in (found.bounds_min, found.bounds_max)
        ),
        "on disk": f"{found.file_bytes / 2**20:.2f} MiB, {found.file_bytes / max(found.count, 1):.1f} bytes a Gaussian",
        "in memory": f"{found.memory_bytes / 2**20:.1f} MiB",
        "trained": "with the antialiased mode" if found.antialiased else "with the classic mode",
        "exactness": found.quantisation,
        "network": found.network,
        "remark": found.remark,
    }
    for name, value in rows.items():
        if value != "":
            print(f"{name:10} {value}")


def _print_field(found: FieldDescription) -> None:
    field = found.field
    low, high = field.bounds
    text = " to ".join("(" + ", ".join(f"{v:.4g}" for v in corner) + ")" for corner in (low, high))
    rows = {
        "file": found.path,
        "format": f"{found.format} ({found.version})" if found.version else found.format,
        "kind": kind_of(field),
        **field.facts,
        "bounds": text,
        "on disk": f"{found.file_bytes / 2**20:.2f} MiB",
        "in memory": f"{field.nbytes / 2**20:.1f} MiB",
        "exactness": found.quantisation,
        "remark": field.remark,
    }
    for name, value in rows.items():
        if value != "":
            print(f"{name:10} {value}")


def convert(source: Annotated[Path, tyro.conf.Positional], target: Annotated[Path, tyro.conf.Positional]) -> None:
    """Read a scene in one format and write it in another; the suffix of the target decides."""
    from h3d.models import formats
    from h3d.models.field_files import is_field, read_field, write_field

    if is_field(source):
        field = read_field(source)
        write_field(target, field)
        print(f"{target}: {kind_of(field)}, {target.stat().st_size / 2**20:.2f} MiB")
        return
    gaussians = formats.read(formats.find_scene(source) if source.is_dir() else source)
    formats.write(target, gaussians)
    lost = gaussians.compensation is not None and not formats.keeps_compensation(target)
    less = ", without their compensation network, which only a .ply keeps" if lost else ""
    print(f"{target}: {len(gaussians):,} Gaussians, {formats.file_bytes(target) / 2**20:.2f} MiB{less}")


def render(config: tyro.conf.OmitArgPrefixes[RenderConfig]) -> None:
    """Render a scene into a picture, by the same code as the viewer's captures."""
    start = time.perf_counter()
    with ProgressLine() as line:
        render_command(config, progress=line.share)
    print(f"{config.output}: {config.output.stat().st_size / 2**10:,.0f} KiB in {time.perf_counter() - start:.1f} s")


def train(config: tyro.conf.OmitArgPrefixes[TrainConfig]) -> None:
    """Train a scene from its data, by the steps that RUN/metrics.csv tells; Ctrl-C and --resume go on."""
    judgement = train_run(config, progress=lambda line: print(line, flush=True), opening=ProgressLine())
    print(f"{config.output}: {judgement.sentence}")


def generate(config: tyro.conf.OmitArgPrefixes[GenerateConfig]) -> None:
    """Make 3D from a picture of something cut out, or from words; Ctrl-C and --resume go on."""
    judgement = generate_run(config, progress=lambda line: print(line, flush=True))
    print(f"{config.output}: {judgement.sentence}")


def export(config: tyro.conf.OmitArgPrefixes[ExportConfig]) -> None:
    """Write the surface of a field as a mesh, or coloured points on it."""
    with ProgressLine() as line:
        done = export_command(config, progress=line.share)
    print(f"{config.output}: {done}")


def prune(config: tyro.conf.OmitArgPrefixes[PruneConfig]) -> None:
    """Keep a share of the Gaussians of a scene, those that matter by a criterion."""
    with ProgressLine() as line:
        done = prune_command(config, progress=line.share, told=line)
    print(f"{config.output}: {done}")


def main() -> None:
    """Entry point of `h3d`."""
    from .bench.verb import bench

    verbs: dict[str, Callable[..., None]] = {
        "render": render,
        "train": train,
        "generate": generate,
        "export": export,
        "prune": prune,
        "info": info,
        "convert": convert,
        "bench": bench,
    }
    _run(lambda: tyro.extras.subcommand_cli_from_dict(verbs, prog="h3d", description="Scenes without a browser."))


def view_main() -> None:
    """Entry point of `h3d-view`."""
    _run(lambda: view(tyro.cli(ViewOptions, prog="h3d-view")))


def _run(command: Callable[[], object]) -> None:
    """Run a verb; what a person can put right becomes one sentence and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        command()
    except (ValueError, OSError, RuntimeError) as error:  # FormatError and GuardError are among these.
        print(f"h3d: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _has_screen() -> bool:
    if os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_all(workspace, optimisation, scenes: tuple[Path, ...], options: ViewOptions) -> None:  # noqa: ANN001
    from h3d.models.pictures import is_picture

    from .sources import open_prompt, open_source

    settings = options.distill.settings(field=options.model == "hash_grid", prompt=options.prompt)
    if len(scenes) == 0 and options.prompt is not None:
        opened = open_prompt(options.prompt, optimisation, options.model, settings, running=not options.pause)
        print(f"h3d-view: {opened.sentence}", file=sys.stderr)
    for path in scenes:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such file or folder; give a scene, a data set, a mesh or a picture")
        start = time.perf_counter()
        with ProgressLine() as line:
            opened = open_source(
                path,
                workspace,
                optimisation,
                options.model,
                settings=settings if is_picture(path) else None,
                running=not options.pause,
                progress=line,
            )
        print(f"h3d-view: {opened.sentence} ({time.perf_counter() - start:.1f} s)", file=sys.stderr)


def _wait_for_the_end(workspace) -> None:  # noqa: ANN001
    """Until Ctrl-C or SIGTERM; with unsaved layers and a terminal, ask before leaving."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    # A shell hands its background jobs an ignored SIGINT; whoever sends one all the same means it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while not ended.is_set():
        try:
            ended.wait(3600.0)
        except KeyboardInterrupt:
            unsaved = workspace.unsaved()
            if not unsaved or not sys.stdin.isatty():
                return
            names = ", ".join(layer.name for layer in unsaved)
            print(f"\nh3d-view: changed and not saved: {names}. Leave all the same? [y/N] ", end="", file=sys.stderr)
            if sys.stdin.readline().strip().lower() in ("y", "yes"):
                return
