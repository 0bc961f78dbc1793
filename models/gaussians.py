"""3D Gaussians as frozen rows: ids means quats log_scales logit_opacities sh. Edits return new values.

N rows, K SH bases. Rows have stable `ids`, so that an edit can address them after others have gone.
Source: Kerbl et al. 2023, "3D Gaussian Splatting for Real-Time Radiance Field Rendering".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from h3d.renderers import harmonics
from h3d.renderers.cameras import quat_to_rotation, rotation_to_quat

from .compensation import Compensation
from .similarity import IDENTITY, Similarity

ROW_FIELDS = ("ids", "means", "quats", "log_scales", "logit_opacities", "sh")


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N Gaussians in stored form. All tensors are contiguous, on one device; floats are float32."""

    ids: torch.Tensor  # [N] int64, unique
    means: torch.Tensor  # [N, 3]
    quats: torch.Tensor  # [N, 4] wxyz, unit
    log_scales: torch.Tensor  # [N, 3] natural logarithm of the standard deviations
    logit_opacities: torch.Tensor  # [N]
    sh: torch.Tensor  # [N, K, 3]
    antialiased: bool = False  # trained with the antialiased (mip) rasterisation mode
    remark: str = ""  # what a person should know of where the rows came from, one sentence
    frame: Similarity = IDENTITY  # where the world of the photos that they were learnt from lies in theirs
    features: torch.Tensor | None = None  # [N, D] blended for the compensation
    compensation: Compensation | None = None  # what gives pictures back what a pruning took

    def __len__(self) -> int:
        return self.means.shape[0]

    # Activated forms are computed once and kept: a picture needs them at every frame, 16 bytes a row.
    @cached_property
    def scales(self) -> torch.Tensor:  # [N, 3]
        return self.log_scales.exp()

    @cached_property
    def opacities(self) -> torch.Tensor:  # [N]
        return self.logit_opacities.sigmoid()

    @property
    def sh_degree(self) -> int:
        return harmonics.degree_of(self.sh.shape[1])

    @property
    def nbytes(self) -> int:
        rows = [getattr(self, name) for name in ROW_FIELDS] + ([] if self.features is None else [self.features])
        own = 0 if self.compensation is None else self.compensation.nbytes
        return own + sum(t.numel() * t.element_size() for t in rows)

    def keep(self, rows: torch.Tensor) -> Gaussians:
        """The rows where the boolean mask [N] is true, or at the integer indices, in that order."""
        return self._mapped(lambda values: values[rows])

    def concat(self, other: Gaussians) -> Gaussians:
        """Both sets of rows; the SH of the lower degree are padded with zeros, `other` gets fresh ids.

        A compensation of either is left out: it was learnt for the rows of one.
        """
        degree = max(self.sh_degree, other.sh_degree)
        a, b = self.with_sh_degree(degree), other.with_sh_degree(degree)
        start = int(a.ids.max()) + 1 if len(a) > 0 else 0
        b = replace(b, ids=torch.arange(start, start + len(b)))
        joined = {name: torch.cat([getattr(a, name), getattr(b, name)]) for name in ROW_FIELDS}
        return replace(a.uncompensated, **joined)

    def with_sh_degree(self, degree: int) -> Gaussians:
        """The same rows with SH cut or zero-padded to `degree` (0 to 3)."""
        bases = (degree + 1) ** 2
        if bases == self.sh.shape[1]:
            return self
        sh = self.sh.new_zeros(len(self), bases, 3)
        shared = min(bases, self.sh.shape[1])
        sh[:, :shared] = self.sh[:, :shared]
        return replace(self, sh=sh)

    def transformed(self, wxyz: np.ndarray, position: np.ndarray, scale: float = 1.0) -> Gaussians:
        """The rows after x -> scale * R(wxyz) x + position, with quaternions and SH turned along."""
        rotation = quat_to_rotation(wxyz)
        turn = torch.from_numpy(rotation).to(self.means)
        means = scale * (self.means @ turn.T) + torch.as_tensor(np.asarray(position)).to(self.means)
        w, x, y, z = map(float, wxyz)
        a, b, c = map(float, position)
        quats = _quat_product(torch.from_numpy(rotation_to_quat(rotation)).to(self.quats), self.quats)
        return replace(
            self,
            means=means,
            quats=quats,
            log_scales=self.log_scales + float(np.log(scale)),
            sh=harmonics.rotated(self.sh, rotation),
            frame=Similarity((w, x, y, z), (a, b, c), float(scale)).after(self.frame),
        )

    def to(self, device: torch.device | str) -> Gaussians:
        """The same rows on another device."""
        return self._mapped(lambda values: values.to(device))

    @property
    def uncompensated(self) -> Gaussians:
        """The same rows without features and network."""
        return replace(self, features=None, compensation=None)

    def _mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Gaussians:
        """With `change` applied to every array of rows."""
        features = None if self.features is None else change(self.features)
        return replace(self, features=features, **{name: change(getattr(self, name)) for name in ROW_FIELDS})


def from_rows(
    *,
    means,  # [N, 3]
    quats,  # [N, 4] wxyz, not yet normalised, none all zero
    log_scales,  # [N, 3]
    logit_opacities,  # [N]
    sh,  # [N, K, 3]
    antialiased: bool = False,
    remark: str = "",
) -> Gaussians:
    """Gaussians from arrays or tensors, with ids 0..N-1 and quaternions normalised; float32, contiguous."""

    def tensor(value) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float32).contiguous()

    quats = tensor(quats)
    return Gaussians(
        ids=torch.arange(len(quats)),
        means=tensor(means),
        quats=quats / quats.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny),
        log_scales=tensor(log_scales),
        logit_opacities=tensor(logit_opacities),
        sh=tensor(sh),
        antialiased=antialiased,
        remark=remark,
    )


def _quat_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:  # [4], [N, 4] wxyz -> [N, 4]
    """The rotation b followed by a (Hamilton product)."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )
