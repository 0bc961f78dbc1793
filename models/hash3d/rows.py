"""Passes over some rows of a call: whole, or from the cut up with a stored feature for each row.

R rows of a batch, features [C, h, w] and predictions [C, h, w] of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .call import Call
from .cut import capturing, thin

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

ByRow = dict[int, Tensor]
"""Row of the call -> its tensor, a part of a batch."""


def run_whole(
    unet: UNet2DConditionModel, whole: Callable[..., Any], call: Call, rows: Sequence[int]
) -> tuple[Any, ByRow, ByRow]:
    """The model's own result for these rows, and the prediction and the feature of each."""
    result, feature = capturing(unet, lambda: whole(**_arguments(call, rows)))
    return result, _by_row(rows, prediction(result)), _by_row(rows, feature)


def run_thin(unet: UNet2DConditionModel, call: Call, features: Mapping[int, Tensor]) -> ByRow:
    """The prediction of each row that a feature is given for."""
    rows = sorted(features)
    above = thin(unet, torch.stack([features[row] for row in rows]))
    return _by_row(rows, prediction(type(unet).forward(above, **_arguments(call, rows))))


def assembled(call: Call, predictions: Mapping[int, Tensor]) -> Any:
    """What the UNet returns, from the prediction of every row."""
    sample = torch.stack([predictions[row] for row in range(call.rows)])
    if not call.arguments.get("return_dict", True):
        return (sample,)
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

    return UNet2DConditionOutput(sample=sample)


def prediction(result: Any) -> Tensor:
    """The tensor [R, C, h, w] in what the UNet returned."""
    return result[0] if isinstance(result, tuple) else result.sample


def _arguments(call: Call, rows: Sequence[int]) -> dict[str, Any]:
    return dict(call.arguments) if len(rows) == call.rows else call.select(rows)


def _by_row(rows: Sequence[int], batch: Tensor) -> ByRow:
    return dict(zip(rows, batch, strict=True))
