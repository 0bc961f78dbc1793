"""The scene that all tabs share, and the methods that change it. Every change is an event; nothing else mutates."""

from __future__ import annotations

import itertools
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from h3d.app.homes import home_of_asset
from h3d.models import formats
from h3d.models.field_files import READABLE, RUN_FIELD, field_file, read_field, write_field
from h3d.models.formats.tensors import file_sha256
from h3d.models.gaussians import Gaussians
from h3d.models.similarity import IDENTITY
from h3d.models.training.edits import RowEdit

from .events import AssetReplaced, Channel, LayersChanged, WorkspaceEvent
from .history import Edit, History, RunEdit
from .recent import RecentScenes
from .scene import Asset, Home, Layer, kind_of, placed

logger = logging.getLogger(__name__)


class LockedError(ValueError):
    """The layer is locked; the sentence says how to unlock it."""


RunEditor = Callable[[int, RowEdit, Callable[[int | None, Asset], object]], None]
"""Gives a run, by its key, an edit and waits until it stands; tells the run's layer and what that shows then."""


class Workspace:
    """An ordered tuple of layers with undo. Methods may be called from any thread; reads are snapshots."""

    def __init__(self, recent: RecentScenes | None = None) -> None:
        self.events: Channel[WorkspaceEvent] = Channel()
        self.history = History()
        self.recent = recent
        self.run_editor: RunEditor | None = None
        self._lock = threading.RLock()
        self._layers: tuple[Layer, ...] = ()
        self._keys = itertools.count(1)
        self._saved: dict[int, _Saved] = {}  # by key: what is on disk
        self._bytes_per_second: dict[str, float] = {}  # by suffix: how fast such files were read so far

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self._layers

    def layer(self, key: int) -> Layer:
        """The layer with this key.

        Raises:
            KeyError: it is gone.
        """
        for layer in self._layers:
            if layer.key == key:
                return layer
        raise KeyError(f"layer {key} is gone")

    def open(self, path: Path) -> Layer:
        """Read a scene from disk and add it as a layer.

        Raises:
            FormatError: the file is not one that we read, or is damaged.
        """
        path = path.expanduser()
        start = time.perf_counter()
        source = field_file(path) or (formats.find_scene(path) if path.is_dir() else path)
        asset, sha256 = read_asset(source)
        layer = self.add(_name_of(source), asset, path=source, sha256=sha256, home=home_of_asset(asset))
        self._bytes_per_second[source.suffix] = _bytes_on_disk(source) / max(time.perf_counter() - start, 1e-3)
        self._saved[layer.key] = _Saved.of(layer)
        if self.recent is not None:
            self.recent.add(source)
        return layer

    def expected_seconds(self, path: Path) -> float | None:
        """How long reading `path` will take, from files of its kind that were read before; None before the first."""
        rate = self._bytes_per_second.get(path.suffix)
        return None if rate is None else _bytes_on_disk(path) / rate

    def add(
        self,
        name: str,
        asset: Asset,
        *,
        path: Path | None = None,
        sha256: str = "",
        run: int | None = None,
        home: Home | None = None,
    ) -> Layer:
        """Add an asset as the last layer."""
        with self._lock:
            layer = Layer(next(self._keys), name, asset, path=path, sha256=sha256, run=run, home=home)
            self._set(f"add {name}", (*self._layers, layer))
        return layer

    def show_progress(self, assets: Mapping[int, Asset]) -> None:
        """Put the newest snapshots of optimisations in place of layers' assets, by key: no edit, nothing to undo.

        Nothing happens to layers that are gone.
        """
        with self._lock:
            known = [layer.key for layer in self._layers if layer.key in assets]
            self._layers = tuple(
                replace(x, asset=assets[x.key], sha256="") if x.key in assets else x for x in self._layers
            )
        for key in known:
            self.events.publish(AssetReplaced(key))

    def change(self, key: int, cause: str, /, *, merge_key: str = "", **fields: Any) -> Layer:
        """Replace fields of one layer; `cause` is what undo calls it.

        Raises:
            ValueError: a number of the place is not finite, or the scale not above 0.
            LockedError: the layer is locked and something other than `locked`, `visible` or `name` would change.
        """
        with self._lock:
            layer = self.layer(key)
            if layer.locked and not set(fields) <= {"locked", "visible", "name"}:
                raise LockedError(f"{layer.name} is locked; unlock it first to {cause}")
            changed = replace(layer, **fields)
            _check_place(changed)
            if changed != layer or changed.hidden_rows is not layer.hidden_rows:
                self._set(cause, tuple(changed if x.key == key else x for x in self._layers), merge_key)
        return changed

    def duplicate(self, key: int) -> Layer:
        """A second layer with the same asset (rows are shared, not copied), unlocked, at the same place."""
        with self._lock:
            layer = self.layer(key)
            copy = replace(layer, key=next(self._keys), name=f"{layer.name} copy", locked=False)
            index = self._layers.index(layer) + 1
            self._set(f"duplicate {layer.name}", (*self._layers[:index], copy, *self._layers[index:]))
        return copy

    def remove(self, key: int) -> None:
        """Take a layer out of the scene.

        Raises:
            LockedError: it is locked.
        """
        with self._lock:
            layer = self.layer(key)
            if layer.locked:
                raise LockedError(f"{layer.name} is locked; unlock it first to remove it")
            self._set(f"remove {layer.name}", tuple(x for x in self._layers if x.key != key))

    def undo(self) -> str | None:
        """Take back the last edit; returns its name, or None if there is none.

        Raises:
            ValueError: it was done to a run that can no longer be edited.
        """
        return self._step(self.history.undo, "undo")

    def redo(self) -> str | None:
        """Make the last undone edit again; returns its name, or None if there is none. Raises: as `undo`."""
        return self._step(self.history.redo, "redo")

    def record_run_edit(self, key: int, cause: str, edit: RunEdit, asset: Asset, place: dict[str, Any]) -> None:
        """A run was edited: show what it has now, at another place where the edit gave it one. One step to undo.

        Nothing is recorded when the layer is gone.
        """
        with self._lock:
            before = self._layers
            if not any(layer.key == key for layer in before):
                return
            self._layers = tuple(
                replace(x, asset=asset, sha256="", **place) if x.key == key else x for x in self._layers
            )
            self.history.record(Edit(cause, before, self._layers, run_edit=edit))
            self.events.publish(LayersChanged(before, self._layers, cause))

    def bake(self, key: int) -> None:
        """Move the rows of a layer at rest to where they stand in the scene, so that its place is the identity.

        Raises:
            ValueError: it is no layer of Gaussians.
            LockedError: it is locked.
        """
        layer = self.layer(key)
        if not isinstance(layer.asset, Gaussians):
            raise ValueError(f"{layer.name}: it is a {kind_of(layer.asset)}; only Gaussians can be baked")
        asset = layer.asset.transformed(np.array(layer.wxyz), np.array(layer.position), layer.scale)
        self.change(key, f"bake {layer.name}", asset=asset, sha256="", **placed(IDENTITY))

    def save(self, key: int, path: Path) -> Asset:
        """Write a layer to disk: Gaussians as they stand in the scene, hidden rows left out; a field in its own axes.

        Raises:
            FormatError: the suffix is not one that we write.
        """
        layer = self.layer(key)
        asset = placed_asset(layer)
        write_asset(path, asset)
        self._saved[key] = _Saved.of(layer)
        return asset

    def unsaved(self) -> tuple[Layer, ...]:
        """Layers whose rows or place differ from what is on disk."""
        return tuple(x for x in self._layers if x.key not in self._saved or not self._saved[x.key].holds(x))

    def _set(self, cause: str, layers: tuple[Layer, ...], merge_key: str = "") -> None:
        before = self._layers
        self._layers = layers
        self.history.record(Edit(cause, before, layers, merge_key))
        self.events.publish(LayersChanged(before, layers, cause))

    def _step(self, take: Callable[[], Edit | None], verb: Literal["undo", "redo"]) -> str | None:
        with self._lock:
            edit = take()
            if edit is None:
                return None
            layers, asked = (edit.before, edit.run_edit) if verb == "undo" else (edit.after, edit.run_edit)
            if asked is None or self.run_editor is None:
                self._go_to(layers, f"{verb} {edit.name}")
                return edit.name
        # Without the lock: the thread that optimises may wait for it before it gets there.
        try:
            told = asked.backward if verb == "undo" else asked.forward
            self.run_editor(asked.run, told, lambda key, asset: self._go_to(layers, f"{verb} {edit.name}", key, asset))
        except Exception:
            with self._lock:
                self.history.put_back(edit)
            raise
        return edit.name

    def _go_to(self, layers: tuple[Layer, ...], cause: str, key: int | None = None, asset: Asset | None = None) -> None:
        """Let the scene be what it was. What is being optimised stays as far as it is, or shows its newest `asset`:
        only what a person did is taken back."""
        with self._lock:
            newest = {layer.key: layer.asset for layer in self._layers if layer.run is not None}
            if key is not None and asset is not None:
                newest[key] = asset
            before = self._layers
            self._layers = tuple(replace(x, asset=newest.get(x.key, x.asset)) for x in layers)
            self.events.publish(LayersChanged(before, self._layers, cause))


