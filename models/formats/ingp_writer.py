"""Writing instant-ngp's snapshots; what they hold and what is kept of one that was read: `ingp`."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from h3d.models.datasets.ngp_space import NgpSpace
from h3d.models.hash_grid import HashGridField
from h3d.renderers.fields import GRID_SIDE
from h3d.renderers.hash_encoding import HashGridConfig

from .atomic import replacing
from .errors import FormatError
from .ingp_schema import FOREIGN_KEYS, HALF_LIMIT, VERSION
from .tcnn_params import CUTLASS, FULLY_FUSED, FULLY_FUSED_WIDTHS, NetworkShape, shape_of

_AS_OURS = "save it as .safetensors"


def write(path: Path, field: HashGridField) -> None:
    """Writes a snapshot: gzip where the name ends in .ingp, else plain; whole or not at all.

    Raises:
        FormatError: the field has a shape that instant-ngp's networks cannot have, or parameters beyond halves.
        OSError: the disk is full, or the like.
    """
    content = msgspec.msgpack.encode(_sorted(_root(path, field)))
    with replacing(path) as file:
        if not path.name.lower().endswith(".ingp"):
            file.write(content)
            return
        # Parameters are mostly noise: more effort than the least would take seconds and gain two parts in a hundred.
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        file.write(packer.compress(content))
        file.write(packer.flush())


def _root(path: Path, field: HashGridField) -> dict[str, Any]:
    """What a snapshot holds, as MessagePack takes it."""
    density, rgb = (_network_shape(path, field, name) for name in ("density", "rgb"))
    root = _place_foreign(field)
    root["encoding"] = _encoding_config(path, field)
    harmonics = {"n_dims_to_encode": 3, "otype": "SphericalHarmonics", "degree": 4}
    root["dir_encoding"] = {"otype": "Composite", "nested": [harmonics]}
    root["network"], root["rgb_network"] = _network_config(density), _network_config(rgb)
    params = torch.cat(
        [
            density.join(field.density_weights, _multiple(density)),
            rgb.join(field.rgb_weights, _multiple(rgb)),
            field.table.float().flatten(),
        ]
    )
    side = _side(path, field)
    root["snapshot"] |= {
        "version": VERSION,
        "mode": "nerf",
        "n_params": len(params),
        "params_type": "__half",
        "params_binary": _halves(path, params),
        "density_grid_size": GRID_SIDE,
        "density_grid_binary": _halves(path, field.thickness.clamp(-HALF_LIMIT, HALF_LIMIT)),
        "aabb": {"min": field.aabb[0].tolist(), "max": field.aabb[1].tolist()},
    }
    root["snapshot"]["nerf"]["aabb_scale"] = side
    space = _space(path, field)
    x, y, z = field.up
    up = [x, y, z] if space["from_mitsuba"] else [y, z, x]
    root["snapshot"]["up_dir"] = up
    hdr = field.rgb_activation == "exponential"
    root["snapshot"]["nerf"]["dataset"] |= space | {"aabb_scale": side, "is_hdr": hdr, "up": up}
    return root


def _sorted(value: Any) -> Any:
    """With keys in order, so that the same field gives the same bytes wherever it has been meanwhile."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _halves(path: Path, values: torch.Tensor) -> bytes:  # [...]
    largest = float(values.abs().max())
    if not largest <= HALF_LIMIT:
        rule = f"a parameter is {largest:g} in size, halves reach {HALF_LIMIT:g}"
        raise FormatError(path, "value", rule, _AS_OURS)
    return values.half().numpy().astype("<f2").tobytes()


def _encoding_config(path: Path, field: HashGridField) -> dict[str, Any]:
    encoding = field.encoding
    if not isinstance(encoding, HashGridConfig) or encoding.indexing != "tiny-cuda-nn":
        raise FormatError(path, "value", "its encoding is no hash grid of tiny-cuda-nn's", _AS_OURS)
    return {
        "otype": "HashGrid",
        "n_levels": encoding.levels,
        "n_features_per_level": encoding.features,
        "log2_hashmap_size": encoding.log2_table_size,
        "base_resolution": encoding.base_resolution,
        "per_level_scale": encoding.per_level_scale,
        "n_pos_dims": 3,
    }


