"""The cache around a UNet: a person's own loop calls `unet(...)` as always, and repeated work is reused.

    with Hash3D(unet, Config(eta=0.9)) as cache:
        for step in range(500):
            cache.set_camera(azimuth_degrees=..., elevation_degrees=..., radius=...)
            with torch.no_grad():
                noise = unet(latents, t, encoder_hidden_states=embeddings).sample

Inside, the model's `forward` is this one; it is restored however the block ends. Every element of a batch hits or
misses by itself, and only misses run the full pass. Source: Hash3D (arXiv 2404.06091), algorithm 1; per-element hits,
exact cells, conditions, limits and checks are ours. Use it from one thread.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .call import Call
from .cells import Cell, normalised
from .config import Config
from .cut import check_arguments, check_cut
from .identity import Conditions, ModelIdentity
from .official import OfficialTable
from .passes import Passes, Stopwatch
from .query import Key, Query, keys_of, queries_of
from .rows import ByRow, assembled, run_thin, run_whole
from .statistics import Statistics
from .table import Answer, Limits, Table
from .warp import Sight

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

logger = logging.getLogger(__name__)

CHURN = 32
"""New conditions among as few calls as this, after which a warning says what may be wrong."""


@dataclass(frozen=True)
class Looked:
    """What became of one element of the last call."""

    key: Key
    grid: int
    cell: Cell
    tried: bool
    hit: bool
    error: float | None = None
    """Relative error of the hit where it was checked."""


class Hash3D:
    """Feature cache of one UNet; a context manager.

    Raises:
        TypeError: `unet` is no diffusers UNet2DConditionModel.
        ValueError: it cannot be cut; the sentence says why.
    """

    def __init__(self, unet: UNet2DConditionModel, config: Config | None = None):
        check_cut(unet)
        self.unet = unet
        self.config = Config() if config is None else config
        self.step = 0
        """Cameras set so far."""
        self.last: tuple[Looked, ...] = ()
        """Elements of the last call."""
        self.table = _new_table(self.config)
        self.conditions = Conditions()
        self.random = np.random.default_rng(self.config.seed)
        self.stopwatch = Stopwatch()
        self.signature: tuple[Any, ...] | None = None
        """What all entries share: kind, shape, dtype, device and layout."""
        self.identity = ModelIdentity(unet)
        self._signature_of_forward = inspect.signature(type(unet).forward)
        self._channels = int(min(unet.config["in_channels"], unet.config["out_channels"]))
        self._cameras: NDArray[np.float64] | None = None
        self._sights: tuple[Sight, ...] | None = None
        self._paused = False
        self._warned: set[str] = set()

    def __enter__(self) -> Hash3D:
        check_cut(self.unet)
        whole = self.unet.forward
        self.unet.forward = functools.wraps(whole)(functools.partial(self._forward, whole))
        return self

    def __exit__(self, *error: object) -> None:
        del self.unet.forward

    def set_camera(
        self,
        *,
        azimuth_degrees: ArrayLike,
        elevation_degrees: ArrayLike,
        radius: ArrayLike,
        sights: Sequence[Sight] | None = None,
    ) -> None:
        """Where the next calls look from: a number for all elements of a batch, or one for each. Begins a step.

        Elevation counts from the horizon, up is positive; radius is in the scene's units. With `sights`, one for each
        element, and `Config.warp`, features are moved between views by what each sees.

        Raises:
            ValueError: a value is not finite, an elevation is beyond a pole, a radius is below 0, or counts differ.
        """
        given = (azimuth_degrees, elevation_degrees, radius)
        columns = [np.atleast_1d(np.asarray(value, np.float64)).reshape(-1) for value in given]
        try:
            azimuths, elevations, radii = np.broadcast_arrays(*columns)
        except ValueError:
            raise ValueError(
                f"set_camera got {len(columns[0])} azimuths, {len(columns[1])} elevations and {len(columns[2])} "
                "radii; give one of each for every element, or one for all"
            ) from None
        cameras = normalised(np.stack([azimuths, elevations, radii, np.zeros(len(azimuths))], axis=1))
        self._cameras, self._sights = cameras, None if sights is None else tuple(sights)
        self.step += 1

    def change(self, **changes: Any) -> None:
        """Sets fields of the config from the next call on; stored entries are put into the cells of a new grid.

        Raises:
            ValueError: a value is out of range; nothing is changed.
            TypeError: there is no such field.
        """
        old, new = self.config, replace(self.config, **changes)
        self.config = new
        if new.seed != old.seed:
            self.random = np.random.default_rng(new.seed)
        if new.lookup != old.lookup:
            self.table.invalidate()
            ledger, self.table = self.table.ledger, _new_table(new)
            self.table.ledger = ledger
            ledger.forget_cells()
        elif isinstance(self.table, OfficialTable):
            if new.grids != old.grids:
                self.table.regrid(new.grids[0])
        else:
            self.table.weighting, self.table.gamma = new.weighting, new.gamma
            if new.grids != old.grids:
                self.table.regrid(new.grids)
            self.table.limit(_limits(new), self.step)

    def invalidate(self) -> None:
        """Drops all entries: to be called after a change that the cache cannot see, such as a switched LoRA adapter."""
        self.table.invalidate()
        self.conditions.clear()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Calls inside go to the UNet untouched, and nothing is stored: for evaluation."""
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    @property
    def passes(self) -> Passes:
        """Passes of the UNet so far and their time."""
        return self.stopwatch.read()

    def statistics(self) -> Statistics:
        """Counters of every cell now; an immutable copy."""
        return self.table.statistics(self.step)

    def save(self, path: Path) -> None:
        """Writes entries, counters and random state; raises ValueError for the official table, which is not kept."""
        from .files import save

        save(path, self)

    def load(self, path: Path) -> None:
        """Continues from a saved cache; the config stays, and what was stored is put into its grids and limits.

        Raises:
            FormatError: it is no such file, it is damaged, or another model or another kind of reuse wrote it.
        """
        from .files import load

        load(path, self)

    def _forward(self, whole: Any, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        bypassed = self._paused or self._wants_gradients(args, kwargs)
        try:
            if bypassed:
                return whole(*args, **kwargs)
            arguments = self._signature_of_forward.bind(self.unet, *args, **kwargs).arguments
            arguments.pop("self")
            return self._cached(whole, dict(arguments))
        finally:
            self.stopwatch.call(time.perf_counter() - began, bypassed=bypassed)

    def _cached(self, whole: Any, arguments: dict[str, Any]) -> Any:
        config = self.config
        if config.reuse == "off":
            sample = arguments["sample"]
            rows = sample.shape[0]
            with self.stopwatch.measured("full", max(1, rows // config.rows_per_element), rows, sample.device):
                return whole(**arguments)
        call = Call(arguments, config.rows_per_element, config.layout, self._channels)
        check_arguments(arguments)
        keys = keys_of(call, self._cameras)
        self._drop_what_is_untrue(call)
        queries = queries_of(call, keys, self._conditions(call), self._sights if config.warp else None)
        tried, answers = self._answers(queries)
        hits = [i for i, answer in enumerate(answers) if answer is not None]
        checks = [i for i in hits if config.check_share > 0 and self.random.random() < config.check_share]
        full = [i for i in range(call.elements) if i not in hits or i in checks]
        stored = {row: value for i in hits for row, value in _of_rows(call, i, answers[i])}
        spared = self._spared(call, {i: queries[i] for i in full if i not in checks})
        stored |= spared

        approximate = self._thin(call, stored, len(hits)) if len(stored) > 0 else {}
        result, exact = None, {}
        rows = sorted({row for i in full for row in call.rows_of(i)} - spared.keys())
        if len(rows) > 0:
            with self.stopwatch.measured("full", len(full), len(rows), call.sample.device):
                result, exact, features = run_whole(self.unet, whole, call, rows)
            self.stopwatch.spared(len(spared))
            values = stored | (features if config.reuse == "feature" else exact)
            for i in full:
                value = torch.stack([values[row].detach() for row in call.rows_of(i)])
                self.table.insert(queries[i], value, self.step)
        errors = {i: self._check(answers[i], call.rows_of(i), approximate, exact) for i in checks}
        self.last = tuple(
            self._looked(query.key, answer, tried[i], errors.get(i))
            for i, (query, answer) in enumerate(zip(queries, answers, strict=True))
        )
        return result if len(rows) == call.rows else assembled(call, approximate | exact)

    def _drop_what_is_untrue(self, call: Call) -> None:
        """Entries of another model, shape or kind."""
        sample, config = call.sample, self.config
        signature = (config.reuse, tuple(sample.shape[1:]), sample.dtype, sample.device)
        signature += (config.rows_per_element, config.layout)
        if self.identity.changed() or signature != self.signature:
            self.invalidate()
            self.signature = signature

    def _conditions(self, call: Call) -> list[int]:
        if self.config.lookup == "official":
            return [0] * call.elements
        inputs = self.config.camera_inputs
        numbers = [self.conditions.number(call.condition(i, inputs)) for i in range(call.elements)]
        # A batch may hold more of them than are kept; those in use stay.
        for gone in self.conditions.forget_beyond(max(self.config.conditions, len(set(numbers)))):
            assert isinstance(self.table, Table)
            self.table.invalidate(gone)
        if self.conditions.next >= CHURN and self.conditions.next > self.step // 2:
            self._warn_once(
                "conditions",
                f"Hash3D saw {self.conditions.next} different prompts and images in {self.step} steps, and reuses "
                "nothing between them; if an input of the UNet says where the camera is, name it in "
                "Config.camera_inputs",
            )
        return numbers

    def _answers(self, queries: Sequence[Query]) -> tuple[list[bool], list[Answer | None]]:
        """Whether retrieval was tried, and what it gave, for each element."""
        count, table = len(queries), self.table
        warm = self.step > self.config.warm_up
        if isinstance(table, OfficialTable):
            # Its code draws once for the whole batch.
            tried = bool(self.random.random() < self.config.eta) and warm
            answers = table.lookup(queries, self.step) if tried else None
            return [tried] * count, [None] * count if answers is None else list(answers)
        draws = self.random.random(count)
        tries = [warm and bool(draw < self._eta(table, q.key)) for draw, q in zip(draws, queries, strict=True)]
        return tries, [table.lookup(q, self.step) if tried else None for tried, q in zip(tries, queries, strict=True)]

    def _eta(self, table: Table, key: Key) -> float:
        """The probability to try: the config's, less where checked hits of the cell were worse than the limit."""
        if self.config.error_limit is None:
            return self.config.eta
        errors = [table.ledger.error(i, grid.cell(key)) for i, grid in enumerate(table.grids)]
        worst = max([error for error in errors if not math.isnan(error)], default=0.0)
        return self.config.eta * min(1.0, self.config.error_limit / worst) if worst > 0 else self.config.eta

    def _thin(self, call: Call, stored: ByRow, elements: int) -> ByRow:
        """Predictions of rows from what is stored of each; `elements` of the batch need no other pass."""
        with self.stopwatch.measured("hit", elements, len(stored), call.sample.device):
            return stored if self.config.reuse == "noise" else run_thin(self.unet, call, stored)

    def _spared(self, call: Call, queries: Mapping[int, Query]) -> ByRow:
        """Of elements that run in full, unconditional rows that need not: what is stored of each."""
        row, chance, table = self.config.unconditional_row, self.config.unconditional_eta, self.table
        if row is None or chance == 0.0 or isinstance(table, OfficialTable) or self.step <= self.config.warm_up:
            return {}
        found: ByRow = {}
        for i, query in queries.items():
            if self.random.random() < chance and (answer := table.peek(query, self.step)) is not None:
                found[call.rows_of(i)[row]] = answer.value[row]
        return found

    def _check(self, answer: Answer | None, rows: Sequence[int], approximate: ByRow, exact: ByRow) -> float:
        assert answer is not None
        truth = torch.stack([exact[row] for row in rows]).float()
        difference = torch.linalg.vector_norm(torch.stack([approximate[row] for row in rows]).float() - truth)
        error = float(difference / torch.linalg.vector_norm(truth).clamp(min=1e-12))
        self.table.checked(answer.grid, answer.cell, error)
        return error

    def _looked(self, key: Key, answer: Answer | None, tried: bool, error: float | None) -> Looked:
        if answer is None:
            return Looked(key, 0, self.config.grids[0].cell(key), tried, False)
        return Looked(key, answer.grid, answer.cell, tried, True, error)

    def _wants_gradients(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if not torch.is_grad_enabled():
            return False
        given = [*args, *kwargs.values(), *self.unet.parameters()]
        wanted = any(isinstance(value, Tensor) and value.requires_grad for value in given)
        if wanted:
            self._warn_once(
                "gradients",
                "Hash3D let a call of the UNet through because gradients are on, which a reused feature has not; call "
                "the UNet under torch.no_grad() to use the cache",
            )
        return wanted

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning(text)


def _new_table(config: Config) -> Table | OfficialTable:
    if config.lookup == "official":
        return OfficialTable(config.grids[0])
    return Table(config.grids, _limits(config), config.weighting, config.gamma)


def _limits(config: Config) -> Limits:
    return Limits(config.queue, config.budget_bytes, config.max_age)


def _of_rows(call: Call, element: int, answer: Answer | None) -> Iterator[tuple[int, Tensor]]:
    assert answer is not None
    return zip(call.rows_of(element), answer.value, strict=True)
