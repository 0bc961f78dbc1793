"""The rows that one tab has selected of a layer, and what is done with them.

A selection is an expression in the frame of the layer's rows, evaluated on the rows that the layer shows: it goes along
when the layer is placed elsewhere, when its rows are moved, and while they are being learnt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import torch

from h3d.models.gaussians import Gaussians
from h3d.models.selection import How, Rows, Selection, Shape
from h3d.models.similarity import Similarity

from .figures import picking
from .figures.compare import Comparison
from .figures.pictures import View
from .workspace.events import (
    AssetReplaced,
    LayersChanged,
    LayerSelected,
    SelectionChanged,
    SessionEvent,
    WorkspaceEvent,
)
from .workspace.scene import Layer
from .workspace.workspace import LockedError

if TYPE_CHECKING:
    from .session import Session

Join = Literal["replace", "add", "subtract", "intersect"]
JOINS: tuple[Join, ...] = get_args(Join)


@dataclass(frozen=True)
class Chosen:
    """What is selected: of which layer, and where the world of its data lay when that was said."""

    key: int
    selection: Selection
    frame: Similarity

    def now(self, asset: Gaussians) -> Selection:
        """The selection where the rows are now."""
        if asset.frame == self.frame:
            return self.selection
        return self.selection.moved(asset.frame.after(self.frame.inverse))


@dataclass(frozen=True)
class _Marked:
    """The last mask, and what it is of."""

    chosen: Chosen
    asset: Gaussians
    hidden: torch.Tensor | None
    rows: torch.Tensor  # [N] bool
    shown: Gaussians | None = None  # with the rows in their colour

    def of(self, chosen: Chosen, layer: Layer) -> bool:
        return self.chosen is chosen and self.asset is layer.asset and self.hidden is layer.hidden_rows


class Selecting:
    """Of one tab. Methods are called from its hands; `marked` from its render loop."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._chosen: Chosen | None = None
        self._last: _Marked | None = None
        self.join: Join = "replace"
        self.seen_only = False
        session.events.subscribe(self._on_event)
        session.at_close(session.workspace.events.subscribe(self._on_event))

    # Selecting.

    def choose(self, shape: Shape, join: Join | None = None) -> None:
        """Select rows of the selected layer by a shape in the world, joined with what there was.

        Raises:
            ValueError: no layer of Gaussians is selected.
        """
        layer, asset = self._layer()
        self._join(layer, asset, shape.moved(layer.place.inverse), join or self.join)

    def rectangle(self, low: tuple[float, float], high: tuple[float, float]) -> None:
        """Select what the tab shows within a rectangle of its canvas, x and y in [0, 1]. Raises: as `choose`."""
        session, (layer, asset) = self._session, self._layer()
        side, low, high, camera = session.navigation.part_of(low, high)
        shape = picking.rectangle(camera, low, high).moved(layer.place.inverse)
        if not self.seen_only:
            self._join(layer, asset, shape, self.join)
            return
        x0, y0 = int(low[0] * camera.width), int(low[1] * camera.height)
        x1, y1 = max(round(high[0] * camera.width), x0 + 1), max(round(high[1] * camera.height), y0 + 1)
        seen = picking.seen_rows(session.drawing.view(side), layer.key, camera, (x0, y0, x1, y1))
        if len(seen) != len(asset):  # It is hidden, or has gone on since.
            raise ValueError(f"{layer.name}: it was not in this picture; show it, and draw the rectangle again")
        self._join(layer, asset, Rows.of(asset.ids[seen & shape.mask(asset)]), self.join)

    def invert(self) -> None:
        """Select all others. Raises: as `choose`."""
        layer, asset = self._layer()
        self._set(layer, asset, self._selection(layer, asset).inverted)

    def clear(self) -> None:
        """Select nothing."""
        self._chosen = self._last = None
        self._tell()

    def _join(self, layer: Layer, asset: Gaussians, shape: Shape, join: Join) -> None:
        before = Selection() if join == "replace" else self._selection(layer, asset)
        how: How = "add" if join == "replace" else join
        self._set(layer, asset, before.then(how, shape))

    def _set(self, layer: Layer, asset: Gaussians, selection: Selection) -> None:
        self._chosen = Chosen(layer.key, selection, asset.frame)
        self._tell()

    def _selection(self, layer: Layer, asset: Gaussians) -> Selection:
        chosen = self._chosen
        return chosen.now(asset) if chosen is not None and chosen.key == layer.key else Selection()

    # Acting.

    def delete(self, *, others: bool = False) -> int:
        """Delete the selected rows, or all others; returns how many. Undo brings them back.

        Raises:
            ValueError: nothing is selected, or no row would be left.
            LockedError: the layer is locked.
        """
        layer, asset = self._layer()
        selection = self._selection(layer, asset)
        rows = self._rows(layer)
        if len(selection.parts) == 0 or rows is None or not bool(rows.any()):
            raise ValueError(f"{layer.name}: no Gaussians are selected; select some first")
        selection = selection.inverted if others else selection
        if layer.locked:
            raise LockedError(f"{layer.name} is locked; unlock it first to delete of it")
        cause = f"{'crop' if others else 'delete from'} {layer.name}"
        run = self._session.optimisation.edits.run_of(layer)
        count = self._hide(layer, rows, others, cause) if run is None else self._run_delete(run, cause, selection)
        self.clear()
        return count

    def bake(self) -> None:
        """Move the selected layer's rows to where they stand. Raises: as `choose`, and LockedError."""
        layer, _ = self._layer()
        if layer.locked:
            raise LockedError(f"{layer.name} is locked; unlock it first to bake it")
        run = self._session.optimisation.edits.run_of(layer)
        if run is None:
            self._session.workspace.bake(layer.key)
        else:
            self._session.optimisation.edits.bake(run, f"bake {layer.name}")

    def _run_delete(self, run: int, cause: str, selection: Selection) -> int:
        return self._session.optimisation.edits.delete(run, cause, selection)

    def _hide(self, layer: Layer, rows: torch.Tensor, others: bool, cause: str) -> int:
        shown = layer.shown_rows
        shown = torch.ones_like(rows) if shown is None else shown
        gone = shown & ~rows if others else rows
        if bool((gone == shown).all()):
            raise ValueError(f"{layer.name}: all {int(shown.sum()):,} Gaussians are meant; remove the layer instead")
        self._session.workspace.change(layer.key, cause, hidden_rows=~shown | gone)
        return int(gone.sum())

    # Showing.

    def marked(self, subject: View | Comparison) -> View | Comparison:
        """What the tab shows, with the selected rows in their colour where colours are shown."""
        if self._chosen is None:
            return subject
        if isinstance(subject, Comparison):
            return replace(subject, a=self._marked_view(subject.a), b=self._marked_view(subject.b))
        return self._marked_view(subject)

    def _marked_view(self, view: View) -> View:
        if view.display.mode != "rgb":
            return view
        return replace(view, layers=tuple(self._marked_layer(layer) for layer in view.layers))

    def _marked_layer(self, layer: Layer) -> Layer:
        rows = self._rows(layer)
        last = self._last
        if rows is None or last is None or last.rows is not rows or not bool(rows.any()):
            return layer
        if last.shown is None:
            last = self._last = replace(last, shown=picking.highlighted(last.asset, rows))
        return replace(layer, asset=last.shown)

    def _rows(self, layer: Layer) -> torch.Tensor | None:  # [N] bool
        """The selected rows of a layer; None where nothing of it can be."""
        chosen, asset = self._chosen, layer.asset
        if chosen is None or chosen.key != layer.key or not isinstance(asset, Gaussians):
            return None
        last = self._last
        if last is not None and last.of(chosen, layer):
            return last.rows
        selection, shown = chosen.now(asset), layer.shown_rows
        if shown is None:
            rows = selection.mask(asset)
        else:
            rows = torch.zeros_like(shown)
            rows[shown] = selection.mask(asset.keep(shown))
        self._last = _Marked(chosen, asset, layer.hidden_rows, rows)
        return rows

    def _layer(self) -> tuple[Layer, Gaussians]:
        layer = self._session.selected_layer()
        if layer is None or not isinstance(layer.asset, Gaussians):
            raise ValueError("edit: select a layer of Gaussians first; other layers have no rows")
        return layer, layer.asset

    def count(self) -> tuple[int, int]:
        """How many rows of the selected layer are selected, and of how many."""
        layer = self._session.selected_layer()
        if layer is None or not isinstance(layer.asset, Gaussians):
            return 0, 0
        rows, hidden = self._rows(layer), layer.hidden_rows
        total = len(layer.asset) - (0 if hidden is None else int(hidden.sum()))
        return 0 if rows is None else int(rows.sum()), total

    def _tell(self) -> None:
        self._session.events.publish(SelectionChanged(*self.count()))
        self._session.loop.request("change")

    def _on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        chosen = self._chosen
        match event:
            case LayerSelected(key) if chosen is not None and chosen.key != key:
                self.clear()
            case AssetReplaced(key) if chosen is not None and chosen.key == key:
                self._session.events.publish(SelectionChanged(*self.count()))
            case LayersChanged() | LayerSelected():
                self._session.events.publish(SelectionChanged(*self.count()))
