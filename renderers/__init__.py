"""Arrays in, pictures out. This page spells the conventions that the whole program keeps.

Axes
    OpenCV: +x right, +y down, +z forward (into the scene), for cameras and for scenes as they were trained.
    `camera_to_world` [4,4] maps camera to world; `viewmats` [C,4,4] are its inverse, world to camera.
    A pixel's centre is at (column + 0.5, row + 0.5); `Ks` [C,3,3] map camera space to those coordinates.
Quaternions
    wxyz, everywhere. The order xyzw exists only inside a file-format reader.
Names and shapes
    means [N,3], quats [N,4], scales [N,3] (standard deviations), opacities [N] in [0,1], sh [N,K,3] with
    K = (degree + 1)^2 in {1, 4, 9, 16}; stored forms are log_scales and logit_opacities; ids [N] int64.
    origins, directions [R,3]; t_starts, t_ends; rgb, density, background, near_plane, far_plane.
    N Gaussians, C cameras, R rays, S samples, K SH bases, D feature channels, L levels, F features a level.
Units
    In the name or in the sentence: `fov_y_radians`, `azimuth_degrees`. Colour is sRGB in [0,1] unless a name
    says linear; a Gaussian's colour is max(0, 0.5 + sum_k B_k(direction) sh_k), direction from the eye to the mean.
Backends
    `cpu/` is the definition: C++ kernels and thin Python twins. `cuda/` has the same names and signatures.
    The doors (`gaussians.py`) check their arguments, pick a backend and call it; what fields are made of is worked
    on where its arrays lie, so that their device picks it. Pictures of Gaussians that are learnt from have a door of
    their own, `differentiable_gaussians.py`. Nothing is probed or loaded before first use; `backends.py` says which
    backends this machine has, and why not the others.

The bottom floor: it imports nothing of `h3d.models` or `h3d.app`.
"""

from .backends import num_threads, set_num_threads
from .cancel import CancelFlag, Cancelled
from .contributions import Contributions, contributions, sensitivities
from .differentiable_gaussians import TrainingPictures, rasterize_for_training
from .gaussians import RasterOptions, Rendered, SplatScene, rasterize_gaussians, rasterize_scenes

__all__ = [
    "CancelFlag",
    "Cancelled",
    "Contributions",
    "RasterOptions",
    "Rendered",
    "SplatScene",
    "TrainingPictures",
    "contributions",
    "sensitivities",
    "num_threads",
    "rasterize_for_training",
    "rasterize_gaussians",
    "rasterize_scenes",
    "set_num_threads",
]
