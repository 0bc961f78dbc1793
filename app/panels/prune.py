"""Fewer Gaussians: what decides which of them stay, how many do, and what that looks like, before it is done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import get_args

import viser

from h3d.app.pruning import Ranked
from h3d.app.session import Session
from h3d.app.workspace.events import (
    AssetReplaced,
    CompareChanged,
    LayersChanged,
    LayerSelected,
    Measured,
    PruningChanged,
    SessionEvent,
    WorkspaceEvent,
)
from h3d.models.formats.predicted_size import FileSize
from h3d.models.pruning import CRITERIA
from h3d.models.sundae import Signal, Variant, cut_counts

from .handles import note, on_choice, on_person, on_press, show, table
from .layers import LayersPanel
from .spectrum_plot import spectrum_plot

START = "Select a layer of Gaussians and show the cut: A stays whole, B is pruned."
RANKING = "ranking the Gaussians ..."
KEEP_HINT = "Share of the Gaussians that stays."
BAND_HINT = (
    "Of those that stay, the share with the highest responses: edges and detail. The rest has the lowest: surfaces. "
    "What lies between is left out (SUNDAE's gamma)."
)
CRITERION_HINT = (
    "band_stop needs no camera; hit_count, lightgaussian, mini_splatting and radsplat look from cameras all around."
)
SIGNALS_HINT = "What is compared with its neighbours; of several, each counts as much as the others."
BEFORE = "Before fine-tune: what is left out is missed until the others have learnt to make up for it."


class PrunePanel:
    title = "Prune"

    def __init__(self, session: Session, layers: LayersPanel) -> None:
        self.session, self.layers, self.pruning = session, layers, session.pruning
        self.measured = ""

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session, pruning = self.session.client.gui, self.session, self.pruning
        self.toggle = gui.add_button("Show the cut", color="green", hint=START)
        on_press(session, self.toggle, self.begin_or_end)
        self.keep = gui.add_slider("Keep", min=0.0, max=1.0, step=0.005, initial_value=pruning.cut.keep, hint=KEEP_HINT)
        on_person(session, self.keep, lambda value: pruning.set_cut(keep=float(value)))
        self.ratio = gui.add_slider(
            "Band-stop", min=0.0, max=1.0, step=0.01, initial_value=pruning.cut.ratio, hint=BAND_HINT
        )
        on_person(session, self.ratio, lambda value: pruning.set_cut(ratio=float(value)))
        self.plot = gui.add_html("")
        self.facts = gui.add_html(note(START))
        on_choice(session, gui.add_button_group("Cut", ("Apply", "Undo", "Redo")), self._act)
        with gui.add_folder("Ranked by", expand_by_default=False):
            self.criterion = gui.add_dropdown(
                "Criterion", CRITERIA, initial_value=pruning.basis.criterion, hint=CRITERION_HINT
            )
            on_person(session, self.criterion, lambda value: pruning.set_basis(criterion=value))
            self.variant: viser.GuiDropdownHandle[Variant] = gui.add_dropdown(
                "Graph", get_args(Variant), initial_value=pruning.basis.variant, hint="Of band_stop."
            )
            on_person(session, self.variant, lambda value: pruning.set_basis(variant=value))
            self.neighbours = gui.add_slider(
                "Neighbours", min=1, max=32, step=1, initial_value=pruning.basis.neighbours, hint="Of graph local."
            )
            on_person(session, self.neighbours, lambda value: pruning.set_basis(neighbours=int(value)))
            self.signals = {
                signal: gui.add_checkbox(f"By {signal}", signal in pruning.basis.signals, hint=SIGNALS_HINT)
                for signal in get_args(Signal)
            }
            for handle in self.signals.values():
                on_person(session, handle, lambda _: self._set_signals())
        with gui.add_folder("Files", expand_by_default=False):
            self.sizes = gui.add_html("")
        self._show()

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        match event:
            case Measured(text) if self.pruning.key is not None:
                self.measured = text
                self._show()
            case CompareChanged():
                self.measured = ""
                self._show()
            case AssetReplaced(key) if key == self.pruning.key:
                self._show()
            case PruningChanged() | LayersChanged() | LayerSelected():
                self._show()

    def begin_or_end(self) -> None:
        """Show the cut of the selected layer, or everything again."""
        (self.pruning.begin if self.pruning.key is None else self.pruning.end)()

    def apply(self) -> None:
        """Delete what does not stay."""
        self.session.notify(f"{self.pruning.apply():,} Gaussians deleted", "Undo brings them back.")

    def _act(self, label: str) -> None:
        {"Apply": self.apply, "Undo": self.layers.undo, "Redo": self.layers.redo}[label]()

    def _set_signals(self) -> None:
        self.pruning.set_basis(signals=tuple(name for name, handle in self.signals.items() if handle.value))

    def _show(self) -> None:
        pruning, ranked = self.pruning, self.pruning.ranked
        band = pruning.basis.criterion == "band_stop"
        self.toggle.label = "Show the cut" if pruning.key is None else "Show all again"
        self.ratio.visible = self.variant.visible = band
        for handle in self.signals.values():
            handle.visible = band
        self.neighbours.visible = pruning.basis.criterion == "density" or (band and pruning.basis.variant == "local")
        show(self.session, self.keep, pruning.cut.keep)
        show(self.session, self.ratio, pruning.cut.ratio)
        for signal, handle in self.signals.items():
            show(self.session, handle, signal in pruning.basis.signals)
        shown = pruning.key is not None and ranked is not None and ranked.key == pruning.key
        if not shown or ranked is None:
            self.plot.content = self.sizes.content = ""
            self.facts.content = note(START if pruning.key is None else RANKING)
            return
        low, high = cut_counts(len(ranked.spectrum), *pruning.shares)
        self.plot.content = spectrum_plot(ranked.histogram, low, high)
        self.facts.content = table(self._rows(ranked, low, high)) + note(f"{self.measured} {BEFORE}".strip())
        self.sizes.content = table(_sizes(pruning.sizes, low + high))

    def _rows(self, ranked: Ranked, low: int, high: int) -> list[tuple[str, str]]:
        rows = [("stay", f"{low + high:,} of {len(ranked.spectrum):,}")]
        if ranked.basis.criterion == "band_stop":
            rows += [("of these", f"{low:,} lowest, {high:,} highest"), ("isolated", f"{ranked.spectrum.isolated:,}")]
        if ranked.cameras:
            rows.append(("seen from", ranked.cameras))
        age = f", {time.monotonic() - ranked.at:.0f} s ago" if self._is_live(ranked) else ""
        ranking = RANKING if self.pruning.busy else f"in {ranked.seconds:.2f} s{age}"
        return [*rows, ("ranked", ranking)]

    def _is_live(self, ranked: Ranked) -> bool:
        return any(x.key == ranked.key and x.run is not None for x in self.session.workspace.layers)


def _sizes(sizes: Mapping[str, FileSize], rows: int) -> list[tuple[str, str]]:
    """What a file of so many rows takes in each format."""
    if rows == 0:
        return []
    return [(suffix, f"{'' if size.exact else 'about '}{size.of(rows) / 1e6:.2f} MB") for suffix, size in sizes.items()]
