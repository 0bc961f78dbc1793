"""How each class of object is put together: from paints and chance to parts.

A recipe draws in its own units, z up and its front towards +y; what it draws is fitted to object space afterwards.
`stretch` makes it tall (more than 1) or squat (less).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .captions import COLORS
from .solid import Paint, Part

DARK = Paint(COLORS["black"])
LIGHT = Paint(COLORS["white"])
GLASS = Paint((0.55, 0.78, 0.90))
ORANGE = Paint(COLORS["orange"])


@dataclass(frozen=True)
class Dice:
    """The chance a recipe draws on, and what was decided for it."""

    rng: np.random.Generator
    body: Paint
    detail: Paint
    stretch: float

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def maybe(self, chance: float = 0.5) -> bool:
        return bool(self.rng.random() < chance)


Recipe = Callable[[Dice], list[Part]]


def mug(dice: Dice) -> list[Part]:
    radius, h = dice.between(0.42, 0.55), 0.5 * dice.stretch
    wall = dice.between(0.06, 0.10)
    top = radius * dice.between(1.0, 1.15)
    grip = dice.between(0.55, 0.75) * h
    return [
        Part("torus", (grip, 0.08), (-top - 0.02, 0, 0), dice.detail, turn=(90, 0, 0)),
        Part("cone", (radius, top, h), (0, 0, 0), dice.body),
        Part(
            "cone", (radius - wall, top - wall, h), (0, 0, wall * 1.5), replace(dice.body, pattern="plain"), carve=True
        ),
    ]


def teapot(dice: Dice) -> list[Part]:
    r, h = 0.55, 0.48 * dice.stretch
    knob = dice.between(0.07, 0.12)
    return [
        Part("torus", (0.62 * h, 0.07), (-r - 0.02, 0, 0.05), dice.body, turn=(90, 0, 0)),
        Part("ellipsoid", (r, r, h), (0, 0, 0), dice.body, blend=0.08),
        Part("cone", (0.16, 0.07, 0.3), (r + 0.14, 0, 0.12), dice.body, turn=(0, dice.between(35, 60), 0), blend=0.08),
        Part("cylinder", (0.32, 0.05, 0.02), (0, 0, -h), dice.body, blend=0.05),
        Part("ellipsoid", (0.34, 0.34, 0.14), (0, 0, h - 0.06), dice.detail),
        Part("sphere", (knob,), (0, 0, h + 0.06 + knob), dice.detail),
    ]


def chair(dice: Dice) -> list[Part]:
    w, seat, leg = dice.between(0.36, 0.46), 0.0, 0.30 * dice.stretch
    thick, back = dice.between(0.05, 0.09), dice.between(0.32, 0.5) * dice.stretch
    round_legs, foot = dice.maybe(), dice.between(0.05, 0.075)
    place = (w - foot - 0.01, w - foot - 0.01, seat - thick - leg)
    legs = (
        Part("cylinder", (foot, leg), place, dice.detail, mirror="xy")
        if round_legs
        else Part("box", (foot, foot, leg), place, dice.detail, mirror="xy")
    )
    parts = [
        legs,
        Part("box", (w, w, thick, 0.04), (0, 0, seat), dice.body),
        Part("box", (w, 0.06, back, 0.04), (0, -w + 0.06, back + thick), dice.body),
    ]
    if dice.maybe(0.35):
        parts.append(Part("box", (0.06, w, 0.05, 0.03), (w - 0.06, 0, 0.28), dice.detail, mirror="x"))
        parts.append(Part("box", (0.05, 0.05, 0.16), (w - 0.06, w - 0.08, 0.14), dice.detail, mirror="x"))
    return parts


def table(dice: Dice) -> list[Part]:
    w, d, leg = dice.between(0.55, 0.75), dice.between(0.42, 0.6), 0.30 * dice.stretch
    thick = dice.between(0.05, 0.09)
    top = (
        Part("cylinder", (w, thick, 0.03), (0, 0, leg), dice.body)
        if dice.maybe(0.4)
        else Part("box", (w, d, thick, 0.03), (0, 0, leg), dice.body)
    )
    if dice.maybe(0.35):
        return [
            Part("cylinder", (dice.between(0.08, 0.13), leg), (0, 0, 0), dice.detail),
            Part("cone", (0.36, 0.12, 0.06), (0, 0, -leg), dice.detail, blend=0.05),
            top,
        ]
    inset = 0.68 if top.shape == "cylinder" else 0.88
    x, y = inset * w, inset * (w if top.shape == "cylinder" else d)
    return [Part("box", (0.06, 0.06, leg, 0.015), (x, y, 0), dice.detail, mirror="xy"), top]


def lamp(dice: Dice) -> list[Part]:
    h = 0.42 * dice.stretch
    bottom = dice.between(0.36, 0.48)
    shade = dice.between(0.22, 0.32)
    return [
        Part("cylinder", (0.055, h), (0, 0, 0), dice.detail),
        Part("cylinder", (dice.between(0.24, 0.34), 0.06, 0.03), (0, 0, -h), dice.detail, blend=0.06),
        Part("cone", (bottom, bottom * dice.between(0.35, 0.7), shade), (0, 0, h + 0.1), dice.body),
        Part("cone", (bottom - 0.06, 0.12, shade), (0, 0, h + 0.02), LIGHT, carve=True),
        Part("sphere", (0.10,), (0, 0, h), Paint((1.0, 0.93, 0.65))),
    ]


def mushroom(dice: Dice) -> list[Part]:
    h, r = 0.36 * dice.stretch, dice.between(0.48, 0.62)
    foot = dice.between(0.16, 0.24)
    return [
        Part("ellipsoid", (r, r, dice.between(0.34, 0.5)), (0, 0, h), dice.body),
        Part("ellipsoid", (r * 0.92, r * 0.92, 0.3), (0, 0, h - 0.27), LIGHT, carve=True),
        Part("cone", (foot * 1.3, foot * 0.9, h + 0.06), (0, 0, 0.06), dice.detail),
    ]


def rocket(dice: Dice) -> list[Part]:
    r, h = dice.between(0.22, 0.30), 0.52 * dice.stretch
    fin = dice.between(0.16, 0.24)
    diagonal = 45.0 if dice.maybe() else 0.0
    tilted = [
        Part("box", (r + fin, 0.035, 0.18, 0.02), (0, 0, -h + 0.05), dice.detail, turn=(0, 0, diagonal + angle))
        for angle in (0.0, 90.0)
    ]
    return [
        *tilted,
        Part("capsule", (r, h - r), (0, 0, 0), dice.body),
        Part("cone", (r, 0.03, 0.22), (0, 0, h - 0.02), dice.detail, blend=0.04),
        Part("cone", (r * 0.9, r * 0.55, 0.09), (0, 0, -h - 0.02), DARK),
        Part("sphere", (0.11,), (0, r - 0.03, 0.22 * h), GLASS),
    ]


def snowman(dice: Dice) -> list[Part]:
    a, b, c = dice.between(0.36, 0.44), dice.between(0.27, 0.33), dice.between(0.20, 0.25)
    body = dice.body
    low, mid = 0.0, (a + b) * 0.75 * dice.stretch
    high = mid + (b + c) * 0.75 * dice.stretch
    parts = [
        Part("sphere", (a,), (0, 0, low), body),
        Part("sphere", (b,), (0, 0, mid), body, blend=0.05),
        Part("sphere", (c,), (0, 0, high), replace(body, pattern="plain"), blend=0.05),
        Part("cylinder", (c * 1.25, 0.03), (0, 0, high + c * 0.78), dice.detail),
        Part("cylinder", (c * 0.78, 0.13, 0.02), (0, 0, high + c * 0.78 + 0.13), dice.detail),
        Part("cone", (0.065, 0.01, 0.13), (0, c + 0.08, high), ORANGE, turn=(-90, 0, 0)),
        Part("sphere", (0.045,), (0.09, c * 0.88, high + 0.08), DARK, mirror="x"),
        Part("sphere", (0.05,), (0, b - 0.01, mid + 0.05), DARK),
    ]
    if dice.maybe(0.6):
        parts.append(Part("capsule", (0.035, 0.2), (b + 0.14, 0, mid + 0.1), Paint(COLORS["brown"]), (0, 60, 0), "x"))
    return parts


def tree(dice: Dice) -> list[Part]:
    h = 0.34 * dice.stretch
    trunk = Part("cone", (dice.between(0.11, 0.17), 0.09, h), (0, 0, 0), dice.detail)
    if dice.maybe():
        wide, step = dice.between(0.42, 0.54), dice.between(0.24, 0.32) * dice.stretch
        tiers = [
            Part("cone", (wide * (1 - 0.25 * k), 0.03, 0.30), (0, 0, h + 0.12 + k * step), dice.body) for k in range(3)
        ]
        return [trunk, *tiers]
    r = dice.between(0.36, 0.46)
    crown = []
    for z in (h + 0.25, h + 0.45, h + 0.6):
        puff = r * dice.between(0.55, 0.8)
        place = (dice.between(-0.25, 0.25), dice.between(-0.25, 0.25), z)
        crown.append(Part("sphere", (puff,), place, dice.body, blend=0.12))
    return [trunk, Part("sphere", (r,), (0, 0, h + 0.35), dice.body, blend=0.04), *crown]


def car(dice: Dice) -> list[Part]:
    length, width, h = dice.between(0.66, 0.80), dice.between(0.30, 0.36), 0.16 * dice.stretch
    cabin = dice.between(0.30, 0.42)
    back = dice.between(-0.18, -0.02)
    wheel = dice.between(0.14, 0.18)
    return [
        Part("box", (width, length, h, 0.07), (0, 0, 0), dice.body),
        Part("box", (width - 0.05, cabin, 0.15, 0.08), (0, back, h + 0.10), GLASS),
        Part("box", (width - 0.06, cabin - 0.06, 0.05, 0.04), (0, back, h + 0.25), dice.detail),
        Part("cylinder", (wheel, 0.08, 0.02), (width - 0.03, 0.6 * length, -h), DARK, (0, 90, 0), "xy"),
        Part("cylinder", (wheel * 0.5, 0.10, 0.01), (width - 0.03, 0.6 * length, -h), LIGHT, (0, 90, 0), "xy"),
        Part("sphere", (0.065,), (width - 0.1, length - 0.03, 0.02), Paint((1.0, 0.95, 0.7)), mirror="x"),
        Part("box", (0.07, 0.03, 0.035), (width - 0.1, -length, 0.04), Paint((0.8, 0.1, 0.1)), mirror="x"),
    ]


def house(dice: Dice) -> list[Part]:
    w, d, h = dice.between(0.40, 0.52), dice.between(0.42, 0.58), 0.36 * dice.stretch
    roof = dice.between(0.18, 0.28)
    parts = [
        Part("box", (w, d, h), (0, 0, 0), dice.body),
        Part("wedge", (w + 0.10, d + 0.06, roof), (0, 0, h + roof - 0.02), dice.detail),
        Part("box", (0.11, 0.03, 0.19), (0, d, -h + 0.19), Paint(COLORS["brown"])),
        Part("box", (0.09, 0.02, 0.09), (w * 0.62, d, 0.08), GLASS, mirror="x"),
        Part("box", (0.02, 0.10, 0.10), (w, 0.5 * d, 0.02), GLASS, mirror="xy"),
    ]
    if dice.maybe(0.6):
        place = (w * 0.5, -d * 0.4, h + roof * 1.25)
        parts.append(Part("box", (0.08, 0.08, 0.22), place, Paint((0.55, 0.25, 0.2))))
    return parts


def robot(dice: Dice) -> list[Part]:
    w, h = dice.between(0.26, 0.34), 0.30 * dice.stretch
    head, arm = dice.between(0.17, 0.23), dice.between(0.2, 0.27)
    neck = h + 0.05
    parts = [
        Part("box", (w, 0.20, h, 0.05), (0, 0, 0), dice.body),
        Part("box", (head, 0.17, head * 0.85, 0.04), (0, 0, neck + head), replace(dice.body, pattern="plain")),
        Part("cylinder", (0.07, 0.08), (0, 0, neck), DARK),
        Part("sphere", (0.06,), (head * 0.45, 0.16, neck + head + 0.03), Paint((1.0, 0.9, 0.3)), mirror="x"),
        Part("capsule", (0.075, arm), (w + 0.10, 0, 0.02), dice.detail, (0, dice.between(-25, 5), 0), "x"),
        Part("box", (0.09, 0.11, 0.20, 0.03), (w * 0.5, 0.02, -h - 0.15), DARK, mirror="x"),
    ]
    if dice.maybe():
        parts.append(Part("cylinder", (0.02, 0.10), (0, 0, neck + 2 * head + 0.05), DARK))
        parts.append(Part("sphere", (0.06,), (0, 0, neck + 2 * head + 0.17), dice.detail))
    return parts


def fish(dice: Dice) -> list[Part]:
    length, h, thick = 0.62, 0.30 * dice.stretch, dice.between(0.17, 0.24)
    return [
        Part("ellipsoid", (thick, length, h), (0, 0, 0), dice.body),
        Part("cone", (0.25, 0.03, 0.20), (0, -length - 0.08, 0), dice.detail, turn=(-90, 0, 0)),
        Part("box", (0.35, 0.6, 0.6), (0.40, -length - 0.1, 0), dice.detail, mirror="x", carve=True),
        Part("box", (0.035, dice.between(0.14, 0.24), 0.16, 0.03), (0, -0.06, h), dice.detail, (20, 0, 0)),
        Part("ellipsoid", (0.20, 0.12, 0.05), (thick, 0.08, -0.10), dice.detail, (0, 30, 0), "x"),
        Part("sphere", (0.06,), (thick * 0.60, length * 0.66, 0.07), LIGHT, mirror="x"),
        Part("sphere", (0.04,), (thick * 0.60 + 0.025, length * 0.68 + 0.02, 0.07), DARK, mirror="x"),
    ]


def duck(dice: Dice) -> list[Part]:
    r, h = dice.between(0.34, 0.42), dice.between(0.22, 0.27)
    top = 0.44 * dice.stretch
    front = dice.between(0.22, 0.32)
    return [
        Part("ellipsoid", (r, r * 1.45, r * 0.85), (0, 0, 0), dice.body),
        Part("cone", (0.16, 0.03, 0.16), (0, -r * 1.35, 0.16), dice.body, (50, 0, 0), blend=0.12),
        Part("sphere", (h,), (0, front, top), replace(dice.body, pattern="plain"), blend=0.12),
        Part("ellipsoid", (0.13, 0.17, 0.055), (0, front + h + 0.06, top - 0.05), dice.detail),
        Part("sphere", (0.05,), (h * 0.62, front + h * 0.68, top + 0.08), DARK, mirror="x"),
        Part("ellipsoid", (0.08, r * 0.85, r * 0.5), (r * 0.92, -0.08, 0.05), replace(dice.body, pattern="plain"),
             (0, 12, 0), "x"),
    ]  # fmt: skip


def boat(dice: Dice) -> list[Part]:
    length, w, h = dice.between(0.62, 0.74), dice.between(0.26, 0.34), 0.17
    mast = 0.46 * dice.stretch
    return [
        Part("ellipsoid", (w, length, 0.34), (0, 0, 0), dice.body),
        Part("box", (1.0, 1.0, 0.5), (0, 0, 0.5 + 0.02), Paint((0.72, 0.52, 0.30)), carve=True),
        Part("ellipsoid", (w - 0.07, length - 0.10, h), (0, 0, 0.03), Paint((0.72, 0.52, 0.30)), carve=True),
        Part("cylinder", (0.035, mast), (0, 0.06, mast - 0.2), Paint(COLORS["brown"])),
        Part("wedge", (dice.between(0.34, 0.46), 0.03, mast * 0.68), (0, 0, mast + 0.08), dice.detail, (0, 0, 90)),
    ]


def dog(dice: Dice) -> list[Part]:
    length, r, leg = dice.between(0.34, 0.48), dice.between(0.17, 0.22), 0.17 * dice.stretch
    head, top = dice.between(0.18, 0.22), 0.30
    front = length + 0.08
    plain = replace(dice.body, pattern="plain")
    return [
        Part("capsule", (r, length), (0, 0, 0), dice.body, (-90, 0, 0)),
        Part("capsule", (0.07, leg), (r - 0.05, length - 0.02, -r - leg + 0.05), plain, mirror="xy", blend=0.04),
        Part("sphere", (head,), (0, front, top), plain, blend=0.10),
        Part("capsule", (0.09, 0.10), (0, front + head, top - 0.06), plain, (-90, 0, 0), blend=0.04),
        Part("sphere", (0.055,), (0, front + head + 0.18, top - 0.02), DARK),
        Part("sphere", (0.045,), (head * 0.5, front + head * 0.82, top + 0.07), DARK, mirror="x"),
        Part("ellipsoid", (0.05, 0.09, 0.17), (head * 0.95, front - 0.04, top + 0.02), dice.detail, (0, -15, 0), "x"),
        Part("capsule", (0.05, dice.between(0.1, 0.18)), (0, -length - r, 0.16), plain, (30, 0, 0), blend=0.04),
    ]


RECIPES: Mapping[str, Recipe] = {
    recipe.__name__: recipe
    for recipe in (
        *(mug, teapot, chair, table, lamp, mushroom, rocket, snowman),
        *(tree, car, house, robot, fish, duck, boat, dog),
    )
}
"""One recipe a class; the names are those of `captions.DETAILS`."""
