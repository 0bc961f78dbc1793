"""The wire format reads back what was written, arrays included, and says what is wrong with what is not a batch."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from h3d.app.viser_client.wire import decode_batch, encode, encode_batch, subprotocol

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def by_hand(messages: list[dict[str, object]], arrays: list[np.ndarray]) -> bytes:
    """A batch with arrays, written out from the description of the format."""
    lengths = [array.nbytes for array in arrays]
    packed = msgspec.msgpack.encode({"messages": messages, "timestampSec": 1.5, "binaryBufferLengths": lengths})
    compressed = zstandard.ZstdCompressor().compress(packed)
    batch = len(packed).to_bytes(8, "little") + len(compressed).to_bytes(8, "little") + compressed
    for array in arrays:
        while len(batch) % 8 != 0:
            batch += b"\0"
        batch += array.tobytes()
    return batch


@given(st.lists(st.dictionaries(st.text(max_size=5), JSON, max_size=4), max_size=4))
def test_a_batch_reads_back_what_was_written(messages: list[dict[str, object]]) -> None:
    assert decode_batch(encode_batch(messages)) == messages


def test_arrays_of_odd_lengths_are_found_at_their_padded_places() -> None:
    arrays = [np.arange(5, dtype="|u1"), np.array([1.5, -2.0], "<f4"), np.arange(3, dtype="<u2")]
    placeholders = [{"__binary_index": index, "dtype": array.dtype.str} for index, array in enumerate(arrays)]
    message = {"type": "A", "props": {"one": placeholders[2], "list": [placeholders[0], placeholders[1]]}}
    (decoded,) = decode_batch(by_hand([message], arrays))
    np.testing.assert_array_equal(decoded["props"]["one"], arrays[2])
    np.testing.assert_array_equal(decoded["props"]["list"][0], arrays[0])
    np.testing.assert_array_equal(decoded["props"]["list"][1], arrays[1])


@pytest.mark.parametrize(("data", "sentence"), [(b"short", "has no header"), (b"\xff" * 16, "ends at")])
def test_what_is_no_batch_is_said_to_be_none(data: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        decode_batch(data)


def test_a_message_to_the_server_is_one_msgpack_map() -> None:
    message = {"type": "CommandTriggerMessage", "uuid": "x", "content": b"\0\xff"}
    assert msgspec.msgpack.decode(encode(message)) == message


def test_the_subprotocol_names_the_installed_version() -> None:
    import viser

    assert subprotocol() == f"viser-v{viser.__version__}"
