"""Our readers agree with files that other programs wrote, and other programs read ours: splat-transform and gsply.

The real captures are converted by `@playcanvas/splat-transform` (environment variable H3D_SPLAT_TRANSFORM) into every
format it writes and compared with its own .ply of the same scene; then it turns our files into .ply.
"""

from __future__ import annotations

from pathlib import Path

import gsply
import numpy as np
import pytest
import torch
from scipy.spatial import KDTree
from splat_files import Recipe, largest, matched, quaternion_error, real_data, scene, splat_transform

from h3d.models import formats
from h3d.models.formats.axes import flipped
from h3d.models.gaussians import Gaussians

SCENES = {"biker": "biker.compressed.ply", "playbot": "playbot_sog"}
# Largest mean error of log size, opacity, colour in f_dc, SH beyond degree 0, and largest angle in degrees on average.
PRECISION = {
    ".compressed.ply": (0.002, 0.003, 0.01, 0.03, 0.2),
    ".spz": (0.02, 0.003, 0.015, 0.06, 0.3),
    ".sog": (0.02, 0.004, 0.01, 0.03, 0.8),
    ".splat": (1e-4, 0.003, 0.05, None, 1.0),
}


def assert_close(original: Gaussians, loaded: Gaussians, suffix: str) -> None:
    """Rows matched by position, and each attribute's mean error within what the format is known to lose."""
    assert len(original) == len(loaded)
    extent = float((original.means.max(dim=0).values - original.means.min(dim=0).values).max())
    distances, rows = KDTree(loaded.means.numpy()).query(original.means.numpy(), workers=-1)
    assert distances.max() < extent / 2000
    other = loaded.keep(torch.from_numpy(rows))
    # Several Gaussians may share one place: those matched to a different row are left out, a minority.
    same = (other.log_scales - original.log_scales).abs().max(dim=1).values < 0.2
    assert same.float().mean() > 0.95
    a, b = original.keep(same), other.keep(same)
    size, opacity, color, rest, angle = PRECISION[suffix]
    assert float((a.log_scales - b.log_scales).abs().mean()) <= size
    assert float((a.opacities - b.opacities).abs().mean()) <= opacity
    assert float((a.sh[:, 0] - b.sh[:, 0]).abs().mean()) <= color
    if rest is not None and a.sh_degree > 0:
        assert b.sh_degree == a.sh_degree
        assert float((a.sh[:, 1:] - b.sh[:, 1:]).abs().mean()) <= rest
        # A channel or basis in the wrong place would leave no correlation, whatever the precision.
        for channel in range(3):
            for base in range(1, a.sh.shape[1]):
                pair = torch.stack([a.sh[:, base, channel], b.sh[:, base, channel]])
                assert float(torch.corrcoef(pair)[0, 1]) > 0.9
    cosine = (a.quats * b.quats).sum(dim=1).abs().clamp(max=1)
    assert float(torch.rad2deg(2 * cosine.acos()).mean()) <= angle


@pytest.fixture(scope="module", params=list(SCENES))
def peer(request, tmp_path_factory) -> tuple[Path, Gaussians]:
    """A real scene as splat-transform's own .ply: the path, and what is in it."""
    source = real_data(SCENES[request.param])
    path = tmp_path_factory.mktemp(request.param) / "peer.ply"
    splat_transform(source / "meta.json" if source.is_dir() else source, path)
    return path, formats.read(path)


def test_reading_the_published_file_agrees_with_its_conversion_to_ply(peer, request):
    name = request.node.callspec.params["peer"]
    ours, theirs = formats.read(real_data(SCENES[name])), peer[1]
    for field in ("means", "log_scales", "sh"):
        assert largest(getattr(ours, field) - getattr(theirs, field)) < 1e-5
    assert largest(ours.opacities - theirs.opacities) < 1e-5
    assert quaternion_error(ours, theirs) < 1e-5


@pytest.mark.parametrize("suffix", [".compressed.ply", ".spz"])
def test_a_file_written_by_splat_transform_is_read_right(peer, tmp_path, suffix):
    path, scene_of_peer = peer
    splat_transform(path, tmp_path / f"theirs{suffix}")
    assert_close(scene_of_peer, formats.read(tmp_path / f"theirs{suffix}"), suffix)


def test_version_3_of_spz_written_by_splat_transform_is_read_right(peer, tmp_path):
    path, scene_of_peer = peer
    splat_transform("--spz-version", "3", path, tmp_path / "theirs.spz")
    assert formats.describe(tmp_path / "theirs.spz").version == "version 3, gzip"
    assert_close(scene_of_peer, formats.read(tmp_path / "theirs.spz"), ".spz")


@pytest.mark.parametrize("name", ["theirs.sog", "sog/meta.json"])
def test_a_sog_written_by_splat_transform_is_read_right(peer, tmp_path, name):
    # Its k-means over all SH takes many minutes without a GPU; some thousand rows take seconds.
    part = peer[1].keep(torch.arange(0, len(peer[1]), 20))
    formats.write(tmp_path / "part.ply", part)
    (tmp_path / "sog").mkdir()
    splat_transform("--gpu", "cpu", tmp_path / "part.ply", tmp_path / name)
    assert_close(part, formats.read(tmp_path / name), ".sog")


def test_splat_transform_reads_our_ply_exactly(peer, tmp_path):
    _, original = peer
    formats.write(tmp_path / "ours.ply", original)
    splat_transform(tmp_path / "ours.ply", tmp_path / "back.ply")
    back = formats.read(tmp_path / "back.ply")
    for field in ("means", "log_scales", "logit_opacities", "sh"):
        assert torch.equal(getattr(back, field), getattr(original, field))
    assert quaternion_error(back, original) < 1e-6


@pytest.mark.parametrize("suffix", [".compressed.ply", ".splat", ".spz", ".sog"])
def test_splat_transform_reads_what_we_write(peer, tmp_path, suffix):
    _, original = peer
    formats.write(tmp_path / f"ours{suffix}", original)
    splat_transform(tmp_path / f"ours{suffix}", tmp_path / "back.ply")
    assert_close(original, formats.read(tmp_path / "back.ply"), suffix)


def test_splat_transform_reads_our_spz_of_version_4(peer, tmp_path):
    _, original = peer
    formats.spz.write(tmp_path / "ours.spz", original, version=4)
    splat_transform(tmp_path / "ours.spz", tmp_path / "back.ply")
    assert_close(original, formats.read(tmp_path / "back.ply"), ".spz")


def test_one_capture_published_in_two_formats_is_the_same_scene_with_the_same_axes():
    a, b = formats.read(real_data("biker.compressed.ply")), formats.read(real_data("biker.spz"))
    assert_close(a, b, ".spz")


def as_gsply(value: Gaussians) -> gsply.GSData:
    return gsply.GSData(
        means=value.means.numpy(),
        scales=value.log_scales.numpy(),
        quats=value.quats.numpy(),
        opacities=value.logit_opacities.numpy(),
        sh0=np.ascontiguousarray(value.sh[:, 0].numpy()),
        shN=np.ascontiguousarray(value.sh[:, 1:].numpy()),
    )


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_gsply_reads_our_ply(tmp_path, degree):
    value = scene(Recipe(seed=degree, count=500, degree=degree, extent=5.0))
    formats.write(tmp_path / "a.ply", value)
    theirs = gsply.plyread(str(tmp_path / "a.ply"))
    assert np.array_equal(theirs.means, value.means)
    assert np.array_equal(theirs.scales, value.log_scales)
    assert np.array_equal(theirs.sh0, value.sh[:, 0])
    assert np.array_equal(np.reshape(theirs.shN, (500, -1, 3)), value.sh[:, 1:])
    assert np.array_equal(theirs.quats, value.quats)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_ply_of_gsply_is_read_exactly(tmp_path, degree):
    value = scene(Recipe(seed=degree, count=500, degree=degree, extent=5.0))
    gsply.plywrite(str(tmp_path / "a.ply"), as_gsply(value))
    ours = formats.read(tmp_path / "a.ply")
    for field in ("means", "log_scales", "logit_opacities", "sh"):
        assert torch.equal(getattr(ours, field), getattr(value, field))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_compressed_ply_of_gsply_is_read_right(tmp_path, degree):
    value = scene(Recipe(seed=degree, count=700, degree=degree, extent=5.0))
    gsply.plywrite(str(tmp_path / "a.compressed.ply"), as_gsply(value), compressed=True)
    assert formats.describe(tmp_path / "a.compressed.ply").format == "compressed PLY"
    ours = matched(value, formats.read(tmp_path / "a.compressed.ply"))
    assert largest(ours.means - value.means) < 0.01
    assert largest(ours.log_scales - value.log_scales) < 0.02
    assert largest(ours.sh[:, 1:] - value.sh[:, 1:]) < 0.05
    assert largest(ours.opacities - value.opacities) < 0.005
    assert quaternion_error(value, ours) < 0.002


@pytest.mark.parametrize("degree", [0, 3])
def test_gsply_reads_our_compressed_ply(tmp_path, degree):
    value = scene(Recipe(seed=degree, count=700, degree=degree, extent=5.0))
    formats.write(tmp_path / "a.compressed.ply", value)
    theirs, ours = gsply.plyread(str(tmp_path / "a.compressed.ply")), formats.read(tmp_path / "a.compressed.ply")
    assert np.abs(theirs.means - ours.means.numpy()).max() < 1e-5
    assert np.abs(np.reshape(theirs.shN, (700, -1, 3)) - ours.sh[:, 1:].numpy()).max(initial=0) < 0.02


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_an_spz_of_gsply_is_read_right_apart_from_axes_which_it_leaves_to_its_caller(tmp_path, degree, version):
    value = scene(Recipe(seed=degree, count=500, degree=degree, extent=5.0))
    gsply.write_spz(str(tmp_path / "a.spz"), as_gsply(flipped(value, (1, -1, -1))), version=version)
    ours = formats.read(tmp_path / "a.spz")
    assert largest(ours.means - value.means) <= 0.51 / 4096
    assert largest(ours.log_scales - value.log_scales.clamp(-10, 5.9375)) <= 0.51 / 16
    assert largest(ours.sh[:, 1:] - value.sh[:, 1:].clamp(-1, 1)) <= 1 / 16 + 1e-3
    assert quaternion_error(value, ours) <= 0.003


@pytest.mark.parametrize("version", [3, 4])
def test_gsply_reads_our_spz(tmp_path, version):
    value = scene(Recipe(seed=9, count=500, degree=3, extent=5.0))
    formats.spz.write(tmp_path / "a.spz", value, version=version)
    theirs, ours = gsply.read_spz(str(tmp_path / "a.spz")), flipped(formats.read(tmp_path / "a.spz"), (1, -1, -1))
    assert np.abs(theirs.means - ours.means.numpy()).max() < 1e-6
    assert np.abs(theirs.scales - ours.log_scales.numpy()).max() < 1e-5
    assert np.abs(np.reshape(theirs.shN, (500, -1, 3)) - ours.sh[:, 1:].numpy()).max() < 1e-5
    dots = np.abs((np.asarray(theirs.quats) * ours.quats.numpy()).sum(axis=1))
    assert dots.min() > 1 - 1e-5
