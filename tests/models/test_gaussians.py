"""Rows of Gaussians: edits return new values, keep rows together, and turn every field that has a direction."""

from __future__ import annotations

import math

import numpy as np
import torch
from splat_files import Recipe, largest, scene

from h3d.models.gaussians import ROW_FIELDS, from_rows
from h3d.renderers import harmonics
from h3d.renderers.cameras import quat_to_rotation

QUARTER = np.array([math.cos(0.4), 0.2, -0.5, 0.3])


def test_rows_from_arrays_get_fresh_ids_and_unit_quaternions():
    value = from_rows(
        means=np.zeros((3, 3)),
        quats=np.full((3, 4), 2.0),
        log_scales=np.zeros((3, 3)),
        logit_opacities=np.zeros(3),
        sh=np.zeros((3, 4, 3)),
    )
    assert value.ids.tolist() == [0, 1, 2]
    assert torch.allclose(value.quats, torch.full((3, 4), 0.5))
    assert all(getattr(value, name).dtype == torch.float32 for name in ROW_FIELDS[1:])
    assert value.sh_degree == 1
    assert torch.allclose(value.scales, torch.ones(3, 3))
    assert torch.allclose(value.opacities, torch.full((3,), 0.5))


def test_arrays_of_float32_are_not_copied():
    means = np.zeros((3, 3), np.float32)
    rows = {"quats": np.ones((3, 4)), "log_scales": np.zeros((3, 3)), "logit_opacities": np.zeros(3)}
    value = from_rows(means=means, sh=np.zeros((3, 1, 3)), **rows)
    means[0, 0] = 5
    assert float(value.means[0, 0]) == 5


def test_keeping_rows_by_mask_or_index_keeps_all_fields_together():
    value = scene(Recipe(seed=0, count=50, degree=2, extent=3.0))
    mask = value.means[:, 0] > 0
    by_mask, by_index = value.keep(mask), value.keep(torch.nonzero(mask)[:, 0])
    for name in ROW_FIELDS:
        assert torch.equal(getattr(by_mask, name), getattr(value, name)[mask])
        assert torch.equal(getattr(by_mask, name), getattr(by_index, name))
    assert len(value) == 50


def test_joining_scenes_pads_harmonics_and_gives_ids_that_are_unique():
    a = scene(Recipe(seed=1, count=5, degree=0, extent=3.0))
    b = scene(Recipe(seed=2, count=7, degree=2, extent=3.0))
    joined = a.keep(torch.tensor([4, 2])).concat(b)
    assert joined.sh_degree == 2
    assert largest(joined.sh[:2, 1:]) == 0
    assert torch.equal(joined.sh[2:], b.sh)
    assert joined.ids[:2].tolist() == [4, 2]
    assert len(set(joined.ids.tolist())) == 9


def test_cutting_harmonics_and_padding_them_again_leaves_zeros():
    value = scene(Recipe(seed=3, count=4, degree=3, extent=3.0))
    cut = value.with_sh_degree(1).with_sh_degree(3)
    assert torch.equal(cut.sh[:, :4], value.sh[:, :4])
    assert largest(cut.sh[:, 4:]) == 0


def covariances(value) -> torch.Tensor:
    turns = torch.from_numpy(np.stack([quat_to_rotation(q) for q in value.quats.double().numpy()]))
    return turns @ torch.diag_embed(value.scales.double().square()) @ turns.transpose(1, 2)


def test_a_transform_moves_means_covariances_and_colours_as_space_moves():
    value = scene(Recipe(seed=4, count=20, degree=3, extent=3.0))
    moved = value.transformed(QUARTER, np.array([1.0, 2.0, 3.0]), scale=2.0)
    turn = torch.from_numpy(quat_to_rotation(QUARTER)).double()
    expected = 2 * value.means.double() @ turn.T + torch.tensor([1.0, 2.0, 3.0])
    assert largest(moved.means - expected) < 1e-5
    before, after = covariances(value), covariances(moved)
    assert largest(after - 4 * turn @ before @ turn.T) < 1e-4 * largest(after)
    directions = torch.nn.functional.normalize(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    seen = torch.einsum("dk,nkc->ndc", harmonics.basis(directions, 3), value.sh)
    turned = torch.einsum("dk,nkc->ndc", harmonics.basis(directions @ turn.T.float(), 3), moved.sh)
    assert largest(seen - turned) < 1e-4


def test_a_transform_and_its_inverse_give_back_the_scene():
    value = scene(Recipe(seed=5, count=20, degree=2, extent=3.0))
    unit = QUARTER / np.linalg.norm(QUARTER)
    inverse = unit * [1, -1, -1, -1]
    shift = np.array([0.5, -1.0, 2.0])
    back = value.transformed(unit, shift, 2.0).transformed(inverse, -0.5 * quat_to_rotation(inverse) @ shift, 0.5)
    assert largest(back.means - value.means) < 1e-5
    assert largest(back.log_scales - value.log_scales) < 1e-6
    assert largest(back.sh - value.sh) < 1e-5


def test_bytes_count_every_field():
    value = scene(Recipe(seed=6, count=10, degree=3, extent=3.0))
    assert value.nbytes == 10 * (8 + 4 * (3 + 4 + 3 + 1 + 48))
