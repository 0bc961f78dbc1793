"""Proves that a data set trains while it is looked at: pictures change, runs hold and go on, photos can be compared.

The tab is a plain websocket client; the pictures are those that a browser would get.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from posed_ball import write_posed_ball
from served import PATIENCE, Served
from surface_scenes import write_scene

from h3d.app.figures.pictures import Picture as Rendered
from h3d.app.sources import open_source
from h3d.app.viser_client.client import ViserClient
from h3d.app.viser_client.page import Picture
from h3d.app.viser_client.view import View
from h3d.app.workspace.events import AssetReplaced
from h3d.app.workspace.optimisation import Optimisation
from h3d.app.workspace.recent import RecentScenes
from h3d.app.workspace.workspace import Workspace
from h3d.models.gaussians import Gaussians
from h3d.models.training.gaussians_task import GaussiansTask
from h3d.models.training.tasks import Model
from h3d.renderers import CancelFlag


class Program(Served):
    """A viewer that learns from data, and a tab that looks at it."""

    def __init__(self, folder: Path, data: Path, model: Model | None = None) -> None:
        super().__init__(folder, RecentScenes(folder / "state"))
        self.replaced = 0
        self.shown: Picture | None = None  # the last one that `until` has met
        self.workspace.events.subscribe(self._count)
        open_source(data, self.workspace, self.optimisation, model)
        self.serve()

    def _count(self, event: object) -> None:
        self.replaced += isinstance(event, AssetReplaced)

    @property
    def status(self):
        (status,) = self.optimisation.statuses()
        return status

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, what
            try:
                self.shown = self.tab.next_background(timeout=0.05)
            except TimeoutError:
                continue

    def picture(self, condition: Callable[[np.ndarray], object], what: str) -> np.ndarray:
        deadline = time.monotonic() + PATIENCE
        while True:
            pixels = self.tab.next_background(timeout=max(deadline - time.monotonic(), 0.1)).pixels().astype(int)
            if condition(pixels):
                return pixels
            assert time.monotonic() < deadline, what


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path, write_posed_ball(tmp_path / "ball"))
    yield made
    made.close()


@pytest.fixture
def splatted(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path, write_posed_ball(tmp_path / "ball", size=48), "gaussians")
    yield made
    made.close()


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path, write_scene(tmp_path / "room.scene.json"))
    yield made
    made.close()


def contrast(pixels: np.ndarray) -> float:
    return float(pixels.std())


def test_a_data_set_trains_while_it_is_looked_at_and_can_be_held_and_go_on(program: Program):
    program.until(lambda: program.status.step > 30 and program.replaced > 3, "no pictures of the training came")
    first = program.status.losses[0][1]
    program.until(lambda: (program.status.loss or first) < 0.5 * first, "the loss did not fall")
    program.picture(lambda pixels: contrast(pixels) > 15.0, "no ball is to be seen")
    program.tab.trigger_command("Training: hold or go on")
    program.until(lambda: program.status.state == "paused", "the run was not held")
    program.picture(lambda pixels: pixels.shape[:2] == (120, 160), "the still picture was not made whole")
    held = program.status.step
    program.tab.click("Optimise/One step")
    program.until(lambda: program.status.step > held, "the one step was not made")
    program.tab.click("Optimise/Go on")
    program.until(lambda: program.status.step > held + 5, "the run did not go on")


def test_the_run_is_judged_on_its_test_photos_as_it_goes(program: Program):
    program.until(lambda: len(program.status.judged) >= 2, "it was not judged twice")
    first, last = program.status.judged[0], program.status.judged[-1]
    assert last.step > first.step and last.metrics["psnr"] > 12.0
    assert "pixels of the test photos" in last.subject


def test_a_photo_is_compared_with_the_picture_from_where_it_was_taken(program: Program):
    program.until(lambda: program.status.step > 20, "it did not train")
    program.tab.click("Optimise/Pause")
    program.until(lambda: program.status.state == "paused", "the run was not held")
    program.tab.click("Photos/Look from here")
    program.tab.set_gui("Photos/Compare", "side by side")

    def measured() -> bool:
        texts = [c.props.get("content", "") for c in program.tab.page.controls.values() if c.kind == "Html"]
        return any("PSNR" in text and "own lens" in text for text in texts)

    program.until(measured, "the photo was not measured against the picture")
    program.tab.set_gui("Photos/Compare", "off")
    program.until(lambda: all(s.compare.photo is None for s in program.viewer.sessions.values()), "still compared")


def test_cameras_are_refined_on_request_while_it_goes_on(program: Program):
    program.until(lambda: program.status.step > 5, "it did not train")
    box = "Optimise/Change as it goes/Cameras/Refine cameras"
    assert program.tab.control(box, PATIENCE).value is False
    assert "cameras moved" not in program.status.facts
    program.tab.set_gui(box, True)
    program.until(lambda: program.status.settings["refine_cameras"] is True, "cameras are not refined")
    program.until(lambda: not program.status.facts["cameras moved"].startswith("0.000 degrees"), "no camera has moved")

    def shown() -> bool:
        return any("cameras moved" in c.text for c in program.tab.page.controls.values() if c.kind == "Html")

    program.until(shown, "how far cameras have moved is not shown")
    program.tab.set_gui(box, False)
    program.until(lambda: program.status.settings["refine_cameras"] is False, "cameras are still refined")
    Image.new("RGB", (32, 32)).save(program.folder / "picture.png")
    program.tab.set_gui("Optimise/New run/Data", "picture.png")
    program.tab.click("Optimise/New run/Begin")
    folder = "Optimise/Change as it goes"
    program.until(lambda: not program.tab.control(folder).props["visible"], "a picture has nothing to change")


def test_knobs_are_turned_in_one_tab_and_seen_in_another_without_answering(splatted: Program):
    splatted.until(lambda: splatted.status.step > 5, "it did not train")
    other = ViserClient(splatted.guarded.url, View(width=160, height=120))
    place = "Optimise/Change as it goes"
    splatted.tab.set_gui(f"{place}/Picture/SSIM share", 0.5, PATIENCE)
    splatted.tab.set_gui(f"{place}/Picture/Downscale", "2")
    splatted.tab.set_gui(f"{place}/Density/Cap", 777)
    wanted = {"ssim_share": 0.5, "downscale": 2, "cap": 777}
    splatted.until(lambda: wanted.items() <= splatted.status.settings.items(), "the knobs were not turned")
    splatted.until(lambda: splatted.status.facts["photos"] == "24 of 24 x 24 pixels", "photos are as large as before")
    for tab in (splatted.tab, other):
        splatted.until(lambda tab=tab: tab.gui_value(f"{place}/Density/Cap") == 777, "a tab does not show it")
        splatted.until(lambda tab=tab: tab.gui_value(f"{place}/Picture/Downscale") == "2", "a tab does not show it")
    other.close()
    means = next(c for c in splatted.tab.page.controls.values() if c.label == "0.00016 Means rate")
    splatted.tab.set_gui(means.label, [-4.5])
    splatted.until(lambda: splatted.status.settings["means_rate"] == 3.16e-5, "the learning rate was not turned")
    splatted.until(lambda: splatted.tab.control("3.16e-05 Means rate").value == [-4.5], "its label says another")
    splatted.tab.set_gui(f"{place}/Density/Reset every", 0)
    splatted.until(lambda: "reset_every 0: must be 1 to 100,000" in splatted.status.problem, "it was not refused")
    splatted.until(lambda: splatted.tab.gui_value(f"{place}/Density/Reset every") == 3000, "it shows what was refused")
    step = splatted.status.step
    splatted.until(lambda: splatted.status.step > step, "the run did not go on")
    splatted.tab.set_gui(f"{place}/Density/Strategy", "mcmc")
    splatted.until(lambda: splatted.tab.control(f"{place}/Density/Cap").value == 777, "the new strategy has no cap")
    splatted.tab.control("5e+05 Noise rate", PATIENCE)


def test_a_run_of_the_viewer_is_kept_in_a_folder_that_opens_again(program: Program):
    program.until(lambda: program.status.step > 5, "it did not train")
    program.tab.set_gui("Optimise/Keep the run/Folder", "kept")
    program.tab.click("Optimise/Keep the run/Record it there")
    program.until(lambda: program.status.kept, "it is not recorded")
    program.tab.click("Optimise/Pause")
    run = program.folder / "kept"
    program.until(
        lambda: (run / "events.jsonl").exists() and "paused" in (run / "events.jsonl").read_text(), "no event of it"
    )
    program.until((run / "field.safetensors").exists, "the field was not left")
    assert json.loads((run / "config.json").read_text())["model"] == "hash_grid"
    again = Workspace()
    optimisation = Optimisation(again)
    opened = open_source(run, again, optimisation)
    assert opened.run is not None and "paused" in opened.sentence
    program.until(lambda: len(again.layers) == 1, "the run that was opened again shows nothing")
    assert optimisation.statuses()[0].step == program.status.step + 1
    optimisation.close()


def test_a_scene_is_path_traced_with_and_without_its_cache_at_equal_time(traced: Program):
    traced.until(lambda: traced.status.step > 60, "the cache did not train")
    first, last = traced.status.losses[0][1], traced.status.loss
    assert last is not None and last < first
    tab = traced.tab
    tab.trigger_command("Training: hold or go on")
    traced.until(lambda: traced.status.state == "paused", "the run was not held")
    tab.set_gui("Path seconds", 1.0)
    tab.set_gui("Compare/Mode", "side_by_side")
    tab.set_gui("With its own settings", True)
    tab.set_gui("B asks the radiance cache", False)
    pattern = re.compile(r"A: ([\d,]+) passes in (\S+) s; B: ([\d,]+) passes in (\S+) s\.")

    def measured() -> re.Match[str] | None:
        texts = [control.text for control in list(tab.page.controls.values()) if control.kind == "Html"]
        return next((found for text in texts if (found := pattern.search(text))), None)

    traced.until(measured, "it was not said how many passes the two sides had")
    found = measured()
    assert found is not None and float(found[2]) == pytest.approx(float(found[4]), abs=0.25)
    assert float(found[2]) > 0.5 and int(found[1].replace(",", "")) > 5
    assert traced.shown is not None
    picture = traced.shown.pixels().astype(int)
    noise = [float(np.abs(np.diff(half, axis=1)).mean()) for half in (picture[:, :80], picture[:, 80:])]
    assert noise[0] < noise[1], "the cache's side is the less noisy one"


def test_gaussians_train_while_they_are_looked_at_and_are_compared_with_a_photo(splatted: Program):
    splatted.until(lambda: splatted.status.step > 60 and splatted.replaced > 3, "no pictures of the training came")
    first = splatted.status.losses[0][1]
    splatted.until(lambda: (splatted.status.loss or first) < 0.5 * first, "the loss did not fall")
    splatted.picture(lambda pixels: contrast(pixels) > 15.0, "no ball is to be seen")
    (layer,) = splatted.workspace.layers
    assert isinstance(layer.asset, Gaussians) and "steps" in layer.asset.remark
    splatted.tab.trigger_command("Training: hold or go on")
    splatted.until(lambda: splatted.status.state == "paused", "the run was not held")
    splatted.tab.set_gui("Photos/Compare", "side by side")

    def told() -> bool:
        texts = [control.text for control in list(splatted.tab.page.controls.values()) if control.kind == "Html"]
        return any("PSNR" in text and "lens undone" in text for text in texts)

    splatted.until(told, "it was not compared with the photo")


def test_two_runs_of_the_same_photos_go_on_under_the_wipe_and_their_difference_is_measured(splatted: Program):
    splatted.until(lambda: splatted.status.step > 20, "it did not train")
    tab = splatted.tab
    tab.set_gui("Optimise/Run again/Seed", "1")
    tab.set_gui("Optimise/Run again/Strategy", "mcmc")
    tab.click("Optimise/Run again/Run again beside it")
    splatted.until(lambda: len(splatted.workspace.layers) == 2, "the second run has shown nothing")
    (session,) = splatted.viewer.sessions.values()
    splatted.until(lambda: session.compare.mode == "wipe", "the two are not wiped")
    a, b = splatted.workspace.layers
    assert (session.compare.layer_a, session.compare.layer_b) == (a.key, b.key)
    assert b.name == f"{a.name} (seed 1, strategy mcmc)"
    tasks = [splatted.optimisation.task(status.key) for status in splatted.optimisation.statuses()]
    assert isinstance(tasks[0], GaussiansTask) and isinstance(tasks[1], GaussiansTask)
    assert tasks[0].dataset is tasks[1].dataset

    before = splatted.picture(lambda pixels: pixels.shape == (120, 160, 3), "the wipe was not drawn whole")
    # The line and the names do not count.
    halves = (slice(30, None), slice(0, 70)), (slice(30, None), slice(90, None))

    def changed(pixels: np.ndarray) -> bool:
        whole = pixels.shape == before.shape
        return whole and all(np.abs(pixels[half] - before[half]).max() > 20 for half in halves)

    splatted.picture(changed, "not both halves have changed")

    def said(pattern: str) -> re.Match[str] | None:
        texts = [control.text for control in list(tab.page.controls.values()) if control.kind == "Html"]
        return next((found for text in texts if (found := re.search(pattern, text))), None)

    splatted.until(lambda: said(r"At equal time \((\S+) s\): A PSNR (\S+) dB, B PSNR (\S+) dB; B - A"), "no difference")
    splatted.until(lambda: said(r"At equal step \("), "no difference at equal step")
    assert said("A: ") and said("3 test photos")
    found = said(r"At equal time \(\S+ s\): A PSNR (\S+) dB, B PSNR (\S+) dB; B - A (\S+) dB")
    assert found is not None and float(found[3]) == pytest.approx(float(found[2]) - float(found[1]), abs=0.011)

    tab.click("Optimise/Pause")
    splatted.until(lambda: splatted.optimisation.statuses()[1].state == "paused", "the second run was not held")
    begun = splatted.optimisation.statuses()[0].step
    splatted.until(lambda: splatted.optimisation.statuses()[0].step > begun, "the first did not go on")
    first, held = splatted.optimisation.statuses()  # The step that was being made is over.
    splatted.until(lambda: splatted.optimisation.statuses()[0].step > first.step + 20, "the first did not go on alone")
    assert splatted.optimisation.statuses()[1].seconds == held.seconds
    assert splatted.optimisation.statuses()[0].seconds > first.seconds


def test_gaussians_are_deleted_while_they_train_and_undo_brings_them_back(splatted: Program):
    tab = splatted.tab
    splatted.until(lambda: splatted.status.step > 400, "it was not learnt")
    splatted.picture(lambda pixels: contrast(pixels) > 15.0, "no ball is to be seen")
    tab.drag_rectangle((0.0, 0.0), (0.5, 1.0), "shift")
    splatted.until(lambda: "selected" in _edit_facts(splatted) and not _edit_facts(splatted).startswith("0 of"), "none")
    splatted.picture(lambda pixels: yellow(pixels[:, :80]) > 0.02 and yellow(pixels[:, 90:]) < 0.005, "not shown so")
    before = len(rows_of(splatted))
    tab.trigger_command("Delete the selected Gaussians, else the layer")
    splatted.until(lambda: len(rows_of(splatted)) < 0.8 * before, "nothing has gone")
    # Held: the others would grow to where those were before a slow machine has drawn a picture.
    tab.trigger_command("Training: hold or go on")
    splatted.until(lambda: splatted.status.state == "paused", "the run was not held")
    splatted.picture(lambda pixels: contrast(pixels[:, :70]) < 0.5 * contrast(pixels[:, 90:]), "it does not look so")
    tab.click("Optimise/Go on")
    count, at = len(rows_of(splatted)), splatted.status.step
    splatted.until(lambda: splatted.status.step > at + 20, "the run did not go on")
    assert len(rows_of(splatted)) == count
    tab.trigger_command("Undo")
    splatted.until(lambda: len(rows_of(splatted)) > 1.2 * count, "undo did not bring them back")
    splatted.picture(lambda pixels: contrast(pixels[:, :70]) > 10.0, "they are not to be seen again")
    tab.trigger_command("Redo")
    splatted.until(lambda: len(rows_of(splatted)) == count, "redo did not delete them again")


def test_a_pruned_copy_of_the_run_goes_on_beside_it_under_the_wipe(splatted: Program):
    splatted.until(lambda: splatted.status.step > 60, "it did not train")
    session = splatted.session
    splatted.tab.click("Prune/Show the cut")
    splatted.tab.set_gui("Prune/Keep", 0.4)
    splatted.until(lambda: session.pruning.ranked is not None and session.pruning.cut.keep == 0.4, "not ranked")
    splatted.tab.click("Prune/Prune a copy of the run")
    splatted.until(lambda: len(splatted.optimisation.statuses()) == 2, "there is no second run")
    whole, pruned = (status.key for status in splatted.optimisation.statuses())

    def of(run: int):
        return next(status for status in splatted.optimisation.statuses() if status.key == run)

    splatted.until(lambda: session.compare.mode == "wipe" and session.compare.layer_b == of(pruned).layer, "no wipe")
    assert session.compare.layer_a == of(whole).layer != of(pruned).layer and session.pruning.key is None
    begun = of(pruned).step
    assert begun > 60, "it goes on from where the first was"
    assert of(pruned).name == "ball, pruned to 40.0%"
    splatted.until(lambda: of(pruned).step > begun + 20 and of(whole).step > begun + 20, "they do not both go on")
    assert of(pruned).count < 0.6 * of(whole).count
    assert of(pruned).clock[0][0] > 60 and of(pruned).problem == ""


def test_a_cut_follows_what_is_being_learnt_is_applied_to_it_and_undone(splatted: Program):
    tab = splatted.tab
    splatted.until(lambda: splatted.status.step > 60 and splatted.replaced > 3, "no pictures of the training came")
    (session,) = splatted.viewer.sessions.values()
    tab.click("Prune/Show the cut")
    tab.set_gui("Prune/Keep", 0.4)
    splatted.until(lambda: session.pruning.ranked is not None, "its rows were not ranked")
    first = session.pruning.ranked
    splatted.until(lambda: session.pruning.ranked is not first, "they were not ranked again as it went on")
    layer = splatted.workspace.layers[0]
    rows = session.pruning.stays(layer)
    assert rows is not None and 0.35 < float(rows.float().mean()) < 0.6, "but for those born since, four of ten stay"
    tab.trigger_command("Training: hold or go on")
    splatted.until(lambda: splatted.status.state == "paused", "the run was not held")
    splatted.optimisation.between_steps(splatted.status.key, lambda run: None)  # After the step under way.
    splatted.until(
        lambda: (r := session.pruning.ranked) is not None and r.asset is rows_of(splatted), "not ranked as it is held"
    )
    count = len(rows_of(splatted))
    tab.set_gui("Prune/Cut", "Apply")
    splatted.until(lambda: len(rows_of(splatted)) == round(0.4 * count), "it was not applied to the run")
    at = splatted.status.step
    splatted.optimisation.start(splatted.status.key)
    splatted.until(lambda: splatted.status.step > at + 20, "the run did not go on")
    kept = len(rows_of(splatted))
    assert kept < 0.6 * count
    tab.set_gui("Prune/Cut", "Undo")
    splatted.until(lambda: len(rows_of(splatted)) >= kept + count - round(0.4 * count), "undo did not bring them back")


def test_a_running_layer_is_baked_where_it_stands_with_its_cameras(splatted: Program):
    tab = splatted.tab
    splatted.until(lambda: splatted.status.step > 30, "it did not train")
    tab.trigger_command("Training: hold or go on")
    splatted.until(lambda: splatted.status.state == "paused", "the run was not held")
    splatted.optimisation.between_steps(splatted.status.key, lambda run: None)  # After the step under way.
    (layer,) = splatted.workspace.layers
    unplaced = drawn(splatted)
    splatted.workspace.change(layer.key, "place", position=(0.2, 0.1, 0.0), wxyz=(0.96, 0.0, 0.28, 0.0), scale=0.9)
    before = drawn(splatted)
    assert np.abs(before - unplaced).mean() > 5.0
    tab.trigger_command("Bake the layer's place")
    splatted.until(lambda: splatted.workspace.layers[0].scale == 1.0, "it was not baked")
    baked = splatted.workspace.layers[0]
    assert baked.asset_to_world.tolist() == np.eye(4).tolist() and rows_of(splatted).frame.scale == 0.9
    assert np.abs(drawn(splatted) - before).max() <= 2, "rounding apart, the picture must not change"
    psnr = splatted.status.judged[-1].metrics["psnr"] if splatted.status.judged else 0.0
    splatted.optimisation.start(splatted.status.key)  # The key, pressed again so soon, would count as held.
    seen = len(splatted.status.judged)
    splatted.until(lambda: len(splatted.status.judged) > seen, "it was not judged again")
    assert splatted.status.judged[-1].metrics["psnr"] > psnr - 1.0, "the photos' cameras did not go along"
    tab.trigger_command("Undo")
    splatted.until(lambda: splatted.workspace.layers[0].scale == 0.9, "it was not moved back")


def drawn(program: Program) -> np.ndarray:
    """What the tab would be shown now, before it is packed."""
    (session,) = program.viewer.sessions.values()
    picture = session.drawing.draw(160, 120, still=True, cancel=CancelFlag()).pixels
    assert isinstance(picture, Rendered)
    return picture.pixels.astype(int)


def rows_of(program: Program) -> Gaussians:
    asset = program.workspace.layers[0].asset
    assert isinstance(asset, Gaussians)
    return asset


def yellow(pixels: np.ndarray) -> float:
    """The share of pixels in the colour of what is selected."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return float(((red > blue + 80) & (green > blue + 40) & (red > 120)).mean())


