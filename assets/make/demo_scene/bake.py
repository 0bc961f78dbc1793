"""From lit surfels to Gaussians: radiance towards many eyes, then spherical harmonics that reproduce it.

For each surfel the colour is computed for directions all round: diffuse light, glossy reflections of every lamp and
of the sky (GGX width, Schlick's Fresnel), thin-film colours and light through petals. Least squares then finds the
SH coefficients, with the directions from which the surfel can be seen weighing most. The fit is made to the colour of
the picture (exposed, tone-mapped, sRGB), because that is what a rasteriser blends.
Source: Narkowicz 2015 (filmic curve); Wang et al. 2009 (reflected lobe of sharpness 2 / alpha^2 / 4 cos).
"""

from __future__ import annotations

import numpy as np
import torch

from h3d.renderers import harmonics

from .light import LAMPS, Lighting, sky, sphere_directions
from .noise import smoothstep
from .surfels import Surfels

EXPOSURE = 0.72
MATTE = 0.12  # strength of view dependence below which it is dropped; 0.12 moves a colour by about 0.03
GRAIN = 1 / 48  # step of the view-dependent coefficients: invisible, and half the size in a file


def radiance(surfels: Surfels, lighting: Lighting, towards: np.ndarray) -> np.ndarray:  # [3] -> [N, 3] linear
    """Light that leaves the surfels in the direction `towards`, on the side that faces it."""
    cos = surfels.normal @ towards
    two_sided = surfels.translucency > 0
    # A leaf seen from behind shows what falls on its back, and the front's light through it.
    behind = smoothstep(0.15, -0.15, cos)[:, None] * two_sided[:, None]
    near = lighting.front * (1 - behind) + lighting.back * behind
    far = lighting.back * (1 - behind) + lighting.front * behind
    through = surfels.translucency[:, None]
    # Light that has gone through a petal is more deeply coloured than light that bounced off it.
    out = surfels.albedo / np.pi * ((1 - through) * near) + 1.6 * surfels.albedo**1.5 / np.pi * through * far
    shiny = surfels.specular.max(axis=1) > 0
    out[shiny] += _glossy(surfels.keep(shiny), _rows(lighting, shiny), towards)
    return out


def _glossy(surfels: Surfels, light: Lighting, towards: np.ndarray) -> np.ndarray:  # -> [N, 3]
    """Reflections of the lamps, the sky and the surroundings."""
    cos = np.abs(surfels.normal @ towards)[:, None]
    mirror = 2 * (surfels.normal @ towards)[:, None] * surfels.normal - towards
    smooth = 1 - surfels.roughness[:, None]
    fresnel = surfels.specular + np.maximum(smooth - surfels.specular, 0) * (1 - cos) ** 5
    film = surfels.film_nm > 0
    fresnel[film] = fresnel[film] * film_color(surfels.film_nm[film], cos[film, 0])
    lobe = 1 / (2 * surfels.roughness**2 * np.maximum(cos[:, 0], 0.15))
    incoming = sky(mirror) * light.open_sky[:, None] + light.surround
    for k, lamp in enumerate(LAMPS):
        sharp = lamp.sharpness * lobe / (lamp.sharpness + lobe)
        peak = sharp / lamp.sharpness * np.exp(sharp * (mirror @ lamp.towards - 1))
        incoming += (light.lamps[:, k] * peak)[:, None] * lamp.color
    return fresnel * incoming


def film_color(thickness_nm: np.ndarray, cos: np.ndarray, index: float = 1.56) -> np.ndarray:  # [N], [N] -> [N, 3]
    """Reflectance factor of a thin film at red, green and blue: two-beam interference."""
    inside = np.sqrt(1 - (1 - cos**2) / index**2)
    phase = 4 * np.pi * index * thickness_nm[:, None] * inside[:, None] / np.array([630.0, 532.0, 465.0])
    return 0.04 + 0.96 * (0.5 - 0.5 * np.cos(phase))


def display(linear: np.ndarray) -> np.ndarray:
    """Linear light as sRGB in [0, 1]: exposure, filmic curve, gamma."""
    x = EXPOSURE * linear
    x = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    return np.where(x < 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 1e-9) ** (1 / 2.4) - 0.055)


def fitted_sh(
    surfels: Surfels, lighting: Lighting, to_world: np.ndarray, *, degree: int = 3, eyes: int = 160, chunk: int = 8192
) -> np.ndarray:  # -> [N, K, 3]
    """SH coefficients, in the axes of the world, whose colour is nearest to the radiance in least squares."""
    towards = sphere_directions(eyes)
    # SH are functions of the direction from the eye to the Gaussian.
    bases = harmonics.basis(torch.from_numpy(-towards @ to_world.T), degree).numpy()  # [E, K]
    # Eyes below the table count less, and eyes behind a surface hardly at all.
    above = smoothstep(-0.5, 0.1, towards[:, 2]) * 0.9 + 0.1
    smoothing = np.diag([0.0] + [band**2 * 0.004 * eyes / 16 for band in (1, 2, 3) for _ in range(2 * band + 1)])
    smoothing = smoothing[: bases.shape[1], : bases.shape[1]]
    out = np.zeros((len(surfels), bases.shape[1], 3))
    for start in range(0, len(surfels), chunk):
        rows = np.arange(start, min(start + chunk, len(surfels)))
        part, light = surfels.keep(rows), _rows(lighting, rows)
        colors = np.stack([display(radiance(part, light, eye)) for eye in towards], axis=1) - 0.5  # [n, E, 3]
        facing = smoothstep(-0.25, 0.25, part.normal @ towards.T)
        weight = above * np.where(part.translucency[:, None] > 0, 1.0, 0.004 + facing)
        weighted = weight[:, :, None] * bases
        gram = np.einsum("nek,el->nkl", weighted, bases, optimize=True) + smoothing
        out[rows] = np.linalg.solve(gram, np.einsum("nek,nec->nkc", weighted, colors, optimize=True))
        # What is as good as matte becomes matte: the mean colour, and zeros that take no room in a file.
        matte = np.sqrt((out[rows, 1:] ** 2).sum((1, 2))) < MATTE
        mean = (weight[:, :, None] * colors).sum(1) / weight.sum(1)[:, None]
        out[rows[matte]] = 0.0
        out[rows[matte], 0] = mean[matte] / harmonics.C0
    out[:, 1:] = np.rint(out[:, 1:] / GRAIN) * GRAIN
    return out


def _rows(lighting: Lighting, rows: np.ndarray) -> Lighting:
    return Lighting(*(getattr(lighting, name)[rows] for name in ("front", "back", "lamps", "open_sky", "surround")))
