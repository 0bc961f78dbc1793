"""Paths typed in the browser reach nothing outside the folders given at start: not by `..`, links or odd names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h3d.app.workspace.folders import AllowedFolders


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """scenes/garden/point.ply is allowed, secret/key is not, and links lead both ways."""
    (tmp_path / "scenes" / "garden").mkdir(parents=True)
    (tmp_path / "scenes" / "garden" / "point.ply").write_text("ply")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("key")
    (tmp_path / "scenes" / "out").symlink_to(tmp_path / "secret")
    (tmp_path / "scenes" / "in").symlink_to(tmp_path / "scenes" / "garden")
    (tmp_path / "scenes" / "loop").symlink_to(tmp_path / "scenes" / "loop")
    return tmp_path


@pytest.fixture
def allowed(tree: Path) -> AllowedFolders:
    return AllowedFolders.given([tree / "scenes"])


def test_a_path_below_a_folder_is_resolved(tree: Path, allowed: AllowedFolders) -> None:
    file = tree / "scenes" / "garden" / "point.ply"
    assert allowed.resolve(str(file)) == file.resolve()
    assert allowed.resolve(f'  "{file}" ') == file.resolve()
    assert allowed.resolve("garden/../garden/point.ply") == file.resolve()
    assert allowed.resolve("in/point.ply") == file.resolve()
    assert allowed.resolve(".") == (tree / "scenes").resolve()


@pytest.mark.parametrize(
    "text", ["../secret/key", "out/key", "out", "..", "/etc/passwd", "garden/../../secret/key", "in/../../secret/key"]
)
def test_a_way_out_is_refused_in_a_sentence_that_names_the_folders(
    tree: Path, allowed: AllowedFolders, text: str
) -> None:
    with pytest.raises(PermissionError) as refusal:
        allowed.resolve(text)
    assert text in str(refusal.value)
    assert str((tree / "scenes").resolve()) in str(refusal.value)


def test_an_absolute_path_outside_is_refused_whether_or_not_it_exists(tree: Path, allowed: AllowedFolders) -> None:
    sentences = set()
    for name in ("key", "nothing"):
        with pytest.raises(PermissionError) as refusal:
            allowed.resolve(str(tree / "secret" / name))
        sentences.add(str(refusal.value).replace(name, ""))
    assert len(sentences) == 1


def test_a_folder_whose_name_begins_alike_is_another_folder(tree: Path, allowed: AllowedFolders) -> None:
    (tree / "scenes2").mkdir()
    with pytest.raises(PermissionError):
        allowed.resolve(str(tree / "scenes2"))


@pytest.mark.parametrize("text", ["", "   ", "a\0b", "loop", "loop/key", "x" * 5000])
def test_names_that_are_no_path_never_escape(tree: Path, allowed: AllowedFolders, text: str) -> None:
    try:
        path = allowed.resolve(text)
    except PermissionError as refusal:
        assert str((tree / "scenes").resolve()) in str(refusal)
    else:
        assert path.is_relative_to((tree / "scenes").resolve())


def test_a_file_given_at_start_opens_its_folder(tree: Path) -> None:
    allowed = AllowedFolders.given([tree / "scenes" / "garden" / "point.ply", tree / "missing"])
    assert allowed.folders == ((tree / "scenes" / "garden").resolve(),)
    with pytest.raises(PermissionError):
        allowed.resolve("../out/key")


def test_a_relative_path_belongs_to_the_folder_where_it_exists(tree: Path, allowed: AllowedFolders) -> None:
    both = allowed.also(tree / "secret")
    assert both.resolve("key") == (tree / "secret" / "key").resolve()
    assert both.resolve("new.ply") == (tree / "scenes" / "new.ply").resolve()
    assert both.also(tree / "secret") == both


def test_without_folders_everything_is_refused() -> None:
    with pytest.raises(PermissionError, match="no folder was opened at start"):
        AllowedFolders(()).resolve("/etc/passwd")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["..", "out", "in", "garden", "loop", ".", "secret", "~", "", "key"]), max_size=8))
def test_no_chain_of_names_leads_out(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    base = tmp_path_factory.getbasetemp() / "chain"
    if not base.exists():
        (base / "scenes" / "garden").mkdir(parents=True)
        (base / "secret").mkdir()
        (base / "scenes" / "out").symlink_to(base / "secret")
        (base / "scenes" / "in").symlink_to(base / "scenes" / "garden")
        (base / "scenes" / "loop").symlink_to(base / "scenes" / "loop")
    allowed = AllowedFolders.given([base / "scenes"])
    try:
        path = allowed.resolve("/".join(names))
    except PermissionError:
        return
    assert path.is_relative_to((base / "scenes").resolve())
