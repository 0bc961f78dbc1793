"""Linear light as the numbers that pictures are stored, shown and compared in.

`code_of` is sRGB's curve up to 1 and a logarithm of the same slope above, so that light without a bound is learnt in
even steps of brightness, and that squared errors of what a screen can show are those of sRGB. `light_of` undoes it.
Source: IEC 61966-2-1 (the curve up to 1).
"""

from __future__ import annotations

import numpy as np
import torch

SLOPE = 1.055 / 2.4
"""Of sRGB's curve at 1, where the logarithm takes over."""
BRIGHTEST_CODE = 1.0 + SLOPE * float(np.log(65504.0))


def code_of(light: torch.Tensor) -> torch.Tensor:
    """Linear light of 0 and more as sRGB in [0, 1], and above 1 as 1 + 0.44 ln(light)."""
    light = light.clamp(min=0.0)
    low = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
    return torch.where(light <= 1.0, low, 1.0 + SLOPE * torch.log(light.clamp(min=1.0)))


def light_of(code: torch.Tensor) -> torch.Tensor:
    """The inverse of `code_of`; what is below black is black, what no float16 could hold is bounded."""
    code = code.clamp(0.0, BRIGHTEST_CODE)
    low = torch.where(code <= 0.04045, code / 12.92, ((code.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)
    return torch.where(code <= 1.0, low, torch.exp((code.clamp(min=1.0) - 1.0) / SLOPE))