def _edit_facts(program: Program) -> str:
    texts = [c.text for c in list(program.tab.page.controls.values()) if c.kind == "Html"]
    return next((text for text in texts if "Gaussians of" in text), "")


def test_words_are_made_3d_beside_it_and_the_cache_of_their_denoiser_is_turned(program: Program):
    program.until(lambda: program.status.step > 2, "it did not train")
    program.tab.set_gui("Optimise/New run/Or words", "a red mug")
    program.tab.click("Optimise/New run/Begin")

    def made():  # noqa: ANN202
        return next((s for s in program.optimisation.statuses() if s.name == "a red mug" and s.step > 2), None)

    program.until(made, "nothing was made of the words")
    program.tab.set_gui("Optimise/Change as it goes/Cache/Eta", 0.25, PATIENCE)

    def eta() -> float | None:
        status = made()
        return None if status is None or status.cache is None else status.cache.config.eta

    program.until(lambda: eta() == 0.25, "eta was not turned")
    before = made()
    assert before is not None and before.cache is not None
    assert before.cache.passes.full_elements + before.cache.passes.hit_elements == before.step
    program.tab.set_gui("Optimise/New run/Or words", "a shimmering cathedral")
    program.tab.click("Optimise/New run/Begin")
    said = program.tab.page.notifications
    program.until(lambda: any("cathedral" in n.body for n in said.values()), "nothing was said")
