"""Our own objects: a grammar of painted solids with captions, and what they look like from every side.

One seed makes one object. Its signed distance and colour are known everywhere, so that a picture, a depth, a mask, a
mesh or a caption of it is ground truth. The embedded denoiser learns on them, and tests and benchmarks of image-to-3D
compare with them.
"""

from .captions import MAX_TOKENS, VOCABULARY, UnknownWords, tokens_of
from .objects import HELD_OUT, ProceduralObject, make_object
from .solid import OBJECT_RADIUS, Solid
from .views import FOV_Y_RADIANS, Views, random_poses, render_views, view_camera

__all__ = [
    "FOV_Y_RADIANS",
    "HELD_OUT",
    "MAX_TOKENS",
    "OBJECT_RADIUS",
    "VOCABULARY",
    "ProceduralObject",
    "Solid",
    "UnknownWords",
    "Views",
    "make_object",
    "random_poses",
    "render_views",
    "tokens_of",
    "view_camera",
]
