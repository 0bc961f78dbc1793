"""A cache on disk: entries, counters, running similarities and random state, so that a run resumes as if never left.

One safetensors file (models/formats/tensors.py), written atomically. All entries have one shape, so they are stacked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from h3d.models.formats.atomic import replacing
from h3d.models.formats.errors import DAMAGED, FormatError
from h3d.models.formats.tensors import read_safetensors, write_safetensors

from .cells import Cell, Grid
from .identity import model_digest
from .ledger import Column, Ledger
from .passes import Passes
from .table import Bucket, Entry, Limits, Table
from .warp import Sight

if TYPE_CHECKING:
    from .cache import Hash3D

FORMAT = "h3d feature cache 1"


def save(path: Path, cache: Hash3D) -> None:
    """Writes a cache; see `Hash3D.save`."""
    table = cache.table
    if not isinstance(table, Table):
        raise ValueError("lookup is official, a cache to compare with, which is not saved; save an exact one")
    words, condition_tensors = _conditions(cache.conditions.known)
    header = {
        "format": FORMAT,
        "model": model_digest(cache.unet),
        "signature": None if cache.signature is None else _portable(cache.signature),
        "columns": [column.name for column in Column],
        "grids": [asdict(grid) for grid in table.grids],
        "measured": table.measured,
        "step": cache.step,
        "next_condition": cache.conditions.next,
        "conditions": words,
        "passes": asdict(cache.passes),
        "random": cache.random.bit_generator.state,
    }
    with replacing(path) as stream:
        write_safetensors(stream, header, _tensors(table) | condition_tensors)


def load(path: Path, cache: Hash3D) -> None:
    """Reads a cache; see `Hash3D.load`."""
    header, tensors = read_safetensors(path, FORMAT)
    if cache.config.lookup == "official":
        raise ValueError("lookup is official, a cache to compare with, which takes no stored entries; change it first")
    if header["model"] != model_digest(cache.unet):
        raise FormatError(path, "header", "another model computed these features", "start with an empty cache")
    try:
        table, known = _restored(header, tensors, cache)
        passes, random = Passes(**header["passes"]), np.random.default_rng()
        random.bit_generator.state = header["random"]
        step, next_condition = int(header["step"]), int(header["next_condition"])
        signature = header["signature"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(path, "contents", f"they do not fit together ({error!r})", DAMAGED) from error
    cache.table, cache.step, cache.random = table, step, random
    cache.conditions.known, cache.conditions.next = known, next_condition
    cache.stopwatch.restore(passes)
    cache.signature = None if signature is None else _local(signature, cache)
    cache.identity.changed()  # The digest has just said that the model is the right one.
    if table.grids != cache.config.grids:
        table.regrid(cache.config.grids)
    table.limit(table.limits, step)


def _tensors(table: Table) -> dict[str, Tensor]:
    entries = list(table.entries)
    place = {entry: i for i, entry in enumerate(entries)}
    count = len(table.ledger.rows)
    buckets = list(table.buckets.items())
    similarities = [np.nan if bucket.similarity is None else bucket.similarity for _, bucket in buckets]
    tensors = {
        "keys": torch.tensor([entry.key for entry in entries], dtype=torch.float64).reshape(-1, 4),
        "steps": torch.tensor([entry.step for entry in entries], dtype=torch.int64),
        "condition": torch.tensor([entry.condition for entry in entries], dtype=torch.int64),
        "homes": torch.tensor([[i in entry.homes for i in range(len(table.grids))] for entry in entries]).reshape(
            -1, len(table.grids)
        ),
        "recent": torch.tensor([place[entry] for entry in table.recent], dtype=torch.int64),
        "buckets": torch.tensor([(g, c, *cell) for (g, c, cell), _ in buckets], dtype=torch.int64).reshape(-1, 6),
        "similarities": torch.tensor(similarities, dtype=torch.float64),
        "cells": torch.from_numpy(table.ledger.keys[:count].copy()),
        "counts": torch.from_numpy(table.ledger.counts[:count].copy()),
        "errors": torch.from_numpy(table.ledger.errors[:count].copy()),
        "totals": torch.from_numpy(table.ledger.totals.copy()),
    }
    if len(entries) > 0:
        tensors["latents"] = torch.stack([entry.latent for entry in entries]).cpu()
        tensors["values"] = torch.stack([entry.value for entry in entries]).cpu()
    return tensors | _sights(entries)


def _sights(entries: Sequence[Entry]) -> dict[str, Tensor]:
    """Of the entries that have one, and which those are."""
    seeing = [(i, entry.sight) for i, entry in enumerate(entries) if entry.sight is not None]
    if len(seeing) == 0:
        return {}
    sights = [sight for _, sight in seeing]
    return {
        "sight_of": torch.tensor([i for i, _ in seeing], dtype=torch.int64),
        "sight_poses": torch.stack([sight.camera_to_world for sight in sights]).cpu(),
        "sight_fovs": torch.tensor([sight.fov_y_radians for sight in sights], dtype=torch.float64),
        "sight_depths": torch.stack([sight.depth for sight in sights]).cpu(),
    }


def _known_sights(tensors: Mapping[str, Tensor], device: torch.device) -> dict[int, Sight]:
    """The inverse of `_sights`."""
    found = {}
    for k, i in enumerate(tensors["sight_of"].tolist() if "sight_of" in tensors else []):
        depth = tensors["sight_depths"][k].to(device, copy=True)
        found[i] = Sight(tensors["sight_poses"][k].clone(), float(tensors["sight_fovs"][k]), depth)
    return found


def _restored(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor], cache: Hash3D
) -> tuple[Table, dict[int, dict[str, Any]]]:
    """The table as it was, in its own grids, and the conditions."""
    if header["columns"] != [column.name for column in Column]:
        raise ValueError("its counters are of another version")
    grids, config, device = [Grid(**grid) for grid in header["grids"]], cache.config, cache.unet.device
    limits = Limits(config.queue, config.budget_bytes, config.max_age)
    table = Table(grids, limits, config.weighting, config.gamma)
    table.ledger = _ledger(tensors)
    table.measured = [(float(total), int(count)) for total, count in header["measured"]]
    for key, similarity in zip(tensors["buckets"].tolist(), tensors["similarities"].tolist(), strict=True):
        grid, condition, cell = key[0], key[1], _cell(key[2:])
        table.buckets[grid, condition, cell] = Bucket(similarity=None if math.isnan(similarity) else similarity)
    sights = _known_sights(tensors, device)
    latents, values = ([x.to(device, copy=True) for x in tensors.get(name, ())] for name in ("latents", "values"))
    entries = [
        Entry((a, e, r, t), condition, latents[i], values[i], step, sight=sights.get(i))
        for i, ((a, e, r, t), condition, step) in enumerate(
            zip(tensors["keys"].tolist(), tensors["condition"].tolist(), tensors["steps"].tolist(), strict=True)
        )
    ]
    for entry, homes in zip(entries, tensors["homes"].tolist(), strict=True):
        table.entries[entry] = None
        table.nbytes += entry.nbytes
        for index in (i for i, there in enumerate(homes) if there):
            entry.homes[index] = grids[index].cell(entry.key)
            table.buckets[index, entry.condition, entry.homes[index]].queue.append(entry)
    table.recent = {entries[i]: None for i in tensors["recent"].tolist()}
    if table.recent.keys() != table.entries.keys() or any(len(b.queue) == 0 for b in table.buckets.values()):
        raise ValueError("entries and queues differ")
    return table, _known(header["conditions"], tensors, device)


def _ledger(tensors: Mapping[str, Tensor]) -> Ledger:
    ledger = Ledger(
        keys=tensors["cells"].numpy().copy(),
        counts=tensors["counts"].numpy().copy(),
        errors=tensors["errors"].numpy().copy(),
        totals=tensors["totals"].numpy().copy(),
    )
    ledger.rows = {(key[0], _cell(key[1:])): row for row, key in enumerate(ledger.keys.tolist())}
    return ledger


def _cell(values: list[int]) -> Cell:
    a, e, r, t = values
    return a, e, r, t


def _conditions(known: Mapping[int, Mapping[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, Tensor]]:
    """Numbers and words for the header, and the tensors, named condition/NUMBER/NAME."""
    words = {str(number): {k: v for k, v in c.items() if not isinstance(v, Tensor)} for number, c in known.items()}
    tensors = {
        f"condition/{number}/{name}": value.cpu()
        for number, condition in known.items()
        for name, value in condition.items()
        if isinstance(value, Tensor)
    }
    return words, tensors


def _known(
    words: Mapping[str, Mapping[str, Any]], tensors: Mapping[str, Tensor], device: torch.device
) -> dict[int, dict[str, Any]]:
    known = {int(number): dict(condition) for number, condition in words.items()}
    for path, tensor in tensors.items():
        if path.startswith("condition/"):
            _, number, name = path.split("/", 2)
            known[int(number)][name] = tensor.to(device)
    return known


def _portable(signature: tuple[Any, ...]) -> list[Any]:
    kind, shape, dtype, _, rows, layout = signature
    return [kind, list(shape), str(dtype), rows, layout]


def _local(signature: list[Any], cache: Hash3D) -> tuple[Any, ...]:
    kind, shape, dtype, rows, layout = signature
    return (kind, tuple(shape), getattr(torch, str(dtype).removeprefix("torch.")), cache.unet.device, rows, layout)
