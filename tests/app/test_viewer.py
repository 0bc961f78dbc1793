"""Proves the viewer over a plain websocket: real server, real renderer, every step as a tab would take it.

What pixels a browser makes of it is proved in tests/browser.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from balls import ball

from h3d.app import opening
from h3d.app.guard import start_guarded_server
from h3d.app.navigation import Navigation
from h3d.app.panels.layers import layer_label
from h3d.app.session import Settings
from h3d.app.sources import Opened
from h3d.app.viewer import Viewer
from h3d.app.viser_client import View, ViserClient
from h3d.app.workspace.folders import AllowedFolders
from h3d.app.workspace.optimisation import Optimisation
from h3d.app.workspace.recent import RecentScenes
from h3d.app.workspace.workspace import Workspace
from h3d.models import formats

RED, GREEN = (0.9, 0.1, 0.1), (0.1, 0.8, 0.1)
PATIENCE = 120.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    formats.write(scenes / "red.ply", ball(RED))
    formats.write(scenes / "green.ply", ball(GREEN, radius=1.15))
    (tmp_path / "secret.ply").write_bytes((scenes / "red.ply").read_bytes())
    return scenes


@pytest.fixture
def viewer(folder: Path, tmp_path: Path) -> Iterator[Viewer]:
    workspace = Workspace(RecentScenes(tmp_path / "state"))
    workspace.open(folder / "red.ply")
    guarded = start_guarded_server(port=0)
    optimisation = Optimisation(workspace)
    made = Viewer(guarded.viser, workspace, optimisation, AllowedFolders.given([folder]), Settings())
    made.url = guarded.url  # type: ignore[attr-defined]
    yield made
    made.close()
    optimisation.close()
    guarded.stop()


@pytest.fixture
def connect(viewer: Viewer) -> Iterator[Callable[..., ViserClient]]:
    tabs: list[ViserClient] = []

    def open_tab(view: View | None = None, *, ready: bool = True) -> ViserClient:
        tabs.append(ViserClient(viewer.url, view or View(width=320, height=180)))  # type: ignore[attr-defined]
        if ready:  # Clicks are bound last: then all panels stand, and nobody's hand was faster than them.
            tabs[-1].wait_until(lambda page: page.pointer_modifiers, "the panels were not made", PATIENCE)
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.close()


def picture_where(tab: ViserClient, condition: Callable[[np.ndarray], object], what: str) -> np.ndarray:
    """The first picture from now on that fulfils the condition."""
    deadline = time.monotonic() + PATIENCE
    while True:
        pixels = tab.next_background(timeout=max(deadline - time.monotonic(), 0.1)).pixels().astype(int)
        if condition(pixels):
            return pixels
        assert time.monotonic() < deadline, what


def share(pixels: np.ndarray, channel: int) -> float:
    others = [c for c in range(3) if c != channel]
    return float((pixels[..., channel] > pixels[..., others].max(axis=-1) + 50).mean())


def texts(page) -> list[str]:
    """The markup that the page is given; labels and values are plain text and need no escaping."""
    return [control.text for control in page.controls.values() if control.kind in ("Html", "Markdown")]


def is_still(pixels: np.ndarray) -> bool:
    return pixels.shape == (180, 320, 3)


def test_a_new_tab_sees_the_whole_scene(connect):
    pixels = picture_where(connect(), lambda p: is_still(p) and share(p, 0) > 0.1, "the ball was never framed")
    assert share(pixels[:, :8], 0) == 0.0 and share(pixels[:, -8:], 0) == 0.0, "framed: nothing is cut off at the sides"


def test_a_moved_camera_is_followed(connect):
    tab = connect()
    near = picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.1, "no picture")
    tab.move_camera(position=tuple(3 * np.array(tab.view.position)))
    picture_where(tab, lambda p: is_still(p) and 0 < share(p, 0) < 0.5 * share(near, 0), "the camera was not followed")


def test_two_tabs_have_their_own_cameras_and_settings_and_share_layers(connect, viewer: Viewer):
    one, two = connect(), connect()
    for tab in (one, two):
        picture_where(tab, lambda p: share(p, 0) > 0.05, "no picture")
    two.set_gui("Background", (255, 255, 255))
    picture_where(two, lambda p: p[:5, :5].min() > 240, "the second tab's background did not change")
    one.set_gui("Splat scale", 0.5)
    pixels = picture_where(one, is_still, "the first tab no longer answers")
    assert pixels[:5, :5].max() < 40, "the first tab must keep its own background"
    viewer.workspace.change(viewer.workspace.layers[0].key, "hide", visible=False)
    for tab in (one, two):
        picture_where(tab, lambda p: is_still(p) and share(p, 0) == 0, "a hidden layer is hidden in every tab")


def test_a_tab_that_opens_while_another_is_being_placed_is_framed_too(connect, monkeypatch):
    """The first one still stands where viser puts every tab: it is not the second one's past."""
    as_it_was, begun, go_on = Navigation._reach, threading.Event(), threading.Event()

    def held_up(navigation: Navigation, layers=None) -> None:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(PATIENCE)
        as_it_was(navigation, layers)

    monkeypatch.setattr(Navigation, "_reach", held_up)
    first = connect(ready=False)
    assert begun.wait(PATIENCE)
    second = connect()
    picture_where(second, lambda p: is_still(p) and share(p, 0) > 0.1, "the second tab was not framed")
    go_on.set()
    picture_where(first, lambda p: is_still(p) and share(p, 0) > 0.1, "the first tab was not framed")


