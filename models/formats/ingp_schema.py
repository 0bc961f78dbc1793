"""The keys of an instant-ngp snapshot that this program reads, and how its bytes become them.

A snapshot is the configuration of the networks with one key more, "snapshot". As .msgpack it is plain MessagePack, as
.ingp the same in a gzip stream (zlib streams are read too). Keys that are not named here are stepped over without
making objects of them, so that a hostile file cannot ask for more memory than its bytes.
Source: instant-ngp's testbed.cu (save_snapshot, load_snapshot) and json_binding.h, by their keys.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from .errors import DAMAGED, FormatError

GZIP_MAGIC = b"\x1f\x8b"
ZLIB_STARTS = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
LARGEST_FILE = 8 << 30
EXPANSION = 64
"""An honest snapshot does not unpack to more than this many times its size: trained parameters are mostly noise."""
ALWAYS_ALLOWED = 256 << 20
"""Bytes that any file may unpack to, however small it is: an untrained snapshot is all zeros."""
FOREIGN_BYTES = 4 << 20
"""Most bytes of keys that are kept for other programs only."""
VERSION = 1
HALF_LIMIT = 65504.0
RESAVE = "save it again with a newer instant-ngp"

Triple = tuple[float, float, float]
_NONE = msgspec.Raw(b"")


class Box(msgspec.Struct):
    min: Triple
    max: Triple


class GridConfig(msgspec.Struct):
    """The encoding of positions; defaults are tiny-cuda-nn's."""

    otype: str = "OneBlob"
    type: str = "Hash"
    hash: str = "CoherentPrime"
    interpolation: str = "Linear"
    n_levels: int = 16
    n_features_per_level: int = 2
    log2_hashmap_size: int = 19
    base_resolution: int = 16
    per_level_scale: float = 2.0


class NetworkConfig(msgspec.Struct):
    otype: str = "FullyFusedMLP"
    activation: str = "ReLU"
    output_activation: str = "None"
    n_neurons: int = 128
    n_hidden_layers: int = 5
    n_output_dims: int = 16


class DirectionConfig(msgspec.Struct):
    otype: str = ""
    degree: int = 4
    nested: list[DirectionConfig] = []


class DatasetFacts(msgspec.Struct):
    """What the photos say of space and colour."""

    scale: float = 0.33
    offset: Triple = (0.5, 0.5, 0.5)
    aabb_scale: int | None = None
    from_mitsuba: bool = False
    is_hdr: bool = False
    n_extra_learnable_dims: int = 0
    has_light_dirs: bool = False


class NerfPart(msgspec.Struct):
    aabb_scale: int | None = None
    dataset: msgspec.Raw = _NONE
    rgb: msgspec.Raw = _NONE
    cam_pos_offset: msgspec.Raw = _NONE
    cam_rot_offset: msgspec.Raw = _NONE


class Snapshot(msgspec.Struct):
    params_binary: bytes
    params_type: str
    n_params: int
    version: int = 0
    mode: str | None = None
    nerf: NerfPart | None = None
    density_grid_size: int = 0
    density_grid_binary: bytes = b""
    aabb: Box | None = None
    render_aabb: msgspec.Raw = _NONE
    render_aabb_to_local: msgspec.Raw = _NONE
    training_step: msgspec.Raw = _NONE
    loss: msgspec.Raw = _NONE
    bounding_radius: msgspec.Raw = _NONE
    up_dir: msgspec.Raw = _NONE
    sun_dir: msgspec.Raw = _NONE
    exposure: msgspec.Raw = _NONE
    background_color: msgspec.Raw = _NONE
    camera: msgspec.Raw = _NONE


class Root(msgspec.Struct):
    snapshot: Snapshot
    encoding: GridConfig
    network: NetworkConfig
    rgb_network: NetworkConfig = msgspec.field(default_factory=NetworkConfig)
    dir_encoding: DirectionConfig = msgspec.field(default_factory=DirectionConfig)
    loss: msgspec.Raw = _NONE
    optimizer: msgspec.Raw = _NONE
    distortion_map: msgspec.Raw = _NONE
    envmap: msgspec.Raw = _NONE


_PARTS = {"": Root, "snapshot.": Snapshot, "snapshot.nerf.": NerfPart}
FOREIGN_KEYS = {
    place + info.name for place, part in _PARTS.items() for info in structs.fields(part) if info.type is msgspec.Raw
}
"""Places of the keys that say nothing of the field itself."""


def read_root(path: Path) -> Root:
    """The keys of a snapshot file, gzip, zlib or plain.

    Raises:
        FormatError: it is none, it is cut short or damaged, or it claims to be far larger than it is.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise FormatError(path, "file", f"it has {size:,} bytes, at most {LARGEST_FILE:,} are read", "save it smaller")
    return decoded(path, unpacked(path, path.read_bytes()), Root)


def unpacked(path: Path, data: bytes) -> bytes:
    """The MessagePack inside a file's bytes."""
    if not data.startswith((GZIP_MAGIC, *ZLIB_STARTS)):
        return data
    limit = max(ALWAYS_ALLOWED, EXPANSION * len(data))
    inflater = zlib.decompressobj(47)
    try:
        inside = inflater.decompress(data, limit)
    except zlib.error as error:
        raise FormatError(path, "compression", str(error), DAMAGED) from error
    if len(inside) == limit and not inflater.eof:
        rule = f"it has {len(data):,} bytes and unpacks to more than {limit:,}, which no snapshot does"
        raise FormatError(path, "compression", rule, "fetch it again from where it came")
    if not inflater.eof or len(inflater.unused_data) > 0:
        rule = "the stream has no end" if not inflater.eof else f"{len(inflater.unused_data):,} bytes follow its end"
        raise FormatError(path, "compression", rule, DAMAGED)
    return inside


def decoded(path: Path, data: bytes, kind: type[Any]) -> Any:
    """A value of one of the classes above."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise FormatError(path, "keys", f"no NeRF snapshot of instant-ngp ({error})", RESAVE) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(path, "MessagePack", str(error) or type(error).__name__, DAMAGED) from error


def dataset_facts(path: Path, root: Root) -> DatasetFacts:
    """What the snapshot says of its photos; instant-ngp's defaults where it says nothing."""
    nerf = root.snapshot.nerf
    return (
        DatasetFacts() if nerf is None or len(nerf.dataset) == 0 else decoded(path, bytes(nerf.dataset), DatasetFacts)
    )


def foreign_keys(root: Root) -> dict[str, Any]:
    """The keys of `FOREIGN_KEYS` that a snapshot has, but for what is no JSON or goes beyond `FOREIGN_BYTES` in all."""
    found: dict[str, Any] = {}
    parts = dict(zip(_PARTS, (root, root.snapshot, root.snapshot.nerf), strict=True))
    room = FOREIGN_BYTES
    for place in sorted(FOREIGN_KEYS):
        part, _, name = place.rpartition(".")
        raw = getattr(parts[f"{part}." if part else ""], name, _NONE)
        if not 0 < len(raw) <= room:
            continue
        room -= len(raw)
        try:
            value = msgspec.msgpack.decode(bytes(raw))
            found[place] = json.loads(json.dumps(value, allow_nan=False))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError, ValueError):
            continue
    return found
