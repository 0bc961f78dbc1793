"""One cell of the cache: what was counted in it, what is stored there, and the way to where that was seen from."""

from __future__ import annotations

from typing import Any

import numpy as np
import viser

from h3d.app.session import Session
from h3d.models.hash3d import CacheView, Column
from h3d.models.hash3d.cells import normalised
from h3d.models.hash3d.sphere import UP, Patches, in_layer
from h3d.models.similarity import IDENTITY, Similarity
from h3d.renderers.cameras import Camera, orbit

from .handles import note, on_press, table

NO_CELL = "Click a cell of the sphere."
NO_VIEW = "nothing is stored there"
MOST_LISTED = 50
COUNTED = (
    Column.TRIES,
    Column.HITS,
    Column.MISSES,
    Column.INSERTIONS,
    Column.REBINNED,
    Column.EVICTED_BY_QUEUE,
    Column.EVICTED_BY_BUDGET,
    Column.EVICTED_BY_AGE,
    Column.EVICTED_BY_INVALIDATION,
    Column.OCCUPANCY,
    Column.CHECKS,
    Column.FOREIGN,
)
Key = tuple[float, float, float, float]
"""Azimuth and elevation in degrees, radius, timestep."""


class CellPart:
    """Part of the Hash3D panel. The cell is known by its direction: another grid has another cell there."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.direction: tuple[float, float] | None = None
        self.place = IDENTITY
        self._listed: dict[str, Key] = {}

    def build(self) -> None:
        """Make the handles in the current container."""
        gui = self.session.client.gui
        self.text = gui.add_html(note(NO_CELL))
        self.views: viser.GuiDropdownHandle[Any] = gui.add_dropdown(
            "Stored", (NO_VIEW,), initial_value=NO_VIEW, hint="As they were asked for, the newest first."
        )
        self.look = gui.add_button("Look from there", disabled=True, hint="Moves this tab's camera.")
        on_press(self.session, self.look, self.look_from_there)

    def show(self, view: CacheView, found: Patches, layer: int | None, place: Similarity) -> None:
        """Show the chosen cell as it stands in this view."""
        self.place = place
        patch = None if self.direction is None else found.at(*self.direction)
        self.text.content = note(NO_CELL) if patch is None else table(facts(view, found, patch))
        listed = {} if patch is None else stored_views(view, found, patch, layer)
        if listed == self._listed:
            return
        self._listed = listed
        chosen = self.views.value
        self.views.options = tuple(listed) or (NO_VIEW,)
        if chosen in listed:
            self.views.value = chosen
        self.look.disabled = len(listed) == 0

    def look_from_there(self) -> None:
        """Fly to where the chosen entry was seen from. Raises: ValueError where it has left meanwhile."""
        key = self._listed.get(self.views.value)
        if key is None:
            raise ValueError(f"{self.views.value}: it is no longer stored; choose another view")
        camera = stored_camera(key, self.place, self.session.camera())
        self.session.navigation.goto(camera, distance=key[2] * self.place.scale)


def facts(view: CacheView, found: Patches, patch: int) -> list[tuple[str, str]]:
    """What there is to say of a patch, over its radii and timesteps."""
    statistics, rows = view.statistics, found.cells(patch)
    (left, right), (low, high) = found.bounds[patch].tolist()
    grids = f", grid {found.grid[patch] + 1} of {len(statistics.grids)}" if len(statistics.grids) > 1 else ""
    counts = statistics.counts[rows].sum(axis=0)
    lines = [("cell", f"azimuth {left:g}° to {right:g}°, elevation {low:g}° to {high:g}°{grids}")]
    if np.isfinite(found.values[patch]):
        lines.append((found.quantity, f"{found.values[patch]:.4g}"))
    lines += [
        (column.name.lower().replace("_", " "), f"{counts[column]:,}")
        for column in COUNTED
        if counts[column] > 0 or column in (Column.TRIES, Column.HITS, Column.OCCUPANCY)
    ]
    lines.append(("bytes", f"{counts[Column.BYTES]:,}"))
    if found.last_hit[patch] >= 0:
        lines.append(("last hit", f"step {found.last_hit[patch]:,} of {statistics.step:,}"))
    return lines


def stored_views(view: CacheView, found: Patches, patch: int, layer: int | None) -> dict[str, Key]:
    """Raw keys of the entries of a patch by a text, the newest first."""
    keys, statistics = view.stored.keys, view.statistics
    if len(keys) == 0:
        return {}
    cells = statistics.grids[int(found.grid[patch])].cells(normalised(keys))
    rows = statistics.cells[found.cells(patch)]
    same = (cells[:, None, :2] == rows[None, :1, :2]).all(axis=(1, 2))
    timesteps = statistics.grids[int(found.grid[patch])].bounds(cells)[:, 3]
    held = np.flatnonzero(same & in_layer(statistics, timesteps, layer))[::-1][:MOST_LISTED]
    found_keys = [(*keys[i].tolist(),) for i in held]
    return {_text(key, int(view.stored.steps[i])): key for key, i in zip(found_keys, held, strict=True)}


def stored_camera(key: Key, place: Similarity, like: Camera) -> Camera:
    """Where an entry was seen from, in the world where its run's layer stands; angle and size as `like` has them."""
    camera = orbit(
        np.zeros(3), max(key[2], 1e-6), azimuth_degrees=key[0], elevation_degrees=key[1], up=UP
    ).camera_to_world
    return Camera(place.pose(camera), like.fov_y_radians, like.width, like.height)


def _text(key: Key, step: int) -> str:
    azimuth, elevation, radius, timestep = key
    return f"{azimuth:.1f}°, {elevation:.1f}°, r {radius:.3g}, t {timestep:g}; step {step:,}"
