"""The one place where a viser server is made: bound, guarded, checked, and described to the person who started it.

viser serves page and websocket through `websockets.asyncio.server.serve(handler, host, port, process_request=...)`.
`start_guarded_server` hands viser a host that carries the guard, and for the moment of its construction puts
`_serve` in the place of that function. `_serve` knows the guarded host when it gets it and adds: our own socket (so
that a busy port is noticed before viser swallows it), the rules for requests, and the screen for messages. A viser
that would serve in another way is found out by `_check_refusals`, which asks the running server without a token.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import inspect
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import rich
import viser
import websockets.asyncio.server
from viser import _messages
from websockets import Headers
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

from .listening import Listener, listen, ssh_line
from .rules import Rules
from .uploads import Refusal, Screen, UploadLimits, Uploads

logger = logging.getLogger(__name__)

PAGE_HEADERS = {
    "Referrer-Policy": "no-referrer",  # Or the token would travel in Referer to every page linked from here.
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Content-Security-Policy": "frame-ancestors 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NOT_IN_FORCE = (
    f"The guard is not in force with viser {viser.__version__}, so the server was stopped; "
    "install the tested one: pip install 'viser==1.1.1'"
)
CHECK_SECONDS = 10.0
_serve_as_it_was = websockets.asyncio.server.serve
_replacing_serve = threading.Lock()


class GuardError(RuntimeError):
    """The server could not be started, or not safely; the sentence says what to do."""


@dataclass(frozen=True)
class GuardedServer:
    """A running viser server that answers only to those who hold its token."""

    viser: viser.ViserServer
    host: str
    port: int
    token: str
    url: str
    """The address to open on this machine, token included."""
    notes: tuple[str, ...]
    """Sentences for the person who started it: a port that was busy, what --host means, the ssh -L line."""

    def stop(self) -> None:
        """End the server and its connections; nothing is printed."""
        with _quiet():
            self.viser.stop()

    def __enter__(self) -> GuardedServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_guarded_server(
    host: str = "127.0.0.1",
    port: int = 8080,
    token: str | None = None,
    label: str = "h3d-view",
    *,
    uploads: UploadLimits | None = None,
    environ: Mapping[str, str] = os.environ,
) -> GuardedServer:
    """A viser server behind the guard, at `port` or the next free one (0: any free one).

    A `token` of None is drawn afresh. Raises: `GuardError` when no port can be had at this host, the token is empty,
    or the installed viser lets requests past the guard (the server is stopped then).
    """
    token = secrets.token_urlsafe(16) if token is None else token
    if token.strip() == "" or not token.isprintable():
        raise GuardError("--token: give 16 or more printable characters, or leave it out to have a token drawn")
    try:
        listener = listen(host, port)
    except OSError as error:
        raise GuardError(str(error)) from error
    guard = _Guard(Rules(token, loopback_only=listener.loopback_only), Uploads(uploads or UploadLimits()), listener)
    server = _construct(guard, label)
    try:
        if not guard.serves:
            raise GuardError(f"viser did not start its server where the guard waits for it. {NOT_IN_FORCE}")
        _check_refusals(listener)
    except BaseException:
        with _quiet():
            server.stop()
        raise
    url = f"http://{listener.url_host}:{listener.port}/?token={quote(token, safe='')}"
    notes = (*listener.notes(token), *ssh_line(environ, listener.port))
    return GuardedServer(server, host, listener.port, token, url, notes)


class _GuardedHost(str):
    """The host that viser is given and hands to `serve` untouched: a string that carries the guard there."""

    guard: _Guard


class _Guard:
    """What stands between one server and everybody else."""

    def __init__(self, rules: Rules, uploads: Uploads, listener: Listener) -> None:
        self.rules = rules
        self.uploads = uploads
        self.listener = listener
        self.viser: viser.ViserServer | None = None  # Set once it is made; connections may come before.
        self.serves = False  # Whether viser has asked for the server to be started here.

    def serve(self, handler: Any, options: dict[str, Any]) -> Any:
        """Serve at our socket, with every request and every message looked at first."""
        self.serves = True
        options["process_request"] = self._ask_first(options.get("process_request"))
        options["create_connection"] = functools.partial(_GuardedConnection, guard=self)
        options["max_size"] = self.uploads.limits.message_bytes
        options["logger"] = _logger_for_strangers()
        options["server_header"] = None  # Versions help nobody but an attacker.
        return _serve_as_it_was(handler, sock=self.listener.socket, **options)

    def _ask_first(self, answer: Callable[..., Any] | None) -> Callable[..., Any]:
        async def process_request(connection: ServerConnection, request: Request) -> Response | None:
            refusal = self.rules.refusal(request.path, request.headers)
            if refusal is not None:
                logger.info("refused a request from %s: %s", connection.remote_address, refusal)
                response = connection.respond(http.HTTPStatus.FORBIDDEN, f"h3d-view: {refusal}\n")
                _set_page_headers(response.headers)
                return response
            response = None if answer is None else answer(connection, request)
            if inspect.isawaitable(response):
                response = await response
            if response is not None:
                _set_page_headers(response.headers)
                if self.rules.query_holds_token(request.path):
                    response.headers["Set-Cookie"] = self.rules.cookie(request.headers)
            return response

        return process_request

    def report(self, connection: ServerConnection, refusal: Refusal) -> None:
        """Log a refused message; where a file was refused, tell the tab and end its progress bar."""
        # The page sends a refused file to its end: thousands of parts, each as little news as the last.
        level = logging.WARNING if refusal.message is None or refusal.ends_upload else logging.DEBUG
        logger.log(level, "dropped from %s: %s", connection.remote_address, refusal.sentence)
        if self.viser is None or refusal.message is None or not refusal.ends_upload:
            return
        # The tab may not have sent its camera yet, and viser no handle for it; its buffer stands from the start.
        server = self.viser._websock_server
        client_id = next((key for key, value in server._live_connections.items() if value is connection), None)
        client = None if client_id is None else server._client_state_from_id.get(client_id)
        if client is not None:
            for message in _end_of_upload(refusal.message, refusal.sentence):
                client.message_buffer.push(message)


class _GuardedConnection(ServerConnection):
    """A connection whose messages are looked at before viser receives them."""

    def __init__(self, *args: Any, guard: _Guard, **options: Any) -> None:
        super().__init__(*args, **options)
        self._screen = Screen(guard.uploads, functools.partial(guard.report, self))

    async def recv(self, decode: bool | None = None) -> Any:
        while True:
            data = await super().recv(decode)
            if self._screen.admits(data):
                return data

    def connection_lost(self, exc: Exception | None) -> None:
        self._screen.close()
        super().connection_lost(exc)


class _NoStrangers(logging.Filter):
    """Keeps what a port scanner sends from filling the terminal with tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.getMessage() != "opening handshake failed"


