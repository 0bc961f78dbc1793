"""instant-ngp's snapshots of radiance fields, .ingp (gzip) and .msgpack (plain): read and written.

The parameters are one vector of halves: density network, colour network, hash grid, each as tiny-cuda-nn has it
(`tcnn_params`). They are the averaged weights, which are what is shown. The density grid is halves of optical
thickness in Morton order, cascade by cascade, below 0 where no camera sees. Spaces are those of `HashGridField`: the
photos' world goes to the unit cube by scale, offset and (but for Mitsuba's data) a cycle of the axes.

Written again, a snapshot has the same parameters, grid and space, bit for bit, and the same configuration, cameras and
view. Not kept: the optimiser's moments, latent codes, what filled up the matrices (zeros now), keys unknown to
`ingp_schema`. Pictures differ from instant-ngp's in what is below a pixel's noise: samples stand in the middle of a
step, there at its beginning; colours blend as the network gives them, in sRGB, over the background too, where its
window blends the background in linear light, which shows at half transparent borders alone.
Source: instant-ngp's file keys (see `ingp_schema`); Mueller et al. 2022.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from h3d.models.datasets.ngp_space import NgpSpace
from h3d.models.hash_grid import DENSITY_FEATURES, HashGridField, cascades_of
from h3d.renderers.fields import GRID_CELLS, GRID_SIDE, MAX_CASCADES
from h3d.renderers.hash_encoding import HashGridConfig, num_entries
from h3d.renderers.mlp import MAX_WIDTH

from .errors import DAMAGED, FormatError
from .ingp_schema import (
    GZIP_MAGIC,
    HALF_LIMIT,
    RESAVE,
    VERSION,
    Box,
    DatasetFacts,
    DirectionConfig,
    NetworkConfig,
    Root,
    Triple,
    dataset_facts,
    foreign_keys,
    read_root,
)
from .ingp_writer import write
from .tcnn_params import CUTLASS, FULLY_FUSED, NetworkShape

__all__ = ["QUANTISATION", "SUFFIXES", "read", "version", "write"]

SUFFIXES = (".ingp", ".msgpack")
QUANTISATION = "half floats: 11 bits of each parameter, and of each cell's optical thickness up to 65504"
DIRECTION_FEATURES = 16
MAX_HIDDEN_LAYERS = 16
_MULTIPLES = {"fullyfusedmlp": FULLY_FUSED, "megakernelmlp": FULLY_FUSED, "cutlassmlp": CUTLASS}
_TRAIN_ANEW = "train it anew with instant-ngp's configs/nerf/base.json"


def read(path: Path) -> HashGridField:
    """The radiance field of a snapshot.

    Raises:
        FormatError: it is damaged, or of a kind that is not drawn here; the sentence names which.
        OSError: it cannot be read.
    """
    root = read_root(path)
    facts = dataset_facts(path, root)
    _require_nerf(path, root, facts)
    encoding = _encoding(path, root)
    table, density, rgb = _parameters(path, root, encoding)
    aabb = _aabb(path, root, facts)
    thickness, explored = _thickness(path, root, float(aabb[1, 0] - aabb[0, 0]))
    foreign = foreign_keys(root)
    return HashGridField(
        encoding=encoding,
        table=table,
        density_weights=density,
        rgb_weights=rgb,
        thickness=thickness,
        aabb=aabb,
        ngp_from_world=torch.from_numpy(_space_matrix(path, facts)),
        up=_up(foreign, facts),
        remark=_remark(foreign, facts, aabb, explored),
        rgb_activation="exponential" if facts.is_hdr else "logistic",
        foreign=foreign,
    )


def version(path: Path) -> str:
    """What `describe` says beside the format's name."""
    with open(path, "rb") as file:
        return "gzip" if file.read(2) == GZIP_MAGIC else "plain"


def _require_nerf(path: Path, root: Root, facts: DatasetFacts) -> None:
    """Refuses what is not drawn here, by its name."""
    snapshot = root.snapshot
    mode = snapshot.mode or ("nerf" if snapshot.nerf is not None else "unknown")
    if snapshot.version < VERSION:
        raise FormatError(path, "snapshot", f"version {snapshot.version}, must be {VERSION} or newer", RESAVE)
    if mode.lower() != "nerf":
        raise FormatError(path, "snapshot", f"its mode is {mode!r}, only 'nerf' is read", "give a NeRF's snapshot")
    extra = facts.n_extra_learnable_dims + 3 * facts.has_light_dirs
    if extra > 0:
        rule = f"its colours depend on {extra} more inputs (latent codes or light directions)"
        raise FormatError(path, "dataset", rule, "train it without them")
    if not _is_sh4(root.dir_encoding):
        rule = f"directions are encoded by {root.dir_encoding.otype!r}, must be spherical harmonics of degree 4"
        raise FormatError(path, "dir_encoding", rule, _TRAIN_ANEW)
    for name, network in (("network", root.network), ("rgb_network", root.rgb_network)):
        kind = (network.otype.lower(), network.activation.lower(), network.output_activation.lower())
        if kind[0] not in _MULTIPLES or kind[1:] != ("relu", "none"):
            found = f"{network.otype} with {network.activation} and {network.output_activation}"
            raise FormatError(path, name, f"is a {found}, must be an MLP with ReLU and None", _TRAIN_ANEW)
        if not (1 <= network.n_neurons <= MAX_WIDTH and 0 <= network.n_hidden_layers <= MAX_HIDDEN_LAYERS):
            rule = f"{network.n_hidden_layers} layers of {network.n_neurons}"
            raise FormatError(path, name, f"{rule}, must be at most {MAX_HIDDEN_LAYERS} of 1 to {MAX_WIDTH}", DAMAGED)
    if root.network.n_output_dims != DENSITY_FEATURES:
        rule = f"gives {root.network.n_output_dims} features, must give {DENSITY_FEATURES}"
        raise FormatError(path, "network", rule, _TRAIN_ANEW)


