"""Where the server listens: a bound socket, the address that reaches it, and what that means in plain words."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from .rules import is_loopback

PORTS_TRIED = 100


@dataclass(frozen=True)
class Listener:
    """A listening socket and how to reach it."""

    socket: socket.socket
    host: str  # the address that it is bound to
    port: int
    asked_port: int

    @property
    def loopback_only(self) -> bool:
        """Whether no other machine can reach it."""
        return is_loopback(self.host)

    @property
    def url_host(self) -> str:
        """The host to put into an address that is opened on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]" if ":" in host else host

    def notes(self, token: str) -> tuple[str, ...]:
        """What the person who started the server should know about where it listens."""
        notes = []
        if self.asked_port not in (0, self.port):
            notes.append(f"Port {self.asked_port} is busy; using {self.port}.")
        if not self.loopback_only:
            where = "every network interface" if self.host in ("0.0.0.0", "::") else "a network interface"
            name = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.url_host
            notes.append(
                f"Listening on {where} of this machine ({self.host}): whoever reaches port {self.port} and knows the "
                "token can see and change the scene and read and write files below the folders you opened. Nothing "
                "is encrypted, so others on the way can read the token: do this only on a network that you trust. "
                f"From another machine open http://{name}:{self.port}/?token={quote(token, safe='')}"
            )
        return tuple(notes)


def listen(host: str, port: int) -> Listener:
    """A socket that listens at `host`, at `port` or the next free one above. Raises: `OSError` with a sentence."""
    if not 0 <= port <= 65535:
        raise OSError(f"--port {port}: ports go from 0 (any free one) to 65535")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(f"--host {host}: not an address of this machine ({error}); use 127.0.0.1 or 0.0.0.0") from error
    # "localhost" has two addresses; the older one is what the printed address names.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    bound_host = str(address[0])
    last = port if port == 0 else min(port + PORTS_TRIED - 1, 65535)
    for candidate in range(port, last + 1):
        try:
            return Listener(*_bind(family, bound_host, candidate), asked_port=port)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)):
                continue
            if error.errno == errno.EACCES:
                raise OSError(f"--port {candidate}: this user may not listen there; use 1024 or above") from error
            raise OSError(
                f"--host {host}: {error.strerror}; use 127.0.0.1, 0.0.0.0 or an address of this machine"
            ) from error
    raise OSError(f"--port {port}: it and all ports up to {last} are busy; use another, or 0 for any free one")


def _bind(family: int, host: str, port: int) -> tuple[socket.socket, str, int]:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # Elsewhere this option lets two programs share one port.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(100)
    except OSError:
        listening.close()
        raise
    return listening, host, int(listening.getsockname()[1])


def ssh_line(environ: Mapping[str, str], port: int) -> tuple[str, ...]:
    """The command that brings the port to the machine where the person sits, when the program was started over SSH."""
    # SSH_CONNECTION is "client address, client port, server address, server port".
    connection = environ.get("SSH_CONNECTION", "").split()
    if len(connection) != 4:
        return ()
    server, server_port = connection[2], connection[3]
    user = environ.get("USER") or environ.get("LOGNAME") or ""
    options = "" if server_port == "22" else f"-p {server_port} "
    login = f"{user}@{server}" if user else server
    line = f"ssh -N -L {port}:127.0.0.1:{port} {options}{login}"
    return (f"Started over SSH. On your own machine run\n    {line}\nand open the address there.",)