def _place_foreign(field: HashGridField) -> dict[str, Any]:
    """The keys that instant-ngp asks for beside the field: as the snapshot had them, else those of no photos."""
    cube = {"min": field.aabb[0].tolist(), "max": field.aabb[1].tolist()}
    straight = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    dataset = {
        "n_images": 0, "paths": [], "metadata": [], "xforms": [], "render_aabb": cube, "render_aabb_to_local": straight,
        "up": [0.0, 1.0, 0.0], "envmap_resolution": [0, 0], "wants_importance_sampling": True,
        "n_extra_learnable_dims": 0,
    }  # fmt: skip
    counters = {"rays_per_batch": 4096, "measured_batch_size": 0, "measured_batch_size_before_compaction": 0}
    adam = {"otype": "Adam", "learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-15, "l2_reg": 1e-6}
    decay = {"otype": "ExponentialDecay", "decay_start": 20000, "decay_interval": 10000, "decay_base": 0.33}
    keys: dict[str, Any] = {
        "loss": {"otype": "Huber"},
        "optimizer": {"otype": "Ema", "decay": 0.95, "nested": decay | {"nested": adam}},
        "snapshot.training_step": 0,
        "snapshot.loss": 0.0,
        "snapshot.bounding_radius": 1.0,
        "snapshot.render_aabb": cube,
        "snapshot.render_aabb_to_local": straight,
        "snapshot.nerf.rgb": counters,
        "snapshot.nerf.dataset": dataset,
    }
    keys |= {place: value for place, value in field.foreign.items() if place in FOREIGN_KEYS}
    keys["snapshot.nerf.dataset"] = dataset | keys["snapshot.nerf.dataset"]
    root: dict[str, Any] = {"snapshot": {"nerf": {}}}
    for place, value in keys.items():
        *path, name = place.split(".")
        part = root
        for step in path:
            part = part[step]
        part[name] = value
    return root


def _network_shape(path: Path, field: HashGridField, name: str) -> NetworkShape:
    shape = shape_of(getattr(field, f"{name}_weights"))
    if shape is None or shape.hidden % CUTLASS != 0:
        rule = f"hidden layers of the {name} network must have one width, a multiple of {CUTLASS}"
        raise FormatError(path, "value", rule, _AS_OURS)
    return shape


def _multiple(shape: NetworkShape) -> int:
    return FULLY_FUSED if shape.hidden in FULLY_FUSED_WIDTHS and shape.layers > 0 else CUTLASS


def _network_config(shape: NetworkShape) -> dict[str, Any]:
    return {
        "otype": "FullyFusedMLP" if _multiple(shape) == FULLY_FUSED else "CutlassMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": shape.hidden,
        "n_hidden_layers": shape.layers,
    }


def _side(path: Path, field: HashGridField) -> int:
    side = round(field.aabb_scale)
    cube = torch.tensor([[0.5 - side / 2] * 3, [0.5 + side / 2] * 3])
    if side < 1 or side & (side - 1) != 0 or not torch.equal(field.aabb, cube):
        rule = f"its box {field.aabb.tolist()} is no cube about 0.5 whose side is a power of two"
        raise FormatError(path, "value", rule, _AS_OURS)
    return side


def _space(path: Path, field: HashGridField) -> dict[str, Any]:
    """Scale, offset and axes as a data set has them."""
    matrix = field.ngp_from_world.numpy()
    x, y, z = matrix[:3, 3].tolist()
    cycled = NgpSpace(float(matrix[0, 1]), (z, x, y))
    if np.allclose(cycled.matrix, matrix, rtol=1e-12, atol=0.0):
        return {"scale": cycled.scale, "offset": [z, x, y], "from_mitsuba": False}
    straight = np.diag([matrix[0, 0]] * 3 + [1.0])
    straight[:3, 3] = matrix[:3, 3]
    if np.allclose(straight, matrix, rtol=1e-12, atol=0.0):
        return {"scale": float(matrix[0, 0]), "offset": [x, y, z], "from_mitsuba": True}
    rule = "its world is turned against NGP space, which a snapshot cannot say"
    raise FormatError(path, "value", rule, _AS_OURS)
