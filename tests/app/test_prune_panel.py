"""Proves the Prune panel over a plain websocket: sliders cut, the cut is shown and applied, undone and saved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from clouds_of_gaussians import sphere_and_dust
from known_fields import ball, density_field
from served import PATIENCE, Served, until

from h3d.models import formats
from h3d.models.gaussians import Gaussians
from h3d.models.pruning import keep_mask
from h3d.models.sundae import spectrum

COUNT = 4000


class Program(Served):
    """A viewer with Gaussians, and a tab that has them selected."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asset = sphere_and_dust(COUNT)
        self.layer = self.workspace.add("dust", self.asset)
        self.serve()

    @property
    def pruning(self):
        return self.session.pruning

    def now(self):
        return self.workspace.layer(self.layer.key)

    def told(self, text: str) -> None:
        def holds(page) -> bool:
            return any(text in f"{note.title} {note.body}" for note in page.notifications.values())

        self.tab.wait_until(holds, text, PATIENCE)

    def show(self) -> None:
        self.tab.click("Prune/Show the cut")
        until(lambda: self.pruning.key is not None and self.pruning.ranked is not None, "the rows were not ranked")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    made = Program(tmp_path)
    yield made
    made.close()


def stay(program: Program, side: str) -> torch.Tensor | None:
    (layer,) = program.session.drawing.view(side).layers
    return layer.shown_rows


def test_sliders_cut_side_b_alone_and_the_cut_is_that_of_the_spectrum(program: Program):
    program.show()
    assert program.session.compare.mode == "wipe"
    program.tab.set_gui("Prune/Keep", 0.25)
    program.tab.set_gui("Prune/Band-stop", 0.8)
    until(lambda: (program.pruning.cut.keep, program.pruning.cut.ratio) == (0.25, 0.8), "the sliders did nothing")
    expected = spectrum(program.asset.means).mask(0.25, 0.8)
    found = stay(program, "b")
    assert found is not None and torch.equal(found, expected) and int(found.sum()) == COUNT // 4
    assert stay(program, "a") is None
    until(lambda: "1,000 of 4,000" in program.said(), "the count is not told")
    until(lambda: "200 lowest, 800 highest" in program.said(), "the two ends are not told")
    until(lambda: "Before fine-tune" in program.said() and "PSNR" in program.said(), "nothing was measured")
    assert "<svg" in program.said() and ".spz" in program.said()
    program.tab.click("Prune/Show all again")
    until(lambda: program.session.compare.mode == "off", "it is still compared")
    assert stay(program, "a") is None


def test_what_is_applied_is_deleted_saved_so_and_undone_bit_for_bit(program: Program):
    program.show()
    program.tab.set_gui("Prune/Keep", 0.5)
    program.tab.set_gui("Prune/Cut", "Apply")
    program.told("2,000 Gaussians deleted")
    hidden = program.now().hidden_rows
    assert hidden is not None and int(hidden.sum()) == 2000
    assert torch.equal(~hidden, spectrum(program.asset.means).mask(0.5, 0.5))
    assert program.session.compare.mode == "off"
    path = program.folder / "pruned.ply"
    program.workspace.save(program.layer.key, path)
    assert len(formats.read(path)) == 2000

    # A second cut is one of what is left.
    program.show()
    until(lambda: (ranked := program.pruning.ranked) is not None and len(ranked.spectrum) == 2000, "not ranked again")
    found = stay(program, "b")
    assert found is not None and int(found.sum()) == 1000 and not bool((found & hidden).any())
    program.tab.set_gui("Prune/Cut", "Undo")
    until(lambda: program.now().hidden_rows is None, "it was not undone")
    assert program.now().asset is program.asset


@pytest.mark.parametrize("criterion", ["opacity", "density", "random", "radsplat"])
def test_other_criteria_keep_what_the_command_line_keeps(program: Program, criterion):
    program.show()
    program.tab.set_gui("Prune/Ranked by/Criterion", criterion)
    until(lambda: (r := program.pruning.ranked) is not None and r.basis.criterion == criterion, "not ranked by it")
    found = stay(program, "b")
    assert found is not None and int(found.sum()) == 1200
    if criterion != "radsplat":
        assert torch.equal(found, keep_mask(program.asset, criterion, keep=0.3))
    else:
        until(lambda: "cameras all around" in program.said(), "it is not told who looked")
    until(lambda: not program.tab.control("Prune/Band-stop").props["visible"], "there is no notch to move")


