"""The rules for one HTTP request, websocket upgrades included; nothing here knows viser or a socket.

A request is let in when all of these hold:

- **Token.** Its query has `token=...`, or it carries the cookie that the first page set. The cookie exists because
  viser's page drops its query when it opens the websocket. Its name carries the port that the browser sees (the one
  in Host, so that two servers behind two forwarded ports do not overwrite each other's); its value is a digest.
- **Host.** A server bound to loopback answers only to loopback names, at any port: `ssh -L 9000:127.0.0.1:8080` is
  fine, while a name of somebody else's that was pointed at 127.0.0.1 (DNS rebinding) is not.
- **Origin.** Where a browser names the page that asks, it is this server's own: its host and port are those of Host.
  Browsers name it on every websocket; programs that are no browser send none and are let in by the token alone.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}

WHERE_TO_FIND_IT = (
    "Open the address that the program printed in its terminal when it started: it ends in ?token=... "
    "(an address without it works only in a browser that has opened it before)."
)


class Headers(Protocol):
    """The part of `websockets.Headers` that the rules read."""

    def get_all(self, key: str) -> list[str]: ...


@dataclass(frozen=True)
class Rules:
    """What a request needs to be let in."""

    token: str
    loopback_only: bool
    """The server is bound to a loopback address: only loopback names are answered."""

    def refusal(self, path: str, headers: Headers) -> str | None:
        """Why the request is refused, in a sentence fit for whoever asked; None lets it in."""
        host = _host(headers)
        if host is None:
            return "The request must name this server in exactly one Host header."
        name, port = host
        if self.loopback_only and not is_loopback(name):
            return (
                "This server listens on 127.0.0.1 and answers only to 127.0.0.1, localhost or [::1]. "
                "From another machine use the ssh -L line that the program printed, or start it with --host 0.0.0.0."
            )
        if not _own_origin(headers, name, port):
            return "The page that asked is not this server's own (its Origin differs from Host)."
        if not (self.query_holds_token(path) or self._cookie_holds_token(headers, port)):
            return f"This server needs its token. {WHERE_TO_FIND_IT}"
        return None

    def query_holds_token(self, path: str) -> bool:
        """Whether `?token=` of the request's path is the token."""
        tokens = parse_qs(path.partition("?")[2]).get("token", [])
        return any(_same(token, self.token) for token in tokens)

    def cookie(self, headers: Headers) -> str:
        """The Set-Cookie value for a request that was let in."""
        host = _host(headers)
        assert host is not None  # Refused before otherwise.
        return f"{cookie_name(host[1])}={self._cookie_value()}; Path=/; HttpOnly; SameSite=Strict"

    def _cookie_value(self) -> str:
        # A digest, so that any token makes a legal cookie and the cookie does not give the token away.
        return hmac.new(self.token.encode(), b"h3d-view cookie", hashlib.sha256).hexdigest()

    def _cookie_holds_token(self, headers: Headers, port: int) -> bool:
        expected_name, expected = cookie_name(port), self._cookie_value()
        pairs = (pair.partition("=") for line in headers.get_all("Cookie") for pair in line.split(";"))
        return any(name.strip() == expected_name and _same(value.strip(), expected) for name, _, value in pairs)


def cookie_name(port: int) -> str:
    """The cookie of the server that the browser reaches at `port` (cookies are shared by all ports of a host)."""
    return f"h3d_view_{port}"


def is_loopback(name: str) -> bool:
    """Whether a host name or address is this machine's own and stays on it."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _same(a: str, b: str) -> bool:
    """Equality in a time that does not tell how much of it matched."""
    return hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass"))


def _split(authority: str, scheme: str) -> tuple[str, int] | None:
    """Name and port of `name`, `name:port` or `[::1]:port`; None when it is none of these."""
    try:
        parts = urlsplit(f"//{authority}")
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if name is None or parts.netloc != authority or parts.username is not None:
        return None
    return name, DEFAULT_PORTS[scheme] if port is None else port


def _host(headers: Headers) -> tuple[str, int] | None:
    hosts = headers.get_all("Host")
    return _split(hosts[0].strip(), "http") if len(hosts) == 1 else None


def _own_origin(headers: Headers, name: str, port: int) -> bool:
    origins = headers.get_all("Origin")
    if len(origins) == 0:
        return True
    scheme, separator, authority = origins[0].strip().partition("://")
    if len(origins) > 1 or separator == "" or scheme not in DEFAULT_PORTS:
        return False
    host_as_asked = (name, port)
    if scheme == "https" and port == DEFAULT_PORTS["http"]:  # Behind a TLS proxy Host names no port: it means 443.
        host_as_asked = (name, DEFAULT_PORTS["https"])
    return _split(authority, scheme) == host_as_asked
