"""nerfstudio's instant-ngp checkpoints: a run folder with config.yml and nerfstudio_models/step-*.ckpt, or the .ckpt.

Read without unpickling (`torch_zip`) and without YAML: of config.yml only plain `key: value` lines are looked at. The
hash table and networks of both of nerfstudio's implementations are read, as of version 1.1 and as of 0.3.
Letters: N the coordinates of the dataparser, which dataparser_transforms.json leads to from the data set's world.
Source: nerfstudio 1.1.5, fields/nerfacto_field.py and models/instant_ngp.py; nerfacc 0.5, OccGridEstimator.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from h3d.models.hash_grid import Weights
from h3d.models.nerfstudio_field import COLOR_INPUTS, GEOMETRY_FEATURES, NerfstudioField, check_field
from h3d.renderers.fields import MAX_CASCADES, pack_bits
from h3d.renderers.hash_encoding import HashGridConfig, num_entries, per_level_scale

from .errors import DAMAGED, FormatError
from .nerfstudio_cells import resampled
from .nerfstudio_folder import FOLDER, find_checkpoint, scene_from_world
from .nerfstudio_state import Checkpoint, open_checkpoint
from .tcnn_params import CUTLASS, FULLY_FUSED, FULLY_FUSED_WIDTHS, NetworkShape

SUFFIX = ".ckpt"
BASE_RESOLUTION, FINEST_RESOLUTION, TABLE_SIZE, LEVELS, HIDDEN = 16, 2048, 19, 16, 64
CONE_ANGLE = 0.004
"""Instant-ngp's of nerfstudio, where the configuration does not say; 0 for bounded scenes."""


def read(path: Path) -> NerfstudioField:
    """The radiance field of a checkpoint or of a run's last one.

    Raises:
        FormatError: it is damaged, or of another method of nerfstudio; the sentence names which.
        OSError: it cannot be read.
    """
    file = find_checkpoint(path) if path.is_dir() else path
    if file is None:
        raise FormatError(path, "folder", f"holds no {FOLDER}/step-*.ckpt", "give a run of nerfstudio's instant-ngp")
    checkpoint = _opened(file)
    encoding, table, density = _density_part(checkpoint)
    rgb = _color_part(checkpoint, biased=encoding.indexing == "nerfstudio")
    bits, unit_from_scene, box = _occupied_part(checkpoint)
    stated = checkpoint.settings.get("disable_scene_contraction")
    contracted = stated != "true" if stated is not None else len(bits) > 1
    to_scene, has_transform = scene_from_world(file)
    field = NerfstudioField(
        encoding=encoding,
        table=table,
        density_weights=density,
        rgb_weights=rgb,
        bits=bits,
        unit_from_scene=unit_from_scene,
        box=box,
        scene_from_world=to_scene,
        contracted=contracted,
        cone_angle=_cone_angle(checkpoint, contracted),
        up=_up(to_scene),
        remark=_remark(checkpoint, contracted, stated is not None, has_transform),
    )
    check_field(file, field)
    return field


def _opened(file: Path) -> Checkpoint:
    checkpoint = open_checkpoint(file)
    if checkpoint.method != "instant-ngp":
        method = checkpoint.method
        looks = {
            "nerfacto": "nerfacto, which samples by proposal networks",
            "splatfacto": "splatfacto, which holds Gaussians",
        }.get(method, method)
        rule = f"it has no occupancy grid (it looks like {looks})"
        raise FormatError(file, "checkpoint", rule, "give a checkpoint of nerfstudio's instant-ngp")
    return checkpoint


