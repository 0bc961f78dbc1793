"""Proves that rows deleted by hand stay out of everything whatever else happens, and come back as they were.

Any interleaving of deleting, bringing back, learning, densifying, pruning, relocating, and going on from a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learnt_rows import generator, learnt, some_gaussians, step_info

from h3d.models.density import DefaultStrategy, McmcStrategy
from h3d.models.trained_gaussians import COLUMNS, TrainedGaussians

COUNT = 40
GROW = DefaultStrategy(reset_every=1000, prune_scale3d=0.5)
SHARE = McmcStrategy(cap_max=200)
Kept = dict[str, torch.Tensor]


def values_and_moments(state: TrainedGaussians, row: int) -> Kept:
    groups = {f"{name}.{key}": array for name, rows in state.groups.items() for key, array in rows.tensors("").items()}
    return {name: array[row].clone() for name, array in groups.items()}


@dataclass
class Scene:
    """Rows whose first SH coefficient is the number of the row they come from, and what of them is deleted."""

    state: TrainedGaussians
    draw: torch.Generator = field(default_factory=generator)
    step: int = 600
    edits: list[dict[int, Kept]] = field(default_factory=list)  # rows of each, as they were

    def delete(self) -> None:
        live = self.state.ids[self.state.live]
        chosen = live[torch.rand(len(live), generator=self.draw) < 0.3]
        chosen = chosen[: max(len(live) - 4, 0)]
        places = self.state.find(chosen).tolist()
        as_they_were = {int(self.state.ids[p]): values_and_moments(self.state, p) for p in places}
        changed = self.state.mark_deleted(torch.cat([chosen, torch.tensor([10_000])]), True)
        assert sorted(changed.tolist()) == sorted(as_they_were)
        self.edits.append(as_they_were)

    def undo(self) -> None:
        if self.edits:
            last = self.edits.pop()
            back = self.state.mark_deleted(torch.tensor(sorted(last), dtype=torch.int64), False)
            assert sorted(back.tolist()) == sorted(last), "all come back, and no other"
            self.compare(last)
            assert set(last) <= set(self.state.gaussians().ids.tolist())

    def learn(self) -> None:
        draw = {name: torch.randn(r.values.shape, generator=self.draw) for name, r in self.state.groups.items()}
        self.step += 1
        self.state.step(draw, {"means": 1e-3, "quats": 1e-2, "log_scales": 1e-2}, step=self.step)

    def densify(self) -> None:
        self.refine(GROW)

    def relocate(self) -> None:
        self.refine(SHARE)

    def refine(self, strategy: DefaultStrategy | McmcStrategy) -> None:
        live = set(self.lineage(self.state.live))
        known = self.state.ids.clone()
        self.step = 100 * (self.step // 100 + 1)
        # All pull, and deleted ones most; a third is so faint that it is pruned or relocated.
        info = step_info(self.state, gradients=torch.where(self.state.deleted, 1.0, 1e-3), means_rate=1e-6)
        faint = torch.rand(len(self.state), generator=self.draw) < 0.3
        self.state.values("logit_opacities")[faint & self.state.live] = -8.0
        strategy.after_step(self.state, self.step, info, self.draw)
        born = ~torch.isin(self.state.ids, known)
        assert set(self.lineage(born)) <= live, "a deleted row has children"

    def resume(self) -> None:
        tensors = {name: array.clone() for name, array in self.state.tensors("rows").items()}
        self.state = TrainedGaussians.from_tensors("rows", tensors)

    def lineage(self, rows: torch.Tensor) -> list[float]:
        return self.state.sh[rows, 0, 0].tolist()

    def compare(self, rows: dict[int, Kept]) -> None:
        for id_, before in rows.items():
            place = int(self.state.find(torch.tensor([id_])))
            assert place >= 0, "a deleted row was pruned"
            for name, array in values_and_moments(self.state, place).items():
                assert torch.equal(array, before[name]), (id_, name)

    def check(self) -> None:
        deleted = {id_ for edit in self.edits for id_ in edit}
        assert set(self.state.ids[self.state.deleted].tolist()) == deleted
        assert deleted.isdisjoint(self.state.gaussians().ids.tolist())
        for edit in self.edits:
            self.compare(edit)
        assert len({len(getattr(self.state, name)) for name in COLUMNS}) == 1
        assert len(set(self.state.ids.tolist())) == len(self.state)


ACTIONS = (Scene.delete, Scene.undo, Scene.learn, Scene.densify, Scene.relocate, Scene.resume)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), min_size=3, max_size=25), st.integers(0, 1000))
def test_deleted_rows_stay_out_and_come_back_as_they_were_whatever_happens(actions, seed: int):
    state = learnt(some_gaussians(COUNT, scale=0.02))
    state.values("sh")[:, 0] = torch.arange(COUNT)
    scene = Scene(state, generator(seed))
    for action in actions:
        action(scene)
        scene.check()
    while scene.edits:
        scene.undo()
    scene.check()
    assert not bool(scene.state.deleted.any())
