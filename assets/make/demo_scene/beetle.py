"""A jewel beetle on the board: grooved wing cases whose colour is the thickness of a film, and six thin legs."""

from __future__ import annotations

import numpy as np

from .noise import bumped, gradient_noise, smoothstep
from .shapes import COVER, ellipsoid, spline, strokes
from .surfels import Material, Surfels, across, joined, make

LENGTH = 0.24  # from the head to the tip of the wing cases


def beetle(detail: float) -> Surfels:
    """The beetle with its feet at z = 0, looking along +x, in the middle of its length."""
    return joined([_wing_cases(detail), _shield(detail), _head(detail), _belly(detail), _legs(), _feelers()])


def _shell(position, normal, spacing, film_nm, rough) -> Surfels:
    film = Material((0.010, 0.018, 0.016), specular=0.62, roughness=0.21, film_nm=film_nm)
    return make(position, normal, np.array([1.0, 0, 0]), spacing * np.array([COVER, COVER, 0.2]), film, normal=rough)


def _wing_cases(detail: float) -> Surfels:
    """Two halves with a seam, ten grooves and a red-gold stripe on each."""
    position, normal, spacing = ellipsoid((0.098, 0.056, 0.052), int(5600 * detail))
    across = np.arctan2(position[:, 1], position[:, 2] + 0.012)
    taper = 1 - 0.34 * smoothstep(0.0, -0.098, position[:, 0]) ** 2

    def relief(p):
        angle = np.arctan2(p[:, 1], p[:, 2] + 0.012)
        grooves = 0.0011 * np.cos(angle * 17) * smoothstep(0.10, 0.06, np.abs(p[:, 0]))
        seam = -0.004 * np.exp(-((p[:, 1] / 0.0018) ** 2))
        return grooves + seam + 0.0006 * gradient_noise(p * 150, seed=101)

    rough = bumped(position, normal, relief, 0.0012)
    stripe = np.exp(-(((np.abs(across) - 0.62) / 0.17) ** 2))
    film = 262 + 95 * stripe + 14 * np.cos(across * 17) + 10 * gradient_noise(position * 30, seed=103)
    top = position[:, 2] > -0.016
    position = position * np.stack([np.ones_like(taper), taper, np.ones_like(taper)], axis=1)
    return _shell(position, normal, spacing, film, rough).keep(top).moved((-0.022, 0, 0.040))


def _shield(detail: float) -> Surfels:
    position, normal, spacing = ellipsoid((0.034, 0.050, 0.040), int(1700 * detail))
    rough = bumped(position, normal, lambda p: 0.0016 * gradient_noise(p * 110, seed=105), 0.002)
    film = 285 + 60 * np.exp(-((position[:, 1] / 0.016) ** 2)) + 12 * gradient_noise(position * 60, seed=107)
    return _shell(position, normal, spacing, film, rough).moved((0.074, 0, 0.042))


def _head(detail: float) -> Surfels:
    position, normal, spacing = ellipsoid((0.024, 0.030, 0.024), int(620 * detail))
    rough = bumped(position, normal, lambda p: 0.0012 * gradient_noise(p * 120, seed=109), 0.002)
    skull = _shell(position, normal, spacing, np.full(len(position), 300.0), rough).moved((0.112, 0, 0.038))
    black = Material((0.006, 0.006, 0.008), specular=0.06, roughness=0.12)
    position, normal, spacing = ellipsoid((0.009, 0.008, 0.010), max(24, int(150 * detail)))
    eye = make(position, normal, np.array([0.0, 0, 1]), spacing * np.array([COVER, COVER, 0.25]), black)
    return joined([skull, eye.moved((0.119, 0.025, 0.044)), eye.moved((0.119, -0.025, 0.044))])


def _belly(detail: float) -> Surfels:
    """The dark underside, which also keeps light from shining through."""
    position, normal, spacing = ellipsoid((0.105, 0.044, 0.026), int(900 * detail))
    under = Material((0.012, 0.010, 0.010), specular=0.05, roughness=0.3)
    sigma = spacing * np.array([COVER, COVER, 0.3])
    return make(position, normal, np.array([1.0, 0, 0]), sigma, under).moved((0, 0, 0.030))


def _limb(path, width: float) -> Surfels:  # [P, 3]
    position, along, reach = strokes(spline(np.array(path), 40), 0.0045)
    up = across(along, [0.0, 0.0, 1.0])
    chitin = Material((0.010, 0.010, 0.012), specular=0.035, roughness=0.35)
    return make(position, up, along, [reach, width, width], chitin)


def _legs() -> Surfels:
    parts = []
    for sign in (-1, 1):
        for root, knee, foot in (
            ((0.082, 0.030, 0.030), (0.110, 0.066, 0.046), (0.136, 0.090, 0.002)),
            ((0.048, 0.036, 0.028), (0.046, 0.082, 0.046), (0.034, 0.112, 0.002)),
            ((0.020, 0.036, 0.028), (-0.022, 0.080, 0.044), (-0.070, 0.108, 0.002)),
        ):
            side = np.array([1, sign, 1])
            thigh = [root, 0.5 * (np.add(root, knee)) + [0, 0, 0.008], knee]
            shin = [knee, 0.5 * (np.add(knee, foot)) + [0, 0.006, 0.002], foot]
            toe = [foot, np.add(foot, [0.006, 0.010, -0.001]), np.add(foot, [0.012, 0.018, 0.0])]
            parts += [_limb(np.array(p) * side, w) for p, w in ((thigh, 0.0030), (shin, 0.0018), (toe, 0.0012))]
    return joined(parts)


def _feelers() -> Surfels:
    path = [(0.126, 0.014, 0.046), (0.150, 0.032, 0.062), (0.172, 0.060, 0.060), (0.184, 0.088, 0.048)]
    return joined([_limb(np.array(path) * [1, sign, 1], 0.0014) for sign in (-1, 1)])