def _is_sh4(config: DirectionConfig) -> bool:
    """Spherical harmonics of degree 4 of all three coordinates, alone or as what a composite begins with."""
    if config.otype.lower() == "composite" and len(config.nested) > 0:
        return _is_sh4(config.nested[0])
    return config.otype.lower() == "sphericalharmonics" and config.degree == 4


def _encoding(path: Path, root: Root) -> HashGridConfig:
    config = root.encoding
    kind = "hash" if config.otype.lower() == "hashgrid" else config.type.lower()
    if config.otype.lower() not in ("hashgrid", "grid") or kind != "hash":
        name = config.otype if config.otype.lower() != "grid" else f"{config.type} grid"
        raise FormatError(path, "encoding", f"positions are encoded by {name!r}, must be a hash grid", _TRAIN_ANEW)
    if (config.hash.lower(), config.interpolation.lower()) != ("coherentprime", "linear"):
        rule = f"the grid is {config.hash} and {config.interpolation}, must be CoherentPrime and Linear"
        raise FormatError(path, "encoding", rule, _TRAIN_ANEW)
    features = config.n_features_per_level
    try:
        return HashGridConfig(
            levels=config.n_levels,
            features=features,  # type: ignore[arg-type] - It says itself which it takes.
            log2_table_size=config.log2_hashmap_size,
            base_resolution=config.base_resolution,
            per_level_scale=config.per_level_scale,
        )
    except ValueError as error:
        raise FormatError(path, "encoding", str(error), DAMAGED) from error


