"""nerfstudio's splatfacto checkpoints as Gaussians: a run folder's newest nerfstudio_models/step-*.ckpt, or the .ckpt.

Read without unpickling and without YAML. Where dataparser_transforms.json lies beside it, the data parser's turn,
shift and scale are undone: the rows come in the world that the data set had before nerfstudio prepared it, COLMAP's
where that solved the cameras. Without spherical harmonics (degree 0) splatfacto's colours are a sigmoid.
Source: nerfstudio 1.1.5, models/splatfacto.py; older files lack the prefix "gauss_params.".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from h3d.models.gaussians import Gaussians
from h3d.renderers.cameras import rotation_to_quat
from h3d.renderers.harmonics import rgb_to_dc

from .errors import FormatError
from .nerfstudio_folder import scene_from_world
from .nerfstudio_state import Checkpoint, method_of, open_checkpoint
from .rows import SH_BASES, checked

SUFFIX = ".ckpt"
QUANTISATION = "exact float32; float32 arithmetic where the data parser's transform is undone"


def is_splatfacto(path: Path) -> bool:
    """Whether a file is a checkpoint of splatfacto, by the names of its tensors."""
    return method_of(path) == "splatfacto"


def version(path: Path) -> str:
    """How long it was trained."""
    return open_checkpoint(path).age


def read(path: Path) -> Gaussians:
    """The Gaussians of a checkpoint, in the data set's world where a file says how it lies.

    Raises:
        FormatError: it is damaged, or of another method of nerfstudio.
        OSError: it cannot be read.
    """
    checkpoint = open_checkpoint(path)
    if checkpoint.method != "splatfacto":
        rule = f"it holds no Gaussians (it looks like {checkpoint.method})"
        raise FormatError(path, "checkpoint", rule, "give a checkpoint of nerfstudio's splatfacto or instant-ngp")
    to_scene, has_transform = scene_from_world(path)
    rows, left_out = _finite(_rows(checkpoint))
    remarks = [f"nerfstudio's splatfacto after {checkpoint.age}"]
    if left_out > 0:
        remarks.append(f"{left_out:,} rows that are not finite were left out")
    if not has_transform:
        remarks.append("in nerfstudio's own coordinates, there is no dataparser_transforms.json beside it")
    # The second name is that of our own method of nerfstudio, h3d-gaussians.
    said = (checkpoint.settings.get("rasterize_mode"), checkpoint.settings.get("antialiased"))
    antialiased = said[0] == "antialiased" or said[1] == "true"
    gaussians = checked(path, **rows, antialiased=antialiased, remark=", ".join(remarks))
    return _in_world(gaussians, to_scene.numpy()) if has_transform else gaussians


def _rows(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """The arguments of `checked`."""
    prefix = "gauss_params." if checkpoint.has("gauss_params.means") else ""

    def load(name: str, *shape: int | None) -> np.ndarray:
        return checkpoint.load(prefix + name, *shape).float().numpy()

    means = load("means", None, 3)
    count = len(means)
    base, rest = load("features_dc", count, 3), load("features_rest", count, None, 3)
    if 1 + rest.shape[1] not in SH_BASES.values():
        rule = f"has {rest.shape[1]} harmonics a row beside the constant, must be 0, 3, 8 or 15"
        raise FormatError(checkpoint.path, "features_rest", rule, "train with sh_degree 0 to 3")
    if rest.shape[1] == 0:
        base = rgb_to_dc(torch.from_numpy(base).sigmoid()).numpy()
    return {
        "means": means,
        "quats": load("quats", count, 4),
        "log_scales": load("scales", count, 3),
        "logit_opacities": load("opacities", count, 1)[:, 0].copy(),
        "sh": np.concatenate([base[:, None], rest], axis=1),
    }


def _finite(rows: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
    """The rows without NaN and infinities, which splatfacto leaves now and then, and how many were left out."""
    good = np.logical_and.reduce([np.isfinite(array.reshape(len(array), -1)).all(axis=1) for array in rows.values()])
    return {name: array if good.all() else array[good] for name, array in rows.items()}, int((~good).sum())


def _in_world(gaussians: Gaussians, scene_from_world: np.ndarray) -> Gaussians:  # [4, 4] a similarity
    scale = float(np.cbrt(np.linalg.det(scene_from_world[:3, :3])))
    turned_back = scene_from_world[:3, :3].T / scale
    return gaussians.transformed(
        rotation_to_quat(turned_back), -(turned_back @ scene_from_world[:3, 3]) / scale, 1.0 / scale
    )
