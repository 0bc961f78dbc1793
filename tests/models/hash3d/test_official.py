"""Proves the official mode against the published behaviour, restated slowly from its description."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from h3d.models.hash3d import Column, Grid
from h3d.models.hash3d.official import OfficialTable, bucket_of
from h3d.models.hash3d.query import Query

keys = st.tuples(st.floats(-180, 180), st.floats(-80, 80), st.floats(0, 5), st.integers(0, 999)).map(
    lambda k: (k[0], k[1], k[2], float(k[3]))
)


class SlowOfficialTable:
    """Tensors and lists as the published table is described: facts, not code."""

    def __init__(self) -> None:
        self.buckets: list[list] = [[] for _ in range(200)]

    def index(self, key) -> int:
        azimuth, elevation, distance, timestep = key
        ordered = torch.tensor([timestep, elevation, azimuth, distance])
        i, j, k = (int(x) for x in torch.floor(ordered[:3] / torch.tensor([20, 20, 0.1])))
        last = int(torch.floor(ordered[3] / 10))
        return (i + 73856093 * j + 19349669 * k + 83492791 * last) % 200

    def append(self, key, latent, value) -> None:
        bucket = self.buckets[self.index(key)]
        bucket.append((latent, value))
        del bucket[:-3]

    def query(self, batch):
        if any(not self.buckets[self.index(key)] for key, _ in batch):
            return None
        found = []
        for key, latent in batch:
            bucket = self.buckets[self.index(key)]
            near = torch.softmax(torch.tensor([-torch.linalg.norm(latent - other) for other, _ in bucket]), 0)
            found.append(sum(share * value for share, (_, value) in zip(near, bucket, strict=True)))
        return found


@given(keys)
def test_buckets_are_those_of_the_published_code(key):
    assert bucket_of(key) == SlowOfficialTable().index(key)


def asked(azimuth: float, elevation: float, radius: float, timestep: float) -> Query:
    return Query((azimuth, elevation, radius, timestep), torch.zeros(2))


@given(st.lists(st.lists(keys, min_size=2, max_size=2), max_size=60), st.integers(0, 1000))
def test_a_run_answers_as_the_published_code(batches, seed: int):
    generator = torch.Generator().manual_seed(seed)
    table, slow = OfficialTable(Grid()), SlowOfficialTable()
    for step, batch in enumerate(batches):
        latents = [torch.randn(3, generator=generator) for _ in batch]
        queries = [Query(key, latent) for key, latent in zip(batch, latents, strict=True)]
        answers, expected = table.lookup(queries, step), slow.query(list(zip(batch, latents, strict=True)))
        assert (answers is None) == (expected is None)
        for answer, value in zip(answers or [], expected or [], strict=True):
            torch.testing.assert_close(answer.value, value)
        if answers is None:
            for query in queries:
                value = torch.randn(5, generator=generator)
                table.insert(query, value, step)
                slow.append(query.key, query.latent, value)


def test_its_hits_come_from_other_cells_and_are_counted_as_that():
    random = np.random.default_rng(0)
    table = OfficialTable(Grid())
    for step in range(500):
        key = (float(random.uniform(-180, 180)), float(random.uniform(-30, 30)), 2.0, float(random.integers(20, 980)))
        if table.lookup([asked(*key)], step) is None:
            table.insert(asked(*key), torch.zeros(2), step)
    found = table.statistics(500)
    assert found.totals["hits"] > 300
    assert found.totals["foreign"] > 0.9 * found.totals["hits"]
    assert found.column(Column.TRIES).sum() == found.totals["tries"] == 500
    assert found.column(Column.OCCUPANCY).sum() == found.entries <= 600


def test_it_never_compares_the_key():
    table = OfficialTable(Grid())
    stored, other = (0.0, 0.0, 1.0, 5.0), (20.0, 0.0, 1.0, 5.0)
    assert bucket_of(stored) == bucket_of(other)
    table.insert(asked(*stored), torch.ones(2), 0)
    assert table.lookup([asked(*other)], 1) is not None


def test_a_batch_is_answered_as_a_whole_or_not_at_all():
    table = OfficialTable(Grid())
    table.insert(asked(0, 0, 1, 5), torch.ones(2), 0)
    assert table.lookup([asked(0, 0, 1, 5), asked(0.15, 0, 1, 5)], 1) is None