def test_every_display_mode_makes_a_picture_of_its_own(connect):
    tab = connect()
    seen = [picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.1, "no picture")]
    for mode in ("depth", "alpha", "normals", "contribution", "top_id"):
        tab.trigger_command(f"Show {mode}")
        fresh = picture_where(
            tab,
            lambda p: is_still(p) and all(np.abs(p - q).mean() > 1.0 for q in seen),
            f"{mode} looks like another mode",
        )
        seen.append(fresh)


def test_a_tab_that_stops_reading_holds_two_pictures_at_most(connect, viewer: Viewer):
    tab = connect()
    picture_where(tab, is_still, "no picture")
    session = next(iter(viewer.sessions.values()))
    tab.stop_reading()
    before = tab.pictures_received
    for step in range(30):
        tab.move_camera(position=(0.0, 0.1 * step, -4.0))
    waited = threading.Event()
    session.events.subscribe(lambda _: waited.set() if session.loop.in_flight == 2 else None)
    deadline = time.monotonic() + PATIENCE
    while session.loop.in_flight < 2 and time.monotonic() < deadline:
        waited.wait(0.05)
    assert session.loop.in_flight == 2
    tab.resume_reading()
    picture_where(tab, is_still, "the tab did not recover")
    assert tab.pictures_received - before <= 5, "stale pictures were queued for a tab that did not read"


def test_a_picture_that_fails_is_a_notification_and_the_next_one_comes(connect, viewer: Viewer, caplog):
    tab = connect()
    picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.1, "no picture")
    asset = ball(GREEN)
    broken = type(asset)(**{**asset.__dict__, "quats": asset.quats[:-1]})  # A row short: the renderer must refuse it.
    layer = viewer.workspace.add("broken", broken)
    tab.wait_until(
        lambda page: any("could not be rendered" in n.title for n in page.notifications.values()), "no notification"
    )
    tab.forget_pictures()
    viewer.workspace.remove(layer.key)
    picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.1, "the picture did not come back")
    assert "quats" in caplog.text


def test_a_path_below_the_folders_opens_and_one_outside_is_refused(connect, viewer: Viewer, tmp_path: Path):
    tab = connect()
    tab.set_gui("Path", "green.ply")
    tab.click("Open the path")
    picture_where(tab, lambda p: share(p, 1) > 0.01, "the layer was not opened")
    tab.set_gui("Path", str(tmp_path / "secret.ply"))
    tab.click("Open the path")
    tab.wait_until(lambda page: any("outside the folders" in n.body for n in page.notifications.values()), "no refusal")
    assert [layer.name for layer in viewer.workspace.layers] == ["red", "green"]


