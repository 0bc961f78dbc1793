"""Light for the demo scene: a studio of soft lamps, shadows through the scene itself, and one bounce.

The studio is a sky gradient plus lamps, each a spherical Gaussian: colour * exp(sharpness * (cos - 1)). Spherical
Gaussians blur into one another in closed form, which gives glossy reflections without sampling.
Shadows are deep shadow maps: the surfels are sorted into a grid that looks along the light, their coverage becomes
optical depth, and a running sum along the light gives what is left of it. Thin things (twigs, petals, hair) so shade as
partly as they cover. The same running sum over outgoing light gives the bounce.
Source: Lokovic and Veach 2000 (deep shadow maps); Wang et al. 2009 (spherical Gaussian lights).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .shapes import GOLDEN_ANGLE
from .surfels import Surfels, unit


@dataclass(frozen=True)
class Lamp:
    """A soft light far away."""

    towards: np.ndarray  # [3] unit, from the scene to the lamp
    color: np.ndarray  # [3] radiance at its middle, linear
    sharpness: float  # of exp(sharpness * (cos - 1)): 10 is a wall of light, 100 a small lamp

    @property
    def irradiance(self) -> np.ndarray:
        """On a surface that faces it, without shadow, [3]."""
        return self.color * 2 * np.pi / self.sharpness


def lamp(towards, color, sharpness: float, strength: float) -> Lamp:
    """A lamp whose irradiance is `strength * color`."""
    return Lamp(unit(np.array(towards, float)), np.array(color) * strength * sharpness / (2 * np.pi), sharpness)


KEY = lamp((-0.60, -0.55, 0.70), (1.0, 0.82, 0.60), 90.0, 4.4)
WINDOW = lamp((-0.80, -0.60, 0.16), (1.0, 0.93, 0.85), 110.0, 0.8)  # Low, for the pot's highlight.
FILL = lamp((0.85, -0.50, 0.22), (0.50, 0.72, 1.0), 14.0, 0.75)
RIM = lamp((0.55, 0.78, 0.45), (1.0, 0.76, 0.70), 30.0, 1.7)
TOP = lamp((-0.1, 0.1, 1.0), (0.86, 0.93, 1.0), 16.0, 0.55)
LAMPS = (KEY, WINDOW, FILL, RIM, TOP)


def sky(directions: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3]
    """The studio without its lamps: cool above, dim and warm below."""
    up = directions[..., 2:3]
    above, below = np.array([0.25, 0.32, 0.43]), np.array([0.075, 0.055, 0.045])
    return below + (above - below) / (1 + np.exp(-4.0 * up))


def sphere_directions(count: int) -> np.ndarray:  # -> [count, 3]
    """Directions spread evenly over the sphere."""
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    ring, angle = np.sqrt(1 - height**2), np.arange(count) * GOLDEN_ANGLE
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)


def lobe_directions(light: Lamp, count: int) -> np.ndarray:  # -> [count, 3]
    """Directions that sample a lamp in proportion to its radiance."""
    share = (np.arange(count) + 0.5) / count
    cos = 1 + np.log(1 - share * (1 - np.exp(-2 * light.sharpness))) / light.sharpness
    sin, angle = np.sqrt(np.maximum(0, 1 - cos**2)), np.arange(count) * GOLDEN_ANGLE
    side = unit(np.cross(light.towards, [0.3, 0.2, 0.9]))
    across = np.cross(light.towards, side)
    return (
        cos[:, None] * light.towards + (sin * np.cos(angle))[:, None] * side + (sin * np.sin(angle))[:, None] * across
    )


class DeepShadow:
    """What the surfels let through, along any direction."""

    def __init__(self, surfels: Surfels, cells: int = 160, density: float = 1.5):
        self.start = surfels.position + 0.012 * surfels.normal
        self.position = surfels.position
        self.radius = 1.02 * float(np.linalg.norm(surfels.position, axis=1).max())
        self.cells = cells
        self.axes, self.sigma = surfels.axes, surfels.sigma
        self.opacity = surfels.opacity * density

    def _grid(self, points: np.ndarray, frame: np.ndarray) -> np.ndarray:  # [N, 3], [3, 3] -> [3, N] in cells
        return ((points @ frame.T) / self.radius * 0.5 + 0.5).T * (self.cells - 1)

    def _optical_depth(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Cell of each surfel [N], and its optical depth there [N], seen along frame[2]."""
        facing = np.abs(self.axes @ frame[2])  # [N, 3] cosine of the view with each axis
        s = self.sigma
        # Projected area of an ellipsoid with half axes s: pi * |(s1 s2 c3, s0 s2 c1, ...)|, doubled for the soft edge.
        cross = np.stack([s[:, 1] * s[:, 2], s[:, 0] * s[:, 2], s[:, 0] * s[:, 1]], axis=1)
        area = 2 * np.pi * np.sqrt(((cross * facing) ** 2).sum(-1))
        cell_area = (2 * self.radius / (self.cells - 1)) ** 2
        where = np.rint(self._grid(self.position, frame)).astype(np.int64)
        flat = (where[0] * self.cells + where[1]) * self.cells + where[2]
        return flat, self.opacity * area / cell_area

    def _binned(self, flat: np.ndarray, weights: np.ndarray, blur: float) -> np.ndarray:
        volume = np.bincount(flat, weights, minlength=self.cells**3).reshape((self.cells,) * 3).astype(np.float32)
        return ndimage.gaussian_filter1d(ndimage.gaussian_filter1d(volume, blur, axis=0), blur, axis=1)

    def arriving(self, direction: np.ndarray, blur: float = 0.7) -> np.ndarray:  # [3] -> [N]
        """Share of the light from `direction` that reaches each surfel; `blur` softens by cells."""
        frame = _frame(direction)
        flat, depth = self._optical_depth(frame)
        cells = self._binned(flat, depth, blur)
        return self._lookup(np.exp(cells - np.cumsum(cells, axis=2)), frame)

    def bounced(self, direction: np.ndarray, outgoing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # [3], [N, 3]
        """The same share [N], and the light [N, 3] from what blocks the rest, given every surfel's radiance."""
        frame = _frame(direction)
        flat, depth = self._optical_depth(frame)
        cells = self._binned(flat, depth, 1.0)
        arrives = self._lookup(np.exp(cells - np.cumsum(cells, axis=2)), frame)
        glow = (self._binned(flat, depth * color, 1.0) for color in outgoing.T)
        return arrives, np.stack([self._lookup(_seen(cells, channel), frame) for channel in glow], axis=1)

    def _lookup(self, volume: np.ndarray, frame: np.ndarray) -> np.ndarray:  # [cells, cells, cells] -> [N]
        # A step towards the light keeps a surface from shading itself.
        start = self.start - 1.6 * (2 * self.radius / self.cells) * frame[2]
        return ndimage.map_coordinates(volume, self._grid(start, frame), order=1, mode="nearest")


def _frame(direction: np.ndarray) -> np.ndarray:  # [3] -> [3, 3]
    """Axes of a grid whose last axis runs away from the light."""
    side = unit(np.cross(direction, [0.36, 0.48, 0.8]))
    return np.stack([side, np.cross(direction, side), -direction])


def _seen(depth: np.ndarray, glow: np.ndarray) -> np.ndarray:  # two of [X, Y, Z] -> [X, Y, Z]
    """Light that reaches each cell from those before it: s' = s exp(-depth) + glow (1 - exp(-depth)) / depth."""
    seen = np.zeros_like(depth)
    running = np.zeros(depth.shape[:2], depth.dtype)
    through = np.exp(-depth)
    added = glow * np.where(depth > 1e-4, (1 - through) / np.maximum(depth, 1e-4), 1.0)
    for k in range(depth.shape[2]):
        seen[:, :, k] = running
        running = running * through[:, :, k] + added[:, :, k]
    return seen


@dataclass(frozen=True)
class Lighting:
    """The light that falls on each surfel."""

    front: np.ndarray  # [N, 3] irradiance on the side of the normal
    back: np.ndarray  # [N, 3] irradiance on the other side
    lamps: np.ndarray  # [N, lamps] share of each lamp that arrives
    open_sky: np.ndarray  # [N] share of the sky that is open about the normal
    surround: np.ndarray  # [N, 3] mean light from the scene's other surfaces


def gather(surfels: Surfels, *, cells: int = 160, sky_count: int = 96, key_count: int = 12) -> Lighting:
    """Cast the studio's light through the scene: soft shadows of every lamp, ambient occlusion, one bounce."""
    shadow = DeepShadow(surfels, cells)
    front, back = np.zeros((len(surfels), 3)), np.zeros((len(surfels), 3))
    arrived = []
    for light in LAMPS:
        count = key_count if light is KEY else max(2, key_count // 2)
        share = np.zeros(len(surfels))
        for direction in lobe_directions(light, count):
            t = shadow.arriving(direction) / count
            share += t
            cos = surfels.normal @ direction
            front += (t * np.maximum(cos, 0))[:, None] * light.irradiance
            back += (t * np.maximum(-cos, 0))[:, None] * light.irradiance
        arrived.append(share)
    open_sky, surround = np.zeros(len(surfels)), np.zeros((len(surfels), 3))
    outgoing = surfels.albedo / np.pi * (front + surfels.translucency[:, None] * back)
    for direction in sphere_directions(sky_count):
        t, bounce = shadow.bounced(direction, outgoing)
        weight = 4 * np.pi / sky_count
        cos = surfels.normal @ direction
        radiance = sky(direction) * t[:, None] + bounce
        front += weight * np.maximum(cos, 0)[:, None] * radiance
        back += weight * np.maximum(-cos, 0)[:, None] * radiance
        open_sky += t * np.maximum(cos, 0) * weight / np.pi
        surround += bounce * (np.maximum(cos, 0) * weight / np.pi)[:, None]
    return Lighting(front, back, np.stack(arrived, axis=1), np.minimum(open_sky, 1), surround)