def _density_part(checkpoint: Checkpoint) -> tuple[HashGridConfig, torch.Tensor, Weights]:
    """Encoding, table [E, F] and matrices of the density network, the last input of which is 1."""
    levels = checkpoint.number("field.num_levels", "num_levels", LEVELS)
    size = checkpoint.number("field.log2_hashmap_size", "log2_hashmap_size", TABLE_SIZE)
    finest = checkpoint.number("field.max_res", "max_res", FINEST_RESOLUTION)

    def config(indexing: Any, features: Any) -> HashGridConfig:
        try:
            scale = per_level_scale(BASE_RESOLUTION, max(finest, 1), max(levels, 1))
            return HashGridConfig(
                levels=levels, features=features, log2_table_size=size, per_level_scale=scale, indexing=indexing
            )
        except (ValueError, ArithmeticError) as error:
            raise FormatError(checkpoint.path, "encoding", str(error), DAMAGED) from error

    for params in ("field.mlp_base.model.params", "field.mlp_base.params"):
        if checkpoint.has(params):
            return _flat_density_part(checkpoint, checkpoint.load(params, None), config("tiny-cuda-nn", 2))
    if checkpoint.has("field.mlp_base_grid.tcnn_encoding.params"):
        grid = checkpoint.load("field.mlp_base_grid.tcnn_encoding.params", None)
        network = checkpoint.load("field.mlp_base_mlp.tcnn_encoding.params", None)
        return _flat_density_part(checkpoint, torch.cat([network, grid]), config("tiny-cuda-nn", 2))
    old = not checkpoint.has("field.mlp_base.model.0.hash_table")
    table_name = "field.mlp_base_grid.hash_table" if old else "field.mlp_base.model.0.hash_table"
    layers = "field.mlp_base_mlp.layers" if old else "field.mlp_base.model.1.layers"
    if not checkpoint.has(table_name):
        rule = f"it has no hash table ({table_name})"
        raise FormatError(checkpoint.path, "checkpoint", rule, "give one of nerfstudio's instant-ngp")
    features = (*checkpoint.tensors[table_name].shape, 0, 0)[1]
    encoding = config("nerfstudio", features)
    table = checkpoint.load(table_name, num_entries(encoding), encoding.features)
    return encoding, table.float(), _with_biases(_linear_layers(checkpoint, layers))


def _flat_density_part(
    checkpoint: Checkpoint, flat: torch.Tensor, encoding: HashGridConfig
) -> tuple[HashGridConfig, torch.Tensor, Weights]:
    """Of tiny-cuda-nn's vector: the network, then the grid."""
    entries = num_entries(encoding) * encoding.features
    shape = _flat_shape(checkpoint, len(flat) - entries, encoding.width, 1 + GEOMETRY_FEATURES, "density")
    network, grid = torch.split(flat.float(), [len(flat) - entries, entries])
    matrices = shape.split(network, _multiple(shape))
    first = torch.nn.functional.pad(matrices[0], (0, 1))
    return encoding, grid.reshape(-1, encoding.features).contiguous(), (first, *matrices[1:])


