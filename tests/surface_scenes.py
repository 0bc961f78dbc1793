"""Small scenes for the path tracer, as arrays and as files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from h3d.renderers.path_tracer import Surfaces

Row = Sequence[float]


def material(albedo: float = 0.0, specular: float = 0.0, emission: float = 0.0, roughness: float = 1.0) -> list[float]:
    """A grey one, as a row."""
    return [*[albedo] * 3, *[specular] * 3, *[emission] * 3, roughness]


def surfaces(
    materials: Sequence[Row],
    spheres: Sequence[tuple[Row, int]] = (),
    quads: Sequence[tuple[Row, int]] = (),
) -> Surfaces:
    """Spheres and parallelograms, each with the number of its material."""
    return Surfaces(
        torch.tensor([row for row, _ in spheres], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([owner for _, owner in spheres], dtype=torch.int32),
        torch.tensor([row for row, _ in quads], dtype=torch.float32).reshape(-1, 9),
        torch.tensor([owner for _, owner in quads], dtype=torch.int32),
        torch.tensor(materials, dtype=torch.float32),
    )


def room(side: float = 2.0) -> list[list[float]]:
    """Six parallelograms that look into the cube about the origin."""
    h, s = 0.5 * side, side
    return [
        [-h, -h, -h, 0, s, 0, 0, 0, s],
        [h, -h, -h, 0, 0, s, 0, s, 0],
        [-h, -h, -h, 0, 0, s, s, 0, 0],
        [-h, h, -h, s, 0, 0, 0, 0, s],
        [-h, -h, -h, s, 0, 0, 0, s, 0],
        [-h, -h, h, 0, s, 0, s, 0, 0],
    ]


def lit_room() -> Surfaces:
    """A room with a lamp under its ceiling, a matt and a glossy ball, walls of two kinds."""
    lamp = [-0.3, 0.98, -0.3, 0.6, 0, 0, 0, 0, 0.6]
    walls = [(quad, index % 2) for index, quad in enumerate(room())]
    balls = [([-0.4, -0.6, 0.3, 0.4], 0), ([0.5, -0.65, -0.2, 0.35], 3)]
    kinds = [material(0.7), material(0.3), material(emission=8.0), material(0.1, 0.7, roughness=0.3)]
    return surfaces(kinds, balls, [*walls, (lamp, 2)])


def all_round(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:  # [R, 3], [R, 3]
    """Rays from the origin into all directions."""
    directions = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    return torch.zeros(count, 3), torch.nn.functional.normalize(directions, dim=1)


def write_scene(path: Path, **changes: Any) -> Path:
    """A room with a lamp and two things in it, as a file; keyword arguments replace its parts."""
    value: dict[str, Any] = {
        "format": "h3d scene 1",
        "camera": {"eye": [0, 0, 0.9], "target": [0, -0.2, 0], "up": [0, 1, 0], "fov_y_degrees": 60},
        "materials": {
            "white": {"albedo": [0.7, 0.7, 0.7]},
            "red": {"albedo": [0.6, 0.1, 0.1], "specular": [0.2, 0.2, 0.2], "roughness": 0.4},
            "lamp": {"emission": [9, 8, 7]},
        },
        "surfaces": [
            *({"quad": {"corner": q[:3], "u": q[3:6], "v": q[6:]}, "material": "white"} for q in room()),
            {"quad": {"corner": [-0.3, 0.98, -0.3], "u": [0.6, 0, 0], "v": [0, 0, 0.6]}, "material": "lamp"},
            {"sphere": {"center": [-0.4, -0.6, -0.2], "radius": 0.4}, "material": "red"},
            {"box": {"center": [0.4, -0.7, -0.3], "size": [0.5, 0.6, 0.5], "turn_degrees": 20}, "material": "white"},
        ],
    }
    path.write_text(json.dumps(value | changes), "utf-8")
    return path
