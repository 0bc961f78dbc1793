"""Surfels: what every shape of the demo scene is made of, and what becomes one Gaussian each.

A surfel is a small oriented patch with a material. Shapes make them, light falls on them (`light.py`), and their
radiance is fitted with spherical harmonics (`bake.py`). Modelling axes: +z up, the front of the scene is -y.
N surfels. Colours are linear here; `bake.py` maps them to the sRGB of a picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np


@dataclass(frozen=True)
class Material:
    """How a patch answers light. Every field is one value or one a surfel."""

    albedo: np.ndarray | tuple[float, float, float]  # [3] or [N, 3] linear diffuse reflectance
    specular: np.ndarray | float | tuple[float, float, float] = 0.0  # [], [3] or [N, 3] reflectance at normal incidence
    roughness: np.ndarray | float = 0.5  # GGX alpha, 0.05 = glaze, 0.6 = satin
    translucency: np.ndarray | float = 0.0  # share of the diffuse light that comes through from behind
    film_nm: np.ndarray | float = 0.0  # optical thickness of an iridescent film, 0 = none


@dataclass(frozen=True)
class Surfels:
    """N patches: where they are, how they lie, and what they are made of."""

    position: np.ndarray  # [N, 3]
    axes: np.ndarray  # [N, 3, 3] rows are the Gaussian's axes: tangent, bitangent, thin axis
    sigma: np.ndarray  # [N, 3] standard deviation along each axis
    normal: np.ndarray  # [N, 3] unit, for shading; need not be the thin axis (hair, moss)
    opacity: np.ndarray  # [N]
    albedo: np.ndarray  # [N, 3]
    specular: np.ndarray  # [N, 3]
    roughness: np.ndarray  # [N]
    translucency: np.ndarray  # [N]
    film_nm: np.ndarray  # [N]

    def __len__(self) -> int:
        return len(self.position)

    def keep(self, rows: np.ndarray) -> Surfels:
        """The rows of a mask or of indices."""
        return Surfels(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def moved(self, offset: Iterable[float]) -> Surfels:
        """The same surfels elsewhere."""
        return replace(self, position=self.position + np.asarray(tuple(offset)))

    def turned(self, rotation: np.ndarray) -> Surfels:  # [3, 3]
        """The same surfels turned about the origin."""
        return replace(
            self, position=self.position @ rotation.T, axes=self.axes @ rotation.T, normal=self.normal @ rotation.T
        )


def unit(vectors: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 3]
    """Vectors of length one; a zero vector stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def across(along: np.ndarray, wish) -> np.ndarray:  # [N, 3], broadcasts to [N, 3] -> [N, 3]
    """The unit vectors at right angles to `along` that are nearest to `wish`."""
    wish = np.broadcast_to(wish, along.shape)
    return unit(wish - (wish * along).sum(-1, keepdims=True) * along)


def make(
    position: np.ndarray,  # [N, 3]
    thin: np.ndarray,  # [N, 3] direction of the shortest axis
    tangent: np.ndarray,  # [N, 3] direction of the first axis, made orthogonal to `thin`
    sigma,  # broadcasts to [N, 3]
    material: Material,
    *,
    normal: np.ndarray | None = None,  # [N, 3] for shading; None = thin
    opacity: np.ndarray | float = 0.97,
) -> Surfels:
    """Surfels from arrays that broadcast to N rows."""
    count = len(position)
    thin = unit(np.broadcast_to(thin, (count, 3)).astype(float))
    tangent = np.broadcast_to(tangent, (count, 3)).astype(float)
    tangent = unit(tangent - (tangent * thin).sum(-1, keepdims=True) * thin)
    lost = np.linalg.norm(tangent, axis=-1) < 0.5  # The tangent lay along the thin axis: any other will do.
    tangent[lost] = unit(np.cross(thin[lost], [0.311, 0.839, 0.447]))
    return Surfels(
        position=np.asarray(position, float),
        axes=np.stack([tangent, np.cross(thin, tangent), thin], axis=1),
        sigma=np.broadcast_to(sigma, (count, 3)).astype(float),
        normal=thin if normal is None else unit(np.broadcast_to(normal, (count, 3)).astype(float)),
        opacity=np.broadcast_to(opacity, (count,)).astype(float),
        albedo=np.broadcast_to(material.albedo, (count, 3)).astype(float),
        specular=_columns(material.specular, count),
        roughness=np.broadcast_to(material.roughness, (count,)).astype(float),
        translucency=np.broadcast_to(material.translucency, (count,)).astype(float),
        film_nm=np.broadcast_to(material.film_nm, (count,)).astype(float),
    )


def joined(parts: Iterable[Surfels]) -> Surfels:
    """All parts' rows, in order."""
    parts = list(parts)
    return Surfels(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Surfels)})


def _columns(value, count: int) -> np.ndarray:  # [], [N], [3] or [N, 3] -> [N, 3]
    value = np.asarray(value, float)
    if value.ndim == 1 and len(value) == count and count != 3:
        value = value[:, None]
    return np.broadcast_to(value, (count, 3)).astype(float)
