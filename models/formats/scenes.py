"""Which file of a folder is the scene: a SOG folder, the newest of a training run, or the one splat file."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import FormatError
from .nerfstudio_folder import find_checkpoint

SCENE_SUFFIXES = (".ply", ".splat", ".ksplat", ".spz", ".sog")
RUN_SPLATS = "gaussians.ply"
"""What a run of h3d train leaves in its folder."""
_ITERATION = re.compile(r"iteration_(\d{1,12})")


def find_scene(folder: Path | str) -> Path:
    """The scene file in `folder`.

    meta.json of a SOG folder; else what a run of h3d train leaves; else point_cloud/iteration_N/point_cloud.ply with
    the highest N, as 3DGS training leaves it, or the newest checkpoint of a run of nerfstudio; else the single file
    with a splat suffix.
    Raises: FormatError when there is none, or several to choose from.
    """
    folder = Path(folder)
    if (folder / "meta.json").is_file():
        return folder / "meta.json"
    if (folder / RUN_SPLATS).is_file():  # Its compact copy lies beside it.
        return folder / RUN_SPLATS
    trained = _last_iteration(folder) or find_checkpoint(folder)
    if trained is not None:
        return trained
    files = sorted(p for p in folder.iterdir() if p.name.lower().endswith(SCENE_SUFFIXES) and p.is_file())
    if len(files) == 1:
        return files[0]
    way_out = f"give a file: {', '.join(SCENE_SUFFIXES)} or a SOG folder with its meta.json"
    if len(files) == 0:
        raise FormatError(folder, "folder", "holds no splat scene", way_out)
    names = ", ".join(p.name for p in files[:8]) + (", ..." if len(files) > 8 else "")
    raise FormatError(folder, "folder", f"holds {len(files)} splat scenes ({names})", "name the one to open")


def _last_iteration(folder: Path) -> Path | None:
    """point_cloud.ply of the highest iteration, whichever of the run's three folders was given."""
    for runs in (folder / "point_cloud", folder):
        if not runs.is_dir():
            continue
        steps = [(int(match[1]), p) for p in runs.iterdir() if (match := _ITERATION.fullmatch(p.name)) is not None]
        for _, step in sorted(steps, reverse=True):
            if (step / "point_cloud.ply").is_file():
                return step / "point_cloud.ply"
    return None
