"""Proves that large arrays reuse the memory of those that have gone, never of those that have not, and keep a bound."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from h3d.renderers.backends import kernels
from h3d.renderers.cpu.arrays import SMALLEST_KEPT, empty

LARGE = 4 * SMALLEST_KEPT


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    kernels().release_blocks()
    yield
    kernels().release_blocks()


def test_an_array_that_has_gone_gives_its_memory_to_the_next_of_about_its_size():
    first = empty(LARGE // 4, 4)
    place = first.data_ptr()
    assert first.shape == (LARGE // 4, 4) and first.dtype == torch.float32 and place % 64 == 0
    del first
    again = empty(LARGE - 100)
    assert again.data_ptr() == place
    assert empty(2 * LARGE).data_ptr() != place


def test_memory_is_not_given_away_while_a_view_of_it_lives():
    array = empty(LARGE).fill_(7.0)
    view = array[10:20]
    del array
    other = empty(LARGE).fill_(1.0)
    assert kernels().kept_block_bytes() == 0
    assert view.tolist() == [7.0] * 10
    del other, view
    assert kernels().kept_block_bytes() == 2 * 4 * LARGE


def test_what_is_kept_is_bounded():
    arrays = [empty(1 << 24) for _ in range(6)]  # 64 MiB each
    assert len({array.data_ptr() for array in arrays}) == 6
    arrays.clear()
    assert kernels().kept_block_bytes() == 256 << 20
    kernels().release_blocks()
    assert kernels().kept_block_bytes() == 0


def test_threads_do_not_get_each_others_memory():
    wrong: list[int] = []

    def work(value: int) -> None:
        for _ in range(50):
            array = empty(LARGE).fill_(float(value))
            if not bool((array == value).all()):
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
