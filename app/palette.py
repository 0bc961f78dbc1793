"""The command palette and the keys: one table of what a person can do, and the functions that panels call too.

The letters W A S D Q E and the arrows are not free: with them viser moves the camera.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import viser

from .figures.display import Mode, Shape
from .panels.camera import AXES, CameraPanel
from .panels.capture import CapturePanel
from .panels.compare import ComparePanel
from .panels.dataset import DatasetPanel
from .panels.edit import EditPanel
from .panels.field import FieldPanel
from .panels.layers import LayersPanel
from .panels.optimise import OptimisePanel
from .panels.prune import PrunePanel
from .session import Session

HELD_SECONDS = 0.25  # presses of one key closer than this are one key held


@dataclass(frozen=True)
class Command:
    """One entry of the palette."""

    label: str
    run: Callable[[], object]
    hotkey: Any = None  # one of viser's key names
    modifier: Any = None
    repeats: bool = False  # whether a key that is held goes on doing it

    @property
    def keys(self) -> str:
        """How a person reads the key, "" without one."""
        if self.hotkey is None:
            return ""
        key = str(self.hotkey)
        return f"{self.modifier.replace('cmd/', '')}+{key}" if self.modifier else key


def commands(
    session: Session,
    layers: LayersPanel,
    edit: EditPanel,
    prune: PrunePanel,
    camera: CameraPanel,
    compare: ComparePanel,
    capture: CapturePanel,
    optimise: OptimisePanel,
    dataset: DatasetPanel,
    field: FieldPanel,
) -> list[Command]:
    """All commands of one tab."""
    table = [
        Command("Frame the scene", session.navigation.frame, "F"),
        Command("Frame the selected layer", camera.frame_layer, "G"),
        Command("Reset the view", session.navigation.reset, "R"),
        Command("Bookmark this view", camera.add_bookmark, "M"),
        Command("Hide or show the layer", lambda: layers.toggle("visible"), "H"),
        Command("Lock or unlock the layer", lambda: layers.toggle("locked"), "L"),
        Command("Gizmo on or off", lambda: session.select(session.selected, gizmo=not session.gizmo), "T"),
        Command("Duplicate the layer", layers.duplicate, "V"),
        Command("Remove the layer", layers.remove),
        Command("Delete the selected Gaussians, else the layer", edit.delete_or_remove, "delete"),
        Command("Keep only the selected Gaussians", edit.keep_only),
        Command("Select no Gaussians", session.selecting.clear, "escape"),
        Command("Select all other Gaussians", session.selecting.invert),
        Command("Bake the layer's place", edit.bake),
        Command("Prune: show the cut, or all again", prune.begin_or_end),
        Command("Prune: apply the cut", prune.apply),
        Command("Undo", layers.undo, "Z", "cmd/ctrl"),
        Command("Redo", layers.redo, "Z", "cmd/ctrl+shift"),
        Command("Compare: next mode", compare.cycle, "C"),
        Command("Compare: flip A and B", compare.flip, "X"),
        Command("Compare: swap A and B", compare.swap),
        Command("Wipe: line to the left", lambda: compare.nudge(-0.02), "I", repeats=True),
        Command("Wipe: line to the right", lambda: compare.nudge(0.02), "O", repeats=True),
        Command("Training: hold or go on", optimise.start_or_pause, "K"),
        Command("Training: one step", optimise.step),
        Command("Photos: look from this one", dataset.jump, "J"),
        Command("Photos: the next one", lambda: dataset.step(1), "end"),
        Command("Photos: the one before", lambda: dataset.step(-1), "home"),
        Command("Capture and download", capture.download, "P"),
        Command("Command that renders this view", capture.show_command, "Y"),
        Command("Export the surface and download", field.export.download),
        Command("Antialiased on or off", lambda: session.set_display(antialiased=not session.display.antialiased), "N"),
        Command("Splats larger", lambda: _scale(session, 1.25), "pageup", repeats=True),
        Command("Splats smaller", lambda: _scale(session, 0.8), "pagedown", repeats=True),
        Command("Splats at their own size", lambda: session.set_display(splat_scale=1.0)),
        Command("Background black or white", lambda: _toggle_background(session), "B"),
        Command("Up is the view's up", lambda: session.navigation.set_up(session.camera().up), "U"),
    ]
    for number, mode in enumerate(get_args(Mode), start=1):
        table.append(Command(f"Show {mode}", lambda mode=mode: session.set_display(mode=mode), str(number)))
    for shape in get_args(Shape):
        table.append(Command(f"Draw {shape}", lambda shape=shape: session.set_display(shape=shape)))
    for number, (name, axis) in enumerate(AXES.items(), start=1):
        look = Command(
            f"Look along {name}", lambda axis=axis: session.navigation.look_along(np.array(axis)), str(number), "shift"
        )
        table += [look, Command(f"Up is {name}", lambda axis=axis: session.navigation.set_up(np.array(axis)))]
    return table


def register(session: Session, table: list[Command]) -> None:
    """Put the commands into the tab's palette and bind their keys."""
    for command in table:
        handle = session.client.gui.add_command(command.label, hotkey=command.hotkey, modifier=command.modifier)
        handle.on_trigger(_triggering(session, command))


def _triggering(session: Session, command: Command) -> Callable[[viser.CommandEvent], Coroutine[Any, Any, None]]:
    """What a key press does. A held key sends one press after another; most commands are done once for all of them."""
    last = float("-inf")

    async def trigger(_: viser.CommandEvent) -> None:
        nonlocal last
        now = time.monotonic()
        held, last = now - last < HELD_SECONDS, now
        if not held or command.repeats:
            session.hands.do(command.run)

    return trigger


def _scale(session: Session, factor: float) -> None:
    session.set_display(splat_scale=round(min(max(session.display.splat_scale * factor, 0.05), 3.0), 3))


def _toggle_background(session: Session) -> None:
    white = sum(session.display.background) > 1.5
    session.set_display(background=(0.0, 0.0, 0.0) if white else (1.0, 1.0, 1.0))
