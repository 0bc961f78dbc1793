"""Proves exports of the viewer over a plain websocket: files, downloads, the question, cancelling, each wrong wish."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from balls import ball as gaussian_ball
from known_fields import ball, density_field, distance_field
from posed_ball import write_posed_ball
from served import PATIENCE, Served, until

from h3d.app.sources import open_source
from h3d.models import meshes
from h3d.models.formats import point_cloud
from h3d.models.gaussians import Gaussians

EXPORT = "Field/Export the surface"


class Program(Served):
    """A viewer with a radiance field, a distance field and Gaussians, and a tab that has the first selected."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.layers = {
            "nerf": self.workspace.add("nerf", density_field(lambda p: 2.5 - 60.0 * ball(p))),
            "sdf": self.workspace.add("sdf", distance_field(ball)),
            "splats": self.workspace.add("splats", gaussian_ball((0.9, 0.1, 0.1))),
        }
        self.serve()
        self.select("nerf")
        self.set("Resolution", 32)

    def select(self, name: str) -> None:
        self.session.select(self.layers[name].key)

    def set(self, label: str, value: object) -> None:
        self.tab.set_gui(f"{EXPORT}/{label}", value)

    def click(self, label: str) -> None:
        self.tab.click(f"{EXPORT}/{label}")

    def visible(self, label: str) -> bool:
        return bool(self.tab.control(f"{EXPORT}/{label}").props["visible"])

    def told(self, title: str, *body: str) -> None:
        """Wait for a notification."""

        def holds(page) -> bool:
            known = [note for note in page.notifications.values() if note.title == title]
            return any(all(text in note.body for text in body) for note in known)

        try:
            self.tab.wait_until(holds, f"{title} {body}", PATIENCE)
        except TimeoutError as error:
            raise AssertionError(f"told was {self.tab.notifications()}") from error


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    folder = tmp_path / "scenes"
    folder.mkdir()
    made = Program(folder)
    yield made
    made.close()


def test_a_field_is_exported_to_the_disk_and_what_it_holds_is_told(program: Program):
    program.set("Export as", "ball.ply")
    program.click("Export to the server's disk")
    path = program.folder / "ball.ply"
    until(path.exists, "there is no file")
    mesh = meshes.read(path)
    counts = f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} faces, with colours"
    program.told("ball.ply: exported", counts, f"MiB, in {program.folder}, ", " s")
    assert np.isclose(mesh.volume, 4.0 / 3.0 * np.pi * 0.3**3, rtol=0.03)
    status = [c.text for c in program.tab.page.controls.values() if c.kind == "Html"]
    assert any(counts in text for text in status), "it stays to be read when the notification has gone"


def test_a_file_that_exists_is_replaced_only_after_a_question(program: Program):
    path = program.folder / "ball.obj"
    path.write_text("mine")
    program.set("Export as", "ball.obj")
    program.click("Export to the server's disk")
    answer = program.tab.control("Replace it", PATIENCE)
    assert path.read_text() == "mine"
    program.tab.click(answer.label)
    program.told("ball.obj: exported")
    assert len(meshes.read(path).faces) > 100


def test_gaussians_are_exported_without_the_rows_that_are_hidden(program: Program):
    layer = program.layers["splats"]
    assert isinstance(layer.asset, Gaussians)
    program.workspace.change(layer.key, "hide rows", hidden_rows=layer.asset.means[:, 0] > 0.0)
    program.select("splats")
    program.tab.set_gui("Field/Crop x", (0.0, 0.1))  # Of fields: Gaussians are drawn whole.
    program.set("Export as", "half.glb")
    program.click("Export to the server's disk")
    program.told("half.glb: exported", "faces, with colours")
    mesh = meshes.read(program.folder / "half.glb")
    assert mesh.bounds[0, 0] < -1.0 and mesh.bounds[1, 0] < 0.3
    assert mesh.colors is not None and np.abs(mesh.colors - (0.9, 0.1, 0.1)).max() < 0.03


def test_points_are_downloaded_by_their_number(program: Program):
    program.set("As", "points")
    until(lambda: program.visible("Points"), "the number of points is not asked for")
    program.set("Points", 700)
    program.set("Export as", "somewhere/points.ply")
    program.click("Export and download")
    program.tab.wait_until(lambda page: "points.ply" in page.downloads, "nothing was downloaded", PATIENCE)
    path = program.folder / "read.ply"
    path.write_bytes(program.tab.page.downloads["points.ply"])
    assert len(point_cloud.read(path)) == 700
    program.told("points.ply: exported", "700 points, with colours", "downloaded")


