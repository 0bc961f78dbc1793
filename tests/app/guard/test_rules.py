"""A request gets in only with the token, at a name of this server, from this server's own page."""

from __future__ import annotations

from http.cookies import SimpleCookie
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers

from h3d.app.guard.rules import Rules, cookie_name, is_loopback

TOKEN = "Yk3_secret-token"
LOCAL = Rules(TOKEN, loopback_only=True)
EXPOSED = Rules(TOKEN, loopback_only=False)


def request(host: str | None = "127.0.0.1:8080", **headers: str) -> Headers:
    return Headers(({"Host": host} if host is not None else {}) | headers)


def page_cookie(rules: Rules, host: str = "127.0.0.1:8080") -> str:
    """What a browser sends back after the first page."""
    return rules.cookie(request(host)).partition(";")[0]


def test_the_token_in_the_query_lets_in() -> None:
    assert LOCAL.refusal(f"/?token={TOKEN}", request()) is None
    assert LOCAL.refusal(f"/?darkMode&token={TOKEN}&fixedDpr=1", request()) is None


@pytest.mark.parametrize(
    "path",
    ["/", "/?token=", "/?token", f"/?token={TOKEN}x", f"/?token={TOKEN[:-1]}", f"/?TOKEN={TOKEN}", f"/{TOKEN}",
     f"/#token={TOKEN}", "/index.html", "/?token=%00", "//evil?x", "/?token=\udcff", "/?" + "&" * 50],
)  # fmt: skip
def test_without_the_token_nobody_gets_in_and_the_sentence_says_where_it_is(path: str) -> None:
    refusal = LOCAL.refusal(path, request())
    assert refusal is not None
    assert "?token=" in refusal
    assert TOKEN not in refusal


@pytest.mark.parametrize("token", ["a b;c=d", "ä+%26&#", "'\"<>", "x" * 500])
def test_a_token_of_any_characters_works_in_query_and_cookie(token: str) -> None:
    rules = Rules(token, loopback_only=True)
    assert rules.refusal(f"/?token={quote(token, safe='')}", request()) is None
    assert rules.refusal("/", request(Cookie=page_cookie(rules))) is None


def test_the_cookie_lets_in_among_other_cookies_and_only_at_its_port() -> None:
    cookie = page_cookie(LOCAL)
    assert LOCAL.refusal("/", request(Cookie=f"a=b; {cookie};c=d")) is None
    assert LOCAL.refusal("/", request("localhost:9000", Cookie=cookie)) is not None
    assert LOCAL.refusal("/", request(Cookie=page_cookie(Rules("another", loopback_only=True)))) is not None


def test_the_cookie_is_strict_and_does_not_give_the_token_away() -> None:
    line = LOCAL.cookie(request("localhost:9000"))
    morsel = SimpleCookie(line)["h3d_view_9000"]
    assert morsel["httponly"] is True
    assert morsel["samesite"] == "Strict"
    assert morsel["path"] == "/"
    assert morsel["domain"] == ""
    assert TOKEN not in line


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost:9000", "LOCALHOST:1", "[::1]:8080", "localhost", "127.1.2.3:80"]
)
def test_a_loopback_server_answers_to_loopback_names_at_any_port(host: str) -> None:
    assert LOCAL.refusal(f"/?token={TOKEN}", request(host)) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.7:8080", "0.0.0.0:8080",
     "[::2]:8080", "", " ", ":8080", "localhost:port", "a@127.0.0.1:8080", "127.0.0.1/x", "2130706433", None],
)  # fmt: skip
def test_a_loopback_server_answers_to_no_other_name(host: str | None) -> None:
    assert LOCAL.refusal(f"/?token={TOKEN}", request(host)) is not None


def test_two_host_headers_are_refused() -> None:
    headers = request()
    headers["Host"] = "127.0.0.1:8080"
    assert LOCAL.refusal(f"/?token={TOKEN}", headers) is not None


def test_an_exposed_server_answers_to_any_name_with_the_token() -> None:
    assert EXPOSED.refusal(f"/?token={TOKEN}", request("lab.example:8080")) is None
    assert EXPOSED.refusal("/", request("lab.example:8080")) is not None


@pytest.mark.parametrize(
    ("host", "origin"),
    [("127.0.0.1:8080", "http://127.0.0.1:8080"), ("localhost:80", "http://localhost"), ("localhost", "http://localhost:80"),
     ("[::1]:8080", "http://[::1]:8080"), ("LocalHost:8080", "http://localhost:8080"), ("localhost", "https://localhost"),
     ("localhost:8443", "https://localhost:8443")],
)  # fmt: skip
def test_the_server_s_own_page_is_let_in(host: str, origin: str) -> None:
    assert LOCAL.refusal(f"/?token={TOKEN}", request(host, Origin=origin)) is None


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost:8080", "http://127.0.0.1:3000", "http://127.0.0.1", "null", "", "file://",
     "http://127.0.0.1:8080.evil.example", "http://127.0.0.1:8080@evil.example", "http://a@127.0.0.1:8080",
     "http://127.0.0.1:8080/path", "ftp://127.0.0.1:8080", "https://127.0.0.1:8443", "127.0.0.1:8080"],
)  # fmt: skip
@pytest.mark.parametrize("rules", [LOCAL, EXPOSED], ids=["loopback", "exposed"])
def test_another_page_is_refused_even_with_token_and_cookie(rules: Rules, origin: str) -> None:
    headers = request(Origin=origin, Cookie=page_cookie(rules))
    assert rules.refusal(f"/?token={TOKEN}", headers) is not None


def test_two_origins_are_refused() -> None:
    headers = request(Origin="http://127.0.0.1:8080")
    headers["Origin"] = "http://127.0.0.1:8080"
    assert LOCAL.refusal(f"/?token={TOKEN}", headers) is not None


class RawHeaders:
    """Headers that hold what a strict parser would not let through."""

    def __init__(self, **headers: str) -> None:
        self.headers = headers

    def get_all(self, key: str) -> list[str]:
        return [self.headers[key]] if key in self.headers else []


@given(path=st.text(max_size=60), cookie=st.text(max_size=60), host=st.text(max_size=30), origin=st.text(max_size=30))
def test_no_text_without_the_token_gets_in_or_breaks_the_rules(path: str, cookie: str, host: str, origin: str) -> None:
    named_cookie = f"{cookie_name(8080)}={cookie}"
    for headers in (
        RawHeaders(Host=host, Origin=origin, Cookie=cookie),
        RawHeaders(Host="127.0.0.1:8080", Cookie=named_cookie),
        RawHeaders(Host="127.0.0.1:8080", Origin=origin, Cookie=named_cookie),
    ):
        for asked in (path, f"/?token={path}"):
            assert LOCAL.refusal(asked, headers) is not None
            assert EXPOSED.refusal(asked, headers) is not None


def test_loopback_names_are_this_machine_s_own() -> None:
    assert all(map(is_loopback, ["localhost", "127.0.0.1", "127.255.0.1", "::1"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "example.org", ""]))
