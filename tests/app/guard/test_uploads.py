"""The account of uploads: no file larger than declared, none above the limits, nothing kept for a tab that has gone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h3d.app.guard.uploads import PAGE_MESSAGES, Refusal, Screen, UploadLimits, Uploads

LIMITS = UploadLimits(file_bytes=10_000, total_bytes=15_000, files=2)


def start(transfer: str, size: Any, parts: Any = 1) -> dict[str, Any]:
    return {
        "type": "FileTransferStartUpload",
        "source_component_uuid": "button",
        "transfer_uuid": transfer,
        "filename": "a.ply",
        "mime_type": "",
        "part_count": parts,
        "size_bytes": size,
    }


def part(transfer: str, index: Any, content: Any) -> dict[str, Any]:
    source = {"source_component_uuid": "button", "transfer_uuid": transfer}
    return {"type": "FileTransferPart", **source, "part_index": index, "content": content}


class Tab:
    """One connection's screen and what it refused."""

    def __init__(self, uploads: Uploads) -> None:
        self.refusals: list[Refusal] = []
        self.screen = Screen(uploads, self.refusals.append)

    def sends(self, message: object) -> bool:
        return self.screen.admits(msgspec.msgpack.encode(message))


@pytest.fixture
def uploads() -> Uploads:
    return Uploads(LIMITS)


@pytest.fixture
def tab(uploads: Uploads) -> Tab:
    return Tab(uploads)


def test_a_file_within_the_limits_comes_whole_and_leaves_the_account(tab: Tab, uploads: Uploads) -> None:
    assert tab.sends(start("t", 5000, 2))
    assert uploads.bytes_under_way == 5000
    assert tab.sends(part("t", 1, b"x" * 2000))
    assert tab.sends(part("t", 0, b"x" * 3000))
    assert uploads.bytes_under_way == 0
    assert tab.sends(start("empty", 0, 0))
    assert uploads.bytes_under_way == 0
    assert tab.refusals == []


def test_a_file_above_the_limit_is_refused_by_name_with_its_size_and_a_way_out(tab: Tab, uploads: Uploads) -> None:
    assert not tab.sends(start("t", 10_001))
    assert tab.refusals[0].ends_upload
    assert "'a.ply'" in tab.refusals[0].sentence
    assert "Open it by its path instead" in tab.refusals[0].sentence
    assert not tab.sends(part("t", 0, b"x"))
    assert not tab.refusals[1].ends_upload
    assert uploads.bytes_under_way == 0


def test_tabs_share_the_limits_on_files_and_bytes(uploads: Uploads) -> None:
    one, two = Tab(uploads), Tab(uploads)
    assert one.sends(start("t", 9000))
    assert not two.sends(start("t", 9000))
    assert two.sends(start("t", 5000))
    assert not one.sends(start("u", 10))
    assert "2 uploads are under way" in one.refusals[0].sentence
    one.screen.close()
    assert uploads.bytes_under_way == 5000
    assert two.sends(start("u", 10_000))


def test_more_bytes_than_declared_are_refused(tab: Tab, uploads: Uploads) -> None:
    assert tab.sends(start("t", 6000, 2))
    assert not tab.sends(part("t", 0, b"x" * 6001))
    assert tab.sends(part("t", 0, b"x" * 6000))
    assert not tab.sends(part("t", 1, b"x"))
    assert uploads.bytes_under_way == 6000
    tab.screen.close()
    assert uploads.bytes_under_way == 0


@pytest.mark.parametrize(
    "message",
    [
        start("t", -1),
        start("t", 2.5),
        start("t", True),
        start("t", None),
        start("t", 100, -1),
        start("t", 100, 10**9),
        start("t", 2**63, 2**63),
        {**start("t", 100), "transfer_uuid": 7},
        {"type": "FileTransferStartUpload"},
        {"type": "FileTransferPart"},
    ],
)
def test_a_lying_start_is_refused(tab: Tab, uploads: Uploads, message: dict[str, Any]) -> None:
    assert not tab.sends(message)
    assert uploads.bytes_under_way == 0


@pytest.mark.parametrize(
    "message",
    [
        part("t", 2, b"x"),
        part("t", -1, b"x"),
        part("t", "0", b"x"),
        part("t", 0, "text"),
        part("t", 0, None),
        part("other", 0, b"x"),
        start("t", 10),
    ],
)
def test_a_part_that_does_not_fit_is_refused(tab: Tab, message: dict[str, Any]) -> None:
    assert tab.sends(start("t", 6000, 2))
    assert not tab.sends(message)


def test_a_part_that_comes_twice_is_refused(tab: Tab) -> None:
    assert tab.sends(start("t", 6000, 2))
    assert tab.sends(part("t", 0, b"x"))
    assert not tab.sends(part("t", 0, b"x"))


@pytest.mark.parametrize("kind", ["ShareUrlRequest", "ShareUrlDisconnect", "RunJavascriptMessage", "", None, 3, [], {}])
def test_messages_that_a_page_does_not_send_are_refused(tab: Tab, kind: object) -> None:
    assert not tab.sends({"type": kind})
    assert "does not take" in tab.refusals[0].sentence


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x93\x01", "text", b"\xff" * 100, b"\xdf\xff\xff\xff\xff", b"\x91" * 9999]
)
def test_bytes_that_are_no_message_are_refused(tab: Tab, data: bytes | str) -> None:
    assert not tab.screen.admits(data)


def test_a_camera_must_be_finite(tab: Tab) -> None:
    camera = {"type": "ViewerCameraMessage", "position": [0.0, 1.0, 2.0], "fov": 1.0}
    assert tab.sends(camera)
    assert not tab.sends({**camera, "fov": float("nan")})
    assert not tab.sends({**camera, "position": [0.0, float("inf"), 2.0]})


def test_only_the_value_of_a_control_may_be_changed(tab: Tab) -> None:
    change = {"type": "GuiUpdateMessage", "uuid": "slider"}
    assert tab.sends({**change, "updates": {"value": 3}})
    assert not tab.sends({**change, "updates": {"value": 3, "update_cb": []}})
    assert not tab.sends({**change, "updates": None})


def test_the_share_tunnel_is_not_among_the_messages_of_a_page() -> None:
    assert not any("Share" in kind for kind in PAGE_MESSAGES)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_screen(data: bytes) -> None:
    uploads = Uploads(LIMITS)
    Tab(uploads).screen.admits(data)
    assert uploads.bytes_under_way <= LIMITS.total_bytes


@given(
    st.lists(
        st.one_of(
            st.builds(start, st.sampled_from("abc"), st.integers(0, 12_000), st.integers(0, 4)),
            st.builds(part, st.sampled_from("abc"), st.integers(0, 3), st.binary(max_size=20)),
        ),
        max_size=30,
    )
)
def test_no_order_of_messages_lets_more_through_than_was_declared(messages: list[dict[str, Any]]) -> None:
    uploads = Uploads(LIMITS)
    tab = Tab(uploads)
    declared, received = 0, 0
    for message in messages:
        if tab.sends(message):
            declared += message.get("size_bytes", 0)
            received += len(message.get("content", b""))
        assert uploads.bytes_under_way <= LIMITS.total_bytes
    assert received <= declared
