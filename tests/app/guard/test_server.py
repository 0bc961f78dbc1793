"""The guard is in force in front of the real viser: page, websocket, tunnel and uploads.

These tests hold on to viser's insides where the guard does; they fail when a new viser would slip past it.
"""

from __future__ import annotations

import http.client
import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import viser
import viser._viser
import websockets.exceptions
from websockets.sync.client import ClientConnection, connect

from h3d.app.guard import GuardedServer, GuardError, UploadLimits, start_guarded_server
from h3d.app.guard import server as guard_server
from h3d.app.guard.uploads import PAGE_MESSAGES
from h3d.app.viser_client import ViserClient
from h3d.app.viser_client.wire import encode, subprotocol

LIMIT = 3 * 1024**2
ANY_PORT = 0


@pytest.fixture(scope="module")
def server() -> Iterator[GuardedServer]:
    limits = UploadLimits(file_bytes=LIMIT, total_bytes=2 * LIMIT)
    with start_guarded_server(port=ANY_PORT, uploads=limits, environ={}) as running:
        yield running


Alone: TypeAlias = tuple[GuardedServer, "queue.Queue[viser.ClientHandle]"]


@pytest.fixture
def alone() -> Iterator[Alone]:
    """A server of the test's own, and the clients that have arrived there."""
    with start_guarded_server(port=ANY_PORT, environ={}) as running:
        arrived: queue.Queue[viser.ClientHandle] = queue.Queue()
        running.viser.on_client_connect(arrived.put)
        yield running, arrived