def _color_part(checkpoint: Checkpoint, *, biased: bool) -> Weights:
    """Matrices of the colour network: harmonics, geometry features and 1 in; the appearance code is zeros."""
    if biased:
        return _with_biases(_linear_layers(checkpoint, "field.mlp_head.layers"), keep=COLOR_INPUTS - 1)
    name = "field.mlp_head.tcnn_encoding.params"
    flat = checkpoint.load(name if checkpoint.has(name) else "field.mlp_head.params", None).float()
    code = "field.embedding_appearance.embedding.weight"
    inputs = COLOR_INPUTS - 1 + ((*checkpoint.tensors[code].shape, 0, 0)[1] if checkpoint.has(code) else 0)
    shape = _flat_shape(checkpoint, len(flat), inputs, 3, "colour")
    multiple = _multiple(shape)
    filled = NetworkShape(-(-inputs // multiple) * multiple, shape.hidden, shape.layers, 3)
    matrices = filled.split(flat, multiple)
    # Inputs that fill up are 1 in tiny-cuda-nn's identity encoding: they are the biases of this network.
    bias = matrices[0][:, inputs:].sum(dim=1, keepdim=True)
    return (torch.cat([matrices[0][:, : COLOR_INPUTS - 1], bias], dim=1), *matrices[1:])


def _flat_shape(checkpoint: Checkpoint, count: int, inputs: int, outputs: int, name: str) -> NetworkShape:
    """The network of one width that has so many parameters; its hidden layers are not stored."""
    widths = (HIDDEN, *FULLY_FUSED_WIDTHS)
    for shape in (NetworkShape(inputs, width, layers, outputs) for layers in range(1, 9) for width in widths):
        if shape.count(_multiple(shape)) == count:
            return shape
    rule = f"{count:,} parameters are those of no network from {inputs} to {outputs} values"
    raise FormatError(checkpoint.path, f"{name} network", rule, DAMAGED)


def _multiple(shape: NetworkShape) -> int:
    return FULLY_FUSED if shape.hidden in FULLY_FUSED_WIDTHS else CUTLASS


def _linear_layers(checkpoint: Checkpoint, prefix: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight [O, I] and bias [O] of each layer."""
    layers: list[tuple[torch.Tensor, torch.Tensor]] = []
    while len(layers) == 0 or checkpoint.has(f"{prefix}.{len(layers)}.weight"):
        name = f"{prefix}.{len(layers)}"
        weight = checkpoint.load(f"{name}.weight", None, None).float()
        layers.append((weight, checkpoint.load(f"{name}.bias", len(weight)).float()))
        if len(layers) > 16:
            raise FormatError(checkpoint.path, prefix, "has more than 16 layers", DAMAGED)
    return layers


def _with_biases(layers: list[tuple[torch.Tensor, torch.Tensor]], keep: int | None = None) -> Weights:
    """Matrices that do the same without biases, given an input more that is 1; the first `keep` inputs stay.

    A hidden value more hands the 1 on: ReLU leaves it as it is.
    """
    matrices = []
    for index, (weight, bias) in enumerate(layers):
        matrix = torch.cat([weight if index > 0 or keep is None else weight[:, :keep], bias[:, None]], dim=1)
        if index < len(layers) - 1:
            handed = torch.zeros(1, matrix.shape[1])
            handed[0, -1] = 1.0
            matrix = torch.cat([matrix, handed])
        matrices.append(matrix.contiguous())
    return tuple(matrices)


def _occupied_part(checkpoint: Checkpoint) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bits of the cells, N to the unit cube, and the scene's box in it."""
    box = checkpoint.load("field.aabb" if checkpoint.has("field.aabb") else "occupancy_grid.aabbs", None, None).double()
    box = box.flatten()[:6].reshape(-1, 3)
    if box.shape != (2, 3) or not bool(torch.isfinite(box).all() and (box[0] < box[1]).all()):
        raise FormatError(checkpoint.path, "field.aabb", f"{box.tolist()} is no box", DAMAGED)
    side = float((box[1] - box[0]).max())
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] /= side
    matrix[:3, 3] = 0.5 - 0.5 * (box[0] + box[1]) / side
    within = (box * matrix[0, 0] + matrix[:3, 3]).float()
    cells = checkpoint.load("occupancy_grid.binaries", None, None, None, None).bool()
    if not (1 <= len(cells) <= MAX_CASCADES and all(8 <= size <= 512 for size in cells.shape[1:])):
        rule = f"its shape is {list(cells.shape)}, must be 1 to {MAX_CASCADES} grids of 8 to 512 cells a side"
        raise FormatError(checkpoint.path, "occupancy_grid.binaries", rule, DAMAGED)
    values = torch.stack([resampled(level, within) for level in cells])
    return pack_bits(values, 0.5), matrix, within


def _cone_angle(checkpoint: Checkpoint, contracted: bool) -> float:
    try:
        return float(checkpoint.settings["cone_angle"])
    except (KeyError, ValueError):
        return CONE_ANGLE if contracted else 0.0


def _up(scene_from_world: torch.Tensor) -> tuple[float, float, float]:
    """Up is +z in N: nerfstudio turns its data so."""
    x, y, z = torch.nn.functional.normalize(scene_from_world[2, :3], dim=0).tolist()
    return x, y, z


def _remark(checkpoint: Checkpoint, contracted: bool, stated: bool, has_transform: bool) -> str:
    parts = [f"nerfstudio's instant-ngp after {checkpoint.age}"]
    if not stated:
        parts.append(f"taken to be {'contracted' if contracted else 'bounded'}, there is no config.yml beside it")
    if not has_transform:
        parts.append("in nerfstudio's own coordinates, there is no dataparser_transforms.json beside it")
    return ", ".join(parts)
