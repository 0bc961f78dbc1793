"""Gaussians while they are learnt: parameters, Adam moments, statistics, ids and edit bits, moved together as rows.

N rows, K SH bases. Every change of the set of rows goes through `keep`, `append`, `restart` or `replace`, so that
nothing of a row is left behind. Rows deleted by hand stay, as a bit: they are not drawn, learnt, grown or pruned, and
undo brings them back with their moments. An id is given once: rows made by densification get new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from h3d.renderers.adam import AdamOptions, AdamRows, adam_step

from .gaussians import Gaussians

BETA2 = 0.999
DIRECTION_SHARE = 1 / 20
FEATURES = "features"
"""The group, where there is one, of what a compensation network sees of each row."""
COLUMNS = ("ids", "deleted", "gradient_sum", "views", "largest_radius")
"""What there is of each row beside the groups."""

Rows = dict[str, torch.Tensor]
"""Values of some rows by group, of each [M, F]."""


@dataclass(frozen=True, eq=False)
class StepInfo:
    """What the last step said of every row, and where in the run it was."""

    gradients: torch.Tensor  # [N] length of the loss's slope by the place on the picture; see `screen_gradients`
    radii: torch.Tensor  # [N] of the drawn ellipses in pixels
    visible: torch.Tensor  # [N] bool, rows that the picture drew
    longest_side: int  # of the picture in pixels
    extent: float  # of the scene in its own units: sizes are judged against it
    means_rate: float  # the learning rate that the means had


def screen_gradients(gradients: torch.Tensor, width: int, height: int) -> torch.Tensor:  # [N, 2] a pixel -> [N]
    """Slopes by places on a picture, in halves of its sides, so that thresholds hold at every resolution."""
    return (gradients * gradients.new_tensor([0.5 * width, 0.5 * height])).norm(dim=-1)


@dataclass(eq=False)
class TrainedGaussians:
    """The running state: changed in place, its tensors replaced when rows come or go."""

    groups: dict[
        str, AdamRows
    ]  # means [N, 3], quats [N, 4], log_scales [N, 3], logit_opacities [N, 1], sh [N, 3K], ...
    ids: torch.Tensor  # [N] int64
    next_id: int  # above all that were ever given
    deleted: torch.Tensor  # [N] bool, by hand
    gradient_sum: torch.Tensor  # [N] of `StepInfo.gradients`, over the pictures since the last `forget`
    views: torch.Tensor  # [N] int32, those pictures that drew the row
    largest_radius: torch.Tensor  # [N] in those pictures, as a share of the longest side

    @staticmethod
    def of(gaussians: Gaussians, extra: Mapping[str, torch.Tensor] | None = None) -> TrainedGaussians:
        """The rows before the first step, ids kept; `extra` are groups [N, F] of one's own, such as features."""
        count = len(gaussians)
        values = {
            "means": gaussians.means,
            "quats": gaussians.quats,
            "log_scales": gaussians.log_scales,
            "logit_opacities": gaussians.logit_opacities[:, None],
            "sh": gaussians.sh.flatten(1),
            **(extra or {}),
        }
        zeros = gaussians.means.new_zeros(count)
        return TrainedGaussians(
            groups={name: AdamRows.of(array.contiguous(), averaged=False) for name, array in values.items()},
            ids=gaussians.ids.clone(),
            next_id=int(gaussians.ids.max()) + 1 if count > 0 else 0,
            deleted=torch.zeros(count, dtype=torch.bool, device=zeros.device),
            gradient_sum=zeros,
            views=torch.zeros(count, dtype=torch.int32, device=zeros.device),
            largest_radius=zeros.clone(),
        )

    def __len__(self) -> int:
        return self.ids.shape[0]

    @property
    def live(self) -> torch.Tensor:  # [N] bool
        """The rows that are not deleted by hand."""
        return ~self.deleted

    def values(self, group: str) -> torch.Tensor:  # [N, F], the memory that is being learnt in
        return self.groups[group].values

    @property
    def means(self) -> torch.Tensor:  # [N, 3]
        return self.values("means")

    @property
    def quats(self) -> torch.Tensor:  # [N, 4] wxyz, of any length
        return self.values("quats")

    @property
    def scales(self) -> torch.Tensor:  # [N, 3]
        return self.values("log_scales").exp()

    @property
    def opacities(self) -> torch.Tensor:  # [N]
        return self.values("logit_opacities")[:, 0].sigmoid()

    @property
    def sh(self) -> torch.Tensor:  # [N, K, 3]
        values = self.values("sh")
        return values.view(len(self), values.shape[1] // 3, 3)

    def gaussians(self, *, antialiased: bool = False, remark: str = "") -> Gaussians:
        """A copy of the live rows as they are displayed and saved."""
        rows = self.live
        quats = self.quats[rows]
        return Gaussians(
            ids=self.ids[rows],
            means=self.means[rows],
            quats=quats / quats.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny),
            log_scales=self.values("log_scales")[rows],
            logit_opacities=self.values("logit_opacities")[rows, 0],
            sh=self.sh[rows],
            antialiased=antialiased,
            remark=remark,
            features=self.values(FEATURES)[rows] if FEATURES in self.groups else None,
        )

    # Learning.

    def step(
        self,
        gradients: Mapping[str, torch.Tensor],  # of each group [N, ...], F numbers a row
        rates: Mapping[str, float],
        *,
        step: int,
        visible: torch.Tensor | None = None,  # [N] bool
    ) -> None:
        """One step of Adam for the groups in `rates`; of `visible` rows only, where that is given.

        The rate of `sh` is that of the base colour; what depends on the direction is learnt `DIRECTION_SHARE` as fast.
        """
        live = self.live if visible is None else self.live & visible
        for name, rate in rates.items():
            rows, options = self.groups[name], AdamOptions(learning_rate=rate, beta2=BETA2)
            factors = _sh_factors(rows.values) if name == "sh" else None
            adam_step(
                rows, gradients[name].reshape(rows.values.shape), step=step, options=options, live=live, factors=factors
            )

    def observe(self, info: StepInfo) -> None:
        """Adds what a picture said to the statistics."""
        seen = info.visible & self.live
        self.gradient_sum += torch.where(seen, info.gradients, 0.0)
        self.views += seen
        share = torch.where(seen, info.radii / info.longest_side, 0.0)
        self.largest_radius = torch.maximum(self.largest_radius, share)

    def forget(self) -> None:
        """Starts the statistics anew."""
        for column in (self.gradient_sum, self.views, self.largest_radius):
            column.zero_()

    # Rows.

    def rows(self, rows: torch.Tensor) -> Rows:  # [N] bool or [M] indices
        """Copies of all values of some rows."""
        return {name: group.values[rows] for name, group in self.groups.items()}

    def keep(self, rows: torch.Tensor) -> None:  # [N] bool or [M] indices
        """Leaves these rows, in this order, and all that is theirs."""
        if rows.dtype == torch.bool:
            # Found once instead of in each of two dozen arrays.
            rows = rows.nonzero()[:, 0]
        self.groups = {name: group.keep(rows) for name, group in self.groups.items()}
        for column in COLUMNS:
            setattr(self, column, getattr(self, column)[rows])

    def append(self, values: Rows) -> torch.Tensor:  # of each group [M, F] -> [M]
        """Adds rows before their first step, and returns their new ids."""
        self.groups = {name: group.append(values[name]) for name, group in self.groups.items()}
        ids = self._fresh_ids(values["means"].shape[0])
        self.ids = torch.cat([self.ids, ids])
        for column in COLUMNS[1:]:
            array = getattr(self, column)
            setattr(self, column, torch.cat([array, array.new_zeros(len(ids))]))
        return ids

    def restart(self, rows: torch.Tensor, values: Rows) -> None:  # [M] indices, of some groups [M, F]
        """Gives rows other values in those groups, moments as before the first step; they remain who they are."""
        for name, array in values.items():
            self.groups[name].restart(rows, array)

    def replace(self, rows: torch.Tensor, values: Rows) -> torch.Tensor:  # [M] indices, of each group [M, F] -> [M]
        """Puts other rows in the place of these, with new ids, which it returns."""
        self.restart(rows, values)
        ids = self._fresh_ids(len(rows))
        self.ids[rows] = ids
        for column in COLUMNS[1:]:
            getattr(self, column)[rows] = 0
        return ids

    def widen(self, group: str, width: int) -> None:
        """Gives each row of a group more numbers, up to `width`: zeros that were not learnt yet."""
        self.groups[group] = self.groups[group].widen(width)

    def carry(self, group: str, values: torch.Tensor | None) -> None:  # [N, F]
        """Gives all rows a group of one's own, before its first step; None takes it away."""
        self.groups = {name: rows for name, rows in self.groups.items() if name != group}
        if values is not None:
            self.groups[group] = AdamRows.of(values.contiguous(), averaged=False)

    def find(self, ids: torch.Tensor) -> torch.Tensor:  # [M] -> [M]
        """Where the rows with these ids are now; -1 for those that have gone."""
        if len(self) == 0:
            return torch.full_like(ids, -1)
        ordered, order = self.ids.sort()
        places = torch.searchsorted(ordered, ids).clamp(max=len(self) - 1)
        return torch.where(ordered[places] == ids, order[places], -1)

    def mark_deleted(self, ids: torch.Tensor, deleted: bool) -> torch.Tensor:  # [M] -> [K]
        """Deletes rows by hand, or brings them back; returns the ids of those for which that is new."""
        rows = self.find(ids.to(self.ids.device))
        rows = rows[rows >= 0]
        rows = rows[self.deleted[rows] != deleted]
        self.deleted[rows] = deleted
        return self.ids[rows]

    def _fresh_ids(self, count: int) -> torch.Tensor:
        self.next_id += count
        return torch.arange(self.next_id - count, self.next_id, device=self.ids.device)

    # Files and devices.

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """All arrays by name; `from_tensors` is the inverse."""
        named = {f"{name}.{column}": getattr(self, column) for column in COLUMNS}
        named[f"{name}.next_id"] = torch.tensor([self.next_id])
        for group, rows in self.groups.items():
            named.update(rows.tensors(f"{name}.groups.{group}"))
        return named

    @staticmethod
    def from_tensors(name: str, tensors: dict[str, torch.Tensor]) -> TrainedGaussians:
        """Raises: KeyError for an array that is missing, ValueError for one of another shape or type."""
        columns = {column: tensors[f"{name}.{column}"].clone() for column in COLUMNS}
        start, end = f"{name}.groups.", ".values"
        names = [key[len(start) : -len(end)] for key in tensors if key.startswith(start) and key.endswith(end)]
        groups = {group: AdamRows.from_tensors(start + group, tensors) for group in names}
        lengths = {len(part) for part in (*columns.values(), *groups.values())}
        if len(lengths) != 1:
            raise ValueError(f"{name}: its arrays have {sorted(lengths)} rows; all must have as many")
        return TrainedGaussians(groups=groups, next_id=int(tensors[f"{name}.next_id"]), **columns)

    def to(self, device: torch.device) -> TrainedGaussians:
        """The state on `device`; arrays that lie there already are not copied."""
        columns = {column: getattr(self, column).to(device) for column in COLUMNS}
        return replace(self, groups={name: group.to(device) for name, group in self.groups.items()}, **columns)


def _sh_factors(values: torch.Tensor) -> torch.Tensor:  # [N, 3K] -> [3K]
    factors = values.new_full((values.shape[1],), DIRECTION_SHARE)
    factors[:3] = 1.0
    return factors
