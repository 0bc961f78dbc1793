"""SUNDAE's neural compensation: a U-Net that gives pictures of pruned Gaussians back what the cut took from them.

Each Gaussian carries D learnt features that are blended like its colour; the network sees colour, cover and features of
every pixel and adds what is missing to colour and cover. It is fully convolutional: any size of picture, and in tiles.
H rows, W columns; RGBA is premultiplied.

Source: Yang et al. 2024, "Spectrally Pruned Gaussian Fields with Neural Compensation", section 3.3. What differs: the
harmonics stay, and what the network makes is added to their picture (it begins at nothing), where the paper has
features alone; the first level is half as wide, being three quarters of the work otherwise. Form "gain" is what the
published code does: no features, and the picture times what the network makes (it begins at one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from h3d.renderers.gaussians import Rect, Rendered

Size = Literal["tiny", "small", "medium", "large"]
Form = Literal["features", "gain"]

WIDTHS: dict[Size, tuple[int, ...]] = {
    "tiny": (8, 32, 64, 128),
    "small": (16, 64, 128, 256),
    "medium": (32, 128, 256, 512),
    "large": (64, 256, 512, 1024),
}
"""Channels of each level, each of half the resolution of the one before: 1.7, 6.7, 27 and 107 MiB of float32."""
GRID = 8
"""Pixels of a side that the deepest level sees as one."""
HALO = 72
"""Pixels around a tile on which its own depend: no convolution reaches farther."""
TILE = 1024
"""Pixels along the side of a tile; smaller pictures are one."""


@dataclass(frozen=True)
class CompensationPlan:
    """Which network."""

    size: Size = "small"
    form: Form = "features"
    features: int = 8
    """Of each Gaussian, blended like its colour; none with form "gain"."""

    def __post_init__(self) -> None:
        if self.size not in WIDTHS:
            raise ValueError(f"size {self.size!r}: must be one of {', '.join(WIDTHS)}")
        if self.form not in ("features", "gain"):
            raise ValueError(f"form {self.form!r}: must be features or gain")
        if not 0 <= self.features <= 64:
            raise ValueError(f"features {self.features}: must be 0 to 64")

    @property
    def blended(self) -> int:
        """D: features that the rasteriser blends."""
        return self.features if self.form == "features" else 0


class CompensationNetwork(nn.Module):
    """Four levels with skips; average pooling on the way down, bilinear on the way up."""

    def __init__(self, plan: CompensationPlan) -> None:
        super().__init__()
        self.plan = plan
        widths = WIDTHS[plan.size]
        inputs = 4 + plan.blended if plan.form == "features" else 3
        self.down = nn.ModuleList(_block(i, o) for i, o in zip((inputs, *widths), widths, strict=False))
        # Thinned before it is enlarged: a quarter of the pixels.
        self.thin = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(_block(2 * width, width) for width in widths[:-1])
        self.last = nn.Conv2d(widths[0], 4 if plan.form == "features" else 3, 1)
        nn.init.zeros_(self.last.weight)
        if self.last.bias is not None:
            nn.init.constant_(self.last.bias, 1.0 if plan.form == "gain" else 0.0)

    def forward(
        self,
        seen: torch.Tensor,  # [B, 4 + D, H, W] RGBA and features
    ) -> torch.Tensor:  # [B, 4, H, W]
        """RGBA, compensated. H and W are multiples of `GRID`."""
        rgb, alpha = seen[:, :3], seen[:, 3:4]
        if self.plan.form == "gain":
            return torch.cat([rgb * self._made(rgb), alpha], dim=1)
        # What lies away from everything stays clear: there is nothing to compensate.
        found = seen[:, :4] + _near(alpha) * self._made(seen)
        return torch.cat([found[:, :3], found[:, 3:].clamp(0.0, 1.0)], dim=1)

    def _made(self, x: torch.Tensor) -> torch.Tensor:
        kind = self.last.weight.dtype
        x = x.to(kind).contiguous(memory_format=torch.channels_last)
        skips: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.avg_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = functional.interpolate(self.thin[level](x), scale_factor=2, mode="bilinear", align_corners=False)
            x = self.up[level](torch.cat([skips[level], x], dim=1))
        return self.last(x).float()


def through(network: CompensationNetwork, seen: torch.Tensor) -> torch.Tensor:  # [H, W, 4 + D] -> [H, W, 4]
    """RGBA that the network makes of a picture of any size: its last row and column are repeated up to the grid."""
    height, width = seen.shape[:2]
    x = functional.pad(seen.permute(2, 0, 1)[None], (0, -width % GRID, 0, -height % GRID), mode="replicate")
    return network(x)[0, :, :height, :width].permute(1, 2, 0)


def seen_by_network(rgb: torch.Tensor, rendered: Rendered) -> torch.Tensor:  # [1, H, W, 3] -> [H, W, 4 + D]
    """The first picture as the network takes it: `rgb` is what the picture is over nothing."""
    features = [] if rendered.features is None else [rendered.features[0]]
    return torch.cat([rgb[0], rendered.alpha[0, ..., None], *features], dim=-1)


@dataclass(frozen=True, eq=False)
class Compensation:
    """A network as it was learnt, ready for pictures. Its weights are not changed any more."""

    network: CompensationNetwork  # float32, on the CPU

    @property
    def plan(self) -> CompensationPlan:
        return self.network.plan

    @property
    def nbytes(self) -> int:
        """Of the weights as float32."""
        return sum(value.numel() * value.element_size() for value in self.network.parameters())

    @property
    def text(self) -> str:
        """What it is, in a few words."""
        features = f", {self.plan.blended} features a Gaussian" if self.plan.blended > 0 else ""
        return f"compensation, {self.plan.size}, form {self.plan.form}{features}, {self.nbytes / 2**20:.1f} MiB"

    @torch.inference_mode()
    def corrected(self, seen: torch.Tensor) -> torch.Tensor:  # [H, W, 4 + D] float32 -> [H, W, 4]
        """RGBA of a picture, compensated; where the processor multiplies bfloat16 the network runs in it."""
        return through(self._quick, seen)

    def picture(self, draw: Callable[[Rect], Rendered], rect: Rect, width: int, height: int) -> Rendered:
        """A rectangle of a picture of a size, compensated, over nothing.

        `draw` gives any rectangle with features, over nothing, from one camera.
        """
        x0, y0, x1, y1 = rect
        rgba, depth = torch.empty(y1 - y0, x1 - x0, 4), torch.zeros(1, y1 - y0, x1 - x0)
        stats: dict[str, float] = {}
        for inner, outer in tiles(rect, width, height):
            seen = draw(outer)
            made = self.corrected(seen_by_network(seen.rgb, seen))
            left, top, right, bottom = max(inner[0], x0), max(inner[1], y0), min(inner[2], x1), min(inner[3], y1)
            place = (slice(top - y0, bottom - y0), slice(left - x0, right - x0))
            part = (slice(top - outer[1], bottom - outer[1]), slice(left - outer[0], right - outer[0]))
            rgba[place] = made[part]
            if seen.depth is not None:
                depth[0][place] = _filled(seen.depth[0], seen.alpha[0])[part]
            stats = {name: stats.get(name, 0.0) + value for name, value in (seen.stats or {}).items()}
        return Rendered(rgba[None, ..., :3], rgba[None, ..., 3], depth, stats=stats)

    @cached_property
    def _quick(self) -> CompensationNetwork:
        quick = deepcopy(self.network).to(quick_dtype()).eval().requires_grad_(False)
        return quick.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def quick_dtype() -> torch.dtype:
    """bfloat16 where the processor has instructions for it, which is twice as quick and more; else float32."""
    known = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return torch.bfloat16 if any(ask is not None and ask() for ask in known) else torch.float32


def tiles(rect: Rect, width: int, height: int) -> Iterator[tuple[Rect, Rect]]:
    """The tiles of a picture that a rectangle touches, and each with its halo, as x0, y0, x1, y1.

    They lie the same whatever the rectangle is, so that any part of a picture is that part of the whole.
    """
    x0, y0, x1, y1 = rect
    for top in range(y0 - y0 % TILE, y1, TILE):
        for left in range(x0 - x0 % TILE, x1, TILE):
            right, bottom = min(left + TILE, width), min(top + TILE, height)
            outer = (max(left - HALO, 0), max(top - HALO, 0), min(right + HALO, width), min(bottom + HALO, height))
            yield (left, top, right, bottom), outer


def _filled(depth: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:  # [H, W], [H, W] -> [H, W]
    """Depth also where the network may have made cover of nothing: the farthest of what is within reach of `_near`."""
    height, width = depth.shape
    x = functional.pad(depth[None, None], (0, -width % GRID, 0, -height % GRID), mode="replicate")
    coarse = functional.max_pool2d(functional.max_pool2d(x, GRID), 7, stride=1, padding=3)
    around = functional.interpolate(coarse, scale_factor=GRID, mode="nearest")[0, 0, :height, :width]
    return torch.where(alpha > 0.0, depth, around)


def _near(alpha: torch.Tensor) -> torch.Tensor:  # [B, 1, H, W]
    """How much of something is within two to three cells of the grid."""
    coarse = functional.max_pool2d(functional.max_pool2d(alpha.detach(), GRID), 5, stride=1, padding=2)
    return functional.interpolate(coarse, scale_factor=GRID, mode="bilinear", align_corners=False)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
    )
