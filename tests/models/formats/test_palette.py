"""Codebooks and palettes: labels name the nearest value, few values are kept exactly, many are near the optimum."""

from __future__ import annotations

import numpy as np

from h3d.models.formats.palette import codebook, palette


def test_a_label_names_the_nearest_number_of_its_codebook():
    values = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    book, labels = codebook(values)
    assert (np.diff(book) >= 0).all()
    distances = np.abs(values[..., None] - book)
    assert np.allclose(np.abs(values - book[labels]), distances.min(axis=-1), atol=1e-6)


def test_a_codebook_of_normal_values_is_near_the_known_optimum():
    values = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
    book, labels = codebook(values[:, None])
    error = float(np.mean((values - book[labels[:, 0]]) ** 2))
    # Panter and Dite: pi sqrt(3) / 2 / 256^2 for a normal distribution at many levels.
    assert error < 1.5 * np.pi * 3**0.5 / 2 / 256**2


def test_few_values_and_equal_values_are_kept_exactly():
    values = np.array([[-3.0, 0.5, 7.0], [0.5, 0.5, -3.0]], np.float32)
    book, labels = codebook(values)
    assert np.array_equal(book[labels], values)
    book, labels = codebook(np.full((5, 3), 2.5, np.float32))
    assert np.array_equal(book[labels], np.full((5, 3), 2.5))


def test_a_palette_with_room_for_all_rows_is_the_rows():
    rows = np.random.default_rng(2).normal(size=(100, 9)).astype(np.float32)
    found, labels = palette(rows, 100)
    assert np.array_equal(found[labels], rows)


def test_a_palette_finds_clusters():
    rng = np.random.default_rng(3)
    middles = rng.normal(size=(64, 9)).astype(np.float32) * 10
    rows = (middles[rng.integers(0, 64, 5000)] + rng.normal(size=(5000, 9)) * 0.01).astype(np.float32)
    found, labels = palette(rows, 512)
    assert len(found) <= 512
    assert labels.min() >= 0 and labels.max() < len(found)
    assert np.sqrt(((found[labels] - rows) ** 2).mean()) < 0.5


def test_a_palette_of_noise_is_better_than_its_rows_at_random():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(6000, 24)).astype(np.float32)
    found, labels = palette(rows, 1024)
    chosen = rows[:1024]
    nearest = ((chosen**2).sum(axis=1) - 2 * rows[1024:] @ chosen.T).argmin(axis=1)
    assert ((found[labels] - rows) ** 2).mean() < 0.8 * ((chosen[nearest] - rows[1024:]) ** 2).mean()


def test_a_palette_of_mostly_equal_rows_keeps_the_others():
    rows = np.zeros((20_000, 9), np.float32)
    rows[:50] = np.random.default_rng(5).normal(size=(50, 9))
    found, labels = palette(rows, 2048)
    assert np.sqrt(((found[labels] - rows) ** 2).mean()) < 0.02
