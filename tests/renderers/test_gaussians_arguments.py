"""The door's errors name the argument, what it is, and the rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from rasterizer_reference import random_pose, random_scene

from h3d.renderers import RasterOptions, rasterize_scenes
from h3d.renderers.shapes import check

VIEWMATS, KS = np.eye(4)[None], np.array([[[50.0, 0, 32], [0, 50.0, 24], [0, 0, 1]]])


DEFAULTS = RasterOptions()


def draw(scene, options=DEFAULTS, viewmats=VIEWMATS, Ks=KS, size=(64, 48)):
    return rasterize_scenes([scene], viewmats, Ks, *size, options=options)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"quats": torch.ones(60, 3)}, r"scenes\[0\].quats: its shape is \[60, 3\]; it must be \[N, 4\] with N = 60"),
        ({"scales": torch.ones(59, 3)}, r"scenes\[0\].scales: its shape is \[59, 3\]; it must be \[N, 3\] with N = 60"),
        ({"sh": torch.ones(60, 5, 3)}, "sh: 5 bases; must be 1, 4, 9 or 16"),
        ({"visible": torch.ones(3, dtype=torch.bool)}, r"visible: its shape is \[3\]; it must be \[N\] with N = 60"),
        ({"asset_to_world": torch.diag(torch.tensor([1.0, 2, 1, 1]))}, "rotation times a uniform scale"),
        ({"asset_to_world": torch.diag(torch.tensor([-1.0, 1, 1, 1]))}, "rotation times a uniform scale"),
    ],
)
def test_a_scene_of_a_wrong_shape_is_named(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw(replace(random_scene(0), **change))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (RasterOptions(rect=(0, 0, 65, 48)), r"rect: \(0, 0, 65, 48\); must be x0, y0, x1, y1"),
        (RasterOptions(rect=(8, 8, 8, 9)), "rect"),
        (RasterOptions(near_plane=0.0), "0 < near_plane < far_plane"),
        (RasterOptions(near_plane=2.0, far_plane=1.0), "0 < near_plane < far_plane"),
        (RasterOptions(splat_scale=float("nan")), "splat_scale: nan; must be above 0"),
        (RasterOptions(eps2d=-1.0), "eps2d: -1.0; must be 0 or more"),
        (RasterOptions(sh_degree=4), "sh_degree: 4; must be 0, 1, 2, 3 or None"),
    ],
)
def test_an_option_out_of_range_is_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw(random_scene(0), options)


def test_cameras_are_checked():
    scene = random_scene(0)
    with pytest.raises(ValueError, match=r"viewmats: its shape is \[4, 4\]; it must be \[C, 4, 4\]"):
        draw(scene, viewmats=VIEWMATS[0])
    with pytest.raises(ValueError, match=r"Ks: its shape is \[1, 3, 3\]; it must be \[C, 3, 3\] with C = 2"):
        draw(scene, viewmats=np.concatenate([VIEWMATS, VIEWMATS]))
    with pytest.raises(ValueError, match="NaN or infinite"):
        draw(scene, viewmats=VIEWMATS * np.nan)
    with pytest.raises(ValueError, match="focal lengths"):
        draw(scene, Ks=-KS)
    with pytest.raises(ValueError, match="there is no camera"):
        draw(scene, viewmats=VIEWMATS[:0], Ks=KS[:0])
    for size in ((0, 48), (64, -1), (64, 10**6)):
        with pytest.raises(ValueError, match="must be 1 to 65536"):
            draw(scene, size=size)


def test_scenes_must_agree_on_feature_channels():
    scenes = [random_scene(0, channels=2), random_scene(1, channels=3)]
    with pytest.raises(ValueError, match=r"features: the scenes have \[2, 3\] channels"):
        rasterize_scenes(scenes, VIEWMATS, KS, 64, 48)


def test_other_dtypes_and_strides_are_accepted():
    scene = replace(random_scene(2), asset_to_world=random_pose(2))
    odd = replace(scene, means=scene.means.double(), sh=scene.sh.transpose(0, 1).contiguous().transpose(0, 1))
    assert torch.equal(draw(scene).rgb, draw(odd).rgb)


def test_a_letter_is_fixed_by_its_first_use():
    sizes: dict[str, int] = {}
    check(np.zeros((5, 3)), "[N, 3]", "means", sizes)
    assert sizes == {"N": 5}
    check(np.zeros(5), "[N]", "opacities", sizes)
    with pytest.raises(ValueError, match=r"ids: its shape is \[4\]; it must be \[N\] with N = 5"):
        check(np.zeros(4), "[N]", "ids", sizes)
    with pytest.raises(ValueError, match=r"pose: its shape is \[5, 3, 1\]; it must be \[4, 4\]"):
        check(np.zeros((5, 3, 1)), "[4, 4]", "pose", sizes)