def test_what_takes_a_while_to_open_says_how_far_it_is(connect, folder: Path, monkeypatch: pytest.MonkeyPatch):
    seen = threading.Event()

    def slow(path: Path, *_: object, progress: Callable[[str], None]) -> Opened:
        progress("converting it: 40 %, 3 s left")
        assert seen.wait(PATIENCE)
        return Opened(f"{path.name}: there", layer=1)

    monkeypatch.setattr(opening, "open_source", slow)
    tab = connect()
    tab.set_gui("Path", "green.ply")
    tab.click("Open the path")

    def told(page) -> bool:
        return any("40 %, 3 s left" in n.body for n in page.notifications.values() if "Opening" in n.title)

    tab.wait_until(told, "how far it is was not told", PATIENCE)
    seen.set()
    tab.wait_until(lambda page: any("done" in n.title for n in page.notifications.values()), "not done", PATIENCE)


def test_an_uploaded_scene_becomes_a_layer_and_a_bad_one_a_sentence(connect, viewer: Viewer, folder: Path):
    tab = connect()
    tab.upload("Upload a scene", "mine.ply", (folder / "green.ply").read_bytes())
    picture_where(tab, lambda p: share(p, 1) > 0.01, "the upload was not shown")
    tab.upload("Upload a scene", "bad.spz", b"\x1f\x8bnot really")
    tab.wait_until(lambda page: any(n.body.startswith("bad.spz:") for n in page.notifications.values()), "no sentence")
    assert len(viewer.workspace.layers) == 2


def test_text_from_a_file_name_reaches_the_page_escaped(connect, viewer: Viewer, folder: Path):
    tab = connect()
    nasty = folder / "<img src=x onerror=alert(1)>.ply"
    nasty.write_bytes((folder / "red.ply").read_bytes())
    layer = viewer.workspace.open(nasty)
    label = layer_label(layer)
    tab.wait_until(lambda page: label in page.find("Layer").props["options"], "the layer is not offered")
    tab.set_gui("Layer", label)
    tab.wait_until(lambda page: any("onerror" in html for html in texts(page)), "the layer was never described")
    assert not any("<img" in html for html in texts(tab.page))


def test_the_wipe_shows_one_layer_on_each_side_and_measures_them(connect, viewer: Viewer, folder: Path):
    viewer.workspace.open(folder / "green.ply")
    tab = connect()
    tab.set_gui("A shows", "1. red")
    tab.set_gui("B shows", "2. green")
    tab.trigger_command("Compare: next mode")
    pixels = picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.03 and share(p, 1) > 0.03, "no wipe")
    assert share(pixels[:, :155], 1) == 0 and share(pixels[:, 165:], 0) == 0
    tab.wait_until(lambda page: any("PSNR" in html and "dB" in html for html in texts(page)), "not measured")
    tab.set_gui("Line", 0.25)
    picture_where(tab, lambda p: is_still(p) and share(p[:, 85:], 0) == 0, "the line did not follow its slider")
    tab.click_canvas(0.75, 0.5, modifier="shift")
    picture_where(tab, lambda p: is_still(p) and share(p[:, :235], 1) == 0, "the line did not follow the shift-click")


def test_the_camera_can_be_copied_and_pasted(connect, viewer: Viewer):
    one, two = connect(), connect()
    one.move_camera(position=(0.0, -1.0, -6.0), look_at=(0.0, 0.0, 0.0))
    one.click("Copy this view here")
    one.wait_until(lambda page: "camera_to_world" in page.find("Camera").value, "nothing was copied")
    text = one.gui_value("Camera")
    two.set_gui("Camera", text)
    two.click("Apply")
    expected = json.loads(text)["camera_to_world"]
    deadline = time.monotonic() + PATIENCE
    while not np.allclose(two.view.position, [row[3] for row in expected[:3]], atol=1e-3):
        two.wait_until(lambda page: True, "")
        two.next_background(timeout=PATIENCE)
        assert time.monotonic() < deadline, "the second tab did not fly there"


def test_a_double_click_sets_the_pivot_on_the_surface(connect, viewer: Viewer):
    tab = connect()
    picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.1, "no picture")
    tab.click_canvas(0.5, 0.5)
    tab.click_canvas(0.5, 0.5)
    session = next(iter(viewer.sessions.values()))
    deadline = time.monotonic() + PATIENCE
    while abs(np.linalg.norm(session.client.camera.look_at) - 1.0) > 0.15:
        tab.next_background(timeout=PATIENCE)
        assert time.monotonic() < deadline, f"the pivot is at {session.client.camera.look_at}, not on the unit ball"


