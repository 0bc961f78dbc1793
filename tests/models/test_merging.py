"""Proves that merging keeps what it says: count, moments, cover, and more of a picture than leaving rows out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from h3d import assets
from h3d.models import formats
from h3d.models.gaussians import Gaussians, from_rows
from h3d.models.losses import psnr
from h3d.models.merging import merged
from h3d.models.pruning import keep_mask
from h3d.renderers import CancelFlag, Cancelled, rasterize_gaussians
from h3d.renderers.cameras import Camera, look_at


def some(count: int, seed: int = 0, spread: float = 1.0) -> Gaussians:
    random = np.random.default_rng(seed)
    return from_rows(
        means=random.normal(scale=spread, size=(count, 3)),
        quats=random.normal(size=(count, 4)),
        log_scales=random.uniform(-3.0, -1.0, (count, 3)),
        logit_opacities=random.uniform(-4.0, -2.0, count),
        sh=random.normal(scale=0.3, size=(count, 4, 3)),
    )


def moments(rows: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Of all rows together, weighted by cover: mean, covariance, spherical harmonics, and the cover. Row by row."""
    mean, sh, total, parts = np.zeros(3), np.zeros(rows.sh.shape[1:]), 0.0, []
    for i in range(len(rows)):
        x, y, z = rows.scales[i].double().tolist()
        cover = float(rows.opacities[i]) * (x * y + x * z + y * z) / 3.0
        turn = Rotation.from_quat(rows.quats[i].double().numpy()[[1, 2, 3, 0]]).as_matrix()
        parts.append((cover, rows.means[i].double().numpy(), turn @ np.diag([x * x, y * y, z * z]) @ turn.T))
        mean, total = mean + cover * parts[-1][1], total + cover
        sh = sh + cover * rows.sh[i].double().numpy()
    mean = mean / total
    covariance = np.sum([w * (c + np.outer(m - mean, m - mean)) for w, m, c in parts], axis=0) / total
    return mean, covariance, sh / total, total


@pytest.mark.parametrize("seed", range(5))
def test_two_rows_become_one_with_their_moments(seed: int):
    rows = some(2, seed, spread=0.05)
    one = merged(rows, 0.5)
    assert len(one) == 1
    for found, expected in zip(moments(one), moments(rows), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 300), st.floats(0.0, 1.0), st.integers(0, 3))
def test_as_many_are_left_as_were_asked_for(count: int, keep: float, seed: int):
    rows = some(count, seed)
    found = merged(rows, keep)
    assert len(found) == max(round(keep * count), min(count, 1))
    assert len(set(found.ids.tolist())) == len(found)
    # What was not merged is what it was, bit for bit.
    known = dict(zip(rows.ids.tolist(), rows.means, strict=True))
    for i, key in enumerate(found.ids.tolist()):
        if key in known:
            assert torch.equal(found.means[i], known[key])
    for name in ("means", "quats", "log_scales", "logit_opacities"):
        assert bool(getattr(found, name).isfinite().all())


@pytest.mark.parametrize("kind", ["coincide", "are flat and clear"])
def test_rows_do_no_harm_that(kind: str):
    rows = some(40)
    if kind == "coincide":
        rows = replace(rows, means=rows.means[:1].expand(40, 3).contiguous())
    else:
        rows = replace(rows, log_scales=torch.full((40, 3), -60.0), logit_opacities=torch.full((40,), -100.0))
    found = merged(rows, 0.1)
    assert len(found) == 4
    assert bool(found.quats.isfinite().all()) and bool(found.log_scales.isfinite().all())


def test_more_of_a_capture_is_left_than_by_leaving_out():
    rows = formats.read(assets.DEMO_SCENE)
    middle = rows.means.median(dim=0).values.numpy()
    away = 3.0 * float((rows.means - rows.means.median(dim=0).values).norm(dim=1).quantile(0.9))
    camera = look_at(middle + np.array([0.0, 0.0, -away]), middle, np.array([0.0, -1.0, 0.0]), width=160, height=160)
    whole = seen(rows, camera)
    merging = psnr(seen(merged(rows, 0.3), camera), whole)
    for criterion in ("random", "band_stop", "opacity"):
        assert merging > psnr(seen(rows.keep(keep_mask(rows, criterion, keep=0.3)), camera), whole) + 0.5


def seen(rows: Gaussians, camera: Camera) -> torch.Tensor:
    viewmat, K = (torch.from_numpy(array).float()[None] for array in (camera.viewmat, camera.K))
    size = (camera.width, camera.height)
    return rasterize_gaussians(rows.means, rows.quats, rows.scales, rows.opacities, rows.sh, viewmat, K, *size).rgb[0]


def test_it_is_told_how_far_it_is_and_can_be_cancelled():
    told: list[float] = []
    merged(some(500), 0.1, progress=told.append)
    assert told == sorted(told) and told[-1] == 1.0 and len(told) > 1
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        merged(some(500), 0.1, cancel=flag)
    with pytest.raises(ValueError, match="keep: 1.5; it is a share and must be 0 to 1"):
        merged(some(5), 1.5)
