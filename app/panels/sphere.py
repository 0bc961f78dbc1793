"""The Hash3D cache of a run: the sphere of its camera cells, its counters, its course, and all of it as files."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

import viser

from h3d.app.figures.cache_sphere import SUFFIXES, write_csv, write_figure
from h3d.app.newest import Newest
from h3d.app.opening import Opener
from h3d.app.session import Session
from h3d.app.workspace.events import LayersChanged, RunChanged, SessionEvent, WorkspaceEvent
from h3d.app.workspace.runs import RunStatus
from h3d.models.hash3d import CacheView
from h3d.models.hash3d.sphere import Quantity, patches, timestep_layers
from h3d.models.similarity import IDENTITY

from .handles import note, on_person, on_press, table
from .sphere_cell import CellPart
from .sphere_facts import counters, legend
from .sphere_scene import Look, Sides, SphereScene, camera_radius
from .sphere_timeline import TimelinePart

NO_CACHE = "No run here learns from a denoiser with a cache; open a cut-out picture, or start h3d-view with --prompt."
QUANTITIES, SIDES = get_args(Quantity), get_args(Sides)
SIDES_HINT = "far: behind the object; near: before it, seen through; both."
SIZE_HINT = "1 = as far out as the cameras are."
FORMATS = tuple(suffix[1:].upper() for suffix in SUFFIXES)


class SpherePanel:
    title = "Hash3D"

    def __init__(self, session: Session, opener: Opener) -> None:
        self.session, self.opener = session, opener
        self.status: RunStatus | None = None  # the last of a run with a cache
        self.drawn: object = None  # what all that is shown was made of
        self.scene = SphereScene(session)
        self.cell = CellPart(session)
        self.timeline = TimelinePart(session)
        self.work = Newest(self._draw, "sphere")
        session.at_close(self.work.close)

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session = self.session.client.gui, self.session
        self.remark = gui.add_html(note(NO_CACHE))
        self.shown = gui.add_checkbox("Show sphere", False, hint="In the scene, around the object. Click its cells.")
        on_press(session, gui.add_button("Sphere in view", hint="Flies to where all of it is seen."), self.frame)
        self.quantity: viser.GuiDropdownHandle[Any] = gui.add_dropdown("Colour", QUANTITIES, initial_value="hit rate")
        self.layer = gui.add_slider("Timesteps", min=0, max=1, step=1, initial_value=0, hint="0 = all together.")
        self.bar = gui.add_html("")
        with gui.add_folder("Sphere", expand_by_default=False):
            self.sides: viser.GuiDropdownHandle[Any] = gui.add_dropdown(
                "Side", SIDES, initial_value="far", hint=SIDES_HINT
            )
            self.opacity = gui.add_slider("Near side", min=0.05, max=1.0, step=0.05, initial_value=0.25)
            self.size = gui.add_slider("Sphere size", min=0.2, max=1.5, step=0.05, initial_value=0.6, hint=SIZE_HINT)
        with gui.add_folder("Cell"):
            self.cell.build()
        self.timeline.build()
        with gui.add_folder("Counters", expand_by_default=False):
            self.counters = gui.add_html("")
        with gui.add_folder("Save", expand_by_default=False):
            self.format = gui.add_dropdown("Figure as", FORMATS, initial_value=FORMATS[0])
            on_press(session, gui.add_button("Save figure", hint="A map of the sphere, for paper."), self.save_figure)
            on_press(session, gui.add_button("Save CSV", hint="All counters, a line a cell."), self.save_csv)
        for handle in (self.shown, self.quantity, self.layer, self.sides, self.opacity, self.size):
            on_person(session, handle, lambda _: self.work.ask())
        for status in session.optimisation.statuses():
            self.on_event(RunChanged(status))

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, RunChanged):
            if event.status.cache is not None:
                self.status = event.status
                self.work.ask()
        elif isinstance(event, LayersChanged):
            self.work.ask()

    def frame(self) -> None:
        """Show the sphere and fly to where all of it is seen. Raises: ValueError where there is no cache."""
        status, view = self._cached()
        self.shown.value = True
        self.work.ask()
        self.scene.frame(self._look(status, view))

    def click(self, origin: tuple[float, ...], direction: tuple[float, ...]) -> None:
        """Choose the cell that a ray of the world meets on the sphere; nothing changes where it meets none."""
        at = self.scene.direction(origin, direction)
        if at is not None:
            self.cell.direction = at
            self.work.ask()

    def save_figure(self) -> None:
        """The sphere as it is chosen here, as a file for the person. Raises: ValueError where there is no cache."""
        (status, view), quantity = self._cached(), self.quantity.value
        name = f"hash3d_{quantity.replace(' ', '_')}_{status.step}.{self.format.value.lower()}"
        write = partial(write_figure, view=view, quantity=quantity, layer=self._layer(view))
        self.opener.deliver(name, write, self.session)

    def save_csv(self) -> None:
        """Every cell's counters as a file for the person. Raises: ValueError where there is no cache."""
        status, view = self._cached()
        self.opener.deliver(f"hash3d_cells_{status.step}.csv", partial(write_csv, view=view), self.session)

    def _cached(self) -> tuple[RunStatus, CacheView]:
        if self.status is None or self.status.cache is None:
            raise ValueError(NO_CACHE)
        return self.status, self.status.cache

    def _layer(self, view: CacheView) -> int | None:
        """Which of the timestep layers is chosen; None = all."""
        chosen = int(self.layer.value)
        return chosen - 1 if 0 < chosen <= len(timestep_layers(view.statistics)) else None

    def _look(self, status: RunStatus, view: CacheView) -> Look:
        layer = next((x for x in self.session.workspace.layers if x.key == status.layer), None)
        place = IDENTITY if layer is None else layer.data_place
        radius = camera_radius(view) * float(self.size.value)
        return Look(radius, place, self.sides.value, float(self.opacity.value))

    def _draw(self) -> None:
        """Show what there is now, in the thread of `work`; nothing is done where nothing has changed."""
        status = self.status
        if status is None or status.cache is None:
            return
        view, shown = status.cache, bool(self.shown.value)
        layers, layer = timestep_layers(view.statistics), self._layer(view)
        look = self._look(status, view)
        state = (view, status.meters, self.quantity.value, layer, look, shown, self.cell.direction)
        if state == self.drawn:
            return
        self.drawn = state
        found = patches(view.statistics, self.quantity.value, layer)
        self.remark.content = note(f"{status.name}, step {status.step:,}")
        self.layer.max = max(1, len(layers))
        self.bar.content = legend(found, None if layer is None else layers[layer])
        self.counters.content = table(counters(view))
        self.cell.show(view, found, layer, look.place)
        self.timeline.show(status)
        if shown:
            self.scene.draw(view, found, look)
        else:
            self.scene.hide()
        if shown != ("sphere" in self.session.overlays):
            self.session.set_overlay("sphere", shown)
