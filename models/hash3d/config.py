"""Settings of the cache. All may change between steps: `Hash3D.change(eta=0.5)`."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

from .cells import Grid
from .retrieval import Weighting

Reuse = Literal["feature", "noise", "off"]
Lookup = Literal["exact", "official"]
Layout = Literal["blocks", "interleaved"]
CameraInput = Literal["encoder_hidden_states", "class_labels", "timestep_cond", "added_cond_kwargs", "image"]


@dataclass(frozen=True)
class Config:
    """What is reused, when, and how much is kept."""

    reuse: Reuse = "feature"
    """feature: the input of the last up block's second resnet (the paper); noise: the prediction itself (the paper's
    ablation); off: every pass is full."""
    eta: float = 0.9
    """Probability to try to retrieve. The paper's default is 0.1; what is not tried or not found runs in full and is
    stored."""
    warm_up: int = 0
    """First steps that store and do not retrieve."""
    grids: tuple[Grid, ...] = (Grid(),)
    """One grid, or several for AdaptGrid, the finest first."""
    queue: int = 3
    """Entries of a cell; the oldest leaves."""
    budget_bytes: int = 1 << 30
    """Of all entries together; the least recently used leaves."""
    max_age: int | None = None
    """Steps after which an entry leaves; None: never."""
    weighting: Weighting = "softmax"
    """How the entries of a cell answer: softmax over -|x - x_i|^2 (the paper), without the square (its code), or the
    nearest."""
    gamma: float = 0.9
    """Inertia of AdaptGrid's running similarity."""
    lookup: Lookup = "exact"
    """exact: by cells; official: by the published code's hash, which ignores grids, queue, budget and conditions."""
    rows_per_element: int = 2
    """Rows of a batch that belong to one element: 2 with classifier-free guidance, 1 without."""
    layout: Layout = "blocks"
    """blocks: [all conditional, all unconditional] or the other way round; interleaved: an element's rows are
    neighbours."""
    camera_inputs: tuple[CameraInput, ...] = ()
    """Inputs of the UNet that say where the camera is and so change with every view; all others must be the same for
    an entry to be found. Zero123: encoder_hidden_states. image: channels that are joined to the latent."""
    conditions: int = 4
    """Different prompts and images whose entries are kept at once (front, side, back and overhead are four)."""
    check_share: float = 0.0
    """Share of hits that are compared with a full pass, whose result is then used and stored."""
    error_limit: float | None = None
    """Above this mean relative error of its checked hits a cell's eta falls in proportion; None: never."""
    unconditional_row: int | None = None
    """Which of an element's rows has no condition (guidance); None: not said."""
    unconditional_eta: float = 0.0
    """Probability that an element that runs in full takes its unconditional row from its cell, where there is one."""
    warp: bool = False
    """Whether features are moved between views by the depth, where `set_camera` is told what each sees."""
    seed: int = 0
    """Of the cache's own random numbers."""

    def __post_init__(self) -> None:
        for name in ("eta", "check_share", "unconditional_eta"):
            _refuse(name, getattr(self, name), 0.0 <= getattr(self, name) <= 1.0, "it is a probability, 0 to 1")
        _refuse("gamma", self.gamma, 0.0 <= self.gamma < 1.0, "it must be from 0 to below 1")
        for name in ("queue", "rows_per_element", "conditions"):
            _refuse(name, getattr(self, name), getattr(self, name) >= 1, "it must be at least 1")
        for name in ("warm_up", "budget_bytes", "max_age"):
            _refuse(name, getattr(self, name), (getattr(self, name) or 0) >= 0, "it must not be below 0")
        _refuse("grids", self.grids, len(self.grids) > 0, "name at least one grid")
        row, rows = self.unconditional_row, self.rows_per_element
        _refuse("unconditional_row", row, row is None or 0 <= row < rows, f"an element's rows are 0 to {rows - 1}")
        named = row is not None or self.unconditional_eta == 0.0
        _refuse("unconditional_eta", self.unconditional_eta, named, "say unconditional_row, which row that is")
        limit = self.error_limit
        _refuse("error_limit", limit, limit is None or (math.isfinite(limit) and limit > 0), "it must be above 0")
        choices = get_type_hints(type(self))
        for name in ("reuse", "weighting", "lookup", "layout"):
            _refuse(name, getattr(self, name), getattr(self, name) in get_args(choices[name]), _one_of(choices[name]))
        for name in self.camera_inputs:
            _refuse("camera_inputs", name, name in get_args(CameraInput), _one_of(CameraInput))


NAMES = tuple(field.name for field in fields(Config))


def _one_of(choices: object) -> str:
    return f"choose one of {', '.join(get_args(choices))}"


def _refuse(name: str, value: object, right: bool, rule: str) -> None:
    if not right:
        raise ValueError(f"{name}: {value}; {rule}")
