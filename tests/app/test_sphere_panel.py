"""Proves the Hash3D panel over a plain websocket, on a run that asks a tiny UNet through a real cache: it says what
there is, draws the sphere, knows which cell was clicked and goes to where its entries were seen from, and saves."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from cached_runs import RADIUS, CachedTask
from served import PATIENCE, Served, until

from h3d.app.viser_client import View, ViserClient
from h3d.models.hash3d import CacheView, Config
from h3d.models.hash3d.sphere import angles, directions, patches

FAR = (40.0, 20.0)
"""Azimuth and elevation of the cell behind the object, in the middle of the picture."""


def is_tiles(node: str) -> bool:
    return node.startswith("/sphere/tiles")


class Program(Served):
    """A viewer, a tab, and, once it is begun, a run with a cache."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.serve()

    def begin(self, steps: int = 120) -> CacheView:
        """Let a run ask the cache for a while, and hold it; what its cache then shows."""
        key = self.optimisation.begin(CachedTask(Config(eta=0.9)))
        until(lambda: self.status.step >= steps, "it did not go on")
        self.optimisation.pause(key)
        self.optimisation.between_steps(key, lambda run: None)  # A step that was under way is over.
        last = self.status.step + 1
        self.optimisation.step(key)  # After it the status has the last step's cache.
        until(lambda: self.status.step == last and self.status.cache is not None, "no cache came")
        until(lambda: self.told(f"step {last:,}"), "the panel did not follow")
        return self.cache

    @property
    def status(self) -> Any:
        (status,) = self.optimisation.statuses()
        return status

    @property
    def cache(self) -> CacheView:
        assert self.status.cache is not None
        return self.status.cache

    def told(self, text: str) -> bool:
        return text in self.said()

    def fact(self, name: str) -> str | None:
        for control in list(self.tab.page.controls.values()):
            found = re.search(rf">{name}</td><td[^>]*>([^<]*)</td>", control.text) if control.kind == "Html" else None
            if found is not None:
                return found[1]
        return None

    def show_sphere(self) -> None:
        self.tab.set_gui("Colour", "occupancy")
        self.tab.set_gui("Show sphere", True)
        self.tab.wait_until(lambda page: any(map(is_tiles, page.nodes)), "the sphere was not drawn", PATIENCE)

    def look_at(self, middle: tuple[float, float, float]) -> None:
        """Stand before the sphere so that `FAR` is seen behind its middle."""
        position = np.array(middle) - 4.0 * directions(*FAR)
        self.tab.move_camera(position=tuple(position), look_at=middle, up=(0.0, 0.0, 1.0))


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    made.close()


def cell_text(view: CacheView) -> str:
    found = patches(view.statistics, "occupancy")
    patch = found.at(*FAR)
    assert patch is not None
    (left, right), (low, high) = found.bounds[patch].tolist()
    return f"azimuth {left:g}° to {right:g}°, elevation {low:g}° to {high:g}°"


def test_without_a_cache_a_sentence_says_what_to_do(program: Program):
    assert program.told("No run here learns from a denoiser with a cache")
    program.tab.click("Save CSV")
    program.tab.wait_until(lambda page: any("No run here" in n.body for n in page.notifications.values()), "no refusal")


def test_counters_and_timelines_are_those_of_the_cache(program: Program):
    view = program.begin()
    totals = view.statistics.totals
    until(lambda: (program.fact("hits") or "").startswith(f"{totals['hits']:,} of {totals['tries']:,}"), "hits")
    assert program.fact("entries") == f"{view.statistics.entries:,}" and program.fact("cells") is not None
    assert not program.told("No run here learns")
    plots = [c for c in list(program.tab.page.controls.values()) if c.kind == "Uplot" and c.props.get("visible")]
    titles = {str(plot.props.get("title")) for plot in plots}
    assert titles >= {"hit rate, by steps", "UNet time saved, by steps", "cache MB, by steps"}
    assert not any(map(is_tiles, program.tab.page.nodes)), "nobody asked for the sphere"