def test_undo_by_key_brings_a_removed_layer_back(connect, viewer: Viewer):
    tab = connect()
    picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.1, "no picture")
    tab.trigger_command("Remove the layer")
    picture_where(tab, lambda p: is_still(p) and share(p, 0) == 0, "the layer was not removed")
    tab.trigger_command("Undo")
    picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.1, "undo did not bring it back")


def test_a_tab_that_closes_leaves_no_thread_behind(connect, viewer: Viewer):
    tab = connect()
    picture_where(tab, is_still, "no picture")
    session = next(iter(viewer.sessions.values()))
    tab.close()
    session.loop._thread.join(PATIENCE)
    assert not session.loop._thread.is_alive() and not viewer.sessions


def test_a_tab_whose_connection_broke_gets_its_camera_and_settings_back(connect, viewer: Viewer):
    tab = connect()
    picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.1, "no picture")
    tab.set_gui("Background", (255, 255, 255))
    tab.move_camera(position=(0.5, -1.0, -6.0))
    picture_where(tab, lambda p: is_still(p) and p[:5, :5].min() > 240, "the background did not change")
    view = tab.view
    tab.close()
    deadline = time.monotonic() + PATIENCE
    while viewer.sessions and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    again = connect(view=view)
    picture_where(again, lambda p: is_still(p) and p[:5, :5].min() > 240, "its settings were lost")
    assert again.view.position == pytest.approx(view.position), "its camera was moved"


def session_of(viewer: Viewer):
    return next(iter(viewer.sessions.values()))