def read_asset(path: Path) -> tuple[Asset, str]:
    """What a file holds, and the hash of it.

    Raises:
        FormatError: the file is not one that we read, or is damaged.
    """
    if (field := field_file(path)) is not None:
        return read_field(field), file_sha256(field)
    return formats.read(path), formats.sha256(path)


def write_asset(path: Path, asset: Asset) -> None:
    """Write an asset in the format that the suffix names.

    Raises:
        FormatError: this kind of asset is not written with that suffix.
    """
    if isinstance(asset, Gaussians):
        formats.write(path, asset)
    else:
        write_field(path, asset)


def placed_asset(layer: Layer) -> Asset:
    """The layer's rows in world coordinates, without the hidden ones; a field as it is."""
    asset = layer.asset
    if not isinstance(asset, Gaussians):
        return asset
    if layer.hidden_rows is not None:
        asset = asset.keep(~layer.hidden_rows)
    if (layer.wxyz, layer.position, layer.scale) != ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), 1.0):
        asset = asset.transformed(np.array(layer.wxyz), np.array(layer.position), layer.scale)
    return asset


@dataclass(frozen=True)
class _Saved:
    """What of a layer is on disk; it holds no rows, or removed layers would stay in memory."""

    asset: weakref.ref[Any]
    hidden_rows: weakref.ref[torch.Tensor] | None
    place: tuple[object, ...]

    @classmethod
    def of(cls, layer: Layer) -> _Saved:
        hidden = None if layer.hidden_rows is None else weakref.ref(layer.hidden_rows)
        return cls(weakref.ref(layer.asset), hidden, (layer.wxyz, layer.position, layer.scale))

    def holds(self, layer: Layer) -> bool:
        hidden = None if self.hidden_rows is None else self.hidden_rows()
        same_rows = self.asset() is layer.asset and hidden is layer.hidden_rows
        return same_rows and self.place == (layer.wxyz, layer.position, layer.scale)


def _check_place(layer: Layer) -> None:
    if not (math.isfinite(layer.scale) and layer.scale > 0.0):
        raise ValueError(f"{layer.name}: scale {layer.scale}; must be finite and above 0")
    if not all(map(math.isfinite, (*layer.position, *layer.wxyz))) or not any(layer.wxyz):
        raise ValueError(f"{layer.name}: position {layer.position}, wxyz {layer.wxyz}; must be finite, wxyz not all 0")


def _bytes_on_disk(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.iterdir() if p.is_file())
    return path.stat().st_size if path.exists() else 0


def _name_of(path: Path) -> str:
    if path.suffix == ".ckpt" and path.parent.name == "nerfstudio_models":
        return path.parent.parent.name
    name = path.parent.name if path.name in ("meta.json", RUN_FIELD) else path.name
    for suffix in (*READABLE, ".compressed.ply", ".ply", ".splat", ".ksplat", ".spz", ".sog"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