def _parameters(
    path: Path, root: Root, encoding: HashGridConfig
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    """Table, density matrices, colour matrices."""
    snapshot = root.snapshot
    kinds = {"__half": np.dtype("<f2"), "float": np.dtype("<f4")}
    if snapshot.params_type not in kinds:
        rule = f"params_type is {snapshot.params_type!r}, must be one of {', '.join(kinds)}"
        raise FormatError(path, "parameters", rule, DAMAGED)
    kind = kinds[snapshot.params_type]
    if len(snapshot.params_binary) != snapshot.n_params * kind.itemsize:
        rule = f"n_params is {snapshot.n_params:,}, params_binary has {len(snapshot.params_binary):,} bytes"
        raise FormatError(path, "parameters", f"{rule}, {kind.itemsize} a parameter", DAMAGED)
    shapes = (_network(root.network, encoding.width, DENSITY_FEATURES), _rgb_network(root.rgb_network))
    grid = num_entries(encoding) * encoding.features
    # A machine without half-precision tensor cores runs a FullyFusedMLP as a CutlassMLP and says nothing of it.
    stated = (_MULTIPLES[root.network.otype.lower()], _MULTIPLES[root.rgb_network.otype.lower()])
    for multiples in (stated, (CUTLASS, CUTLASS)):
        counts = [shape.count(multiple) for shape, multiple in zip(shapes, multiples, strict=True)]
        if sum(counts) + grid == snapshot.n_params:
            break
    else:
        needed = sum(shape.count(multiple) for shape, multiple in zip(shapes, stated, strict=True)) + grid
        rule = f"holds {snapshot.n_params:,}, its configuration needs {needed:,} ({grid:,} of them in the grid)"
        raise FormatError(path, "parameters", rule, DAMAGED)
    flat = np.frombuffer(snapshot.params_binary, kind).astype(np.float32)
    finite = np.isfinite(flat)
    if not finite.all():
        first = int(np.argmin(finite))
        rule = f"parameter {first:,} is {flat[first]}"
        raise FormatError(path, "parameters", rule, "the training went astray: save an earlier step")
    vector = torch.from_numpy(flat)
    density, rgb, table = torch.split(vector, [*counts, grid])
    return (
        table.reshape(-1, encoding.features).contiguous(),
        shapes[0].split(density, multiples[0]),
        shapes[1].split(rgb, multiples[1]),
    )


def _network(config: NetworkConfig, inputs: int, outputs: int) -> NetworkShape:
    return NetworkShape(inputs, config.n_neurons, config.n_hidden_layers, outputs)


def _rgb_network(config: NetworkConfig) -> NetworkShape:
    return _network(config, DENSITY_FEATURES + DIRECTION_FEATURES, 3)


def _aabb(path: Path, root: Root, facts: DatasetFacts) -> torch.Tensor:  # [2, 3]
    """The cube that the encoding covers."""
    nerf = root.snapshot.nerf
    side = nerf.aabb_scale if nerf is not None and nerf.aabb_scale is not None else facts.aabb_scale
    box = root.snapshot.aabb
    if side is None:
        side = 1 if box is None else round(box.max[0] - box.min[0])
    if not (1 <= side <= 1 << (MAX_CASCADES - 1) and side & (side - 1) == 0):
        rule = f"is {side}, must be a power of two, 1 to {1 << (MAX_CASCADES - 1)}"
        raise FormatError(path, "aabb_scale", rule, DAMAGED)
    cube = np.array([[0.5 - side / 2] * 3, [0.5 + side / 2] * 3])
    if box is not None and not np.allclose(np.array([box.min, box.max]), cube, atol=1e-4 * side):
        rule = f"is {list(box.min)} to {list(box.max)}, must be the cube of side {side} about (0.5, 0.5, 0.5)"
        raise FormatError(path, "aabb", rule, DAMAGED)
    return torch.from_numpy(cube).float()


def _thickness(path: Path, root: Root, side: float) -> tuple[torch.Tensor, bool]:
    """Optical thickness of the cells [cascades, 128^3], and whether the file says any of it."""
    snapshot, cascades = root.snapshot, cascades_of(side)
    if len(snapshot.density_grid_binary) == 0:
        return torch.ones(cascades, GRID_CELLS), False
    if snapshot.density_grid_size != GRID_SIDE:
        rule = f"its side is {snapshot.density_grid_size}, must be {GRID_SIDE}"
        raise FormatError(path, "density grid", rule, DAMAGED)
    needed = 2 * cascades * GRID_CELLS
    if len(snapshot.density_grid_binary) != needed:
        rule = f"has {len(snapshot.density_grid_binary):,} bytes, {cascades} cascades have {needed:,}"
        raise FormatError(path, "density grid", rule, DAMAGED)
    cells = np.frombuffer(snapshot.density_grid_binary, "<f2").astype(np.float32)
    if bool(np.isnan(cells).any()):
        raise FormatError(path, "density grid", f"cell {int(np.argmax(np.isnan(cells))):,} is not a number", DAMAGED)
    np.clip(cells, -HALF_LIMIT, HALF_LIMIT, out=cells)
    return torch.from_numpy(cells).reshape(cascades, GRID_CELLS), True


def _space_matrix(path: Path, facts: DatasetFacts) -> np.ndarray:  # [4, 4]
    numbers = np.array([facts.scale, *facts.offset])
    if not (bool(np.isfinite(numbers).all()) and 1e-12 < facts.scale < 1e12 and np.abs(numbers).max() < 1e12):
        rule = f"scale {facts.scale} and offset {list(facts.offset)} must be finite, and the scale above 0"
        raise FormatError(path, "dataset", rule, DAMAGED)
    if not facts.from_mitsuba:
        return NgpSpace(facts.scale, facts.offset).matrix
    matrix = np.diag([facts.scale, facts.scale, facts.scale, 1.0])
    matrix[:3, 3] = facts.offset
    return matrix


def _up(foreign: dict[str, Any], facts: DatasetFacts) -> Triple:
    """Which way is up in the world; instant-ngp's +y of NGP space where the file does not say."""
    try:
        x, y, z = msgspec.convert(foreign.get("snapshot.up_dir"), Triple)
    except msgspec.ValidationError:
        x, y, z = 0.0, 1.0, 0.0
    if (x, y, z) == (0.0, 0.0, 0.0):
        y = 1.0
    return (x, y, z) if facts.from_mitsuba else (z, x, y)


def _remark(foreign: dict[str, Any], facts: DatasetFacts, aabb: torch.Tensor, explored: bool) -> str:
    step = foreign.get("snapshot.training_step", 0)
    parts = [f"an instant-ngp snapshot after {step} steps" if step else "an instant-ngp snapshot"]
    if facts.is_hdr:
        parts.append("learnt from HDR photos: colours beyond 1 are cut unless the exposure is lowered")
    if not explored:
        parts.append("without a density grid: all of its cube is looked through, which is slow")
    try:
        crop = msgspec.convert(foreign.get("snapshot.render_aabb"), Box)
    except msgspec.ValidationError:
        crop = None
    if crop is not None and np.abs(np.array([crop.min, crop.max]) - aabb.numpy()).max() > 1e-3:
        parts.append("its crop box is not applied")
    return ", ".join(parts)