def test_the_density_and_the_crop_box_decide_what_is_solid(program: Program):
    def volume(name: str) -> float:
        program.set("Export as", name)
        program.click("Export to the server's disk")
        program.told(f"{name}: exported")
        return meshes.read(program.folder / name).volume

    whole = volume("whole.ply")
    program.set("Surface at", 4.0)  # Below the usual one: the surface is farther out.
    assert volume("larger.ply") > 1.05 * whole
    program.set("Surface at", 0.0)
    program.tab.set_gui("Field/Crop x", (0.0, 0.5))
    until(lambda: program.session.display.field.crop_high[0] == 0.5, "it was not cropped")
    cropped = volume("cropped.ply")
    program.set("In the crop box", False)
    assert volume("again.ply") == pytest.approx(whole)
    mesh = meshes.read(program.folder / "cropped.ply")
    assert mesh.vertices[:, 0].max() < 0.51 and cropped < 0.7 * whole


def test_only_what_means_something_for_the_layer_is_asked(program: Program):
    until(lambda: program.visible("Surface at") and program.visible("Colours"), "they are not asked for")
    assert not program.visible("Points")
    program.select("sdf")
    until(lambda: not program.visible("Surface at") and not program.visible("Colours"), "they stay")
    program.set("Export as", "sdf.ply")
    program.click("Export to the server's disk")
    program.told("sdf.ply: exported", "faces, ")
    program.select("splats")
    until(lambda: program.visible("Surface at") and not program.visible("In the crop box"), "it does not come back")


def test_wrong_wishes_get_one_sentence_and_leave_no_file(program: Program, tmp_path: Path):
    def refused(name: str, sentence: str, title: str = "Not done") -> None:
        program.set("Export as", name)
        program.click("Export to the server's disk")
        program.told(title, sentence)

    refused("ball.stl", "a mesh is not written as .stl; use .obj or .ply or .glb")
    refused(str(tmp_path / "outside.ply"), "outside the folders opened at start")
    refused("deep/ball.ply", "the folder")
    program.tab.set_gui("Field/Crop x", (0.0, 0.1))
    until(lambda: program.session.display.field.crop_high[0] == 0.1, "it was not cropped")
    refused("ball.ply", "there is no surface at this threshold", "Not exported")
    program.set("Resolution", 5000)
    refused("ball.ply", "resolution 5000: must be 8 to 2048")
    program.set("Resolution", 32)
    program.set("As", "points")
    refused("ball.obj", "points are not written as .obj; use .ply")
    program.session.select(None)
    refused("ball.ply", "no layer is selected")
    assert list(program.folder.iterdir()) == [] and not (tmp_path / "outside.ply").exists()


def test_an_export_is_cancelled_by_its_button_and_by_the_tab_that_closes(program: Program):
    def running() -> bool:
        return any(thread.name == "export" for thread in threading.enumerate())

    program.set("Resolution", 2048)
    program.set("Export as", "huge.ply")
    program.click("Export to the server's disk")
    until(running, "it did not begin")
    program.click("Export to the server's disk")
    program.told("Not done", "the export before is under way; wait for it or cancel it")
    until(lambda: program.visible("Cancel the export"), "it cannot be cancelled")
    program.click("Cancel the export")
    program.told("Export cancelled")
    until(lambda: not running() and not program.visible("Cancel the export"), "it goes on")
    program.click("Export and download")
    until(running, "the next one did not begin")
    program.tab.close()
    until(lambda: not running(), "it goes on without its tab")
    assert list(program.folder.iterdir()) == []


def test_a_run_goes_on_while_its_snapshot_is_exported(program: Program):
    key = open_source(write_posed_ball(program.folder / "ball"), program.workspace, program.optimisation).run

    def status():
        return next(s for s in program.optimisation.statuses() if s.key == key)

    until(lambda: status().step > 150 and status().layer is not None, "it does not train")
    program.session.select(status().layer)
    program.set("Export as", "live.ply")
    before = status().step
    program.click("Export to the server's disk")
    program.told("live.ply: exported", "faces, with colours")
    until(lambda: status().step > before + 5, "the run does not go on")
    assert status().state == "running"
    assert len(meshes.read(program.folder / "live.ply").faces) > 0