def until(condition: Callable[[], object], what: str) -> None:
    """Poll a state that no message tells of."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.02)


def test_the_last_value_of_a_quick_slider_stays_in_every_tab(connect, viewer: Viewer):
    one, two = connect(), connect()
    for tab in (one, two):
        picture_where(tab, is_still, "no picture")
    for step in range(30):
        one.set_gui("Scale", 1.0 + step / 10.0)
    until(lambda: viewer.workspace.layers[0].scale == 3.9, "the last value was lost")
    one.wait_until(lambda page: page.find("Scale").value == 3.9, "the hand's own tab was pushed back")
    two.wait_until(lambda page: page.find("Scale").value == 3.9, "the other tab does not show it")
    viewer.workspace.undo()
    assert viewer.workspace.layers[0].scale == 1.0, "a drag is one step to undo"


def test_a_gizmo_drag_places_the_layer_and_is_one_step(connect, viewer: Viewer):
    tab = connect()
    tab.set_gui("Gizmo", True)
    tab.wait_until(lambda page: "/gizmo" in page.nodes, "the gizmo did not come")
    of = {"name": "/gizmo", "owner": tab.page.nodes["/gizmo"]["owner"]}
    tab.send({"type": "TransformControlsDragStartMessage", **of})
    for step in range(1, 11):
        place = {"wxyz": [1.0, 0.0, 0.0, 0.0], "position": [0.1 * step, 0.0, 0.0]}
        tab.send({"type": "TransformControlsUpdateMessage", **of, **place})
    tab.send({"type": "TransformControlsDragEndMessage", **of})
    until(lambda: viewer.workspace.layers[0].position == (1.0, 0.0, 0.0), "the layer did not follow")
    viewer.workspace.undo()
    assert viewer.workspace.layers[0].position == (0.0, 0.0, 0.0)


def test_a_held_key_duplicates_once(connect, viewer: Viewer):
    tab = connect()
    picture_where(tab, is_still, "no picture")
    for _ in range(6):
        tab.trigger_command("Duplicate the layer")
    tab.trigger_command("Show alpha")
    until(lambda: session_of(viewer).display.mode == "alpha", "the queue stands still")
    assert len(viewer.workspace.layers) == 2


def test_a_locked_layer_stays_and_its_handles_go_back(connect, viewer: Viewer):
    tab = connect()
    tab.set_gui("Locked", True)
    tab.set_gui("Scale", 2.0)
    tab.wait_until(lambda page: any("is locked" in n.body for n in page.notifications.values()), "no refusal")
    tab.wait_until(lambda page: page.find("Scale").value == 1.0, "the handle shows what was refused")
    assert viewer.workspace.layers[0].scale == 1.0


def test_a_comparison_whose_layer_is_removed_shows_everything_and_says_so(connect, viewer: Viewer, folder: Path):
    green = viewer.workspace.open(folder / "green.ply")
    tab = connect()
    tab.set_gui("B shows", "2. green")
    tab.trigger_command("Compare: next mode")
    until(lambda: session_of(viewer).compare.layer_b == green.key, "B was not chosen")
    viewer.workspace.remove(green.key)
    until(lambda: session_of(viewer).compare.layer_b is None, "B still points at a layer that is gone")
    tab.wait_until(lambda page: page.find("B shows").value == "all visible layers", "the panel says otherwise")


def test_b_with_its_own_mode_keeps_the_background_of_the_tab_and_swaps(connect, viewer: Viewer):
    tab = connect()
    tab.set_gui("With its own settings", True)
    tab.set_gui("B mode", "alpha")
    tab.trigger_command("Compare: next mode")
    tab.set_gui("Background", (255, 255, 255))
    shown = session_of(viewer).drawing
    until(lambda: shown.view("b").display.background == (1.0, 1.0, 1.0), "B keeps an old background")
    assert shown.view("b").display.mode == "alpha"
    tab.click("Swap A and B")
    until(lambda: session_of(viewer).drawing.view("a").display.mode == "alpha", "A did not get B's mode")
    assert shown.view("b").display.mode == "rgb"


def test_an_impossible_capture_is_a_sentence_and_the_next_one_works(connect, viewer: Viewer):
    tab = connect()
    tab.set_gui("Size", "own")
    tab.set_gui("Width (own)", 0)
    tab.click("Capture and download")
    tab.wait_until(lambda page: any("width=0" in n.body for n in page.notifications.values()), "no sentence")
    tab.set_gui("Width (own)", 64)
    tab.set_gui("Height (own)", 48)
    tab.click("Capture and download")
    tab.wait_until(lambda page: "capture.png" in page.downloads, "the next capture did not arrive", PATIENCE)


def test_a_tab_that_closes_ends_its_capture(connect, viewer: Viewer):
    tab = connect()
    picture_where(tab, is_still, "no picture")
    tab.set_gui("Size", "own")
    tab.set_gui("Width (own)", 16000)
    tab.set_gui("Height (own)", 16000)
    tab.click("Capture and download")
    until(lambda: any(t.name == "capture" for t in threading.enumerate()), "the capture did not begin")
    tab.close()
    until(lambda: not any(t.name == "capture" for t in threading.enumerate()), "the capture goes on")


def test_a_file_that_exists_is_replaced_only_after_a_question(connect, viewer: Viewer, folder: Path):
    before = (folder / "green.ply").read_bytes()
    tab = connect()
    tab.set_gui("Save as", "green.ply")
    tab.click("Save on the server")
    control = tab.control("Replace it", PATIENCE)
    assert (folder / "green.ply").read_bytes() == before
    tab.click(control.label)
    until(lambda: (folder / "green.ply").read_bytes() != before, "it was not replaced after the answer")


def test_tabs_that_come_and_go_leave_nothing_behind(connect, viewer: Viewer):
    picture_where(connect(), is_still, "no picture")
    until(lambda: len(viewer.sessions) == 1, "one tab")
    subscribers, threads = len(viewer.workspace.events._subscribers), threading.active_count()
    for _ in range(8):
        connect(ready=False).close()
    until(lambda: len(viewer.sessions) == 1, "sessions of closed tabs are left")
    until(lambda: len(viewer.workspace.events._subscribers) == subscribers, "subscribers of closed tabs are left")
    names = ("render-loop", "hands", "acknowledge", "flight")
    until(lambda: sum(t.name.startswith(names) for t in threading.enumerate()) <= 4, "threads of closed tabs are left")
    assert threads > 0


def test_undoing_the_removal_of_the_only_layer_leaves_the_camera_where_it_was(connect, viewer: Viewer):
    tab = connect()
    picture_where(tab, is_still, "no picture")
    tab.move_camera(position=(0.0, -1.0, -9.0))
    tab.trigger_command("Remove the layer")
    until(lambda: not viewer.workspace.layers, "not removed")
    viewer.workspace.undo()
    picture_where(tab, lambda p: is_still(p) and share(p, 0) > 0.005, "the layer did not come back")
    assert tab.view.position == pytest.approx((0.0, -1.0, -9.0))
