"""The demo scene: a flowering bonsai in a mended pot on a walnut board, made from nothing but formulas.

    python -m h3d.assets.make.demo_scene

writes `assets/scenes/demo.sog` and the camera `demo.json`: some 130,000 Gaussians in the axes of `h3d.renderers`
(+y down), two units across, with colours that change with the view as glaze, brass, a beetle's shell and petals do.
Read in this order: `surfels.py` (what everything is made of), `shapes.py` (even coverings), the things themselves
(`table.py pot.py garden.py tree.py blossoms.py beetle.py`), `light.py` (shadows and bounce), `bake.py` (radiance to
spherical harmonics), `scene.py` (all together).
"""

from .scene import build, camera

__all__ = ["build", "camera"]
