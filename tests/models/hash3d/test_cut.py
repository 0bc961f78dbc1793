"""Proves the cut: a hit given its own freshly captured feature is the full pass, bit for bit, whatever the UNet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_unets import ATTENTION_INSIDE, tiny_inputs, tiny_unet
from torch import nn

from h3d.models.hash3d.cut import capturing, check_arguments, check_cut, thin

SHAPES: dict[str, dict[str, Any]] = {
    "attention outside, 1 layer": {"layers_per_block": 1},
    "attention outside, 2 layers": {},
    "attention outside, 3 layers": {"layers_per_block": 3},
    "attention inside, 1 layer": ATTENTION_INSIDE | {"layers_per_block": 1},
    "attention inside, 2 layers": ATTENTION_INSIDE,
    "attention inside, 3 layers": ATTENTION_INSIDE | {"layers_per_block": 3},
    "attention above only": {"up_block_types": ("UpBlock2D", "UpBlock2D")},
    "different layers": {"layers_per_block": (2, 1)},
    "one level": {
        "block_out_channels": (16,),
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
    },
    "projected class": {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4},
    "simply projected class": {"class_embed_type": "simple_projection", "projection_class_embeddings_input_dim": 4},
    "class of a timestep": {"class_embed_type": "timestep"},
    "numbered class": {"num_class_embeds": 7},
    "joined class": {"num_class_embeds": 7, "class_embeddings_concat": True},
    "timestep condition": {"time_cond_proj_dim": 6},
    "text and time": {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 56,
    },
    "activated time": {"time_embedding_act_fn": "silu"},
    "image joined": {"in_channels": 8},
    "scale and shift": {"resnet_time_scale_shift": "scale_shift"},
    "centred": {"center_input_sample": True},
    "no middle": {"mid_block_type": None},
    "transformers of two layers": {"transformer_layers_per_block": 2, "use_linear_projection": True},
}


def assert_hit_is_full(unet: Any, arguments: dict[str, Any]) -> None:
    with torch.no_grad():
        result, feature = capturing(unet, lambda: unet(**arguments))
        hit = type(unet).forward(thin(unet, feature), **arguments)
    assert torch.equal(hit.sample, result.sample)
    assert result.sample.std() > 0


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_a_hit_with_its_own_feature_is_the_full_pass(shape: dict[str, Any]):
    unet = tiny_unet(**shape)
    check_cut(unet)
    assert_hit_is_full(unet, tiny_inputs(unet, rows=3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_in_other_precisions_too(dtype: torch.dtype):
    unet = tiny_unet().to(dtype)
    assert_hit_is_full(unet, tiny_inputs(unet))


@pytest.mark.parametrize("name", ["attention_mask", "encoder_attention_mask"])
def test_with_masks_of_attention(name: str):
    unet = tiny_unet()
    arguments = tiny_inputs(unet)
    if name == "attention_mask":
        # It is as long as the pixels of a level: one level of 8 x 8.
        unet = tiny_unet(**SHAPES["one level"])
        arguments[name] = torch.ones(2, 64)
        arguments[name][:, 40:] = 0
    else:
        arguments[name] = torch.tensor([[1.0, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    assert_hit_is_full(unet, arguments)


def test_sizes_that_do_not_halve_evenly():
    unet = tiny_unet()
    assert_hit_is_full(unet, tiny_inputs(unet, size=9))


def test_freeu_on():
    unet = tiny_unet()
    unet.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    assert_hit_is_full(unet, tiny_inputs(unet))


def test_a_hit_depends_on_the_feature_and_on_what_is_fresh():
    # The equality above would prove nothing if either were ignored.
    unet = tiny_unet()
    arguments = tiny_inputs(unet)
    with torch.no_grad():
        result, feature = capturing(unet, lambda: unet(**arguments))
        other_feature = type(unet).forward(thin(unet, feature + 1), **arguments).sample
        for name in ("sample", "timestep", "encoder_hidden_states"):
            other = type(unet).forward(thin(unet, feature), **(arguments | {name: arguments[name] + 1})).sample
            assert not torch.allclose(other, result.sample)
    assert not torch.allclose(other_feature, result.sample)


def test_a_hit_runs_only_what_is_above_the_cut():
    unet = tiny_unet()
    arguments = tiny_inputs(unet)
    with torch.no_grad():
        _, feature = capturing(unet, lambda: unet(**arguments))
        ran: list[str] = []
        handles = [
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
            for name, module in unet.named_modules()
            if isinstance(module, nn.Conv2d) or name.count(".") == 3 and "attentions" in name
        ]
        type(unet).forward(thin(unet, feature), **arguments)
    for handle in handles:
        handle.remove()
    blocks = {name.rsplit(".", 1)[0] if "conv" in name and "." in name else name for name in ran}
    resnets = {name for name in blocks if "resnets" in name}
    assert resnets == {"down_blocks.0.resnets.0", "up_blocks.1.resnets.1", "up_blocks.1.resnets.2"}


def test_cutting_leaves_the_model_as_it_was():
    unet = tiny_unet()
    before = [(name, id(module)) for name, module in unet.named_modules()]
    arguments = tiny_inputs(unet)
    with torch.no_grad():
        _, feature = capturing(unet, lambda: unet(**arguments))
        type(unet).forward(thin(unet, feature), **arguments)
    assert [(name, id(module)) for name, module in unet.named_modules()] == before
    assert len(unet.up_blocks[-1].attentions[0]._forward_hooks) == 0


def test_the_hook_goes_when_the_pass_fails():
    unet = tiny_unet()

    def broken() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        capturing(unet, broken)
    assert len(unet.up_blocks[-1].attentions[0]._forward_hooks) == 0


def test_what_cannot_be_cut_is_refused_with_a_sentence():
    with pytest.raises(TypeError, match="wraps a diffusers UNet2DConditionModel, not a Linear"):
        check_cut(nn.Linear(1, 1))
    simple = tiny_unet(
        down_block_types=("SimpleCrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "SimpleCrossAttnUpBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
    )
    with pytest.raises(ValueError, match="the UNet's outer block is a SimpleCrossAttnDownBlock2D"):
        check_cut(simple)
    with pytest.raises(ValueError, match="mid_block_additional_residual changes what is below the cut"):
        check_arguments({"mid_block_additional_residual": torch.zeros(1)})
