"""Proves the embedded denoiser's protocol on a small network with random weights, and its files.

Guidance is linear; leaving out a picture or words gives the unconditional prediction; poses count relative to the
reference; what feature reuse computes again is a small part of the network that is shipped; files come back as they
were, and a missing or damaged one is one sentence.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from h3d.models.diffusion import EmbeddedDenoiser, Reference, Subject, load_embedded, sample
from h3d.models.diffusion.embedded import write_embedded
from h3d.models.diffusion.network import POSE_DIMENSIONS, EmbeddedNetwork, NetworkConfig, pose_vector
from h3d.models.formats.errors import FormatError
from h3d.models.procedural import MAX_TOKENS, UnknownWords

TINY = NetworkConfig(size=16, channels=(8, 16), attention=(False, True), layers=(1, 1), heads=2, text_width=16)
PROMPT = "a red mug with blue stripes"


@pytest.fixture(scope="module")
def denoiser() -> EmbeddedDenoiser:
    torch.manual_seed(0)
    network = EmbeddedNetwork(TINY)
    for parameter in network.parameters():
        # Layers that begin at 0 or 1 would hide what is wired to them.
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    return EmbeddedDenoiser(network)


@pytest.fixture(scope="module")
def reference() -> Reference:
    generator = torch.Generator().manual_seed(1)
    return Reference(torch.rand(3, 16, 16, generator=generator), torch.ones(1, 16, 16), (30.0, 10.0, 2.0))


@pytest.fixture(scope="module")
def noisy() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    poses = torch.tensor([[60.0, 20.0, 2.0], [200.0, 0.0, 2.1], [330.0, 45.0, 1.9]])
    return torch.randn(3, 4, 16, 16, generator=generator), torch.tensor([20, 500, 980]), poses


def test_predictions_have_the_shape_of_the_latents_and_repeat(denoiser, reference, noisy):
    latents, timesteps, poses = noisy
    seen = denoiser.describe(Subject(reference=reference))
    first = denoiser.predict_noise(latents, timesteps, seen, poses, 2.0)
    assert first.shape == latents.shape and bool(torch.isfinite(first).all())
    torch.testing.assert_close(first, denoiser.predict_noise(latents, timesteps, seen, poses, 2.0), rtol=0, atol=0)


@pytest.mark.parametrize("prompt", [None, PROMPT])
def test_guidance_is_a_linear_combination(denoiser, reference, noisy, prompt):
    latents, timesteps, poses = noisy
    seen = denoiser.describe(Subject(prompt=prompt, reference=reference))
    at = {s: denoiser.predict_noise(latents, timesteps, seen, poses, s) for s in (0.0, 1.0, 3.5)}
    assert (at[1.0] - at[0.0]).abs().max() > 1e-3
    torch.testing.assert_close(at[3.5], at[0.0] + 3.5 * (at[1.0] - at[0.0]), rtol=1e-4, atol=1e-4)


def test_without_guidance_the_subject_does_not_count(denoiser, reference, noisy):
    latents, timesteps, poses = noisy
    other = Reference(1.0 - reference.rgb, reference.alpha, (0.0, 40.0, 2.2))
    a, b = (denoiser.describe(Subject(reference=r)) for r in (reference, other))
    torch.testing.assert_close(
        denoiser.predict_noise(latents, timesteps, a, poses, 0.0),
        denoiser.predict_noise(latents, timesteps, b, poses, 0.0),
    )
    assert (
        denoiser.predict_noise(latents, timesteps, a, poses, 1.0)
        - denoiser.predict_noise(latents, timesteps, b, poses, 1.0)
    ).abs().max() > 1e-3


def test_what_is_left_out_is_what_was_left_out_in_training(denoiser, reference, noisy):
    _, _, poses = noisy
    known, unknown = denoiser.inputs(denoiser.describe(Subject(reference=reference)), poses)
    assert unknown.channels.abs().max() == 0.0 and unknown.labels.abs().max() == 0.0
    assert known.labels[:, 10].eq(1.0).all() and known.labels[:, 11].eq(0.0).all()
    torch.testing.assert_close(known.tokens, unknown.tokens)
    known, unknown = denoiser.inputs(denoiser.describe(Subject(prompt=PROMPT)), poses)
    assert known.channels.abs().max() == 0.0
    torch.testing.assert_close(known.labels, unknown.labels)
    assert (known.tokens - unknown.tokens).abs().max() > 1e-3


def test_rows_of_a_batch_do_not_touch_one_another(denoiser, reference, noisy):
    latents, timesteps, poses = noisy
    seen = denoiser.describe(Subject(reference=reference))
    together = denoiser.predict_noise(latents, timesteps, seen, poses, 2.0)
    for k in range(3):
        rows = slice(k, k + 1)
        alone = denoiser.predict_noise(latents[rows], timesteps[rows], seen, poses[rows], 2.0)
        torch.testing.assert_close(together[rows], alone, rtol=1e-4, atol=1e-4)


def test_poses_count_relative_to_the_reference_and_wrap():
    target, seen = torch.tensor([[350.0, 20.0, 2.1]]), torch.tensor([[10.0, 5.0, 2.0]])
    vector = pose_vector(target, seen)[0]
    turned, risen = math.radians(-20.0), math.radians(15.0)
    expected = [math.sin(turned), math.cos(turned), risen, 0.1, math.radians(5.0), 0.0, 0, 0, 0, 0, 1, 0]
    np.testing.assert_allclose(vector, expected, atol=1e-6)
    shifted = pose_vector(target + torch.tensor([[360.0, 0, 0]]), seen)[0]
    torch.testing.assert_close(vector, shifted, rtol=0, atol=1e-5)
    assert pose_vector(target, absolute=True).shape == (1, POSE_DIMENSIONS)


def test_encoding_goes_back_and_carries_gradients(denoiser):
    rgb = torch.rand(2, 3, 16, 16, requires_grad=True)
    alpha = torch.rand(2, 1, 16, 16, requires_grad=True)
    latents = denoiser.encode(rgb, alpha)
    back, cover = denoiser.decode(latents.detach())
    torch.testing.assert_close(back, rgb.detach())
    torch.testing.assert_close(cover, alpha.detach())
    latents.sum().backward()
    assert rgb.grad is not None and alpha.grad is not None and alpha.grad.eq(2.0).all()


def test_larger_pictures_are_averaged_down(denoiser):
    rgb, alpha = torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    latents = denoiser.encode(rgb, alpha)
    expected = 2.0 * rgb.reshape(1, 3, 16, 4, 16, 4).mean(dim=(3, 5)) - 1.0
    torch.testing.assert_close(latents[:, :3], expected)


def test_samples_repeat_by_their_seed(denoiser, reference):
    seen = denoiser.describe(Subject(reference=reference))
    poses = torch.tensor([[0.0, 0.0, 2.0]])
    a, b, c = (sample(denoiser, seen, poses, steps=3, seed=seed) for seed in (0, 0, 1))
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert (a - c).abs().max() > 1e-2
    with pytest.raises(ValueError, match="steps is 0; it must be from 1 to 1000"):
        sample(denoiser, seen, poses, steps=0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Subject, "neither a prompt nor a reference picture"),
        (lambda: Subject(prompt="  "), "the prompt is empty"),
        (lambda: Reference(torch.rand(3, 8, 9), torch.rand(1, 8, 9), (0, 0, 2)), "9 x 8 pixels; it must be square"),
        (lambda: Reference(torch.rand(3, 8, 8), torch.rand(8, 8), (0, 0, 2)), r"alpha \[1, H, W\]"),
    ],
)
def test_a_subject_that_cannot_be_is_one_sentence(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_arguments_that_do_not_fit_are_one_sentence(denoiser, reference, noisy):
    latents, timesteps, poses = noisy
    seen = denoiser.describe(Subject(reference=reference))
    with pytest.raises(ValueError, match=r"latents are \[3, 3, 16, 16\]"):
        denoiser.predict_noise(latents[:, :3], timesteps, seen, poses, 1.0)
    with pytest.raises(ValueError, match=r"need timesteps \[3\] and poses \[3, 3\]"):
        denoiser.predict_noise(latents, timesteps[:2], seen, poses, 1.0)
    with pytest.raises(ValueError, match="poses must be finite"):
        denoiser.predict_noise(latents, timesteps, seen, poses * float("nan"), 1.0)
    with pytest.raises(UnknownWords, match="'dragon'"):
        denoiser.describe(Subject(prompt="a dragon"))


def test_a_file_comes_back_as_it_was(denoiser, tmp_path: Path, noisy):
    path = tmp_path / "denoiser.safetensors"
    write_embedded(denoiser.network, {"steps": 3}, path)
    again = load_embedded(path)
    assert again.record == {"steps": 3} and again.network.config == TINY
    latents, timesteps, poses = noisy
    seen, seen_again = (one.describe(Subject(prompt=PROMPT)) for one in (denoiser, again))
    torch.testing.assert_close(
        denoiser.predict_noise(latents, timesteps, seen, poses, 1.0),
        again.predict_noise(latents, timesteps, seen_again, poses, 1.0),
        rtol=0.0,
        atol=0.03,
    )


def test_a_missing_or_damaged_file_is_one_sentence(denoiser, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"weights are not there; .*h3d.assets.make.denoiser"):
        load_embedded(tmp_path / "nothing.safetensors")
    path = tmp_path / "denoiser.safetensors"
    write_embedded(denoiser.network, {}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match="cannot be read as safetensors"):
        load_embedded(path)
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + length])
    ours = json.loads(header["__metadata__"]["h3d"])
    for change, said in (({"network": {"size": 16, "channels": [8, 24]}}, "do not fit"), ({"vocabulary": []}, "vocab")):
        header["__metadata__"]["h3d"] = json.dumps(ours | change)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length :])
        with pytest.raises(FormatError, match=said):
            load_embedded(path)


def test_a_hit_of_the_feature_cache_costs_at_most_a_fifth_of_the_shipped_network():
    counts = _multiply_adds(EmbeddedNetwork(NetworkConfig()).unet)
    last = len(NetworkConfig().channels) - 1
    again = ["conv_in", "conv_out", "time_embedding", "class_embedding"]
    again += [f"down_blocks.0.resnets.{k}" for k in range(NetworkConfig().layers[0] - 1)]
    again += [f"up_blocks.{last}.resnets.{k}" for k in range(1, NetworkConfig().layers[0] + 1)]
    hit = sum(n for name, n in counts.items() if any(name == a or name.startswith(f"{a}.") for a in again))
    assert hit <= 0.2 * sum(counts.values())


def _multiply_adds(unet) -> dict[str, int]:
    """Of convolutions and linear layers for one picture."""
    counts: dict[str, int] = {}

    def watch(name):
        def count(module, _, out):
            each = module.weight[0].numel()
            counts[name] = counts.get(name, 0) + out.numel() * each

        return count

    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    hooks = [m.register_forward_hook(watch(name)) for name, m in unet.named_modules() if isinstance(m, kinds)]
    size, width = NetworkConfig().size, NetworkConfig().text_width
    with torch.no_grad():
        unet(
            torch.zeros(1, 8, size, size),
            torch.tensor([5]),
            torch.zeros(1, MAX_TOKENS, width),
            class_labels=torch.zeros(1, POSE_DIMENSIONS),
        )
    for hook in hooks:
        hook.remove()
    return counts
