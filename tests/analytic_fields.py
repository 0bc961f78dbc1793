"""A field that is known exactly, for tests of what is drawn of fields: an opaque ball, by the formula for a sphere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from h3d.models.field_view import WHOLE, FieldView
from h3d.renderers.cancel import CancelFlag
from h3d.renderers.fields import RenderedRays


@dataclass(frozen=True, eq=False)
class BallField:
    """An opaque ball about the origin of its own axes. Each ray that meets it costs seven samples."""

    radius: float = 1.0
    rgb: tuple[float, float, float] = (0.1, 0.2, 0.9)
    remark: str = ""
    nbytes: int = 1000

    @property
    def facts(self) -> dict[str, str]:
        return {"radius": str(self.radius)}

    @property
    def bounds(self) -> np.ndarray:
        return np.array([[-self.radius] * 3, [self.radius] * 3])

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"radius": self.radius}))

    def render(
        self,
        origins: torch.Tensor,
        directions: torch.Tensor,
        *,
        view: FieldView = WHOLE,
        cancel: CancelFlag | None = None,
    ) -> RenderedRays:
        along = -(origins * directions).sum(dim=1)
        off = (origins * origins).sum(dim=1) - along * along
        half = (self.radius**2 - off).clamp(min=0.0).sqrt()
        depth = along - half
        hit = (off < self.radius**2) & (depth > 0)
        alpha = hit.float()
        normals = (origins + depth[:, None] * directions) / self.radius * alpha[:, None] if view.normals else None
        counts = 7 * hit.to(torch.int32)
        return RenderedRays(torch.tensor(self.rgb) * alpha[:, None], alpha, depth * alpha, counts, normals=normals)
