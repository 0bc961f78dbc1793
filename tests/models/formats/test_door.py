"""The door of the formats: content before suffix, folders, descriptions, whole files or none."""

from __future__ import annotations

import os
import stat

import pytest
import torch
from splat_files import Recipe, matched, pack_ksplat, scene

from h3d.models import formats

VALUE = scene(Recipe(seed=1, count=60, degree=1, extent=3.0))


def test_tables_name_every_format_once_with_its_quantisation():
    splats = (".compressed.ply", ".ply", ".splat", ".ksplat", ".spz", ".sog", "meta.json")
    assert formats.READABLE == (*splats, ".ckpt")
    assert list(formats.WRITABLE) == [".compressed.ply", ".ply", ".splat", ".spz", ".sog", "meta.json"]
    assert all(len(quantisation) > 0 for quantisation in formats.WRITABLE.values())


@pytest.mark.parametrize(
    ("written", "named", "found"),
    [
        (".ply", ".spz", "3DGS PLY"),
        (".spz", ".ply", "SPZ"),
        (".sog", ".splat", "SOG"),
        (".compressed.ply", ".sog", "compressed PLY"),
        (".ply", ".bin", "3DGS PLY"),
    ],
)
def test_content_wins_over_the_suffix_and_the_remark_says_so(tmp_path, written, named, found):
    formats.write(tmp_path / f"a{written}", VALUE)
    (tmp_path / f"a{written}").rename(tmp_path / f"b{named}")
    loaded = formats.read(tmp_path / f"b{named}")
    assert len(loaded) == len(VALUE)
    assert f"read as {found}" in loaded.remark


def test_a_suffix_in_capitals_is_known(tmp_path):
    formats.write(tmp_path / "A.SPLAT", VALUE)
    assert len(formats.read(tmp_path / "A.SPLAT")) == 60


def test_compressed_content_in_a_plain_ply_name_needs_no_remark(tmp_path):
    formats.write(tmp_path / "a.compressed.ply", VALUE)
    (tmp_path / "a.compressed.ply").rename(tmp_path / "a.ply")
    assert formats.describe(tmp_path / "a.ply").format == "compressed PLY"
    assert formats.read(tmp_path / "a.ply").remark == ""


def test_a_description_holds_what_the_file_holds(tmp_path):
    value = scene(Recipe(seed=2, count=30, degree=2, extent=3.0, antialiased=True))
    formats.write(tmp_path / "a.ply", value)
    found = formats.describe(tmp_path / "a.ply")
    assert (found.format, found.version, found.count, found.sh_degree) == ("3DGS PLY", "binary, little-endian", 30, 2)
    assert found.bounds_min == tuple(value.means.min(dim=0).values.tolist())
    assert found.bounds_max == tuple(value.means.max(dim=0).values.tolist())
    assert found.file_bytes == (tmp_path / "a.ply").stat().st_size
    assert found.antialiased


def test_a_description_of_a_sog_folder_counts_all_its_files(tmp_path):
    formats.write(tmp_path / "scene" / "meta.json", VALUE)
    found = formats.describe(tmp_path / "scene")
    assert found.path == tmp_path / "scene" / "meta.json"
    assert found.version == "version 2, folder"
    assert found.file_bytes == sum(p.stat().st_size for p in (tmp_path / "scene").iterdir())


@pytest.mark.parametrize("name", ["a.ply", "a.sog", "scene/meta.json"])
def test_the_hash_of_a_scene_changes_with_any_byte_of_its_files(tmp_path, name):
    path = tmp_path / name
    formats.write(path, VALUE)
    before = formats.sha256(path)
    assert before == formats.sha256(path)
    victim = path.with_name("quats.webp") if name.endswith("meta.json") else path
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    assert formats.sha256(path) != before


