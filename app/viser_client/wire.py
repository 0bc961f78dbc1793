"""viser's wire format, both directions. Source: viser/infra/_infra.py, `_message_producer` and `_message_consumer`.

From the server, one websocket message is a batch:

    8 bytes   size of the msgpack when decompressed, little endian
    8 bytes   size of the msgpack as sent
    n bytes   zstd of msgpack {"messages": [...], "timestampSec": float, "binaryBufferLengths": [...]}
    then      each binary buffer in turn, its start padded to a multiple of 8 bytes from the start of the batch

An array inside a message is {"__binary_index": i, "dtype": "<f4"} and lies in buffer i; its shape is not sent. To the
server, one websocket message is one msgpack map. Both carry the name of the viser message class in "type". The
version travels as the websocket's subprotocol, and viser closes a connection of another version.
"""

from __future__ import annotations

import importlib.metadata
import struct
from typing import Any

import msgspec
import numpy as np
import zstandard

Message = dict[str, Any]

_HEADER = struct.Struct("<QQ")


def subprotocol() -> str:
    """The subprotocol of the installed viser."""
    return f"viser-v{importlib.metadata.version('viser')}"


def decode_batch(data: bytes) -> list[Message]:
    """The messages of one batch from the server, arrays as flat read-only numpy views. Raises: `ValueError`."""
    if len(data) < _HEADER.size:
        raise ValueError(f"a batch of {len(data)} bytes has no header of {_HEADER.size}")
    size, compressed_size = _HEADER.unpack_from(data)
    start = _HEADER.size + compressed_size
    if start > len(data):
        raise ValueError(f"a batch of {len(data)} bytes says that its msgpack ends at {start}")
    packed = zstandard.ZstdDecompressor().decompress(data[_HEADER.size : start], max_output_size=size)
    batch = msgspec.msgpack.decode(packed)
    buffers: list[memoryview] = []
    for length in batch.get("binaryBufferLengths", ()):
        start += -start % 8
        buffers.append(memoryview(data)[start : start + length])
        start += length
    return [_with_arrays(message, buffers) for message in batch["messages"]]


def encode_batch(messages: list[Message]) -> bytes:
    """The inverse of `decode_batch` for messages without arrays."""
    packed = msgspec.msgpack.encode({"messages": messages, "timestampSec": 0.0, "binaryBufferLengths": []})
    compressed = zstandard.ZstdCompressor(level=1).compress(packed)
    return _HEADER.pack(len(packed), len(compressed)) + compressed


def encode(message: Message) -> bytes:
    """One message to the server."""
    return msgspec.msgpack.encode(message)


def _with_arrays(value: Any, buffers: list[memoryview]) -> Any:
    if isinstance(value, dict):
        if "__binary_index" in value and "dtype" in value:
            return np.frombuffer(buffers[value["__binary_index"]], dtype=value["dtype"])
        return {key: _with_arrays(item, buffers) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_arrays(item, buffers) for item in value]
    return value
