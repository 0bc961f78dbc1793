"""Draws the reference pictures of held-out procedural objects into assets/references.

python -m h3d.assets.make.references
"""

from __future__ import annotations

import h3d.assets
from h3d.models.training.references import picture_of_object, write_reference

POSE = (30.0, 15.0, 2.0)
"""Azimuth and elevation in degrees, radius: from beside the front, a little above."""
OBJECTS = {"teapot": 1_000_003, "dog": 1_000_007, "house": 1_000_013, "rocket": 1_000_018}
"""Seeds that the embedded denoiser never saw."""


def main() -> None:
    folder = h3d.assets.path("references")
    folder.mkdir(exist_ok=True)
    for name, seed in OBJECTS.items():
        write_reference(folder / f"{name}.png", picture_of_object(seed, POSE))


if __name__ == "__main__":
    main()
