"""The socket and the person: connects a `Page` to a server and does what somebody in front of it would do.

Sent to the server: ViewerCameraMessage (after the replay, after every move and after the server moved the camera),
GuiUpdateMessage, CommandTriggerMessage, ScenePointerMessage, FileTransferStartUpload, FileTransferPart,
LocalStorageGetItemResponseMessage (this is how a viewer learns that a picture has arrived), and an empty
GetRenderResponseMessage, viser's word for a page that could not capture. Read besides what `page` lists:
BackgroundImageMessage, SetCamera...Message and ReplayDoneMessage.

Not imitated: the browser's pacing (a camera at most every 20 ms, controls every 50 ms, batches smoothed over 100 ms)
and the wait for an animation frame before it acknowledges.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from inspect import signature
from typing import Any
from urllib.parse import urlsplit

import websockets.exceptions
from websockets.sync.client import ClientConnection, connect

from .page import Control, Notification, Page, Picture
from .view import View
from .wire import Message, decode_batch, encode, subprotocol

logger = logging.getLogger(__name__)

# A connection that reads ahead would hide from the server that nobody reads. Before version 14 it holds one message.
_SHORT_QUEUE: dict[str, Any] = {"max_queue": 1} if "max_queue" in signature(ClientConnection).parameters else {}
PART_BYTES = 512 * 1024  # as the page cuts an upload
DEFAULT_TIMEOUT = 10.0


class ViserClient:
    """A tab. Connects in the constructor and has sent its camera when that returns; close it, or use `with`."""

    def __init__(
        self,
        url: str,
        view: View | None = None,
        *,
        headers: dict[str, str] | None = None,
        acknowledge: bool = True,
        receive_buffer_bytes: int | None = None,
        kept_pictures: int = 64,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        """`url` is what the program printed, token included. Without a `view` the server's initial camera is taken.

        `headers` go with the upgrade (Cookie, Origin). A small `receive_buffer_bytes` makes the kernel hold less of
        what is not read. Of pictures that nobody asks for only the newest `kept_pictures` stay.
        """
        self.page = Page()
        self.view = View() if view is None else view
        self.pictures_received = 0
        self.background: Picture | None = None  # what the tab shows now
        self._takes_initial_camera = view is None
        self._acknowledges = acknowledge
        self._unanswered: list[Message] = []
        self._pictures: deque[Picture] = deque(maxlen=kept_pictures)
        self._changed = threading.Condition()
        self._may_read = threading.Event()
        self._may_read.set()
        self._failure: str | None = None
        self._socket = _connect(url, headers or {}, receive_buffer_bytes, timeout)
        self._reader = threading.Thread(target=self._read, name="viser client", daemon=True)
        self._reader.start()
        try:
            self.wait_until(lambda page: page.received["ReplayDoneMessage"] > 0, "the end of the replay", timeout)
            self.send_camera()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave, as a closed tab does."""
        self._may_read.set()
        self._socket.close()
        self._reader.join(timeout=DEFAULT_TIMEOUT)

    def __enter__(self) -> ViserClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What a person does.

    def move_camera(self, **changes: Any) -> float:
        """Change fields of the view (position, look_at, up, fov_y_radians, width, height, ...) and send it.

        Returns `time.perf_counter()` just before sending.
        """
        self.view = self.view.moved(**changes)
        return self.send_camera()

    def send_camera(self) -> float:
        """Send the view as it is; the first one makes viser call `on_client_connect`."""
        sent = time.perf_counter()
        self.send(self.view.message())
        return sent

    def set_gui(self, label: str, value: Any, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Give a control another value, as a hand on it would. Raises: `LookupError`, `ValueError`."""
        control = self.control(label, timeout)
        _check_usable(control)
        options = control.props.get("options")
        if options is not None and value not in options:
            raise ValueError(f"{label!r} offers {list(options)}, not {value!r}")
        with self._changed:
            self.page.apply({"type": "GuiUpdateMessage", "uuid": control.uuid, "updates": {"value": value}})
        self.send({"type": "GuiUpdateMessage", "uuid": control.uuid, "updates": {"value": value}})

    def click(self, label: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Press a button. Raises: `LookupError`, `ValueError` when it is grey or hidden."""
        control = self.control(label, timeout)
        _check_usable(control)
        self.send({"type": "GuiUpdateMessage", "uuid": control.uuid, "updates": {"value": True}})

    def trigger_command(self, label: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Run a command of the palette, or press its key. Raises: `LookupError`, `ValueError` when it is grey."""
        found = self._find(lambda page: page.find_command(label), timeout)
        if self.page.commands[found].get("disabled", False):
            raise ValueError(f"the command {label!r} is disabled")
        self.send({"type": "CommandTriggerMessage", "uuid": found})

    def click_canvas(self, x: float, y: float, modifier: str | None = None) -> None:
        """Click into the picture; x right and y down, 0 to 1. Raises: `ValueError` when the server does not listen."""
        self._point("click", [[x, y]], modifier)

    def drag_rectangle(self, low: tuple[float, float], high: tuple[float, float], modifier: str | None = None) -> None:
        """Draw a rectangle into the picture, from corner to corner. Raises: as `click_canvas`."""
        self._point("rect-select", [list(low), list(high)], modifier)

    def _point(self, gesture: str, places: list[list[float]], modifier: str | None) -> None:
        listening = [modifiers for (heard, _), modifiers in self.page.pointer_modifiers.items() if heard == gesture]
        if not any(modifier in modifiers for modifiers in listening):
            raise ValueError(f"the server does not listen to {gesture} with modifier {modifier!r}")
        ray = {"ray_origin": list(self.view.position), "ray_direction": self.view.ray(*places[0])}
        message = {"type": "ScenePointerMessage", "event_type": gesture, "screen_pos": places, "modifier": modifier}
        self.send({**message, **(ray if gesture == "click" else dict.fromkeys(ray))})

    def upload(self, label: str, filename: str, content: bytes, timeout: float = DEFAULT_TIMEOUT) -> str:
        """Send a file through an upload button, whole; returns the transfer that `page.uploads` counts."""
        control = self.control(label, timeout)
        _check_usable(control)
        transfer = str(uuid.uuid4())
        parts = [content[start : start + PART_BYTES] for start in range(0, len(content), PART_BYTES)]
        source = {"source_component_uuid": control.uuid, "transfer_uuid": transfer}
        start = {"filename": filename, "mime_type": "application/octet-stream"}
        size = {"part_count": len(parts), "size_bytes": len(content)}
        self.send({"type": "FileTransferStartUpload", **source, **start, **size})
        for index, part in enumerate(parts):
            self.send({"type": "FileTransferPart", **source, "part_index": index, "content": part})
        return transfer

    def send(self, message: Message) -> None:
        """Send any message. Raises: `ConnectionError` when the server has gone."""
        try:
            self._socket.send(encode(message))
        except websockets.exceptions.ConnectionClosed as closed:
            raise ConnectionError(f"the server closed the connection: {closed}") from closed

    # What a person sees.

    def control(self, label: str, timeout: float = DEFAULT_TIMEOUT) -> Control:
        """The control of this label or path, waited for. Raises: `LookupError` with the labels that there are."""
        return self._find(lambda page: page.find(label), timeout)

    def gui_value(self, label: str, timeout: float = DEFAULT_TIMEOUT) -> Any:
        """The value that a control shows."""
        return self.control(label, timeout).value

    def notifications(self) -> list[Notification]:
        """All notifications so far, oldest first, as they stand now."""
        with self._changed:
            return list(self.page.notifications.values())

    def next_background(self, timeout: float = DEFAULT_TIMEOUT) -> Picture:
        """The oldest picture not yet taken, waited for. Raises: `TimeoutError`, `ConnectionError`."""
        with self._changed:
            self._wait(lambda: len(self._pictures) > 0, "a picture", timeout)
            return self._pictures.popleft()

    def forget_pictures(self) -> int:
        """Drop the pictures not yet taken; returns how many there were."""
        with self._changed:
            count = len(self._pictures)
            self._pictures.clear()
            return count

    def wait_until(self, holds: Callable[[Page], object], what: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Wait until `holds(page)`. Raises: `TimeoutError` that says `what` did not come, `ConnectionError`."""
        with self._changed:
            self._wait(lambda: holds(self.page), what, timeout)

    # A bad line.

    def stop_reading(self) -> None:
        """Answer nothing and, but for the three batches that come first, take nothing off the socket."""
        self._may_read.clear()

    def resume_reading(self) -> None:
        """Read on from where it stopped."""
        self._may_read.set()

    def stop_acknowledging(self) -> None:
        """Read on, but never say that anything arrived, as a frozen tab does."""
        with self._changed:
            self._acknowledges = False

    def resume_acknowledging(self) -> None:
        """Answer everything that was left unanswered, and from now on at once."""
        with self._changed:
            self._acknowledges = True
            requests, self._unanswered = self._unanswered, []
        for request in requests:
            self._answer_storage(request)

    # The reading thread.

    def _read(self) -> None:
        try:
            while True:
                data = self._socket.recv()
                self._may_read.wait()
                self._take_in(decode_batch(data if isinstance(data, bytes) else data.encode()))
        except (websockets.exceptions.ConnectionClosed, ConnectionError, ValueError) as ended:
            with self._changed:
                self._failure = str(ended) or type(ended).__name__
                self._changed.notify_all()

    def _take_in(self, messages: list[Message]) -> None:
        arrived = time.perf_counter()
        replies: list[Callable[[], object]] = []
        with self._changed:
            view = self.view
            for message in messages:
                self.page.apply(message)
                kind = message["type"]
                if kind == "BackgroundImageMessage":
                    self._show(message, arrived)
                elif kind.startswith("SetCamera"):
                    view = view.told(message) if self._takes_initial_camera or not message.get("initial") else view
                elif kind == "ReplayDoneMessage":
                    self._takes_initial_camera = False
                elif kind == "LocalStorageGetItemRequestMessage" and not self._acknowledges:
                    self._unanswered.append(message)
                elif kind == "LocalStorageGetItemRequestMessage":
                    replies.append(lambda request=message: self._answer_storage(request))
                elif kind == "GetRenderRequestMessage":
                    replies.append(lambda request=message: self._answer_render(request))
            if view is not self.view:
                self.view = view
                if self.page.received["ReplayDoneMessage"] > 0:
                    replies.append(self.send_camera)
            self._changed.notify_all()
        for reply in replies:
            reply()

    def _show(self, message: Message, arrived: float) -> None:
        if message["rgb_data"] is None:
            self.background = None
            return
        self.background = Picture(arrived, message["rgb_data"], message["format"], message["depth_data"])
        self._pictures.append(self.background)
        self.pictures_received += 1

    def _answer_storage(self, request: Message) -> None:
        answer = {"value": self.page.storage.get(request["key"]), "error": None}
        self.send({"type": "LocalStorageGetItemResponseMessage", **answer, "request_uuid": request["request_uuid"]})

    def _answer_render(self, request: Message) -> None:
        self.send({"type": "GetRenderResponseMessage", "payload": b"", "render_uuid": request["render_uuid"]})

    def _find(self, find: Callable[[Page], Any], timeout: float) -> Any:
        def found(page: Page) -> bool:
            try:
                find(page)
            except LookupError:
                return False
            return True

        with self._changed:
            try:
                self._wait(lambda: found(self.page), "it", timeout)
            except TimeoutError:
                pass  # The lookup below raises and says what there is instead.
            return find(self.page)

    def _wait(self, holds: Callable[[], object], what: str, timeout: float) -> None:
        """Wait with the lock held."""
        self._changed.wait_for(lambda: holds() or self._failure is not None, timeout)
        if holds():
            return
        if self._failure is not None:
            raise ConnectionError(f"the connection ended before {what} came: {self._failure}")
        raise TimeoutError(f"{what} did not come within {timeout:g} s; received {dict(self.page.received)}")


def _check_usable(control: Control) -> None:
    if control.props.get("disabled", False) or not control.props.get("visible", True):
        raise ValueError(f"{control.label!r} is grey or hidden: nobody could use it")


def _connect(url: str, headers: dict[str, str], receive_buffer_bytes: int | None, timeout: float) -> Any:
    """A websocket to the server of an address; our own socket, so that no proxy setting comes in between."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "ws") or parts.hostname is None:
        raise ValueError(f"{url}: not an address such as http://127.0.0.1:8080/?token=...")
    family = socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        if receive_buffer_bytes is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        plain.settimeout(timeout)
        plain.connect((parts.hostname, parts.port or 80))
        plain.settimeout(None)  # Or ten quiet seconds would end the connection.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connect(
            parts._replace(scheme="ws").geturl(),
            sock=plain,
            subprotocols=[subprotocol()],  # type: ignore[list-item]
            additional_headers=headers,
            compression=None,
            max_size=None,
            open_timeout=timeout,
            **_SHORT_QUEUE,
        )
    except BaseException:
        plain.close()
        raise
