"""Proves that every change of the scene is an event, can be undone, and that locked layers stay as they are."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from h3d.app.workspace.events import Channel, LayersChanged
from h3d.app.workspace.history import History
from h3d.app.workspace.recent import RecentScenes
from h3d.app.workspace.workspace import LockedError, Workspace, placed_asset
from h3d.models import formats
from h3d.models.formats import FormatError
from h3d.models.gaussians import Gaussians, from_rows


def some_gaussians(count: int = 5) -> Gaussians:
    torch.manual_seed(0)
    return from_rows(
        means=torch.randn(count, 3),
        quats=torch.randn(count, 4),
        log_scales=torch.full((count, 3), -3.0),
        logit_opacities=torch.zeros(count),
        sh=torch.randn(count, 4, 3),
    )


@pytest.fixture
def workspace() -> Workspace:
    return Workspace()


def test_adding_a_layer_is_an_event(workspace: Workspace):
    heard: list[object] = []
    workspace.events.subscribe(heard.append)
    layer = workspace.add("one", some_gaussians())
    assert heard == [LayersChanged((), (layer,), "add one")]
    assert workspace.layers == (layer,)


def test_every_edit_can_be_undone_and_redone(workspace: Workspace):
    states = [workspace.layers]
    first = workspace.add("one", some_gaussians())
    states.append(workspace.layers)
    workspace.change(first.key, "rename", name="uno")
    states.append(workspace.layers)
    copy = workspace.duplicate(first.key)
    states.append(workspace.layers)
    workspace.change(copy.key, "move", position=(1.0, 2.0, 3.0))
    states.append(workspace.layers)
    workspace.remove(first.key)
    states.append(workspace.layers)
    for expected in reversed(states[:-1]):
        assert workspace.undo() is not None
        assert workspace.layers == expected
    assert workspace.undo() is None
    for expected in states[1:]:
        assert workspace.redo() is not None
        assert workspace.layers == expected
    assert workspace.redo() is None


def test_a_drag_is_one_step(workspace: Workspace):
    layer = workspace.add("one", some_gaussians())
    for x in range(10):
        workspace.change(layer.key, "move", merge_key="drag 7", position=(float(x), 0.0, 0.0))
    workspace.undo()
    assert workspace.layers == (layer,)


def test_a_new_edit_forgets_what_was_undone(workspace: Workspace):
    layer = workspace.add("one", some_gaussians())
    workspace.change(layer.key, "rename", name="uno")
    workspace.undo()
    workspace.change(layer.key, "rename", name="eins")
    assert workspace.redo() is None
    assert workspace.layer(layer.key).name == "eins"


def test_a_locked_layer_can_be_hidden_and_renamed_but_neither_moved_nor_removed(workspace: Workspace):
    layer = workspace.add("one", some_gaussians())
    workspace.change(layer.key, "lock", locked=True)
    with pytest.raises(LockedError, match="one is locked; unlock it first to move"):
        workspace.change(layer.key, "move", position=(1.0, 0.0, 0.0))
    with pytest.raises(LockedError, match="unlock it first to remove"):
        workspace.remove(layer.key)
    assert workspace.change(layer.key, "hide", visible=False).visible is False
    assert workspace.change(layer.key, "rename", name="uno").name == "uno"


def test_a_duplicate_shares_rows_and_has_its_own_place(workspace: Workspace):
    layer = workspace.add("one", some_gaussians())
    copy = workspace.duplicate(layer.key)
    workspace.change(copy.key, "move", position=(1.0, 0.0, 0.0))
    assert copy.asset is layer.asset and copy.key != layer.key
    assert workspace.layer(layer.key).position == (0.0, 0.0, 0.0)


def test_opening_is_an_event_and_the_layer_carries_name_and_hash(workspace: Workspace, tmp_path):
    path = tmp_path / "a.ply"
    formats.write(path, some_gaussians())
    heard: list[object] = []
    workspace.events.subscribe(heard.append)
    layer = workspace.open(path)
    assert heard == [LayersChanged((), (layer,), "add a")]
    assert (
        layer.name == "a"
        and layer.sha256 == formats.sha256(path)
        and isinstance(layer.asset, Gaussians)
        and len(layer.asset) == 5
    )
    assert (workspace.expected_seconds(path) or 0.0) > 0.0


def test_a_bad_file_changes_nothing(workspace: Workspace, tmp_path):
    path = tmp_path / "bad.ply"
    path.write_bytes(b"ply\nnonsense")
    with pytest.raises(FormatError, match="bad.ply"):
        workspace.open(path)
    assert workspace.layers == () and workspace.undo() is None


@pytest.mark.parametrize("change", [{"scale": 0.0}, {"scale": float("nan")}, {"position": (0.0, float("inf"), 0.0)}])
def test_a_place_that_cannot_be_drawn_is_refused(workspace: Workspace, change):
    layer = workspace.add("one", some_gaussians())
    with pytest.raises(ValueError, match="one: .*must be finite"):
        workspace.change(layer.key, "place", **change)
    assert workspace.layers == (layer,)


def test_hiding_rows_is_a_step_of_its_own(workspace: Workspace):
    layer = workspace.add("one", some_gaussians())
    workspace.change(layer.key, "hide rows", hidden_rows=torch.tensor([True, False, False, False, False]))
    assert workspace.layers[0].hidden_rows is not None
    workspace.undo()
    assert workspace.layers[0].hidden_rows is None


def test_a_removed_layer_that_is_not_in_the_history_leaves_memory(workspace: Workspace, tmp_path):
    path = tmp_path / "a.ply"
    formats.write(path, some_gaussians())
    layer = workspace.open(path)
    alive = weakref.ref(layer.asset)
    workspace.remove(layer.key)
    del layer
    workspace.history = History()
    gc.collect()
    assert alive() is None


def test_a_layer_is_unsaved_until_it_is_written_and_after_it_was_moved(workspace: Workspace, tmp_path):
    path = tmp_path / "a.ply"
    formats.write(path, some_gaussians())
    layer = workspace.open(path)
    assert workspace.unsaved() == ()
    workspace.change(layer.key, "rename", name="b")
    assert workspace.unsaved() == ()
    workspace.change(layer.key, "move", position=(1.0, 0.0, 0.0))
    assert [x.key for x in workspace.unsaved()] == [layer.key]
    workspace.save(layer.key, tmp_path / "b.ply")
    assert workspace.unsaved() == ()


def test_saving_applies_the_transform_and_leaves_hidden_rows_out(workspace: Workspace, tmp_path):
    layer = workspace.add("one", some_gaussians())
    hidden = torch.tensor([True, False, False, False, False])
    workspace.change(layer.key, "place", position=(1.0, 0.0, 0.0), scale=2.0, hidden_rows=hidden)
    workspace.save(layer.key, tmp_path / "b.ply")
    saved, placed = formats.read(tmp_path / "b.ply"), placed_asset(workspace.layer(layer.key))
    assert isinstance(layer.asset, Gaussians) and isinstance(placed, Gaussians)
    torch.testing.assert_close(saved.means, 2.0 * layer.asset.means[1:] + torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(placed.means, saved.means)


def test_a_subscriber_that_fails_keeps_no_other_from_hearing(caplog):
    channel: Channel[int] = Channel()
    heard: list[int] = []

    def broken(event: int) -> None:
        raise RuntimeError("broken")

    channel.subscribe(broken)
    stop = channel.subscribe(heard.append)
    channel.publish(1)
    stop()
    channel.publish(2)
    assert heard == [1] and "broken" in caplog.text


def test_recent_scenes_are_remembered_newest_first_and_forgotten_when_gone(tmp_path):
    recent = RecentScenes(tmp_path / "state")
    a, b = tmp_path / "a.ply", tmp_path / "b.ply"
    a.touch()
    b.touch()
    for path in (a, b, a):
        recent.add(path)
    assert RecentScenes(tmp_path / "state").paths() == [a.resolve(), b.resolve()]
    b.unlink()
    assert RecentScenes(tmp_path / "state").paths() == [a.resolve()]
    (tmp_path / "state" / "recent.json").write_text("{ not json")
    assert recent.paths() == []
