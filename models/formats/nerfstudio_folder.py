"""What lies around a checkpoint of nerfstudio: the run's folder, its config.yml, its dataparser_transforms.json.

config.yml                        the configuration, as YAML that would build Python objects: never loaded as such
dataparser_transforms.json        data set's world to the coordinates that were trained in
nerfstudio_models/step-N.ckpt     the checkpoints
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch

from .errors import DAMAGED, FormatError

FOLDER = "nerfstudio_models"
LARGEST_CONFIG = 4 << 20
_STEP = re.compile(r"step-(\d{1,12})\.ckpt")
_LINE = re.compile(r"( *)([A-Za-z_]\w*):(?: +([^!&*\s].*?))? *")


def find_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run folder or of its nerfstudio_models; None where there is none."""
    for place in (folder / FOLDER, folder):
        if not place.is_dir():
            continue
        steps = [(int(match[1]), p) for p in place.iterdir() if (match := _STEP.fullmatch(p.name)) is not None]
        if len(steps) > 0:
            return max(steps)[1]
    return None


def model_settings(file: Path) -> dict[str, str]:
    """The plain `key: value` lines of the block "model:" of a checkpoint's config.yml; nothing where there is none."""
    config = (file.parent.parent if file.parent.name == FOLDER else file.parent) / "config.yml"
    if not config.is_file() or config.stat().st_size > LARGEST_CONFIG:
        return {}
    found: dict[str, str] = {}
    depth: int | None = None
    for line in config.read_text("utf-8", errors="replace").splitlines():
        indent = len(line) - len(line.lstrip(" "))
        if depth is not None and line.strip() and indent <= depth:
            depth = None
        if re.fullmatch(r" *model:(?: +!!\S+)?", line) is not None:
            depth = indent
        elif depth is not None and (match := _LINE.fullmatch(line)) is not None and match[3] is not None:
            found.setdefault(match[2], match[3])
    return found


def scene_from_world(file: Path) -> tuple[torch.Tensor, bool]:
    """The data set's world to N [4, 4], and whether a file says so."""
    places = [folder / "dataparser_transforms.json" for folder in (file.parent, file.parent.parent)]
    path = next((p for p in places if p.is_file()), None)
    matrix = torch.eye(4, dtype=torch.float64)
    if path is None:
        return matrix, False
    try:
        content = json.loads(path.read_text("utf-8"))
        rows = torch.tensor(content["transform"], dtype=torch.float64)
        scale = float(content["scale"])
        if rows.shape != (3, 4) or not bool(torch.isfinite(rows).all()):
            raise ValueError("transform must be 3 rows of 4 finite numbers")
        gram = rows[:, :3] @ rows[:, :3].T
        size = float(gram.diagonal().mean())
        if not (
            1e-12 < size * scale**2 < 1e12 and torch.allclose(gram, size * torch.eye(3).double(), atol=1e-3 * size)
        ):
            raise ValueError("transform must turn and scale alone")
        if float(torch.linalg.det(rows[:, :3])) * scale < 0:
            raise ValueError("transform must not mirror")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(path, "transform", f"cannot be used ({error})", DAMAGED) from error
    matrix[:3] = rows * scale
    return matrix, True