def _logger_for_strangers() -> logging.Logger:
    websocket_logger = logging.getLogger(f"{__name__}.websocket")
    if not any(isinstance(present, _NoStrangers) for present in websocket_logger.filters):
        websocket_logger.addFilter(_NoStrangers())
    return websocket_logger


def _end_of_upload(start: dict[str, Any], sentence: str) -> tuple[_messages.Message, ...]:
    """What tells a tab that its file was refused."""
    transfer, source = str(start.get("transfer_uuid")), str(start.get("source_component_uuid"))
    props = _messages.NotificationProps("Upload refused", sentence, False, True, None, "red")
    # The page keeps its upload button grey until all bytes are acknowledged: hide its progress, then say 0 of 0.
    return (
        _messages.RemoveNotificationMessage(f"upload-{transfer}"),
        _messages.FileTransferPartAck(source, transfer, 0, 0),
        _messages.NotificationShowMessage(f"refused-{transfer}", props),
    )


def _set_page_headers(headers: Headers) -> None:
    for name, value in PAGE_HEADERS.items():
        if name in headers:
            del headers[name]
        headers[name] = value


def _serve(handler: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
    """Stands in for `websockets.asyncio.server.serve` while a guarded viser is constructed."""
    if isinstance(host, _GuardedHost):
        return host.guard.serve(handler, options)
    return _serve_as_it_was(handler, host, port, **options)


def _construct(guard: _Guard, label: str) -> viser.ViserServer:
    host = _GuardedHost(guard.listener.host)
    host.guard = guard
    with _replacing_serve, _quiet():
        setattr(websockets.asyncio.server, "serve", _serve)  # noqa: B010  (a class there, a function here)
        try:
            server = viser.ViserServer(host=host, port=guard.listener.port, label=label, verbose=False)
        finally:
            setattr(websockets.asyncio.server, "serve", _serve_as_it_was)  # noqa: B010
    _close_tunnel_door(server)
    guard.viser = server
    return server


def _close_tunnel_door(server: viser.ViserServer) -> None:
    """Take away viser's public share tunnel, from clients and from our own code."""
    for message in (_messages.ShareUrlRequest, _messages.ShareUrlDisconnect):
        server._websock_server.unregister_handler(message)

    def refuse(verbose: bool = True) -> str | None:
        raise PermissionError("viser's public share tunnel is switched off in h3d-view; use ssh -L to share a view")

    server.request_share_url = refuse


def _check_refusals(listener: Listener) -> None:
    """Ask the running server as a stranger would. Raises `GuardError` when it answers."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "aDNkLXZpZXcgc2VsZi10ZQ==",
        "Sec-WebSocket-Protocol": f"viser-v{viser.__version__}",
    }
    for what, headers in (("its page", {}), ("a websocket", upgrade)):
        connection = http.client.HTTPConnection(listener.url_host.strip("[]"), listener.port, timeout=CHECK_SECONDS)
        try:
            connection.request("GET", "/", headers=headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise GuardError(
                f"the viewer's server did not answer its own check at port {listener.port}: {error}"
            ) from error
        finally:
            connection.close()
        if status != http.HTTPStatus.FORBIDDEN:
            raise GuardError(f"viser gave {what} (status {status}) to a request without a token. {NOT_IN_FORCE}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """viser prints its own address, without the token, and its own goodbye; the command line says both better."""
    console = rich.get_console()
    before = console.quiet
    console.quiet = True
    try:
        yield
    finally:
        console.quiet = before
