"""The photos that a run learns from: their cameras in the scene, and the run compared with each of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import viser

from h3d.app.homes import photo_camera
from h3d.app.photos import PhotoTask
from h3d.app.session import Session
from h3d.app.workspace.comparing import CompareMode, PhotoShown
from h3d.app.workspace.events import CompareChanged, Measured, Notice, RunChanged, SessionEvent, WorkspaceEvent
from h3d.models.datasets import PosedImage, image
from h3d.models.training.photo_rays import as_bytes
from h3d.renderers.cameras import Camera, rotation_to_quat

from .handles import note, on_choice, on_person, on_press, show

THUMBNAIL_SIDE = 64
NOTHING = "no photos"
WAYS: dict[str, CompareMode] = {"wipe": "wipe", "side by side": "side_by_side", "error map": "difference"}
OFF, OVERLAY = "off", "overlay"


class DatasetPanel:
    title = "Photos"

    def __init__(self, session: Session) -> None:
        self.session, self.optimisation = session, session.optimisation
        self.run: int | None = None
        self.index = 0
        self.frusta: list[viser.CameraFrustumHandle] = []

    def build(self) -> None:
        """Make the handles in the current container."""
        gui, session = self.session.client.gui, self.session
        self.photo: viser.GuiDropdownHandle[Any] = gui.add_dropdown("Photo", (NOTHING,), initial_value=NOTHING)
        on_person(session, self.photo, self._choose)
        steps = gui.add_button_group("Go to", ("First", "Previous", "Next", "Last"))
        on_choice(session, steps, self._step)
        on_press(
            session, gui.add_button("Look from here", hint="Key J. Flies to where the photo was taken."), self.jump
        )
        self.way = gui.add_dropdown(
            "Compare",
            (OFF, OVERLAY, *WAYS),
            initial_value=OFF,
            hint="The picture with this photo. Differences are measured through the photo's own lens.",
        )
        on_person(session, self.way, lambda _: self.compare())
        self.opacity = gui.add_slider("Overlay", min=0.05, max=1.0, step=0.05, initial_value=0.5)
        on_person(session, self.opacity, lambda _: self.compare())
        self.numbers = gui.add_html("")
        with gui.add_folder("Cameras in the scene", expand_by_default=True):
            self.cameras = gui.add_dropdown("Show", ("none", "training", "test", "all"), initial_value="none")
            self.thumbnails = gui.add_checkbox("Thumbnails", True)
            self.size = gui.add_slider("Frustum size", min=0.02, max=1.0, step=0.01, initial_value=0.15)
            for handle in (self.cameras, self.thumbnails, self.size):
                on_person(session, handle, lambda _: self._draw_cameras())
        self._show()

    def on_event(self, event: SessionEvent | WorkspaceEvent) -> None:
        if isinstance(event, RunChanged) and self.run is None:
            self._show()
        elif isinstance(event, CompareChanged | Notice):
            self._show()
        elif isinstance(event, Measured) and self.session.compare.photo is not None:
            self.numbers.content = note(event.text)

    def step(self, by: int) -> None:
        """Look from the next photo, or one before."""
        task = self._task()
        if task is not None:
            self._go((self.index + by) % len(task.dataset))

    def jump(self) -> None:
        """Look from where the photo was taken."""
        posed = self._posed()
        if posed is not None:
            width, height = self.session.drawing.full_size()
            self.session.navigation.goto(self._placed(photo_camera(posed, width / height)))

    def compare(self) -> None:
        """Show the photo beside, over or against the picture, as the handles say."""
        way = self.way.value
        if self.run is None or way == OFF:
            self.session.set_compare(photo=None, mode="off")
            self.numbers.content = ""
            return
        overlay = float(self.opacity.value) if way == OVERLAY else 0.0
        mode: CompareMode = "off" if way == OVERLAY else WAYS[way]
        # Side A shows what is compared: the layer of the run alone.
        self.session.set_compare(photo=PhotoShown(self.run, self.index, overlay), mode=mode, layer_b=None)

    def _step(self, label: str) -> None:
        task = self._task()
        if task is not None:
            last = len(task.dataset) - 1
            self._go({"First": 0, "Previous": self.index - 1, "Next": self.index + 1, "Last": last}[label] % (last + 1))

    def _go(self, index: int) -> None:
        self.index = index
        self.jump()
        if self.session.compare.photo is not None:
            self.compare()
        self._show()

    def _choose(self, label: str) -> None:
        task = self._task()
        labels = [] if task is None else _labels(task)
        if label in labels:
            self._go(labels.index(label))

    def _task(self) -> PhotoTask | None:
        return None if self.run is None else self.session.photos.task(self.run)

    def _posed(self) -> PosedImage | None:
        task = self._task()
        return None if task is None else task.dataset.images[self.index]

    def _show(self) -> None:
        if self.run is None:
            photos = (s.key for s in self.optimisation.statuses() if self.session.photos.task(s.key) is not None)
            self.run = next(photos, None)
        task = self._task()
        labels = (NOTHING,) if task is None else tuple(_labels(task))
        if tuple(self.photo.options) != labels:
            self.photo.options = labels
        show(self.session, self.photo, labels[self.index if task is not None else 0])
        if self.session.compare.photo is None and self.way.value != OFF:
            show(self.session, self.way, OFF)

    def _draw_cameras(self) -> None:
        for handle in self.frusta:
            handle.remove()
        self.frusta.clear()
        task, which = self._task(), self.cameras.value
        shown: tuple[int, ...] = ()
        if task is not None and which != "none":
            data = task.dataset
            shown = {"training": data.train, "test": data.test, "all": tuple(range(len(data)))}[which]
            for index in shown:
                self._add_frustum(task, index)
        self.session.set_overlay("cameras", len(shown) > 0)

    def _add_frustum(self, task: PhotoTask, index: int) -> None:
        posed = task.dataset.images[index]
        camera = self._placed(photo_camera(posed, posed.width / posed.height))
        handle = self.session.client.scene.add_camera_frustum(
            f"/photos/{index}",
            fov=camera.fov_y_radians,
            aspect=posed.width / posed.height,
            scale=float(self.size.value),
            image=_thumbnail(posed) if self.thumbnails.value else None,
            color=(80, 160, 255) if index in task.dataset.train else (255, 160, 60),
            wxyz=rotation_to_quat(camera.camera_to_world[:3, :3]),
            position=camera.position,
        )

        @handle.on_click
        async def _(_: viser.SceneNodePointerEvent) -> None:
            self.session.hands.do(self._go, index)

        self.frusta.append(handle)

    def _placed(self, camera: Camera) -> Camera:
        """A camera of the data set's world where the run's layer stands."""
        layer = next((x for x in self.session.workspace.layers if x.run == self.run), None)
        if layer is None:
            return camera
        return replace(camera, camera_to_world=layer.data_place.pose(camera.camera_to_world))


def _labels(task: PhotoTask) -> list[str]:
    tests = set(task.dataset.test)
    return [f"{i}. {posed.path.name}{' (test)' if i in tests else ''}" for i, posed in enumerate(task.dataset.images)]


def _thumbnail(posed: PosedImage) -> np.ndarray:  # [h, w, 3] uint8
    factor = max(1, 2 ** math.floor(math.log2(max(posed.width, posed.height) / THUMBNAIL_SIDE)))
    pixels = as_bytes(image(posed, factor))
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.float32) / 255.0
        pixels = (pixels[..., :3] * alpha + 255.0 * (1.0 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(pixels)
