"""Proves in a real browser that every knob of a run of Gaussians can be turned as it goes, that each turn is logged,
and that the run done again from its log is the same bit for bit."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from chromium import NEEDS_CHROMIUM, press_folder, resting
from posed_ball import write_posed_ball
from program import running_program

from h3d.app.panels.knobs import knob_label
from h3d.app.run_folder import RunFolder
from h3d.app.train_verb import TrainConfig, train
from h3d.models.formats.tensors import read_header, read_safetensors
from h3d.models.knobs import Knob, knobs_of
from h3d.models.training.gaussians import GaussiansTraining

pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
pytestmark = NEEDS_CHROMIUM
PATIENCE = 60.0
DRAG = 14  # pixels
CHOICES = {"downscale": "2", "background": "black", "strategy": "mcmc", "compensation.compensate": "tiny"}


def wait_until(page, condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"after {PATIENCE} s: {what}"
        page.wait_for_timeout(50)


def changes(run: Path) -> dict[str, list[tuple[int, Any]]]:
    """Steps and values of what the log says was turned, by knob."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for event in RunFolder(run).read_events():
        if event["event"] == "change":
            (name,) = event.keys() - {"step", "event"}
            found.setdefault(name, []).append((event["step"], event[name]))
    return found


def turn(page, name: str, knob: Knob) -> None:
    """Turn one knob as a hand would: drag, type, tick or choose."""
    text = re.compile(f"^{re.escape(knob_label(name, knob))}$")  # As it breaks lines in numbers, not text-is.
    label = page.locator("label").filter(has_text=text).locator("visible=true").first
    handle = page.locator(f'[id="{label.get_attribute("for")}"]').first
    handle.scroll_into_view_if_needed()
    resting(page, handle)
    if knob.choices:
        handle.click()
        other = CHOICES[name]
        page.get_by_role("option", name=other, exact=True).locator("visible=true").click()
    elif isinstance(knob.value, bool):
        handle.click()
    elif isinstance(knob.value, int) and knob.high - knob.low > 20:
        handle.fill(str(max(int(0.6 * knob.value), int(knob.low)) if knob.value > 0 else 400))
    else:
        thumb = handle.locator(".multi-slider-thumb, .mantine-Slider-thumb").first.bounding_box()
        x, y = thumb["x"] + thumb["width"] / 2, thumb["y"] + thumb["height"] / 2
        far = -5 * DRAG if name == "sh_degree" else -DRAG if knob.logarithmic else DRAG
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + far, y, steps=8)
        page.mouse.up()


def turn_all(page, run: Path, knobs: dict[str, Knob]) -> None:
    """Turn every knob of a group and wait until the log says so."""
    for name, knob in knobs.items():
        turn(page, name, knob)
        wait_until(page, lambda name=name: name in changes(run), f"{name} is not in the log")
        step, value = changes(run)[name][-1]
        assert value != knob.value and step > 0, name


def in_group(knobs: dict[str, Knob], group: str) -> dict[str, Knob]:
    return {name: knob for name, knob in knobs.items() if knob.group == group}


@pytest.mark.slow
def test_every_knob_is_turned_by_hand_logged_and_done_again(browser, tmp_path: Path):
    data, run = write_posed_ball(tmp_path / "ball", cameras=12, size=32), tmp_path / "ball" / "kept"
    everything = knobs_of(GaussiansTraining(downscale=1))
    of_mcmc = {name: knob for name, knob in everything.items() if name.startswith(("mcmc.", "opacity_p", "scale_p"))}
    offered = {name: knob for name, knob in everything.items() if name not in of_mcmc}
    with running_program(data, "--model", "gaussians", state=tmp_path / "state") as program:
        page = browser.new_page(viewport={"width": 960, "height": 900})
        page.goto(f"{program.url}&fixedDpr=1")
        page.get_by_role("tab", name="Optimise", exact=True).click()
        page.get_by_text("Change as it goes").wait_for()
        press_folder(page, "Keep the run")
        page.locator('label:text-is("Folder") >> xpath=following::input[1]').fill("kept")
        page.get_by_role("button", name="Record it there").click()
        wait_until(page, (run / "events.jsonl").exists, "the run is not recorded")
        press_folder(page, "Keep the run")
        for group in ("learning rates", "picture", "photos", "compensation", "density"):
            press_folder(page, group.capitalize())
            turned = in_group(offered, group)
            turned.pop("strategy", None)  # Last: it brings other knobs.
            turn_all(page, run, turned)
            if group != "density":
                press_folder(page, group.capitalize())
        turn(page, "strategy", offered["strategy"])
        wait_until(page, lambda: "strategy" in changes(run), "the strategy did not change")
        press_folder(page, "Density")  # Folders are made anew, closed.
        turn_all(page, run, of_mcmc)
        page.get_by_role("button", name="Pause", exact=True).click()
        wait_until(page, lambda: RunFolder(run).read_events()[-1]["event"] == "paused", "the run was not held")
        wait_until(page, (run / "gaussians.ply").exists, "the run was not saved")
        page.close()
    logged = changes(run)
    assert logged.keys() == everything.keys()
    for name, turns in logged.items():
        assert turns == sorted(turns, key=lambda turn: turn[0]), f"{name}: its turns are not in order of steps"
    again = tmp_path / "again"
    train(TrainConfig(data, again, replay=run))
    (first, tensors), (second, others) = (checkpoint(folder) for folder in (run, again))
    assert first["now"] == second["now"] and first["step"] == second["step"]
    assert tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)


def checkpoint(run: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    path = run / "checkpoint.safetensors"
    return read_safetensors(path, read_header(path)["format"])
