"""Proves the laws of procedural objects: one seed one object, honest distances, captions in the closed vocabulary."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h3d.models.procedural import (
    HELD_OUT,
    MAX_TOKENS,
    OBJECT_RADIUS,
    VOCABULARY,
    UnknownWords,
    make_object,
    tokens_of,
)
from h3d.models.procedural.captions import COLORS, DETAILS
from h3d.models.procedural.recipes import RECIPES
from h3d.models.procedural.solid import Paint, Part, Solid

SEEDS = st.integers(0, 2**31)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_a_seed_makes_the_same_object_again(seed: int):
    a, b = make_object(seed), make_object(seed)
    points = np.random.default_rng(0).uniform(-1, 1, (300, 3)).astype(np.float32)
    assert (a.kind, a.caption) == (b.kind, b.caption)
    np.testing.assert_array_equal(a.solid.distance(points), b.solid.distance(points))
    np.testing.assert_array_equal(a.solid.albedo(points), b.solid.albedo(points))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS)
def test_a_distance_is_never_more_than_the_true_one(seed: int):
    solid = make_object(seed).solid
    rng = np.random.default_rng(seed)
    a = rng.uniform(-1.1, 1.1, (2000, 3)).astype(np.float32)
    b = rng.uniform(-1.1, 1.1, (2000, 3)).astype(np.float32)
    near = a + 0.03 * b
    for other in (b, near):
        change = np.abs(solid.distance(a) - solid.distance(other))
        assert (change <= np.linalg.norm(a - other, axis=1) + 1e-5).all()


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_an_object_fills_its_ball_and_stays_within(seed: int):
    solid = make_object(seed).solid
    points = np.random.default_rng(1).uniform(-1.0, 1.0, (40_000, 3)).astype(np.float32)
    inside = points[solid.distance(points) < 0.0]
    reach = np.linalg.norm(inside, axis=1).max()
    assert 0.55 * OBJECT_RADIUS < reach <= OBJECT_RADIUS


@pytest.mark.parametrize("kind", RECIPES)
def test_every_class_says_its_colours_and_shows_them(kind: str):
    made = make_object(7, kind=kind)
    words = made.caption.split()
    assert kind in words and DETAILS[kind] in words
    points = np.random.default_rng(2).uniform(-0.75, 0.75, (30_000, 3)).astype(np.float32)
    surface = points[np.abs(made.solid.distance(points)) < 0.02]
    colors = made.solid.albedo(surface)
    assert len(surface) > 50
    named = [word for word in words if word in COLORS]
    assert len(named) >= 2
    for name in (named[0], named[-1]):
        assert np.abs(colors - np.array(COLORS[name], np.float32)).max(axis=1).min() < 0.12, name


def test_all_classes_occur_and_seeds_differ():
    made = [make_object(seed) for seed in range(200)]
    assert set(Counter(one.kind for one in made)) == set(RECIPES)
    assert len({one.caption for one in made}) > 150


@settings(max_examples=100, deadline=None)
@given(seed=SEEDS)
def test_captions_are_within_the_vocabulary(seed: int):
    caption = make_object(seed).caption
    tokens = tokens_of(caption)
    said = [VOCABULARY[token] for token in tokens if token != 0]
    assert said == ["a" if word == "an" else word for word in caption.split()]
    assert tokens.shape == (MAX_TOKENS,)


def test_the_vocabulary_names_every_token_once():
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert VOCABULARY[0] == ""


def test_prompts_may_be_written_as_people_write():
    np.testing.assert_array_equal(
        tokens_of("An orange mug, with Blue stripes!"), tokens_of("a orange mug with blue stripes")
    )


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a red dragon in a castle", "'castle', 'dragon', 'in'"),
        ("  ,. ", "the prompt is empty"),
        ("a mug " * 9, "18 words"),
    ],
)
def test_other_prompts_are_refused_by_name(prompt: str, said: str):
    with pytest.raises(UnknownWords, match=said):
        tokens_of(prompt)


def test_an_unknown_class_is_refused():
    with pytest.raises(ValueError, match="'dragon' is not one of mug"):
        make_object(0, kind="dragon")


def test_held_out_seeds_are_fifty():
    assert len(HELD_OUT) == 50


def test_carving_leaves_a_wall_of_its_own_paint():
    red, blue = Paint((1.0, 0.0, 0.0)), Paint((0.0, 0.0, 1.0))
    solid = Solid((Part("box", (1, 1, 1), (0, 0, 0), red), Part("sphere", (0.5,), (0, 0, 1), blue, carve=True)))
    points = np.array([[0, 0, 0.75], [0, 0, 0.45], [0.99, 0, 0]], np.float32)
    assert (np.sign(solid.distance(points)) == [1, -1, -1]).all()
    np.testing.assert_allclose(solid.albedo(points[1:]), [[0, 0, 1], [1, 0, 0]])


def test_mirrored_parts_stand_on_both_sides():
    solid = Solid((Part("sphere", (0.2,), (0.5, 0.3, 0), Paint((1, 1, 1)), mirror="xy"),))
    points = np.array([[x, y, 0] for x in (-0.5, 0.5) for y in (-0.3, 0.3)], np.float32)
    np.testing.assert_allclose(solid.distance(points), -0.2, atol=1e-6)
