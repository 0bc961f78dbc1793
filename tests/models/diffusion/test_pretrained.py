"""Proves that folders in diffusers' layout load with stock classes and say what their denoisers are told.

Stable Diffusion and Zero123 of a few thousand random weights stand in for the real ones: the layout, the names and
the numbers that go into the UNet are theirs. A folder that is absent, incomplete, damaged or of another model is one
sentence that says what to give.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers", reason="pretrained denoisers are an extra: pip install 'h3d-view[pretrained]'")

from h3d.models.diffusion import (
    Denoiser,
    Reference,
    StableDiffusion,
    Subject,
    WeightsError,
    Zero123,
    load_stable_diffusion,
    load_zero123,
    sample,
)
from h3d.models.diffusion.stable_diffusion import VIEW_WORDS, view_indices
from h3d.models.diffusion.zero123 import pose_numbers

sys.path.insert(0, str(Path(__file__).parent))
from tiny_folders import EMBEDDING, write_stable_diffusion, write_zero123  # noqa: E402

POSES = torch.tensor([[10.0, 0.0, 2.0], [190.0, 20.0, 2.0]])


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory) -> Path:
    return write_stable_diffusion(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def view_folder(tmp_path_factory) -> Path:
    return write_zero123(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def text_denoiser(text_folder) -> StableDiffusion:
    return load_stable_diffusion(text_folder)


@pytest.fixture(scope="module")
def view_denoiser(view_folder) -> Zero123:
    return load_zero123(view_folder)


@pytest.fixture(scope="module")
def reference() -> Reference:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.zeros(1, 32, 32)
    alpha[:, 8:24, 8:24] = 1.0
    return Reference(torch.rand(3, 32, 32, generator=generator), alpha, (20.0, 30.0, 1.8))


def _linear_in_guidance(denoiser: Denoiser, subject: Subject) -> None:
    seen = denoiser.describe(subject)
    latents = torch.randn(2, *denoiser.latent_shape, generator=torch.Generator().manual_seed(3))
    timesteps = torch.tensor([100, 900])
    at = {s: denoiser.predict_noise(latents, timesteps, seen, POSES, s) for s in (0.0, 1.0, 7.5)}
    assert (at[1.0] - at[0.0]).abs().max() > 1e-6
    torch.testing.assert_close(at[7.5], at[0.0] + 7.5 * (at[1.0] - at[0.0]), rtol=1e-3, atol=1e-4)


def test_guidance_is_linear_with_words(text_denoiser):
    _linear_in_guidance(text_denoiser, Subject(prompt="a red mug"))


def test_guidance_is_linear_with_a_picture(view_denoiser, reference):
    _linear_in_guidance(view_denoiser, Subject(reference=reference))


def test_v_prediction_gives_the_noise_that_v_means(tmp_path: Path, text_denoiser):
    v_denoiser = load_stable_diffusion(write_stable_diffusion(tmp_path, "v_prediction"))
    latents, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([100, 900])
    out, noise = (
        d.predict_noise(latents, timesteps, d.describe(Subject(prompt="a mug")), POSES, 1.0)
        for d in (text_denoiser, v_denoiser)
    )
    expected = v_denoiser.schedule.noise_from_v(out, latents, timesteps)
    torch.testing.assert_close(noise, expected, rtol=1e-4, atol=1e-4)


def test_words_say_which_side_the_camera_is_on(text_denoiser):
    poses = torch.tensor([[0, 0, 2], [-44, 0, 2], [316, 0, 2], [90, 0, 2], [180, 0, 2], [-136, 0, 2], [0, 61.0, 2]])
    assert [VIEW_WORDS[k].split()[0] for k in view_indices(poses)] == [
        *("front", "front", "front", "side", "back", "back", "overhead")
    ]
    seen = text_denoiser.describe(Subject(prompt="a mug"))
    known, unknown = text_denoiser.inputs(seen, poses)
    torch.testing.assert_close(known.tokens[3], text_denoiser.describe(Subject(prompt="a mug")).views[1])
    assert (known.tokens[0] - known.tokens[3]).abs().max() > 1e-4
    torch.testing.assert_close(unknown.tokens[0], unknown.tokens[-1])


def test_pose_numbers_are_those_of_zero123():
    target, seen = torch.tensor([[50.0, 10.0, 2.1]]), torch.tensor([[20.0, 30.0, 1.8]])
    risen, turned = math.radians(20.0), math.radians(30.0)  # A lower camera has a larger polar angle.
    expected = [risen, math.sin(turned), math.cos(turned)]
    np.testing.assert_allclose(pose_numbers(target, seen, "zero123")[0], [*expected, 0.3], atol=1e-6)
    stable = pose_numbers(target, seen, "stable-zero123")[0]
    np.testing.assert_allclose(stable, [*expected, math.radians(60.0)], atol=1e-6)


def test_the_condition_is_the_unscaled_mean_over_white_and_zeros_without(view_denoiser, reference):
    known, unknown = view_denoiser.inputs(view_denoiser.describe(Subject(reference=reference)), POSES)
    white = reference.rgb * reference.alpha + 1.0 - reference.alpha
    picture = torch.nn.functional.interpolate(white[None], (16, 16), mode="bilinear", antialias=True)
    mean = view_denoiser.parts.vae.encode(2.0 * picture - 1.0).latent_dist.mean
    torch.testing.assert_close(known.channels, mean.expand(2, -1, -1, -1))
    assert known.tokens.shape == (2, 1, EMBEDDING)
    assert (known.tokens[0] - known.tokens[1]).abs().max() > 1e-3
    assert unknown.tokens.abs().max() == 0.0 and unknown.channels.abs().max() == 0.0
    latents = view_denoiser.encode(white[None], reference.alpha[None])
    torch.testing.assert_close(latents, 0.18215 * mean)


def test_encoding_carries_gradients_and_decoding_gives_pictures(text_denoiser):
    rgb = torch.rand(1, 3, 64, 64, requires_grad=True)
    latents = text_denoiser.encode(rgb, torch.ones(1, 1, 64, 64))
    assert latents.shape == (1, *text_denoiser.latent_shape)
    latents.sum().backward()
    assert rgb.grad is not None and rgb.grad.abs().max() > 0.0
    picture, cover = text_denoiser.decode(latents.detach())
    assert picture.shape == (1, 3, 16, 16) and cover is None


@pytest.mark.parametrize(("part", "layer"), [("clip_camera_projection", "proj"), ("cc_projection", "projection")])
def test_both_layouts_of_the_projection_load(tmp_path: Path, part: str, layer: str, reference):
    denoiser = load_zero123(write_zero123(tmp_path / "stable-zero123", part, layer))
    assert denoiser.kind == "stable-zero123"
    drawn = sample(denoiser, denoiser.describe(Subject(reference=reference)), POSES, steps=2)
    assert bool(torch.isfinite(drawn).all())


def test_half_precision_files_load_too(view_folder: Path, tmp_path: Path):
    folder = tmp_path / "half"
    shutil.copytree(view_folder, folder)
    for path in list(folder.glob("unet/*.safetensors")):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert load_zero123(folder).kind == "zero123"


def test_a_subject_of_the_wrong_kind_is_one_sentence(text_denoiser, view_denoiser, reference):
    with pytest.raises(ValueError, match="reads a prompt and there is none"):
        text_denoiser.describe(Subject(reference=reference))
    with pytest.raises(ValueError, match="needs a reference picture"):
        view_denoiser.describe(Subject(prompt="a mug"))


def _copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_an_absent_folder_says_what_to_give(tmp_path: Path):
    with pytest.raises(
        WeightsError, match=r"no such folder for Stable Diffusion; give a folder in diffusers layout with"
    ):
        load_stable_diffusion(tmp_path / "nowhere")


def test_a_missing_part_is_named(view_folder: Path, tmp_path: Path):
    folder = _copy(view_folder, tmp_path / "a")
    shutil.rmtree(folder / "clip_camera_projection")
    with pytest.raises(WeightsError, match="needs clip_camera_projection or cc_projection"):
        load_zero123(folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(WeightsError, match="Zero123 needs vae"):
        load_zero123(folder)


def test_pickles_are_not_read(view_folder: Path, tmp_path: Path):
    folder = _copy(view_folder, tmp_path / "a")
    for path in folder.glob("unet/*.safetensors"):
        path.rename(path.with_suffix(".bin"))
    with pytest.raises(WeightsError, match="a pickle, which is never read; convert the model to safetensors"):
        load_zero123(folder)


def test_a_damaged_network_is_one_sentence(view_folder: Path, tmp_path: Path):
    folder = _copy(view_folder, tmp_path / "a")
    path = next(folder.glob("unet/*.safetensors"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="unet: no UNet2DConditionModel loads from it"):
        load_zero123(folder)


def test_a_folder_of_the_other_model_is_one_sentence(text_folder: Path, tmp_path: Path, view_folder: Path):
    mixed = _copy(view_folder, tmp_path / "mixed")
    shutil.rmtree(mixed / "unet")
    shutil.copytree(text_folder / "unet", mixed / "unet")
    with pytest.raises(WeightsError, match="takes 4 channels and gives 4, so no reference fits"):
        load_zero123(mixed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"beta_schedule": "linear"}, "only 'scaled_linear'"),
        ({"prediction_type": "sample"}, "must be 'epsilon' or 'v_prediction'"),
        ({"beta_start": "x"}, "must be numbers"),
    ],
)
def test_another_scheduler_is_one_sentence(text_folder: Path, tmp_path: Path, change: dict, said: str):
    folder = _copy(text_folder, tmp_path / "a")
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(WeightsError, match=said):
        load_stable_diffusion(folder)
