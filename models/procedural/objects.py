"""An object from a seed: its class, paints and proportions by chance, its solid and its caption."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .captions import COLORS, DETAILS, STATURES, caption_of
from .recipes import RECIPES, Dice
from .solid import Paint, Pattern, Solid

HELD_OUT = range(1_000_000, 1_000_050)
"""Seeds of the test objects; the embedded denoiser never learns on one at or above the first."""

PATTERNS: tuple[Pattern, ...] = ("plain", "stripes", "dots", "checks", "fade")
PATTERN_CHANCES = (0.40, 0.20, 0.16, 0.12, 0.12)
TALL, SQUAT = 1.18, 0.88
"""Factors on an object's natural height beyond which its caption says so."""


@dataclass(frozen=True)
class ProceduralObject:
    """A solid of ours, in object space (see `solid`)."""

    seed: int
    kind: str
    caption: str
    solid: Solid


def make_object(seed: int, *, kind: str | None = None) -> ProceduralObject:
    """The object of a seed; its class too is by chance unless `kind` names one.

    Raises:
        ValueError: there is no such class; the sentence lists them.
    """
    rng = np.random.default_rng(seed)
    drawn = list(RECIPES)[int(rng.integers(len(RECIPES)))]
    kind = drawn if kind is None else kind
    if kind not in RECIPES:
        raise ValueError(f"procedural object: kind {kind!r} is not one of {', '.join(RECIPES)}")
    color, accent, detail = (str(name) for name in rng.choice(list(COLORS), size=3, replace=False))
    pattern = PATTERNS[int(rng.choice(len(PATTERNS), p=PATTERN_CHANCES))]
    period = 1.1 if pattern == "fade" else float(rng.uniform(0.30, 0.42))
    body = Paint(_shade(rng, color), _shade(rng, accent), pattern, period)
    stretch = float(rng.uniform(0.75, 1.35))
    parts = RECIPES[kind](Dice(rng, body, Paint(_shade(rng, detail)), stretch))
    stature = STATURES[0] if stretch > TALL else STATURES[1] if stretch < SQUAT else ""
    caption = caption_of(kind, stature, body, (color, accent, detail))
    return ProceduralObject(seed, kind, caption, Solid(tuple(parts)).fitted())


def _shade(rng: np.random.Generator, name: str) -> tuple[float, float, float]:
    """A colour of that name: no two reds are quite alike."""
    r, g, b = np.clip(np.array(COLORS[name]) * rng.uniform(0.9, 1.06) + rng.uniform(-0.025, 0.025, 3), 0.02, 0.98)
    return float(r), float(g), float(b)


assert set(RECIPES) == set(DETAILS)