def test_rows_of_a_layer_that_goes_on_are_known_by_their_ids_and_new_ones_stay(program: Program):
    program.show()
    layer, asset = program.now(), program.asset
    mask = program.pruning.stays(layer)
    assert mask is not None
    # Turned about, some gone, and one born since.
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[: COUNT - 500]
    values = {field.name: getattr(asset, field.name) for field in fields(asset)}
    turned = {name: value[order] for name, value in values.items() if isinstance(value, torch.Tensor)}
    turned["ids"] = turned["ids"].index_fill(0, torch.tensor([7]), 10**9)
    moved = replace(asset, **turned)
    found = program.pruning.stays(replace(layer, asset=moved))
    assert found is not None
    expected = mask[order].clone()
    expected[7] = True
    assert torch.equal(found, expected)


def test_merging_makes_a_layer_of_its_own_that_is_compared_and_undone(program: Program):
    program.workspace.change(program.layer.key, "place", position=(0.5, 0.0, 0.0))
    program.tab.set_gui("Prune/Keep", 0.25)
    program.tab.click("Prune/Merge instead")
    until(lambda: program.session.compare.layer_b not in (None, program.layer.key), "nothing came of it")
    whole, made = program.workspace.layers
    assert (made.name, made.position, whole.visible) == ("dust, merged to 25.0%", (0.5, 0.0, 0.0), False)
    assert isinstance(made.asset, Gaussians) and len(made.asset) == COUNT // 4
    assert (program.session.compare.mode, program.session.compare.layer_a) == ("wipe", whole.key)
    program.told("1,000 of 4,000 Gaussians")
    for _ in range(4):
        program.tab.set_gui("Prune/Cut", "Undo")
    until(lambda: program.workspace.layers == (program.layer,), "it was not undone")


@pytest.mark.parametrize("kind", ["PDF", "PNG", "SVG", "CSV"])
def test_the_spectrum_is_saved_with_its_notch(program: Program, kind: str):
    program.show()
    program.tab.set_gui("Prune/Keep", 0.25)
    until(lambda: program.pruning.cut.keep == 0.25, "the slider did nothing")
    program.tab.set_gui("Prune/Save/Spectrum as", kind)
    program.tab.click("Prune/Save/Save spectrum")
    program.tab.wait_until(lambda page: page.downloads, "nothing came", PATIENCE)
    content = program.tab.page.downloads[f"dust_spectrum.{kind.lower()}"]
    if kind == "CSV":
        rows = [line.split(",") for line in content.decode().splitlines()[1:]]
        assert (sum(int(row[2]) for row in rows), sum(int(row[3]) for row in rows)) == (COUNT, COUNT // 4)
    else:
        assert content.startswith({"PDF": b"%PDF", "PNG": b"\x89PNG", "SVG": b"<?xml"}[kind])


def test_mistakes_get_a_sentence(program: Program):
    program.tab.set_gui("Prune/Cut", "Apply")
    program.told("prune: no cut is shown; show one first")
    program.show()
    program.tab.set_gui("Prune/Keep", 0.0)
    program.tab.set_gui("Prune/Cut", "Apply")
    program.told("dust: none of its Gaussians would stay; choose a share between")
    program.tab.set_gui("Prune/Keep", 1.0)
    program.tab.set_gui("Prune/Cut", "Apply")
    program.told("dust: all of its Gaussians would stay; choose a share between")
    program.workspace.change(program.layer.key, "lock", locked=True)
    program.tab.set_gui("Prune/Keep", 0.5)
    program.tab.set_gui("Prune/Cut", "Apply")
    program.told("dust is locked; unlock it first to prune it")
    program.tab.set_gui("Prune/Ranked by/By means", False)
    program.told("signals: []; name at least one of means, colors")
    assert program.pruning.basis.signals == ("means",)
    field = program.workspace.add("field", density_field(lambda p: 2.5 - 60.0 * ball(p)))
    program.session.select(field.key)
    program.tab.click("Prune/Show all again")
    until(lambda: program.pruning.key is None, "the cut is still shown")
    program.tab.click("Prune/Show the cut")
    program.told("prune: select a layer of Gaussians first; other layers have no rows")


def test_a_layer_that_is_removed_takes_its_cut_along(program: Program):
    program.show()
    program.workspace.remove(program.layer.key)
    until(lambda: program.pruning.key is None, "the cut is still shown")
    program.workspace.undo()
    assert stay(program, "a") is None


def test_a_copy_of_a_run_is_pruned_only_where_there_is_a_run(program: Program):
    program.show()
    program.tab.click("Prune/Prune a copy of the run")
    program.told("nothing learns it; Apply cuts it, and Undo brings it back")
    assert program.pruning.key is not None, "the cut is still shown"