@pytest.mark.parametrize("suffix", [".ply", ".compressed.ply", ".splat", ".spz", ".sog"])
def test_every_format_describes_its_version(tmp_path, suffix):
    formats.write(tmp_path / f"a{suffix}", VALUE)
    assert formats.describe(tmp_path / f"a{suffix}").quantisation == formats.WRITABLE[suffix]


def test_a_training_folder_gives_its_last_iteration(tmp_path):
    for step in (7000, 30000, 9000):
        folder = tmp_path / "point_cloud" / f"iteration_{step}"
        folder.mkdir(parents=True)
        formats.write(folder / "point_cloud.ply", VALUE.keep(torch.arange(step // 1000)))
    (tmp_path / "point_cloud" / "iteration_40000").mkdir()
    (tmp_path / "input.ply").write_bytes(b"ply\n")
    assert len(formats.read(tmp_path)) == 30
    assert len(formats.read(tmp_path / "point_cloud")) == 30
    assert len(formats.read(tmp_path / "point_cloud" / "iteration_7000")) == 7


def test_a_folder_of_one_splat_file_is_that_scene(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "a.ksplat").write_bytes(pack_ksplat(VALUE, 1))
    assert formats.find_scene(tmp_path) == tmp_path / "a.ksplat"
    assert len(formats.read(tmp_path)) == 60


def test_a_folder_of_none_or_several_scenes_says_what_to_do(tmp_path):
    with pytest.raises(formats.FormatError, match=r"folder: holds no splat scene; give a file: \.ply, "):
        formats.read(tmp_path)
    formats.write(tmp_path / "a.ply", VALUE)
    formats.write(tmp_path / "b.spz", VALUE)
    with pytest.raises(formats.FormatError, match=r"holds 2 splat scenes \(a\.ply, b\.spz\); name the one to open"):
        formats.read(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_without_permission_is_refused_with_a_sentence(tmp_path):
    formats.write(tmp_path / "a.ply", VALUE)
    (tmp_path / "a.ply").chmod(0)
    with pytest.raises(formats.FormatError, match="cannot be read"):
        formats.read(tmp_path / "a.ply")


def test_writing_replaces_what_a_link_points_to_and_keeps_the_link(tmp_path):
    (tmp_path / "real").mkdir()
    formats.write(tmp_path / "real" / "a.splat", VALUE)
    (tmp_path / "link.splat").symlink_to(tmp_path / "real" / "a.splat")
    formats.write(tmp_path / "link.splat", VALUE.keep(torch.arange(5)))
    assert (tmp_path / "link.splat").is_symlink()
    assert len(formats.read(tmp_path / "real" / "a.splat")) == 5


def test_a_written_file_has_the_permissions_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        formats.write(tmp_path / "a.splat", VALUE)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.splat").stat().st_mode) == 0o640


def test_a_sog_folder_is_never_written_over(tmp_path):
    formats.write(tmp_path / "scene" / "meta.json", VALUE)
    with pytest.raises(formats.FormatError, match="holds a scene already; write to a new folder"):
        formats.write(tmp_path / "scene" / "meta.json", VALUE)


@pytest.mark.parametrize("suffix", [".ply", ".compressed.ply", ".splat", ".spz", ".sog"])
def test_the_same_scene_gives_the_same_bytes(tmp_path, suffix):
    formats.write(tmp_path / f"a{suffix}", VALUE)
    formats.write(tmp_path / f"b{suffix}", VALUE)
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".compressed.ply", ".spz", ".sog"])
def test_writing_what_was_read_loses_next_to_nothing_more(tmp_path, suffix):
    formats.write(tmp_path / f"a{suffix}", VALUE)
    once = formats.read(tmp_path / f"a{suffix}")
    formats.write(tmp_path / f"b{suffix}", once)
    twice = matched(once, formats.read(tmp_path / f"b{suffix}"))
    assert float((once.means - twice.means).abs().max()) < 1e-3
    assert float((once.log_scales - twice.log_scales).abs().max()) < 0.02
    assert float((once.sh - twice.sh).abs().max()) < 0.04
