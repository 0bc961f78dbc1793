"""Fewer Gaussians: what decides which of them stay, how many do, and what that looks like, before it is done."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from h3d.app.figures.spectrum import write_spectrum
from h3d.app.opening import Opener
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
from h3d.models.sundae import cut_counts

from .both_runs import BothRuns
from .handles import note, on_choice, on_person, on_press, show, table
from .layers import LayersPanel
from .long_work import LongWork
from .ranked_by import RankedByPart
from .spectrum_plot import spectrum_plot

START = "Select a layer of Gaussians and show the cut: A stays whole, B is pruned."
RANKING = "ranking the Gaussians ..."
KEEP_HINT = "Share of the Gaussians that stays."
BAND_HINT = (
    "Of those that stay, the share with the highest responses: edges and detail. The rest has the lowest: surfaces. "
    "What lies between is left out (SUNDAE's gamma)."
)
MERGE_HINT = (
    "Neighbours that are alike become one until as many are left as Keep says: slower than leaving out, and nearer to "
    "the whole. Made as a layer of its own and compared with this one."
)
COPY_HINT = (
    "Of a layer that is being learnt: a second run goes on from where it is, without what does not stay, and the two "
    "are wiped; Compare tells what the cut costs once both have learnt on."
)
FORMATS = ("PDF", "PNG", "SVG", "CSV")
BEFORE = "Before fine-tune: what is left out is missed until the others have learnt to make up for it."


class PrunePanel:
    title = "Prune"

    def __init__(self, session: Session, layers: LayersPanel, opener: Opener) -> None:
        self.session, self.layers, self.pruning, self.opener = session, layers, session.pruning, opener
        self.basis = RankedByPart(session)
        self.work = LongWork(session, "merge", "merged")
        self.both = BothRuns(session)
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
        on_press(session, gui.add_button("Prune a copy of the run", hint=COPY_HINT), self.apply_beside)
        on_press(session, gui.add_button("Merge instead", hint=MERGE_HINT), self.merge)
        self.work.build()
        with gui.add_folder("Ranked by", expand_by_default=False):
            self.basis.build()
        with gui.add_folder("Files", expand_by_default=False):
            self.sizes = gui.add_html("")
        with gui.add_folder("Save", expand_by_default=False):
            self.format = gui.add_dropdown("Spectrum as", FORMATS, initial_value=FORMATS[0])
            on_press(session, gui.add_button("Save spectrum", hint="With its notch; CSV has the bins."), self.save)
        self._show()

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        self.both.on_event(event)
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

    def apply_beside(self) -> None:
        """A pruned copy of the run beside it. Raises: as `Pruning.apply_beside`."""
        self.both.wipe(*self.pruning.apply_beside())

    def merge(self) -> None:
        """Merge to as many as the cut keeps, as a layer beside the selected one. Raises: as `Pruning.merge`."""
        layer = self.pruning.to_merge()
        self.work.start(Path(layer.name), partial(self.pruning.merge, layer))

    def save(self) -> None:
        """The spectrum with its notch as a file for the person. Raises: ValueError where no cut is shown."""
        pruning, ranked = self.pruning, self.pruning.ranked
        if pruning.key is None or ranked is None:
            raise ValueError("prune: no cut is shown; show one first")
        name, criterion = self.session.workspace.layer(ranked.key).name, ranked.basis.criterion
        low, high = cut_counts(len(ranked.spectrum), *pruning.shares)
        measured = "response" if criterion == "band_stop" else f"score by {criterion.replace('_', ' ')}"
        title = f"{name}: {low + high:,} of {len(ranked.spectrum):,} stay, {low:,} lowest and {high:,} highest"
        write = partial(write_spectrum, histogram=ranked.histogram, low=low, high=high, title=title, measured=measured)
        self.opener.deliver(f"{name}_spectrum.{self.format.value.lower()}", write, self.session)

    def _act(self, label: str) -> None:
        {"Apply": self.apply, "Undo": self.layers.undo, "Redo": self.layers.redo}[label]()

    def _show(self) -> None:
        pruning, ranked = self.pruning, self.pruning.ranked
        self.toggle.label = "Show the cut" if pruning.key is None else "Show all again"
        self.ratio.visible = pruning.basis.criterion == "band_stop"
        self.basis.show()
        show(self.session, self.keep, pruning.cut.keep)
        show(self.session, self.ratio, pruning.cut.ratio)
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
