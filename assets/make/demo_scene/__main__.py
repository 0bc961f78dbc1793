"""Writes the demo scene and its camera; a minute or two.

python -m h3d.assets.make.demo_scene [--output FOLDER] [--seed 7] [--detail 1.0]
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import h3d.assets
from h3d.models import formats
from h3d.renderers.cameras import camera_to_json

from .scene import SHIPPED_SEED, build, camera


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=h3d.assets.DEMO_SCENE.parent)
    parser.add_argument("--seed", type=int, default=SHIPPED_SEED)
    parser.add_argument("--detail", type=float, default=1.0, help="factor on the number of Gaussians")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)6d ms  %(message)s")
    scene = options.output / h3d.assets.DEMO_SCENE.name
    formats.write(scene, build(options.seed, options.detail))
    (options.output / h3d.assets.DEMO_CAMERA.name).write_text(json.dumps(camera_to_json(camera()), indent=2) + "\n")
    logging.getLogger(__name__).info("wrote %s, %.2f MB", scene, scene.stat().st_size / 1e6)


if __name__ == "__main__":
    main()
