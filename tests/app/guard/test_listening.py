"""Where the server listens, and what it tells the person who started it; nothing is printed behind their back."""

from __future__ import annotations

import socket

import pytest

from h3d.app.guard import GuardError, start_guarded_server
from h3d.app.viser_client import ViserClient

ANY_PORT = 0


def test_it_listens_on_loopback_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with start_guarded_server(port=ANY_PORT, environ={}) as running:
        assert running.url == f"http://127.0.0.1:{running.port}/?token={running.token}"
        assert running.notes == ()
        with ViserClient(running.url):
            pass
    assert capfd.readouterr() == ("", "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", running.port), timeout=10)


def test_each_start_draws_another_token() -> None:
    tokens = set()
    for _ in range(3):
        with start_guarded_server(port=ANY_PORT, environ={}) as running:
            tokens.add(running.token)
    assert len(tokens) == 3
    assert all(len(token) >= 20 for token in tokens)


def test_a_given_token_is_taken_and_quoted_in_the_address() -> None:
    with start_guarded_server(port=ANY_PORT, token="a b&c=ü", environ={}) as running:
        assert running.url.endswith("/?token=a%20b%26c%3D%C3%BC")
        with ViserClient(running.url) as client:
            assert client.page.received["ReplayDoneMessage"] == 1


@pytest.mark.parametrize("token", ["", "  ", "a\nb", "\udcff"])
def test_a_token_that_is_none_is_refused(token: str) -> None:
    with pytest.raises(GuardError, match="--token"):
        start_guarded_server(port=ANY_PORT, token=token, environ={})


def test_a_busy_port_moves_on_to_the_next_and_says_so() -> None:
    with start_guarded_server(port=ANY_PORT, environ={}) as first:
        with start_guarded_server(port=first.port, environ={}) as second:
            assert second.port > first.port
            assert second.notes == (f"Port {first.port} is busy; using {second.port}.",)
            assert second.token != first.token


def test_over_ssh_it_gives_the_line_to_use() -> None:
    environ = {"SSH_CONNECTION": "10.0.0.2 51000 10.0.0.7 2222", "USER": "ada"}
    with start_guarded_server(port=ANY_PORT, environ=environ) as running:
        assert f"ssh -N -L {running.port}:127.0.0.1:{running.port} -p 2222 ada@10.0.0.7" in running.notes[-1]


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("203.0.113.9", 0, "--host 203.0.113.9: .*use 127.0.0.1"),
        ("no such host", 0, "--host no such host: not an address"),
        ("127.0.0.1", -1, "--port -1: ports go from 0"),
        ("127.0.0.1", 70000, "--port 70000: ports go from 0"),
    ],
)
def test_a_place_where_nobody_can_listen_is_said_in_a_sentence(host: str, port: int, sentence: str) -> None:
    with pytest.raises(GuardError, match=sentence):
        start_guarded_server(host=host, port=port, environ={})
