"""Proves that the script which makes the embedded denoiser is what it says.

Pictures are made once and are the objects they claim to be; a batch tells the network what its shares say; training
learns, resumes with the same bits, and its files are whole; held-out objects stay out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from h3d.assets.make.denoiser import dataset as made
from h3d.assets.make.denoiser import testing, training
from h3d.assets.make.denoiser.batches import SHARES, draw_batch, latents_of
from h3d.assets.make.denoiser.dataset import PosedViews, open_dataset, picture_object
from h3d.assets.make.denoiser.testing import HeldOutOptions
from h3d.assets.make.denoiser.training import TrainingOptions
from h3d.models.diffusion import EmbeddedDenoiser
from h3d.models.diffusion.network import EmbeddedNetwork, NetworkConfig, pose_vector
from h3d.models.formats.errors import FormatError
from h3d.models.procedural import HELD_OUT, make_object, tokens_of

TINY = NetworkConfig(size=16, channels=(8, 16), attention=(False, True), layers=(1, 1), heads=2, text_width=16)
OPTIONS = TrainingOptions(steps=8, batch=4, warm_up=2, precision="float32")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Iterator[PosedViews]:
    folder = tmp_path_factory.mktemp("views")
    original = made.OBJECTS
    made.OBJECTS = 4
    yield open_dataset(folder, 8, 16)
    made.OBJECTS = original


def test_pictures_are_those_of_their_seeds_and_are_made_once(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(made, "OBJECTS", 2)
    first = open_dataset(tmp_path, 4, 16)
    pictures, tokens, poses = picture_object(3, 16)
    np.testing.assert_array_equal(first.pictures(np.array([3]), np.array([5]))[0], pictures[5])
    np.testing.assert_array_equal(first.poses[3], poses)
    np.testing.assert_array_equal(first.tokens[3], tokens_of(make_object(3).caption))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    open_dataset(tmp_path, 4, 16)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="is not of size 32; remove it"):
        open_dataset(tmp_path, 4, 32)


def test_test_objects_cannot_be_trained_on(tmp_path: Path):
    with pytest.raises(ValueError, match=f"from 1 to {HELD_OUT.start}"):
        open_dataset(tmp_path, 4 * HELD_OUT.start, 16)


def test_latents_put_the_object_before_grey():
    picture = np.array([[[[0, 0, 0, 0], [255, 128, 0, 255]]]], np.uint8)
    latents = latents_of(picture)[0, :, 0]
    np.testing.assert_allclose(latents[:, 0], [0, 0, 0, -1])
    np.testing.assert_allclose(latents[:, 1], [1, 0, -1, 1], atol=0.01)


def test_a_batch_tells_what_its_shares_say(dataset: PosedViews):
    batch = draw_batch(dataset, 4000, 1000, seed=0, step=0)
    seen = batch.reference.abs().amax(dim=(1, 2, 3)) > 0
    said = batch.tokens.sum(dim=1) > 0
    placed = batch.pose[:, 11] == 1.0
    assert torch.equal(seen, batch.pose[:, 10] == 1.0)
    found = [seen & ~said, seen & said, placed & said, placed & ~said, ~seen & ~placed & said, ~seen & ~placed & ~said]
    np.testing.assert_allclose([float(rows.float().mean()) for rows in found], SHARES, atol=0.03)
    assert batch.pose[found[5]].abs().max() == 0.0
    assert 0 <= batch.timesteps.min() < 20 and 980 < batch.timesteps.max() < 1000


def test_a_batch_pairs_pictures_with_their_poses(dataset: PosedViews):
    batch = draw_batch(dataset, 64, 1000, seed=1, step=7)
    rows = torch.nonzero(batch.pose[:, 11] == 1.0).flatten()
    for row in rows[:5].tolist():
        shown = [
            (o, v)
            for o in range(len(dataset))
            for v in range(made.VIEWS)
            if torch.equal(latents_of(dataset.pictures(np.array([o]), np.array([v])))[0], batch.latents[row])
        ]
        vectors = [pose_vector(torch.from_numpy(dataset.poses[o, v])[None], absolute=True)[0] for o, v in shown]
        assert any(torch.equal(vector, batch.pose[row]) for vector in vectors)


def test_a_run_that_is_resumed_has_the_same_bits(dataset: PosedViews, tmp_path: Path):
    whole = training.new_state(TINY, OPTIONS)
    losses = [step.loss for step in training.train(whole, dataset, OPTIONS)]
    half = training.new_state(TINY, OPTIONS)
    steps = training.train(half, dataset, OPTIONS)
    first = [next(steps).loss for _ in range(4)]
    training.save(half, OPTIONS, tmp_path)
    again, options = training.load(tmp_path, OPTIONS)
    assert again.step == 4 and options == OPTIONS
    assert first + [step.loss for step in training.train(again, dataset, options)] == losses
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
        assert torch.equal(whole.average[name], again.average[name]), name


def test_training_lowers_the_loss(dataset: PosedViews):
    options = TrainingOptions(steps=60, batch=16, warm_up=5, learning_rate=2e-3, precision="float32")
    losses = [step.loss for step in training.train(training.new_state(TINY, options), dataset, options)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path):
    training.save(training.new_state(TINY, OPTIONS), OPTIONS, tmp_path)
    path = tmp_path / training.CHECKPOINT
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FormatError, match="cannot be read as safetensors"):
        training.load(tmp_path, OPTIONS)


def test_the_rate_rises_stays_and_falls():
    options = TrainingOptions(steps=1000, warm_up=10, cool_down=0.2, learning_rate=1.0)
    rates = [options.rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == rates[800] == 1.0
    assert rates[900] == pytest.approx(0.5) and rates[-1] == pytest.approx(0.05)


def test_the_log_loses_what_will_be_written_again(tmp_path: Path):
    training.trim_log(tmp_path, 0)
    for step in (100, 200, 300):
        training.add_to_log(tmp_path, step, 1.0, 0.5)
    training.trim_log(tmp_path, 200)
    rows = (tmp_path / training.LOG).read_text().split()
    assert [row.split(",")[0] for row in rows] == ["step", "100", "200"]


def test_the_test_compares_with_copying_and_with_the_mean():
    torch.manual_seed(0)
    denoiser = EmbeddedDenoiser(EmbeddedNetwork(TINY))
    result = testing.run_held_out(denoiser, torch.full((4, 16, 16), 0.5), HeldOutOptions(objects=2, views=2, steps=2))
    assert set(result.numbers) == {
        *(f"{who}_{what}" for who in ("drawn", "copy", "mean") for what in ("psnr", "ssim")),
        *("drawn_iou", "copy_iou"),
    }
    assert 5.0 < result.numbers["copy_psnr"] < 40.0 and 0.2 < result.numbers["copy_iou"] < 1.0
    assert result.sheet.shape == (2 * 32, 3 * 16, 3)


def test_a_run_may_begin_with_a_denoiser_that_there_is(tmp_path: Path):
    before = training.new_state(TINY, TrainingOptions(seed=5))
    denoiser = EmbeddedDenoiser(before.network, {"steps": 70, "earlier_steps": 30})
    state = training.new_state(TINY, OPTIONS)
    assert any(
        not torch.equal(a, b) for a, b in zip(state.network.parameters(), before.network.parameters(), strict=True)
    )
    training.begin_with(state, denoiser)
    assert all(torch.equal(a, b) for a, b in zip(state.network.parameters(), before.network.parameters(), strict=True))
    assert all(torch.equal(value, state.network.state_dict()[name]) for name, value in state.average.items())
    training.save(state, OPTIONS, tmp_path)
    assert training.load(tmp_path, OPTIONS)[0].earlier_steps == 100
