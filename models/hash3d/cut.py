"""The cut through a UNet: everything below the input of the last up block's second resnet is what a hit skips.

Source: Hash3D (arXiv 2404.06091), section 4.1, which took it from DeepCache. Any stock diffusers
UNet2DConditionModel is cut without a fork: a hit runs the class's own forward on a thin copy of the model that shares
every parameter and has one down block (without what its last up block does not read), a "mid block" that returns the
feature, and one up block (without its first resnet). Time, class and added embeddings, masks and the ends of the
network are therefore the model's own code in whatever version is installed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

DOWN = ("DownBlock2D", "CrossAttnDownBlock2D")
UP = ("UpBlock2D", "CrossAttnUpBlock2D")
WITHOUT_FEATURES = (
    "down_block_additional_residuals",
    "mid_block_additional_residual",
    "down_intrablock_additional_residuals",
)
"""Arguments whose effect a cached feature would freeze."""


def check_cut(unet: nn.Module) -> None:
    """Whether this model can be cut.

    Raises:
        TypeError: it is no UNet2DConditionModel.
        ValueError: its outer blocks are of another kind or too short, or its forward was replaced; the sentence says.
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    if not isinstance(unet, UNet2DConditionModel):
        raise TypeError(
            f"Hash3D wraps a diffusers UNet2DConditionModel, not a {type(unet).__name__}; give pipeline.unet, "
            "not the pipeline or a compiled module"
        )
    if "forward" in vars(unet):
        raise ValueError(
            "this UNet's forward is already replaced, by another Hash3D or by an offloading hook; leave that first"
        )
    down, up = unet.down_blocks[0], unet.up_blocks[-1]
    for block, kinds in ((down, DOWN), (up, UP)):
        if type(block).__name__ not in kinds:
            raise ValueError(f"the UNet's outer block is a {type(block).__name__}; Hash3D cuts {' and '.join(kinds)}")
    if unet.config["addition_embed_type"] == "image_hint":
        raise ValueError("addition_embed_type is image_hint, whose hint joins the latent; Hash3D does not cache it")


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raises ValueError where a call of the UNet has arguments that a cached feature would hide."""
    for name in WITHOUT_FEATURES:
        if arguments.get(name) is not None:
            raise ValueError(
                f"{name} changes what is below the cut, which Hash3D reuses; call the UNet outside of it or paused"
            )


def capturing(unet: UNet2DConditionModel, forward: Callable[[], Any]) -> tuple[Any, Tensor]:
    """Result of a full pass, and the feature [B, C, h, w] that entered the last up block's second resnet."""
    captured: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        # A copy: FreeU writes into what it gets.
        captured.append((output if isinstance(output, Tensor) else output[0]).detach().clone())

    handle = _first_layer(unet.up_blocks[-1]).register_forward_hook(keep)
    try:
        result = forward()
    finally:
        handle.remove()
    if len(captured) != 1:
        raise RuntimeError(f"the last up block ran {len(captured)} times in one pass of the UNet; it must run once")
    return result, captured[0]


def thin(unet: UNet2DConditionModel, feature: Tensor) -> UNet2DConditionModel:
    """A copy that shares all parameters and computes only what is above the cut, from a feature [B, C, h, w].

    It is made anew for every pass, in microseconds, so that whatever was changed in the model is in it.
    """
    count = _layers(unet.up_blocks[-1]) - 1
    down = _with_modules(unet.down_blocks[0], {"downsamplers": None})
    # The second resnet reads the last but one of the down block's outputs, the last one reads conv_in's.
    _keep_layers(down, slice(0, count - 1))
    up = _with_modules(unet.up_blocks[-1], {})
    _keep_layers(up, slice(1, None))
    parts: dict[str, nn.Module | None] = {
        "down_blocks": nn.ModuleList([down] if count > 1 else []),
        "mid_block": _Recalled(feature),
        "up_blocks": nn.ModuleList([up]),
    }
    return _with_modules(unet, parts)


class _Recalled(nn.Module):
    """Stands for all that is below the cut: gives back its result of an earlier pass."""

    has_cross_attention = False

    def __init__(self, feature: Tensor):
        super().__init__()
        self.feature = feature

    def forward(self, sample: Tensor, emb: Tensor) -> Tensor:
        return self.feature


def _first_layer(block: nn.Module) -> nn.Module:
    """Whose output is the cut."""
    layers = block.attentions if hasattr(block, "attentions") else block.resnets
    assert isinstance(layers, nn.ModuleList)
    return layers[0]


def _layers(block: nn.Module) -> int:
    assert isinstance(block.resnets, nn.ModuleList)
    return len(block.resnets)


def _keep_layers(block: nn.Module, layers: slice) -> None:
    for name in ("resnets", "attentions"):
        if hasattr(block, name):
            block._modules[name] = nn.ModuleList(list(getattr(block, name))[layers])


def _with_modules(module: Any, parts: Mapping[str, nn.Module | None]) -> Any:
    """A shallow copy with some children replaced; the original keeps its own."""
    other = copy.copy(module)
    other._modules = dict(module._modules)
    other._modules.update(parts)
    for name in parts:
        vars(other).pop(name, None)  # Where a part was None from the start, it is a plain attribute that would win.
    return other
