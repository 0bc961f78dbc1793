"""Proves that arrays are worked out once, that damage costs only time, and that the folder stays within its bound."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from h3d.models import array_cache
from h3d.models.array_cache import key_of, remembered

LAYOUT = {"a": ((3,), "int32"), "b": ((2, 2), "float32")}


class Work:
    def __init__(self, value: int = 1):
        self.value, self.times = value, 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.times += 1
        return {"a": np.full(3, self.value, np.int32), "b": np.full((2, 2), 0.5, np.float32)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("H3D_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_worked_out_once_is_read_the_next_time(folder: Path):
    work = Work()
    first, second = remembered("x", LAYOUT, work), remembered("x", LAYOUT, work)
    assert work.times == 1
    assert all(np.array_equal(first[name], second[name]) for name in LAYOUT)
    assert [file.name for file in folder.iterdir()] == ["x.arrays.npz"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "other layout"])
def test_a_damaged_entry_is_worked_out_again_with_a_line_in_the_log(folder: Path, damage: str, caplog):
    remembered("x", LAYOUT, Work(7))
    file = folder / "x.arrays.npz"
    whole = file.read_bytes()
    at = whole.index(np.full(3, 7, np.int32).tobytes())
    flipped = whole[:at] + b"\xff" + whole[at + 1 :]
    changed = {"cut": whole[: len(whole) // 2], "flipped": flipped, "empty": b"", "text": b"not an archive"}
    if damage == "other layout":
        np.savez(file, a=np.zeros(4, np.int32), b=np.zeros((2, 2), np.float32))
    else:
        file.write_bytes(changed[damage])
    work = Work(7)
    with caplog.at_level(logging.WARNING):
        assert remembered("x", LAYOUT, work)["a"].tolist() == [7, 7, 7]
    assert work.times == 1 and "it is worked out again" in caplog.text
    assert remembered("x", LAYOUT, work)["a"].tolist() == [7, 7, 7] and work.times == 1, "it is whole again"


def test_a_folder_that_cannot_be_written_is_done_without(folder: Path, caplog):
    folder.write_text("a file where the folder should be")
    work = Work()
    with caplog.at_level(logging.WARNING):
        assert remembered("x", LAYOUT, work)["a"].tolist() == [1, 1, 1]
    assert "cannot be kept" in caplog.text


def test_the_entries_that_were_not_used_for_longest_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for age, name in enumerate(["new", "old", "oldest"]):
        remembered(name, LAYOUT, Work())
        os.utime(folder / f"{name}.arrays.npz", (1e9 - age, 1e9 - age))
    size = (folder / "new.arrays.npz").stat().st_size
    remembered("oldest", LAYOUT, Work())  # Used: it is the newest now.
    monkeypatch.setattr(array_cache, "FOLDER_BYTES", 3 * size)
    remembered("next", LAYOUT, Work())
    assert {file.name.split(".")[0] for file in folder.iterdir()} == {"new", "oldest", "next"}


def test_a_key_tells_values_shapes_types_and_words_apart():
    a = np.arange(6, dtype=np.float32)
    keys = [key_of(a), key_of(a.reshape(2, 3)), key_of(a.view(np.int32)), key_of(a + 1), key_of(a, "k"), key_of("k")]
    assert len(set(keys)) == len(keys)
    assert key_of(a, "k") == key_of(a.copy(), "k")