def test_the_sphere_is_drawn_with_depth_and_taken_away(program: Program):
    view = program.begin()
    program.show_sphere()
    data = next(node["props"]["glb_data"] for name, node in list(program.tab.page.nodes.items()) if is_tiles(name))
    scene = trimesh.load(io.BytesIO(data), file_type="glb", process=False)
    assert isinstance(scene, trimesh.Scene)
    vertices = np.concatenate([np.asarray(mesh.vertices) for mesh in scene.geometry.values()])  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 1.0, atol=0.02)
    found = patches(view.statistics, "occupancy")
    assert all(found.at(*angles(vertex)) is not None for vertex in vertices[:: len(vertices) // 50])
    program.tab.wait_until(lambda page: "/sphere/camera0" in page.nodes, "the camera is not marked", PATIENCE)
    until(
        lambda: program.tab.background is not None and program.tab.background.depth is not None,
        "without depth the object would not hide what is behind it",
    )
    program.tab.set_gui("Show sphere", False)
    program.tab.wait_until(lambda page: "/sphere" not in page.nodes, "it stayed", PATIENCE)


def test_a_clicked_cell_tells_its_counters_and_its_views_can_be_gone_to(program: Program):
    view = program.begin()
    program.show_sphere()
    program.look_at((0.0, 0.0, 0.0))
    program.tab.click_canvas(0.5, 0.5)
    until(lambda: program.fact("cell") == cell_text(view), "the cell was not chosen")
    found = patches(view.statistics, "occupancy")
    patch = found.at(*FAR)
    assert patch is not None
    assert program.fact("occupancy") == f"{found.values[patch]:g}"
    stored = program.tab.control("Stored").props["options"]
    assert len(stored) == found.values[patch]
    program.tab.set_gui("Stored", stored[-1])
    azimuth, elevation = (float(text) for text in re.findall(r"(-?[\d.]+)°", stored[-1]))
    assert found.at(azimuth, elevation) == patch
    program.tab.click("Look from there")
    wanted = RADIUS * directions(azimuth, elevation)
    until(lambda: np.abs(np.array(program.tab.view.position) - wanted).max() < 0.01, "it did not go there")


def test_the_sphere_stands_where_the_runs_layer_does(program: Program):
    view = program.begin()
    program.show_sphere()
    (layer,) = program.workspace.layers
    before = program.tab.page.received["SetPositionMessage"]
    program.workspace.change(layer.key, "move", position=(7.0, 0.0, 1.0), wxyz=(0.0, 0.0, 0.0, 1.0), scale=2.0)
    moved = "the sphere did not follow"
    program.tab.wait_until(lambda page: page.received["SetPositionMessage"] > before, moved, PATIENCE)
    program.look_at((7.0, 0.0, 1.0))
    turned = angles(directions(*FAR) * np.array([-1.0, -1.0, 1.0]))
    found = patches(view.statistics, "occupancy")
    patch = found.at(*turned)
    assert patch is not None
    text = f"azimuth {found.bounds[patch, 0, 0]:g}° to"
    program.tab.click_canvas(0.5, 0.5)
    until(lambda: (program.fact("cell") or "").startswith(text), "the turned sphere was not met")
    until(lambda: not program.tab.control("Look from there").props["disabled"], "nothing is stored there")
    program.tab.click("Look from there")
    wanted = np.array([7.0, 0.0, 1.0])
    until(
        lambda: abs(np.linalg.norm(np.array(program.tab.view.position) - wanted) - 2.0 * RADIUS) < 0.01,
        "the camera does not stand twice as far from the doubled object",
    )


def test_a_layer_of_timesteps_is_chosen_by_the_slider(program: Program):
    view = program.begin()
    until(lambda: program.told("hits per try, all timesteps"), "the bar does not say what is shown")
    until(lambda: program.tab.control("Hash3D/Timesteps").props["max"] == 4, "as many layers as there are")
    program.show_sphere()
    program.tab.set_gui("Hash3D/Timesteps", 2)
    highest = patches(view.statistics, "occupancy", 1).span[1]
    until(lambda: program.told("entries, timesteps 250 to 500"), "the layer was not chosen")
    assert program.told(f"<span>{highest:.4g}</span>")


@pytest.mark.parametrize("kind, magic", [("PDF", b"%PDF"), ("PNG", b"\x89PNG"), ("SVG", b"<?xml")])
def test_the_sphere_is_saved_as_a_figure(program: Program, kind: str, magic: bytes):
    program.begin()
    program.tab.set_gui("Figure as", kind)
    program.tab.click("Save figure")
    name = f"hash3d_hit_rate_{program.status.step}.{kind.lower()}"
    program.tab.wait_until(lambda page: name in page.downloads, "no figure came", PATIENCE)
    assert program.tab.page.downloads[name].startswith(magic)


def test_all_counters_are_saved_as_a_table(program: Program):
    view = program.begin()
    program.tab.click("Save CSV")
    name = f"hash3d_cells_{program.status.step}.csv"
    program.tab.wait_until(lambda page: name in page.downloads, "no table came", PATIENCE)
    rows = list(csv.DictReader(io.StringIO(program.tab.page.downloads[name].decode())))
    assert sum(int(row["hits"]) for row in rows) == view.statistics.totals["hits"]


def test_a_tab_that_opens_later_sees_what_there_is(program: Program):
    program.begin()
    with ViserClient(program.guarded.url, View(width=160, height=120)) as later:
        text = f"asked, step {program.status.step:,}"
        later.wait_until(lambda page: any(text in c.text for c in page.controls.values()), "it is empty", PATIENCE)
