"""The client without a browser is, to a real viser server behind the guard, a tab like any other."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import viser

from h3d.app.guard import GuardedServer, start_guarded_server
from h3d.app.viser_client import View, ViserClient

VIEW = View(position=(0.0, -3.0, 1.0), width=640, height=360)
HUGE = (1080, 1920)  # a noisy picture of this size is about 2 MB, more than the sockets' buffers hold


@dataclass
class Pair:
    """A tab, and what the server has of it."""

    tab: ViserClient
    handle: viser.ClientHandle
    server: GuardedServer


@pytest.fixture
def server() -> Iterator[GuardedServer]:
    with start_guarded_server(port=0, environ={}) as running:
        yield running


@pytest.fixture
def pair(server: GuardedServer) -> Iterator[Pair]:
    arrived: queue.Queue[viser.ClientHandle] = queue.Queue()
    server.viser.on_client_connect(arrived.put)
    with ViserClient(server.url, VIEW, receive_buffer_bytes=65536) as tab:
        yield Pair(tab, arrived.get(timeout=10), server)


def noise(seed: int, size: tuple[int, int] = HUGE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def gray(level: int) -> np.ndarray:
    return np.full((36, 64, 3), level, np.uint8)


# The camera.


def test_the_server_gets_the_camera_and_the_size_of_the_picture(pair: Pair) -> None:
    camera = pair.handle.camera
    assert (camera.image_width, camera.image_height) == (640, 360)
    np.testing.assert_allclose(camera.position, VIEW.position)
    np.testing.assert_allclose(camera.look_at, VIEW.look_at)
    np.testing.assert_allclose(np.abs(camera.wxyz), np.abs(VIEW.message()["wxyz"]))
    assert camera.fov == VIEW.fov_y_radians


def test_a_move_reaches_the_server(pair: Pair) -> None:
    moved = threading.Event()
    pair.handle.camera.on_update(lambda camera: moved.set() if camera.image_width == 320 else None)
    pair.tab.move_camera(position=(2.0, -3.0, 1.0), width=320)
    assert moved.wait(10)
    assert pair.handle.camera.position[0] == 2.0


def test_the_server_can_move_the_camera_and_hears_of_it(pair: Pair) -> None:
    heard = threading.Event()
    pair.handle.camera.on_update(lambda camera: heard.set() if camera.image_width == 320 else None)
    pair.tab.view = pair.tab.view.moved(width=320)  # Not sent: goes with the answer to the server's move.
    pair.handle.camera.position = (0.0, 0.0, 9.0)
    assert heard.wait(10)
    assert pair.tab.view.position == (0.0, 0.0, 9.0)


def test_without_a_view_the_server_s_initial_camera_is_taken(server: GuardedServer) -> None:
    server.viser.initial_camera.position = (7.0, 8.0, 9.0)
    server.viser.initial_camera.fov = 0.7
    with ViserClient(server.url) as tab:
        assert (tab.view.position, tab.view.fov_y_radians) == ((7.0, 8.0, 9.0), 0.7)
    with ViserClient(server.url, VIEW) as tab:
        assert tab.view == VIEW


# Controls.


def test_a_control_is_found_by_label_or_path_and_set(pair: Pair) -> None:
    values: queue.Queue[Any] = queue.Queue()
    tabs = pair.handle.gui.add_tab_group()
    for name in ("Left", "Right"):
        with tabs.add_tab(name), pair.handle.gui.add_folder("Display"):
            mode = pair.handle.gui.add_dropdown("Mode", ("rgb", "depth"))
            mode.on_update(lambda event, name=name: values.put((name, event.target.value)))
    scale = pair.handle.gui.add_slider("Scale", 0.0, 2.0, 0.5, 1.0)
    scale.on_update(lambda event: values.put(event.target.value))
    assert pair.tab.gui_value("Scale") == 1.0
    pair.tab.set_gui("Scale", 1.5)
    assert values.get(timeout=10) == 1.5
    assert pair.tab.gui_value("Scale") == 1.5
    pair.tab.set_gui("Right/Display/Mode", "depth")
    assert values.get(timeout=10) == ("Right", "depth")
    with pytest.raises(LookupError, match="say which by its path"):
        pair.tab.set_gui("Mode", "rgb", timeout=0.1)
    with pytest.raises(LookupError, match="no control 'Size'; there are"):
        pair.tab.set_gui("Size", 1, timeout=0.1)
    with pytest.raises(ValueError, match="offers"):
        pair.tab.set_gui("Left/Display/Mode", "normals")


def test_what_the_server_changes_is_seen(pair: Pair) -> None:
    text = pair.handle.gui.add_text("Name", "a")
    words = pair.handle.gui.add_markdown("one")
    assert pair.tab.gui_value("Name") == "a"
    text.value = "b"
    words.content = "two"
    pair.tab.wait_until(lambda page: page.find("Name").value == "b", "the new value")
    pair.tab.wait_until(lambda page: any(c.text == "two" for c in page.controls.values()), "the new text")
    text.remove()
    pair.tab.wait_until(lambda page: all(c.label != "Name" for c in page.controls.values()), "the removal")


def test_buttons_and_commands_call_the_server_unless_they_are_grey(pair: Pair) -> None:
    pressed: queue.Queue[str] = queue.Queue()
    button = pair.handle.gui.add_button("Render")
    button.on_click(lambda _: pressed.put("button"))
    command = pair.handle.gui.add_command("Reset view", hotkey="R")
    command.on_trigger(lambda _: pressed.put("command"))
    pair.tab.click("Render")
    assert pressed.get(timeout=10) == "button"
    pair.tab.trigger_command("Reset view")
    assert pressed.get(timeout=10) == "command"
    button.disabled = True
    command.disabled = True
    pair.tab.wait_until(lambda page: page.find("Render").props["disabled"], "the grey button")
    pair.tab.wait_until(lambda page: page.commands[page.find_command("Reset view")]["disabled"], "the grey command")
    with pytest.raises(ValueError, match="grey or hidden"):
        pair.tab.click("Render")
    with pytest.raises(ValueError, match="disabled"):
        pair.tab.trigger_command("Reset view")
    command.remove()
    pair.tab.wait_until(lambda page: len(page.commands) == 0, "the removal")
    with pytest.raises(LookupError, match="0 commands 'Reset view'"):
        pair.tab.trigger_command("Reset view", timeout=0.1)


def test_a_click_into_the_picture_carries_its_ray(pair: Pair) -> None:
    with pytest.raises(ValueError, match="does not listen"):
        pair.tab.click_canvas(0.5, 0.5)
    clicks: queue.Queue[viser.SceneClickEvent] = queue.Queue()
    pair.handle.scene.on_click()(clicks.put)
    pair.tab.wait_until(lambda page: len(page.pointer_modifiers) > 0, "the server's wish to hear of clicks")
    pair.tab.click_canvas(0.25, 0.5)
    event = clicks.get(timeout=10)
    assert event.screen_pos == (0.25, 0.5)
    np.testing.assert_allclose(event.ray_direction, VIEW.ray(0.25, 0.5))
    np.testing.assert_allclose(event.ray_origin, VIEW.position)


# What the server sends.


def test_pictures_come_in_order_and_decode(pair: Pair) -> None:
    for level in (10, 20, 30):
        pair.handle.scene.set_background_image(gray(level), format="png", depth=np.ones((36, 64), np.float32))
        assert pair.handle.local_storage.get_item("frame", timeout=10) is None
    pictures = [pair.tab.next_background() for _ in range(3)]
    assert [int(picture.pixels()[0, 0, 0]) for picture in pictures] == [10, 20, 30]
    assert pictures[0].arrived < pictures[2].arrived
    assert pictures[0].depth is not None
    assert pair.tab.background == pictures[2]
    with pytest.raises(TimeoutError, match="a picture did not come"):
        pair.tab.next_background(timeout=0.05)
    pair.handle.scene.set_background_image(None)
    pair.tab.wait_until(lambda _: pair.tab.background is None, "the end of the picture")


def test_notifications_nodes_storage_and_downloads_are_kept(pair: Pair) -> None:
    note = pair.handle.add_notification("Saved", "to disk", color="green")
    pair.tab.wait_until(lambda page: len(page.notifications) == 1, "the notification")
    note.body = "to the cloud"
    pair.tab.wait_until(lambda page: pair.tab.notifications()[0].body == "to the cloud", "its change")
    note.remove()
    pair.tab.wait_until(lambda page: not pair.tab.notifications()[0].shown, "its end")

    points = np.arange(12, dtype=np.float32).reshape(4, 3)
    cloud = pair.handle.scene.add_point_cloud("/cloud", points, (255, 0, 0), precision="float32")
    pair.tab.wait_until(lambda page: "/cloud" in page.nodes, "the cloud")
    np.testing.assert_array_equal(pair.tab.page.nodes["/cloud"]["props"]["points"], points.ravel())
    cloud.remove()
    pair.tab.wait_until(lambda page: "/cloud" not in page.nodes, "its removal")

    pair.handle.local_storage.set_item("recent", "a.ply")
    assert pair.handle.local_storage.get_item("recent", timeout=10) == "a.ply"
    pair.handle.local_storage.remove_item("recent")
    assert pair.handle.local_storage.get_item("recent", timeout=10) is None

    content = bytes(range(256)) * 5000
    pair.handle.send_file_download("picture.png", content, chunk_size=100_000, save_immediately=True)
    pair.tab.wait_until(lambda page: page.downloads.get("picture.png") == content, "the file")


def test_a_render_of_the_page_is_said_to_be_impossible(pair: Pair) -> None:
    with pytest.raises(RuntimeError, match="could not capture"):
        pair.handle.get_render(10, 10, timeout=10)


# A bad line.


def test_a_tab_that_never_acknowledges_still_shows_pictures(pair: Pair) -> None:
    pair.tab.stop_acknowledging()
    pair.handle.scene.set_background_image(gray(10), format="png")
    with pytest.raises(TimeoutError):
        pair.handle.local_storage.get_item("frame", timeout=0.1)
    assert int(pair.tab.next_background().pixels()[0, 0, 0]) == 10
    pair.tab.resume_acknowledging()
    assert pair.handle.local_storage.get_item("frame", timeout=10) is None


def test_a_tab_that_stops_reading_takes_nothing_and_later_shows_the_newest(pair: Pair) -> None:
    pair.handle.local_storage.get_item("nothing is under way", timeout=10)
    pair.tab.stop_reading()
    for seed in range(12):
        pair.handle.scene.set_background_image(noise(seed), format="jpeg", jpeg_quality=95)
        pair.handle.flush()
    with pytest.raises(TimeoutError):
        pair.handle.local_storage.get_item("frame", timeout=0.1)
    assert pair.tab.pictures_received == 0
    pair.tab.resume_reading()
    pair.tab.move_camera(fov_y_radians=0.5)
    pair.handle.scene.set_background_image(gray(77), format="png")
    pair.tab.wait_until(lambda _: _shows(pair.tab, 77), "the newest picture")
    assert pair.handle.local_storage.get_item("frame", timeout=10) is None
    assert pair.tab.pictures_received < 10


def _shows(tab: ViserClient, level: int) -> bool:
    return (
        tab.background is not None and tab.background.format == "png" and int(tab.background.pixels()[0, 0, 0]) == level
    )


def test_only_the_newest_of_pictures_that_nobody_takes_are_kept(server: GuardedServer) -> None:
    arrived: queue.Queue[viser.ClientHandle] = queue.Queue()
    server.viser.on_client_connect(arrived.put)
    with ViserClient(server.url, VIEW, kept_pictures=2) as tab:
        handle = arrived.get(timeout=10)
        for level in (10, 20, 30, 40):
            handle.scene.set_background_image(gray(level), format="png")
            handle.local_storage.get_item("frame", timeout=10)
        assert tab.pictures_received == 4
        assert int(tab.next_background().pixels()[0, 0, 0]) == 30
        assert tab.forget_pictures() == 1


def test_a_server_that_goes_away_is_noticed(server: GuardedServer) -> None:
    with ViserClient(server.url) as tab:
        server.stop()
        with pytest.raises(ConnectionError, match="before a picture came"):
            tab.next_background()
        with pytest.raises(ConnectionError, match="closed the connection"):
            tab.send_camera()


def test_two_tabs_have_their_own_cameras(pair: Pair) -> None:
    arrived: queue.Queue[viser.ClientHandle] = queue.Queue()
    pair.server.viser.on_client_connect(lambda handle: arrived.put(handle) if handle is not pair.handle else None)
    with ViserClient(pair.server.url, VIEW.moved(position=(5.0, 5.0, 5.0))):
        assert arrived.get(timeout=10).camera.position[0] == 5.0
        assert pair.handle.camera.position[0] == 0.0


def test_a_quiet_connection_does_not_time_out(pair: Pair) -> None:
    assert pair.tab._socket.socket.gettimeout() is None


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not an address such as"):
        ViserClient("ftp://127.0.0.1:1/")
