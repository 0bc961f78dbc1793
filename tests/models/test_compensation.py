"""Proves the compensation network: it begins as the picture, tiles are the whole, files keep it with its rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from balls import ball
from random_networks import random_network

from h3d.models import compensation, formats
from h3d.models.compensation import (
    GRID,
    HALO,
    WIDTHS,
    Compensation,
    CompensationNetwork,
    CompensationPlan,
    Size,
    quick_dtype,
    tiles,
)
from h3d.models.formats import FormatError, beside
from h3d.models.gaussians import Gaussians
from h3d.renderers.gaussians import RasterOptions as Options
from h3d.renderers.gaussians import Rect, Rendered, rasterize_gaussians

MIB = 2**20


def picture(height: int, width: int, form: str = "features") -> torch.Tensor:
    """RGBA and, for that form, eight features."""
    chance = torch.Generator().manual_seed(1)
    alpha = torch.rand(height, width, 1, generator=chance)
    rgb = torch.rand(height, width, 3, generator=chance) * alpha
    features = torch.randn(height, width, 8 if form == "features" else 0, generator=chance)
    return torch.cat([rgb, alpha, features], dim=-1)


def compensated_ball(form: str = "features") -> Gaussians:
    rows = ball((0.9, 0.1, 0.1))
    plan = CompensationPlan("tiny", form)  # pyright: ignore[reportArgumentType]
    features = torch.randn(len(rows), 8) if plan.blended > 0 else None
    return replace(rows, features=features, compensation=Compensation(random_network(plan)))


@pytest.mark.parametrize(("size", "low", "high"), [("tiny", 1, 3), ("small", 5, 9), ("medium", 22, 38)])
def test_sizes_are_of_the_classes_of_the_paper(size: Size, low: float, high: float):
    found = Compensation(CompensationNetwork(CompensationPlan(size)))
    assert low <= found.nbytes / MIB <= high
    gain = Compensation(CompensationNetwork(CompensationPlan(size, "gain")))
    assert low <= gain.nbytes / MIB <= high
    assert WIDTHS["large"][-1] == 2 * WIDTHS["medium"][-1]


@pytest.mark.parametrize("form", ["features", "gain"])
def test_before_the_first_step_it_gives_the_picture_back(form):
    seen = picture(40, 56, form)
    made = Compensation(CompensationNetwork(CompensationPlan("tiny", form))).corrected(seen)
    assert torch.equal(made, seen[..., :4])


@pytest.mark.parametrize("form", ["features", "gain"])
def test_what_lies_away_from_everything_stays_clear(form):
    seen = picture(48, 96, form)
    seen[:, 20:] = 0.0
    made = Compensation(random_network(CompensationPlan("tiny", form))).corrected(seen)
    assert bool((made[:, 56:] == 0.0).all()) and not torch.allclose(made[:, :20], seen[:, :20, :4])
    assert float(made[..., 3].min()) >= 0.0 and float(made[..., 3].max()) <= 1.0
    filled = float(made[:, 20:28, 3].abs().max())
    assert filled > 0.0 if form == "features" else filled == 0.0, "holes are filled by what is beside them"


def test_no_pixel_depends_on_one_beyond_the_halo():
    made = random_network(CompensationPlan("tiny"))
    size = 2 * HALO + 3 * GRID
    for place in range(GRID):  # Where in the coarsest pixel it lies matters.
        middle = HALO + GRID + place
        x = torch.rand(1, 12, 1, size).expand(1, 12, GRID, size).clone().requires_grad_()
        made(x)[..., middle].sum().backward()
        assert x.grad is not None
        touched = x.grad.abs().sum(dim=(0, 1, 2)).nonzero()[:, 0]
        assert middle - HALO <= int(touched.min()) and int(touched.max()) <= middle + HALO
        assert int(touched.max()) - int(touched.min()) > HALO, "it looks far"


@pytest.mark.parametrize(("width", "height"), [(300, 200), (257, 131), (64, 64)])
def test_tiles_with_their_halo_are_the_whole(monkeypatch, width, height):
    seen = picture(height, width)
    made = Compensation(random_network(CompensationPlan("tiny")))
    monkeypatch.setattr(compensation, "quick_dtype", lambda: torch.float32)
    whole = made.corrected(seen)
    monkeypatch.setattr(compensation, "TILE", 64)

    def draw(rect: Rect) -> Rendered:
        place = (slice(rect[1], rect[3]), slice(rect[0], rect[2]))
        part = seen[place][None]
        return Rendered(part[..., :3], part[..., 3], part[..., 4], part[..., 4:])

    found = made.picture(draw, (0, 0, width, height), width, height)
    torch.testing.assert_close(found.rgb[0], whole[..., :3], atol=2e-5, rtol=0.0)
    torch.testing.assert_close(found.alpha[0], whole[..., 3], atol=2e-5, rtol=0.0)
    assert found.depth is not None and torch.equal(found.depth[0], seen[..., 4])
    part = made.picture(draw, (30, 17, width - 3, height - 20), width, height)
    assert torch.equal(part.rgb[0], found.rgb[0, 17 : height - 20, 30 : width - 3]), "a part is that part of the whole"


def test_tiles_cover_a_rectangle_once():
    seen = torch.zeros(3000, 2500, dtype=torch.int32)
    for (x0, y0, x1, y1), (a, b, c, d) in tiles((100, 1100, 2400, 2900), 2500, 3000):
        seen[y0:y1, x0:x1] += 1
        assert a % GRID == b % GRID == 0 and a <= x0 and b <= y0 and c >= x1 and d >= y1
    assert int(seen.max()) == 1 and bool((seen[1100:2900, 100:2400] == 1).all())


def test_the_quick_network_is_the_exact_one_within_its_rounding():
    seen, exact = picture(64, 96), random_network(CompensationPlan("tiny"))
    wanted = exact(seen.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    change = (Compensation(exact).corrected(seen) - wanted).abs().max() / (wanted - seen[..., :4]).abs().max()
    assert float(change) < (0.05 if quick_dtype() == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("form", ["features", "gain"])
def test_a_ply_keeps_it_in_a_file_beside(tmp_path: Path, form):
    value, path = compensated_ball(form), tmp_path / "scene.ply"
    formats.write(path, value)
    back = formats.read(path)
    assert back.compensation is not None and value.compensation is not None
    assert back.compensation.plan == value.compensation.plan
    mine, theirs = value.compensation.network.state_dict(), back.compensation.network.state_dict()
    assert all(torch.equal(array, theirs[name]) for name, array in mine.items())
    assert (back.features is None) == (value.features is None)
    if back.features is not None and value.features is not None:
        assert torch.equal(back.features, value.features)
    assert formats.file_bytes(path) == path.stat().st_size + beside.file_of(path).stat().st_size
    assert not formats.keeps_compensation(tmp_path / "scene.spz")
    assert formats.describe(path).network == value.compensation.text
    assert value.compensation.text.startswith(f"compensation, tiny, form {form}, ")

    whole = formats.sha256(path)
    formats.write(path, value.uncompensated)
    assert not beside.file_of(path).exists() and formats.read(path).compensation is None
    assert formats.describe(path).network == ""
    assert formats.sha256(path) != whole


def test_what_belongs_to_other_rows_is_left_out_and_said(tmp_path: Path):
    path = tmp_path / "scene.ply"
    formats.write(path, compensated_ball())
    kept = beside.file_of(path).read_bytes()
    formats.write(path, ball((0.1, 0.8, 0.1), radius=1.5))
    beside.file_of(path).write_bytes(kept)
    found = formats.read(path)
    assert found.compensation is None and found.features is None
    assert "belongs to other rows" in found.remark


def test_a_damaged_file_beside_is_named(tmp_path: Path):
    path = tmp_path / "scene.ply"
    formats.write(path, compensated_ball())
    file = beside.file_of(path)
    file.write_bytes(file.read_bytes()[:4000])
    with pytest.raises(FormatError, match="scene.ply.compensation.safetensors.*damaged"):
        formats.read(path)


def test_rows_keep_their_features_when_others_go():
    value = compensated_ball()
    mask = value.means[:, 0] > 0.0
    part = value.keep(mask)
    assert part.features is not None and value.features is not None
    assert torch.equal(part.features, value.features[mask]) and part.compensation is value.compensation
    joined = value.concat(ball((0.1, 0.8, 0.1)))
    assert joined.features is None and joined.compensation is None


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [({"size": "huge"}, "size 'huge'"), ({"form": "sum"}, "form 'sum'"), ({"features": 65}, "features 65")],
)
def test_a_plan_that_cannot_be_is_refused(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        CompensationPlan(**wrong)


def test_a_real_picture_goes_through_it():
    value = compensated_ball()
    viewmat, K = torch.eye(4), torch.tensor([[100.0, 0, 48], [0, 100.0, 32], [0, 0, 1]])
    viewmat[2, 3] = 4.0
    rows = (value.means, value.quats, value.scales, value.opacities, value.sh)

    def draw(rect: Rect | None) -> Rendered:
        return rasterize_gaussians(
            *rows, viewmat[None], K[None], 96, 64, features=value.features, options=Options(rect=rect)
        )

    assert value.compensation is not None
    found, raw = value.compensation.picture(draw, (0, 0, 96, 64), 96, 64), draw(None)
    there = raw.alpha[0] > 0.0
    assert bool(there.any()) and not torch.allclose(found.rgb[0][there], raw.rgb[0][there])