def ask(server: GuardedServer, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """One GET: status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def websocket(server: GuardedServer, query: str = "", **headers: str) -> ClientConnection:
    sock = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    origin = headers.pop("Origin", None)
    return connect(
        f"ws://127.0.0.1:{server.port}/{query}",
        sock=sock,
        origin=origin,  # type: ignore[arg-type]
        additional_headers=headers,
        subprotocols=[subprotocol()],  # type: ignore[list-item]
    )


def refused_status(server: GuardedServer, query: str = "", **headers: str) -> int:
    with pytest.raises(websockets.exceptions.InvalidStatus) as refusal:
        websocket(server, query, **headers)
    return refusal.value.response.status_code


# The page.


def test_the_page_comes_with_the_token_and_sets_the_cookie(server: GuardedServer) -> None:
    status, headers, body = ask(server, f"/?token={server.token}")
    assert status == http.HTTPStatus.OK
    assert b"<html" in body
    assert headers["Set-Cookie"].startswith(f"h3d_view_{server.port}=")
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite=Strict" in headers["Set-Cookie"]


def test_the_cookie_alone_brings_the_page(server: GuardedServer) -> None:
    _, headers, _ = ask(server, f"/?token={server.token}")
    status, again, _ = ask(server, "/", Cookie=headers["Set-Cookie"].partition(";")[0])
    assert status == http.HTTPStatus.OK
    assert "Set-Cookie" not in again


@pytest.mark.parametrize("path", ["/", "/index.html", "/?token=wrong", "/assets/x.js", "/..%2f", "//", "/nothing"])
def test_without_the_token_no_path_answers_anything_but_where_to_find_it(server: GuardedServer, path: str) -> None:
    status, headers, body = ask(server, path)
    assert status == http.HTTPStatus.FORBIDDEN
    assert b"?token=" in body
    assert b"viser" not in body
    assert server.token.encode() not in body
    assert len(body) < 500
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("path", ["/", "/?token={token}", "/nothing?token={token}"])
def test_every_answer_keeps_the_token_out_of_caches_frames_and_referrers(server: GuardedServer, path: str) -> None:
    _, headers, _ = ask(server, path.format(token=server.token))
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["Content-Security-Policy"] == "frame-ancestors 'self'"


def test_a_foreign_name_pointed_at_this_machine_is_refused(server: GuardedServer) -> None:
    status, _, _ = ask(server, f"/?token={server.token}", Host=f"evil.example:{server.port}")
    assert status == http.HTTPStatus.FORBIDDEN


def test_a_forwarded_port_is_answered(server: GuardedServer) -> None:
    status, headers, _ = ask(server, f"/?token={server.token}", Host="localhost:9000")
    assert status == http.HTTPStatus.OK
    assert headers["Set-Cookie"].startswith("h3d_view_9000=")


# The websocket.


def test_a_websocket_needs_the_token(server: GuardedServer) -> None:
    assert refused_status(server) == http.HTTPStatus.FORBIDDEN
    assert refused_status(server, "?token=wrong") == http.HTTPStatus.FORBIDDEN
    with websocket(server, f"?token={server.token}") as connection:
        assert connection.subprotocol == subprotocol()


def test_a_websocket_of_the_page_comes_with_its_cookie_and_origin(server: GuardedServer) -> None:
    _, headers, _ = ask(server, f"/?token={server.token}")
    cookie, own = headers["Set-Cookie"].partition(";")[0], f"http://127.0.0.1:{server.port}"
    with websocket(server, Cookie=cookie, Origin=own) as connection:
        assert connection.subprotocol == subprotocol()


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000", "null"])
def test_a_websocket_of_another_page_is_refused_even_with_token_and_cookie(server: GuardedServer, origin: str) -> None:
    _, headers, _ = ask(server, f"/?token={server.token}")
    cookie = headers["Set-Cookie"].partition(";")[0]
    query = f"?token={server.token}"
    assert refused_status(server, query, Cookie=cookie, Origin=origin) == http.HTTPStatus.FORBIDDEN


def test_messages_that_no_page_sends_do_not_disturb_the_others(alone: Alone) -> None:
    server, arrived = alone
    with ViserClient(server.url) as client:
        handle = arrived.get(timeout=10)
        for raw in (b"\xc1", b"", b"\x91" * 9999, encode({"type": "NoSuchMessage"}), encode({"type": ["list"]})):
            client._socket.send(raw)
        client._socket.send("text")
        client.send({**client.view.message(), "position": [float("nan"), 0.0, 0.0]})
        moved = threading.Event()
        handle.camera.on_update(lambda camera: moved.set() if camera.position[1] == -5.0 else None)
        client.move_camera(position=(0.0, -5.0, 1.0))
        assert moved.wait(10)


@pytest.mark.parametrize("raw", [b"\x16\x03\x01\x02\x00garbage\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n", b"GET /\r\n\r\n"])
def test_strangers_that_speak_no_http_leave_no_traceback(
    server: GuardedServer, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as stranger:
        stranger.sendall(raw)
        while stranger.recv(4096):
            pass
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


# What must stay in step with viser.


def test_the_guard_knows_every_message_that_viser_handles(alone: Alone) -> None:
    server, arrived = alone
    with ViserClient(server.url):
        of_client = arrived.get(timeout=10)._websock_connection._incoming_handlers
        handlers = {*server.viser._websock_server._incoming_handlers, *of_client}
    asked_for = {"LocalStorageGetItemResponseMessage", "GetRenderResponseMessage"}  # handled only while one is awaited
    assert {message.__name__ for message in handlers} | asked_for == PAGE_MESSAGES


def test_a_viser_that_serves_in_another_way_is_stopped_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_server, "_serve", guard_server._serve_as_it_was)
    made: list[viser.ViserServer] = []
    construct = guard_server._construct
    monkeypatch.setattr(guard_server, "_construct", lambda *args: made.append(construct(*args)) or made[0])
    with pytest.raises(GuardError, match=r"not in force with viser .*pip install"):
        start_guarded_server(port=ANY_PORT, environ={})
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", made[0].get_port()), timeout=10)


def test_a_server_that_answers_without_a_token_is_stopped_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_server._Guard, "_ask_first", lambda self, answer: answer)
    with pytest.raises(GuardError, match=r"its page \(status 200\) to a request without a token"):
        start_guarded_server(port=ANY_PORT, environ={})


def test_other_viser_servers_of_the_process_are_left_alone(server: GuardedServer) -> None:
    plain = viser.ViserServer(host="127.0.0.1", port=ANY_PORT, verbose=False)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", plain.get_port(), timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().status == http.HTTPStatus.OK
        connection.close()
    finally:
        plain.stop()


# The tunnel.


class RecordedTunnel:
    """Stands in for viser's tunnel, so that no test opens one."""

    opened: threading.Event

    def __init__(self, *_: Any) -> None:
        self.opened.set()

    def get_status(self) -> str:
        return "failed"

    def get_url(self) -> None:
        return None

    def close(self) -> None:
        return None

    def on_connect(self, _: Any) -> None:
        return None

    on_disconnect = on_connect


@pytest.fixture
def tunnel_opened(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    RecordedTunnel.opened = threading.Event()
    monkeypatch.setattr(viser._viser, "ViserTunnel", RecordedTunnel)
    return RecordedTunnel.opened


def test_a_plain_viser_opens_its_public_tunnel_for_any_client(tunnel_opened: threading.Event) -> None:
    plain = viser.ViserServer(host="127.0.0.1", port=ANY_PORT, verbose=False)
    try:
        with ViserClient(f"http://127.0.0.1:{plain.get_port()}") as client:
            client.send({"type": "ShareUrlRequest"})
            assert tunnel_opened.wait(10)
    finally:
        plain.stop()


def test_no_client_opens_the_tunnel_of_a_guarded_server(server: GuardedServer, tunnel_opened: threading.Event) -> None:
    answered = threading.Event()
    command = server.viser.gui.add_command("after the request")
    command.on_trigger(lambda _: answered.set())
    with ViserClient(server.url) as client:
        client.send({"type": "ShareUrlRequest"})
        client.send({"type": "ShareUrlDisconnect"})
        client.trigger_command("after the request")
        assert answered.wait(10)
    command.remove()
    assert not tunnel_opened.is_set()


def test_nor_does_a_request_that_gets_past_the_screen(
    server: GuardedServer, tunnel_opened: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_server.Screen, "admits", lambda self, data: True)
    test_no_client_opens_the_tunnel_of_a_guarded_server(server, tunnel_opened)


def test_nor_does_our_own_code(server: GuardedServer, tunnel_opened: threading.Event) -> None:
    with pytest.raises(PermissionError, match="ssh -L"):
        server.viser.request_share_url()
    assert not tunnel_opened.is_set()


# Uploads.


@pytest.fixture
def upload_button(server: GuardedServer) -> Iterator[tuple[Any, threading.Event]]:
    button = server.viser.gui.add_upload_button("Open file")
    arrived = threading.Event()
    button.on_upload(lambda _: arrived.set())
    yield button, arrived
    button.remove()


def test_an_upload_within_the_limit_arrives(server: GuardedServer, upload_button: tuple[Any, threading.Event]) -> None:
    button, arrived = upload_button
    content = bytes(range(256)) * (LIMIT // 256)
    with ViserClient(server.url) as client:
        transfer = client.upload("Open file", "scene.ply", content)
        assert arrived.wait(10)
        assert button.value.content == content
        client.wait_until(lambda page: page.uploads.get(transfer) == (LIMIT, LIMIT), "the last acknowledgement")


def test_an_upload_above_the_limit_is_refused_with_a_notification_and_frees_the_button(
    server: GuardedServer, upload_button: tuple[Any, threading.Event]
) -> None:
    with ViserClient(server.url) as client:
        transfer = client.upload("Open file", "<big>.ply", b"x" * (LIMIT + 1))
        client.wait_until(lambda page: len(page.notifications) > 0, "the notification")
        client.wait_until(lambda page: page.uploads.get(transfer) == (0, 0), "the end of the progress bar")
        assert "'<big>.ply' is 3.0 MiB; uploads are limited to 3.0 MiB" in client.notifications()[0].body
        small = client.upload("Open file", "small.ply", b"ply")
        client.wait_until(lambda page: page.uploads.get(small) == (3, 3), "the next upload")
    assert upload_button[0].value.name == "small.ply"


def test_viser_never_holds_more_than_was_declared_and_nothing_for_a_tab_that_has_gone(
    server: GuardedServer, upload_button: tuple[Any, threading.Event]
) -> None:
    with ViserClient(server.url) as client:
        source = {"source_component_uuid": client.control("Open file").uuid, "transfer_uuid": "lie"}
        size = {"filename": "lie.ply", "mime_type": "", "part_count": 2, "size_bytes": 8192}
        client.send({"type": "FileTransferStartUpload", **source, **size})
        for index, length in ((0, 8193), (0, 4096), (0, 4096), (1, 4097), (5, 1)):
            client.send({"type": "FileTransferPart", **source, "part_index": index, "content": b"x" * length})
        client.wait_until(lambda page: page.uploads.get("lie") == (4096, 8192), "the acknowledgement of the one part")
        small = client.upload("Open file", "after.ply", b"ply")
        client.wait_until(lambda page: page.uploads.get(small) == (3, 3), "the next upload")
        held = server.viser.gui._current_file_upload_states["lie"]
        assert sum(map(len, held["parts"].values())) == 4096
        gone = threading.Event()
        server.viser.on_client_disconnect(lambda _: gone.set())
    assert gone.wait(10)
    assert server.viser.gui._current_file_upload_states == {}


# All interfaces.


def test_all_interfaces_are_served_on_request_and_it_says_what_that_means() -> None:
    with start_guarded_server(host="0.0.0.0", port=ANY_PORT, environ={}) as running:
        assert running.url.startswith(f"http://127.0.0.1:{running.port}/?token=")
        note = " ".join(running.notes)
        assert "every network interface" in note
        assert "Nothing is encrypted" in note
        assert f"http://{socket.gethostname()}:{running.port}/?token={running.token}" in note
        assert ask(running, "/", Host="lab.example")[0] == http.HTTPStatus.FORBIDDEN
        assert ask(running, f"/?token={running.token}", Host="lab.example")[0] == http.HTTPStatus.OK
        assert refused_status(running, f"?token={running.token}", Origin="https://evil.example") == 403


# One place.


def test_only_this_file_makes_a_viser_server() -> None:
    app = Path(guard_server.__file__).parents[1]
    makers = {
        path.name for path in app.rglob("*.py") if "ViserServer(" in path.read_text() and path.parent.name != "bench"
    }
    assert makers == {"server.py"}
