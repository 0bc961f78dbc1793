"""How one tab prunes a layer of Gaussians: what decides, how many stay, and what that looks like before it is done.

The rows are ranked once, in a thread of its own, and every cut after that is a comparison of ranks. While a layer is
being optimised its rows are ranked anew now and then; in between, rows are known by their ids, and those that were born
since stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from h3d.models.formats.predicted_size import FileSize, file_sizes
from h3d.models.gaussians import Gaussians
from h3d.models.merging import merged
from h3d.models.pruning import WITH_CAMERAS, Criterion, PruningOptions, ranking
from h3d.models.selection import Rows, Selection
from h3d.models.sundae import Signal, Spectrum, SpectrumOptions, Variant, cut_counts
from h3d.models.sundae.histogram import Histogram, histogram_of
from h3d.models.training.edits import Delete
from h3d.models.viewpoints import all_around, seen_from
from h3d.renderers import CancelFlag

from .newest import Newest
from .workspace.beside import go_on_beside
from .workspace.events import AssetReplaced, LayersChanged, PruningChanged, RunChanged, WorkspaceEvent
from .workspace.scene import Layer
from .workspace.workspace import LockedError

if TYPE_CHECKING:
    from .session import Session

RENEW_SECONDS, RENEW_TIMES = 2.0, 4.0
"""Rows that are being optimised are ranked again after so long, and after so many times what it takes."""


@dataclass(frozen=True)
class Basis:
    """What rows are ranked by."""

    criterion: Criterion = "band_stop"
    variant: Variant = "local"
    neighbours: int = 10
    signals: tuple[Signal, ...] = ("means",)

    @property
    def options(self) -> PruningOptions:
        """Raises: ValueError for what is out of range."""
        spectrum = SpectrumOptions(variant=self.variant, k=self.neighbours, signals=self.signals)
        return PruningOptions(spectrum=spectrum, k=self.neighbours)


@dataclass(frozen=True)
class Cut:
    """How many rows stay, and of the band-stop, which share of them is from the highest responses."""

    keep: float = 0.3
    ratio: float = 0.5


@dataclass(frozen=True, eq=False)
class Ranked:
    """The rows that a layer showed, ranked."""

    key: int
    basis: Basis
    asset: Gaussians
    hidden: torch.Tensor | None
    spectrum: Spectrum
    histogram: Histogram
    cameras: str
    """Which were looked through; empty where none were."""
    seconds: float
    """What the ranking took."""
    at: float
    """When it ended, by the monotonic clock."""
    ids: np.ndarray  # [N] int64, sorted
    places: np.ndarray  # [N] int64: row of the spectrum that each of `ids` is

    def of(self, layer: Layer) -> bool:
        """Whether it is the layer as it is now."""
        return self.key == layer.key and self.asset is layer.asset and self.hidden is layer.hidden_rows


class Pruning:
    """Of one tab. Methods are called from its hands, `layer` from its render loop too."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.key: int | None = None
        """The layer whose cut is shown; None = no cut is."""
        self.basis, self.cut = Basis(), Cut()
        self.ranked: Ranked | None = None
        self.sizes: Mapping[str, FileSize] = {}
        """Of files of rows such as the layer's, by suffix; of a run, as its rows were when the cut was first shown."""
        self.busy = False
        self._sized: tuple[int, torch.Tensor | None] | None = None  # what `sizes` are of: layer and hidden rows
        self._last: tuple[Ranked, Cut, Layer, torch.Tensor] | None = None
        self._work = Newest(self._rank, "pruning")
        session.at_close(self._work.close)
        session.at_close(session.workspace.events.subscribe(self._on_event))

    # What the panel calls.

    def begin(self) -> None:
        """Show the cut of the selected layer under the wipe. Raises: ValueError where it has no rows."""
        layer = self._session.selected_layer()
        if layer is None or not isinstance(layer.asset, Gaussians):
            raise ValueError("prune: select a layer of Gaussians first; other layers have no rows")
        self.key = layer.key
        self._session.set_compare(mode="wipe", layer_a=layer.key, layer_b=layer.key, own_b=None, photo=None)
        self._tell()

    def end(self) -> None:
        """Show everything again."""
        self.key = None
        self._session.set_compare(mode="off", layer_a=None, layer_b=None)
        self._tell()

    def set_basis(self, **changes: Any) -> None:
        """Rank by something else. Raises: ValueError for what is out of range; nothing is changed."""
        basis = replace(self.basis, **changes)
        _ = basis.options
        self.basis = basis
        self._tell()

    def set_cut(self, **changes: float) -> None:
        """Another cut through the same ranks. Raises: ValueError outside of 0 to 1; nothing is changed."""
        cut = replace(self.cut, **changes)
        cut_counts(0, cut.keep, cut.ratio)
        self.cut = cut
        self._tell()

    def apply(self) -> int:
        """Delete the rows that do not stay; returns how many. Undo brings them back, bit for bit.

        Raises:
            ValueError: no cut is shown, its rows are not ranked yet, or none or all would stay.
            LockedError: the layer is locked.
        """
        session, layer = self._session, self._shown_layer()
        if layer.locked:
            raise LockedError(f"{layer.name} is locked; unlock it first to prune it")
        rows, gone = self._cut_of(layer)
        cause, run = f"prune {layer.name} to {self.cut.keep:.1%}", session.optimisation.edits.run_of(layer)
        if run is None:
            session.workspace.change(layer.key, cause, hidden_rows=~rows)
            count = int(gone.sum())
        else:
            count = session.optimisation.edits.delete(run, cause, _selection(layer, gone))
        self.end()
        return count

    def apply_beside(self) -> tuple[int, int]:
        """Let a copy of the layer's run go on without the rows that do not stay; returns the keys of both runs.

        Raises:
            ValueError: no cut is shown, the layer is none of a run, or as `apply`.
        """
        layer = self._shown_layer()
        optimisation = self._session.optimisation
        run = optimisation.edits.run_of(layer)
        if run is None:
            raise ValueError(f"{layer.name}: nothing learns it; Apply cuts it, and Undo brings it back")
        gone, name = self._cut_of(layer)[1], f"{layer.name}, pruned to {self.cut.keep:.1%}"
        beside = go_on_beside(optimisation, run, name, Delete(_selection(layer, gone)))
        self.key = None
        self._tell()
        return run, beside

    def _cut_of(self, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:  # [N] bool twice
        """The rows that stay, and those that go. Raises: ValueError, they are not ranked yet, or none or all stay."""
        rows = self.stays(layer)
        if rows is None:
            raise ValueError(f"{layer.name}: its rows are being ranked; wait a moment")
        gone = ~rows if layer.shown_rows is None else layer.shown_rows & ~rows
        if not bool(gone.any()) or not bool(rows.any()):
            word = "none" if bool(gone.any()) else "all"
            raise ValueError(f"{layer.name}: {word} of its Gaussians would stay; choose a share between")
        return rows, gone

    def to_merge(self) -> Layer:
        """The selected layer, as it is now. Raises: ValueError where it has no rows, or a run learns them."""
        layer = self._session.selected_layer()
        if layer is None or not isinstance(layer.asset, Gaussians):
            raise ValueError("merge: select a layer of Gaussians first; other layers have no rows")
        if self._session.optimisation.edits.run_of(layer) is not None:
            raise ValueError(f"{layer.name}: a run learns its Gaussians, and would lose track; duplicate it first")
        return layer

    def merge(self, layer: Layer, progress: Callable[[float], object], cancel: CancelFlag) -> str:
        """Merge its rows to the share that stays, as a layer of its own under the wipe; says what came of it.

        Raises: Cancelled.
        """
        rows, keep = _shown(layer), self.cut.keep
        found = merged(rows, keep, progress=progress, cancel=cancel)
        workspace, name = self._session.workspace, f"{layer.name}, merged to {keep:.1%}"
        made = workspace.add(name, found, home=layer.home)
        place = {"wxyz": layer.wxyz, "position": layer.position, "scale": layer.scale}
        workspace.change(made.key, f"place {name}", **place)
        workspace.change(layer.key, f"hide {layer.name}", visible=False)
        self.key = None
        self._session.set_compare(mode="wipe", layer_a=layer.key, layer_b=made.key, own_b=None, photo=None)
        self._tell()
        return f"{len(found):,} of {len(rows):,} Gaussians"

    # What is shown.

    def layer(self, layer: Layer) -> Layer:
        """The layer as the cut leaves it; any other as it is."""
        rows = self.stays(layer)
        return layer if rows is None else replace(layer, hidden_rows=~rows)

    def stays(self, layer: Layer) -> torch.Tensor | None:  # [N] bool
        """The rows of the layer that stay and are not hidden; None where no cut of it is shown, or not yet."""
        ranked, asset = self.ranked, layer.asset
        if layer.key != self.key or ranked is None or ranked.key != layer.key or not isinstance(asset, Gaussians):
            return None
        last = self._last
        if last is not None and last[0] is ranked and last[1] == self.cut:
            if last[2].asset is asset and last[2].hidden_rows is layer.hidden_rows:
                return last[3]
        rows = _rows_of(ranked, layer, asset, ranked.spectrum.mask(*self.shares))
        self._last = (ranked, self.cut, layer, rows)
        return rows

    @property
    def shares(self) -> tuple[float, float]:
        """Share that stays, and of it the share from above: all, but for the band-stop."""
        return self.cut.keep, self.cut.ratio if self.basis.criterion == "band_stop" else 1.0

    def _shown_layer(self) -> Layer:
        if self.key is None:
            raise ValueError("prune: no cut is shown; show one first")
        return self._session.workspace.layer(self.key)

    # Ranking.

    def _tell(self) -> None:
        if self.key is not None:
            self._work.ask()
        self._session.events.publish(PruningChanged())
        self._session.loop.request("change")

    def _on_event(self, event: WorkspaceEvent) -> None:
        if self.key is None:
            return
        match event:
            case AssetReplaced(key) if key == self.key:
                self._work.ask()
            case RunChanged(status) if status.layer == self.key and status.state != "running":
                self._work.ask()
            case LayersChanged(_, after):
                if all(layer.key != self.key for layer in after):
                    self.key = self.ranked = self._last = None
                self._tell()

    def _is_old(self, layer: Layer) -> bool:
        """Whether the layer has other rows than those that were ranked, and it is time to look at them."""
        ranked = self.ranked
        if ranked is None or ranked.asset is layer.asset:
            return ranked is None
        statuses = self._session.optimisation.statuses()
        goes_on = any(status.layer == layer.key and status.state == "running" for status in statuses)
        patience = max(RENEW_SECONDS, RENEW_TIMES * ranked.seconds) if goes_on else 0.0
        return time.monotonic() - ranked.at > patience

    def _rank(self) -> None:
        """In the thread of `_work`."""
        layer = next((x for x in self._session.workspace.layers if x.key == self.key), None)
        basis, ranked = self.basis, self.ranked
        if layer is None:
            return
        same = ranked is not None and (ranked.key, ranked.basis) == (layer.key, basis)
        if not (same and ranked is not None and ranked.hidden is layer.hidden_rows) or self._is_old(layer):
            self.busy = True
            self._session.events.publish(PruningChanged())
            try:
                self.ranked = _ranked(layer, basis)
            except (ValueError, OSError) as error:
                self.key = None
                self._session.refuse(error)
            finally:
                self.busy = False
            self._session.events.publish(PruningChanged())
            self._session.loop.request("change")
        if self._sized is None or self._sized[0] != layer.key or self._sized[1] is not layer.hidden_rows:
            self.sizes, self._sized = file_sizes(_shown(layer)), (layer.key, layer.hidden_rows)
            self._session.events.publish(PruningChanged())


def _selection(layer: Layer, rows: torch.Tensor) -> Selection:  # [N] bool
    assert isinstance(layer.asset, Gaussians)
    return Selection().then("add", Rows.of(layer.asset.ids[rows]))


def _shown(layer: Layer) -> Gaussians:
    assert isinstance(layer.asset, Gaussians)
    return (layer.asset if layer.shown_rows is None else layer.asset.keep(layer.shown_rows)).to("cpu")


def _ranked(layer: Layer, basis: Basis) -> Ranked:
    began, asset = time.perf_counter(), layer.asset
    assert isinstance(asset, Gaussians)
    rows, cameras = _shown(layer), ""
    seen = None
    if basis.criterion in WITH_CAMERAS:
        views = all_around(rows)
        cameras = views.description
        seen = seen_from(views, rows, sensitivity=basis.criterion == "sensitivity")
    # What is being optimised is another one each time: nothing to keep on the disk.
    spectrum = ranking(rows, basis.criterion, basis.options, seen, cached=layer.run is None)
    ids = rows.ids.numpy()
    places = np.argsort(ids, kind="stable")
    return Ranked(
        key=layer.key,
        basis=basis,
        asset=asset,
        hidden=layer.hidden_rows,
        spectrum=spectrum,
        histogram=histogram_of(spectrum),
        cameras=cameras,
        seconds=time.perf_counter() - began,
        at=time.monotonic(),
        ids=ids[places],
        places=places,
    )


def _rows_of(ranked: Ranked, layer: Layer, asset: Gaussians, mask: torch.Tensor) -> torch.Tensor:  # [N] bool
    """The rows of the layer that stay and are not hidden, from the mask of those that were ranked."""
    shown = layer.shown_rows
    if ranked.of(layer):
        if shown is None:
            return mask
        rows = shown.clone()
        rows[shown] = mask
        return rows
    ids = asset.ids.cpu().numpy()
    if len(ranked.ids) == 0:
        return torch.ones(len(ids), dtype=torch.bool)
    at = np.minimum(np.searchsorted(ranked.ids, ids), len(ranked.ids) - 1)
    rows = torch.from_numpy((ranked.ids[at] != ids) | mask.numpy()[ranked.places[at]])
    return rows if shown is None else rows & shown
