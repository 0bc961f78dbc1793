"""How the cache has served over the steps: hit rate, time of the UNet saved, memory. Part of the Hash3D panel."""

from __future__ import annotations

import numpy as np
import viser
from viser import uplot

from h3d.app.session import Session
from h3d.app.workspace.runs import RunStatus

METERS = ("hit rate", "UNet time saved", "cache MB")
"""As the trainer names them."""
ASPECT = 2.6
EMPTY = (np.zeros(1), np.zeros(1))
SCALES: dict[str, uplot.Scale] = {"x": uplot.Scale(time=False), "y": uplot.Scale()}


class TimelinePart:
    """One plot a meter; those that a run does not have are hidden."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._plots: dict[str, viser.GuiUplotHandle] = {}
        self._shown: dict[str, tuple[tuple[int, float], ...]] = {}

    def build(self) -> None:
        """Make the handles in the current container."""
        for name in METERS:
            series = (uplot.Series(label="step"), uplot.Series(label=name, stroke="#4dabf7", width=2))
            self._plots[name] = self.session.client.gui.add_uplot(
                (np.zeros(1), np.zeros(1)),
                series,
                title=f"{name}, by steps",
                aspect=ASPECT,
                scales=SCALES,
                visible=False,
            )

    def show(self, status: RunStatus) -> None:
        """Plot the meters of a run as far as it went."""
        for name, plot in self._plots.items():
            points = status.meters.get(name, ())
            plot.visible = len(points) > 1
            if len(points) > 1 and points != self._shown.get(name):
                self._shown[name] = points
                steps, values = np.array(points, np.float64).T
                plot.data = (steps, values)
