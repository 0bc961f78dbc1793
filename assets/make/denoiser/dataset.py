"""Pictures of procedural objects for training, made once and mapped into memory.

A folder of shards: `views_K.npy` uint8 [OBJECTS, VIEWS, size, size, 4] (sRGB premultiplied by alpha, and alpha),
`poses_K.npy` float32 [OBJECTS, VIEWS, 3] (azimuth and elevation in degrees, radius), `tokens_K.npy` uint8
[OBJECTS, MAX_TOKENS]. Shard K holds the objects of seeds K * OBJECTS and on; each has its own chance, so that shards
may be made in any order, by several processes. A shard that is there is kept.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from h3d.models.formats.atomic import replacing
from h3d.models.procedural import HELD_OUT, make_object, random_poses, render_views, tokens_of, view_camera

OBJECTS = 256
VIEWS = 12
SUPERSAMPLING = 2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PosedViews:
    """Views of N objects."""

    views: list[np.ndarray]  # shards of [OBJECTS, VIEWS, size, size, 4] uint8
    poses: np.ndarray  # [N, VIEWS, 3]
    tokens: np.ndarray  # [N, MAX_TOKENS]

    def __len__(self) -> int:
        return len(self.poses)

    def pictures(self, objects: np.ndarray, views: np.ndarray) -> np.ndarray:  # [B], [B] -> [B, size, size, 4] uint8
        return np.stack([self.views[o // OBJECTS][o % OBJECTS, v] for o, v in zip(objects, views, strict=True)])


def make_shard(folder: Path, shard: int, size: int) -> None:
    """Draws and writes a shard unless it is there; the poses, written last, say that it is whole."""
    if _files(folder, shard)["poses"].exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    made = [picture_object(seed, size) for seed in range(shard * OBJECTS, (shard + 1) * OBJECTS)]
    for k, name in enumerate(("views", "tokens", "poses")):
        with replacing(_files(folder, shard)[name]) as file:
            np.save(file, np.stack([one[k] for one in made]))
    _log.info("shard %d: %d objects, %d views each", shard, OBJECTS, VIEWS)


def picture_object(seed: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Views, tokens and poses of one object."""
    made = make_object(seed)
    poses = random_poses(np.random.default_rng((seed, 1)), VIEWS)
    cameras = [view_camera(float(a), float(e), float(r), size) for a, e, r in poses]
    seen = render_views(made.solid, cameras, supersampling=SUPERSAMPLING)
    rgba = np.concatenate([seen.rgb, seen.alpha[..., None]], axis=-1)
    return np.rint(255.0 * rgba).astype(np.uint8), tokens_of(made.caption).astype(np.uint8), poses


def open_dataset(folder: Path, objects: int, size: int) -> PosedViews:
    """The first `objects` objects, a multiple of the shard; shards that are missing are made.

    Raises:
        ValueError: the number is no multiple of a shard or reaches the test objects, or a shard is of another size.
    """
    if objects <= 0 or objects % OBJECTS != 0 or objects > HELD_OUT.start:
        raise ValueError(f"objects is {objects}; it must be a multiple of {OBJECTS} from 1 to {HELD_OUT.start}")
    shards = range(objects // OBJECTS)
    for shard in shards:
        make_shard(folder, shard, size)
    views = [np.load(_files(folder, shard)["views"], mmap_mode="r") for shard in shards]
    for shard, array in zip(shards, views, strict=True):
        if array.shape != (OBJECTS, VIEWS, size, size, 4):
            raise ValueError(f"{_files(folder, shard)['views']}: shape {array.shape} is not of size {size}; remove it")
    poses = np.concatenate([np.load(_files(folder, shard)["poses"]) for shard in shards])
    tokens = np.concatenate([np.load(_files(folder, shard)["tokens"]) for shard in shards])
    return PosedViews(views, poses, tokens)


def _files(folder: Path, shard: int) -> dict[str, Path]:
    return {name: folder / f"{name}_{shard:04d}.npy" for name in ("views", "poses", "tokens")}
