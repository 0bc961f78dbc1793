"""What Gaussians are ranked by before they are cut. Part of the Prune panel."""

from __future__ import annotations

from typing import get_args

from h3d.app.session import Session
from h3d.models.pruning import CRITERIA
from h3d.models.sundae import Signal, Variant

from .handles import on_person, show

CRITERION_HINT = (
    "band_stop needs no camera; hit_count, lightgaussian, mini_splatting, radsplat and sensitivity look from cameras "
    "all around."
)
GRAPH_HINT = "Of band_stop. local: neighbours, each on its own scale; paper and official: SUNDAE's radius graphs."
SIGNALS_HINT = "What is compared with its neighbours; of several, each counts as much as the others."


class RankedByPart:
    """Criterion, graph and signals; those that mean nothing for the criterion are hidden."""

    def __init__(self, session: Session) -> None:
        self.session, self.pruning = session, session.pruning

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session, pruning, basis = self.session.client.gui, self.session, self.pruning, self.pruning.basis
        self.criterion = gui.add_dropdown("Criterion", CRITERIA, initial_value=basis.criterion, hint=CRITERION_HINT)
        on_person(session, self.criterion, lambda value: pruning.set_basis(criterion=value))
        self.variant = gui.add_dropdown("Graph", get_args(Variant), initial_value=basis.variant, hint=GRAPH_HINT)
        on_person(session, self.variant, lambda value: pruning.set_basis(variant=value))
        self.neighbours = gui.add_slider("Neighbours", min=1, max=32, step=1, initial_value=basis.neighbours)
        on_person(session, self.neighbours, lambda value: pruning.set_basis(neighbours=int(value)))
        self.signals = {
            signal: gui.add_checkbox(f"By {signal}", signal in basis.signals, hint=SIGNALS_HINT)
            for signal in get_args(Signal)
        }
        for handle in self.signals.values():
            on_person(session, handle, lambda _: self._set_signals())

    def show(self) -> None:
        """What stands, and only the handles that mean something."""
        basis = self.pruning.basis
        band = basis.criterion == "band_stop"
        self.variant.visible = band
        self.neighbours.visible = basis.criterion == "density" or (band and basis.variant == "local")
        for signal, handle in self.signals.items():
            handle.visible = band
            show(self.session, handle, signal in basis.signals)

    def _set_signals(self) -> None:
        self.pruning.set_basis(signals=tuple(name for name, handle in self.signals.items() if handle.value))
