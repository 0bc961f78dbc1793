"""What a client may send once it is let in: the messages that a page sends, and files no larger than agreed.

viser keeps an upload in memory until its last part is there, whatever size was declared, and believes every message.
`Screen` looks at each message of one connection before viser does and drops what is not allowed; `Uploads` is the
account of all connections together. Both run on the server's event loop only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import msgspec

# What the page sends and viser handles. Absent on purpose: ShareUrlRequest and ShareUrlDisconnect, which open and close
# a public tunnel to this server.
PAGE_MESSAGES = frozenset(
    {
        "ViewerCameraMessage",
        "GuiUpdateMessage",
        "GuiButtonHoldMessage",
        "GuiFormSubmitMessage",
        "GuiFormDirtyMessage",
        "CommandTriggerMessage",
        "ScenePointerMessage",
        "SceneNodeClickMessage",
        "SceneNodeDragMessage",
        "TransformControlsUpdateMessage",
        "TransformControlsDragStartMessage",
        "TransformControlsDragEndMessage",
        "LocalStorageGetItemResponseMessage",
        "GetRenderResponseMessage",
        "FileTransferStartUpload",
        "FileTransferPart",
    }
)
SMALLEST_PART_BYTES = 4096  # The page sends 512 KiB; a million tiny parts would cost more than their bytes.


@dataclass(frozen=True)
class UploadLimits:
    """How much the browser may send."""

    file_bytes: int = 2 * 1024**3
    """Largest file."""
    total_bytes: int = 2 * 1024**3
    """Sum of the files under way from all tabs; they are held in memory until they are complete."""
    files: int = 4
    """Files under way at once, from all tabs."""
    message_bytes: int = 8 * 1024**2
    """Largest single websocket message; a longer one closes the connection."""


@dataclass
class _Transfer:
    filename: str
    declared_bytes: int
    part_count: int
    received_bytes: int = 0
    parts: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Refusal:
    """A message that viser does not get to see, and why. `message` is None where the bytes were no message at all."""

    sentence: str
    message: dict[str, Any] | None = None

    @property
    def ends_upload(self) -> bool:
        """Whether a file will now not arrive, so that the person who sent it should hear of it."""
        return self.message is not None and self.message["type"] == "FileTransferStartUpload"


class Uploads:
    """The files under way, keyed by connection and transfer."""

    def __init__(self, limits: UploadLimits) -> None:
        self.limits = limits
        self._transfers: dict[tuple[int, str], _Transfer] = {}

    @property
    def bytes_under_way(self) -> int:
        """Sum of the declared sizes of the files under way."""
        return sum(transfer.declared_bytes for transfer in self._transfers.values())

    def start(self, owner: int, message: dict[str, Any]) -> str | None:
        """Why the file is refused, or None when it was entered into the account."""
        transfer, size, parts = message.get("transfer_uuid"), message.get("size_bytes"), message.get("part_count")
        filename = str(message.get("filename"))[:200]
        if not isinstance(transfer, str) or not _is_count(size) or not _is_count(parts):
            return f"upload of {filename!r}: size_bytes and part_count must be counts, not {size!r} and {parts!r}"
        if (owner, transfer) in self._transfers:
            return f"upload of {filename!r}: this transfer has already started"
        if size > self.limits.file_bytes:
            return (
                f"{filename!r} is {_megabytes(size)}; uploads are limited to {_megabytes(self.limits.file_bytes)}. "
                "Open it by its path instead"
            )
        if parts > size // SMALLEST_PART_BYTES + 1:
            return f"upload of {filename!r}: {parts} parts are too many for {size} bytes"
        if len(self._transfers) >= self.limits.files:
            return f"{filename!r} must wait: {self.limits.files} uploads are under way. Try again when one is done"
        if self.bytes_under_way + size > self.limits.total_bytes:
            return (
                f"{filename!r} is {_megabytes(size)}, and with the uploads under way that is more than "
                f"{_megabytes(self.limits.total_bytes)}. Try again when they are done"
            )
        if parts > 0:  # An empty file is complete as it starts.
            self._transfers[owner, transfer] = _Transfer(filename, size, parts)
        return None

    def part(self, owner: int, message: dict[str, Any]) -> str | None:
        """Why a part is refused, or None when it belongs to a file that was let in and keeps to its size."""
        key = (owner, str(message.get("transfer_uuid")))
        transfer = self._transfers.get(key)
        if transfer is None:
            return "a part of an upload that was not let in"
        index, content = message.get("part_index"), message.get("content")
        if not _is_count(index) or index >= transfer.part_count or not isinstance(content, bytes):
            return f"upload of {transfer.filename!r}: part {index!r} is not one of its {transfer.part_count}"
        if index in transfer.parts:
            return f"upload of {transfer.filename!r}: part {index} came twice"
        if transfer.received_bytes + len(content) > transfer.declared_bytes:
            return f"upload of {transfer.filename!r}: more than the declared {transfer.declared_bytes} bytes came"
        transfer.parts.add(index)
        transfer.received_bytes += len(content)
        if len(transfer.parts) == transfer.part_count:  # viser hands it to the program now.
            del self._transfers[key]
        return None

    def drop(self, owner: int) -> None:
        """Forget the unfinished files of a connection that has closed; viser forgets their bytes likewise."""
        for key in [key for key in self._transfers if key[0] == owner]:
            del self._transfers[key]


class Screen:
    """Looks at each message of one connection before viser does."""

    def __init__(self, uploads: Uploads, on_refusal: Callable[[Refusal], None]) -> None:
        self._uploads = uploads
        self._on_refusal = on_refusal

    def admits(self, data: bytes | str) -> bool:
        """Whether viser may see the message; a refused one is reported and should be dropped."""
        refusal = self._refusal(data)
        if refusal is None:
            return True
        self._on_refusal(refusal)
        return False

    def close(self) -> None:
        """The connection has ended."""
        self._uploads.drop(id(self))

    def _refusal(self, data: bytes | str) -> Refusal | None:
        if isinstance(data, str):
            return Refusal("a text frame; viser's protocol is binary")
        try:
            message = msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            return Refusal(f"bytes that are no msgpack: {error}")
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str) or kind not in PAGE_MESSAGES:
            return Refusal(f"a message of type {kind!r}, which this server does not take from a page")
        sentence: str | None = None
        if kind == "FileTransferStartUpload":
            sentence = self._uploads.start(id(self), message)
        elif kind == "FileTransferPart":
            sentence = self._uploads.part(id(self), message)
        elif kind == "ViewerCameraMessage" and not _is_finite(message):
            sentence = "a camera that is not finite"
        elif kind == "GuiUpdateMessage" and not _sets_value_only(message):
            sentence = "a change to a control that is not its value"
        return None if sentence is None else Refusal(sentence, message)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _sets_value_only(message: dict[str, Any]) -> bool:
    # viser sets whatever attribute of its handle is named here; the page only ever names this one.
    updates = message.get("updates")
    return isinstance(updates, dict) and updates.keys() <= {"value"}


def _is_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_finite(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_finite(item) for item in value)
    return not isinstance(value, float) or math.isfinite(value)


def _megabytes(count: int) -> str:
    return f"{count / 1024**2:,.1f} MiB"
