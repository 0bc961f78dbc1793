"""Proves the cache around a UNet in a person's own loop: what is reused, what is not, and that it leaves no trace."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_unets import ATTENTION_INSIDE, tiny_inputs, tiny_unet

from h3d.models.hash3d import Config, Grid, Hash3D
from h3d.models.hash3d.warp import Sight


@pytest.fixture(scope="module")
def unet() -> Any:
    return tiny_unet()


def inputs(unet: Any, elements: int, seed: int, parts: int = 2, timestep: int = 500) -> dict[str, Any]:
    """A call with guidance: noise that differs from seed to seed, a prompt that does not."""
    arguments = tiny_inputs(unet, rows=parts * elements)
    noise = torch.randn(elements, *arguments["sample"].shape[1:], generator=torch.Generator().manual_seed(seed))
    prompt = arguments["encoder_hidden_states"][:parts].repeat_interleave(elements, dim=0)
    return {"sample": noise.repeat(parts, 1, 1, 1), "timestep": timestep, "encoder_hidden_states": prompt}


@torch.no_grad()
def look(cache: Hash3D, arguments: dict[str, Any], *azimuths: float, elevation: float = 0.0) -> torch.Tensor:
    cache.set_camera(azimuth_degrees=azimuths, elevation_degrees=elevation, radius=2.0)
    return cache.unet(**arguments).sample


@torch.no_grad()
def plain(unet: Any, arguments: dict[str, Any]) -> torch.Tensor:
    return unet(**arguments).sample


def test_with_eta_0_and_when_off_the_outputs_are_those_of_the_unet_bit_for_bit(unet: Any):
    for config in (Config(eta=0.0), Config(reuse="off")):
        with Hash3D(unet, config) as cache:
            for seed in range(3):
                arguments = inputs(unet, 2, seed)
                found = look(cache, arguments, 10.0, 12.0)
                with cache.paused():
                    assert torch.equal(found, plain(unet, arguments))
        assert cache.passes.full_passes == 3
        assert cache.passes.bypassed == 3


def test_the_same_latent_from_the_same_camera_is_the_full_pass_again(unet: Any):
    arguments = inputs(unet, 1, 0)
    with Hash3D(unet, Config(eta=1.0)) as cache:
        first, second = look(cache, arguments, 10.0), look(cache, arguments, 10.0)
        assert [looked.hit for looked in cache.last] == [True]
    assert torch.equal(first, second)
    assert (cache.passes.full_passes, cache.passes.hit_passes) == (1, 1)
    assert cache.passes.full_share == 0.5


def test_noise_reuse_gives_the_stored_prediction_and_runs_nothing(unet: Any):
    with Hash3D(unet, Config(eta=1.0, reuse="noise")) as cache:
        first = look(cache, inputs(unet, 1, 0), 10.0)
        ran: list[int] = []
        handle = unet.conv_in.register_forward_hook(lambda *_: ran.append(1))
        second = look(cache, inputs(unet, 1, 1), 11.0)
        handle.remove()
    assert torch.equal(first, second)
    assert ran == []


@pytest.mark.parametrize("layout", ["blocks", "interleaved"])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_elements_of_a_batch_hit_and_miss_by_themselves(unet: Any, layout: Any, parts: int):
    # Three elements: the first and last were seen; each must come out as if it were alone.
    config = Config(eta=1.0, rows_per_element=parts, layout=layout)
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    prompts = torch.randn(parts, 5, 16, generator=torch.Generator().manual_seed(2))

    def batch(elements: list[int]) -> dict[str, Any]:
        sample, prompt = latents[elements], prompts
        if layout == "blocks":
            rows = {"sample": sample.repeat(parts, 1, 1, 1), "text": prompt.repeat_interleave(len(elements), 0)}
        else:
            rows = {"sample": sample.repeat_interleave(parts, 0), "text": prompt.repeat(len(elements), 1, 1)}
        return {"sample": rows["sample"], "timestep": 100, "encoder_hidden_states": rows["text"]}

    with Hash3D(unet, config) as cache:
        look(cache, batch([0]), 0.0)
        look(cache, batch([2]), 200.0)
        mixed = look(cache, batch([0, 1, 2]), 0.0, 100.0, 200.0)
        assert [looked.hit for looked in cache.last] == [True, False, True]
        assert (cache.passes.full_elements, cache.passes.hit_elements) == (3, 2)
    torch.testing.assert_close(mixed, plain(unet, batch([0, 1, 2])), rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_reused_entry_lies_in_the_cell_of_its_query_whatever_changes_in_mid_run(unet: Any, data: st.DataObject):
    poses = st.tuples(
        st.sampled_from([-180, -179.9, -1, 0, 1, 44.9, 45, 179.9, 180, 359]), st.sampled_from([-90, 0, 90])
    )
    changes = st.sampled_from(
        [
            {},
            {"grids": (Grid(),)},
            {"grids": (Grid(100.0, 50.0, 0.3, 1000.0),)},
            {"grids": (Grid(10.0, 10.0), Grid(90.0, 90.0))},
            {"queue": 1},
            {"queue": 3},
            {"budget_bytes": 40_000},
            {"max_age": 2},
            {"weighting": "nearest"},
        ]
    )
    with Hash3D(unet, Config(eta=1.0, rows_per_element=1)) as cache:
        for step in range(data.draw(st.integers(1, 12))):
            cache.change(**data.draw(changes))
            azimuth, elevation = data.draw(poses)
            key = (float(azimuth), float(elevation), 2.0, float(data.draw(st.sampled_from([0, 249, 250, 999]))))
            seen: list[Any] = []
            lookup = cache.table.lookup
            cache.table.lookup = lambda *a, seen=seen, lookup=lookup: seen.append(lookup(*a)) or seen[-1]  # type: ignore
            look(cache, inputs(unet, 1, step, parts=1, timestep=int(key[3])), azimuth, elevation=elevation)
            cache.table.lookup = lookup  # type: ignore[method-assign]
            for answer in [a for a in seen if a is not None]:
                grid = cache.config.grids[answer.grid]
                assert {grid.cell(entry.key) for entry in answer.entries} == {grid.cell(key)}
        totals = cache.statistics().totals
    assert totals["tries"] == totals["hits"] + totals["misses"] == cache.step
    assert (totals["hits"], totals["misses"]) == (cache.passes.hit_elements, cache.passes.full_elements)
    assert totals["foreign"] == 0


def test_eta_is_the_probability_to_try_and_its_draws_are_private(unet: Any):
    def tries(seed: int) -> list[bool]:
        torch.manual_seed(seed)
        np.random.seed(seed)
        found = []
        with Hash3D(unet, Config(eta=0.3, reuse="noise", seed=7)) as cache:
            for _ in range(300):
                look(cache, inputs(unet, 1, 0), 10.0)
                found.append(cache.last[0].tried)
        return found

    before = torch.random.get_rng_state()
    first = tries(1)
    assert abs(sum(first) / 300 - 0.3) < 0.1
    assert first == tries(2)
    torch.random.set_rng_state(before)


def test_warm_up_stores_and_does_not_retrieve(unet: Any):
    with Hash3D(unet, Config(eta=1.0, warm_up=2)) as cache:
        hits = []
        for seed in range(4):
            look(cache, inputs(unet, 1, seed), 10.0)
            hits.append(cache.last[0].hit)
    assert hits == [False, False, True, True]


def _other_prompt(unet: Any, arguments: dict[str, Any]) -> None:
    arguments["encoder_hidden_states"] = arguments["encoder_hidden_states"] + 1


def _written_weight(unet: Any, arguments: dict[str, Any]) -> None:
    with torch.no_grad():
        unet.mid_block.resnets[0].conv1.weight.mul_(1.0)


def _replaced_weight(unet: Any, arguments: dict[str, Any]) -> None:
    unet.load_state_dict({k: v.clone() for k, v in unet.state_dict().items()}, assign=True)


def _replaced_module(unet: Any, arguments: dict[str, Any]) -> None:
    attention = unet.up_blocks[-1].attentions[0].transformer_blocks[0].attn1
    attention.to_q = torch.nn.Sequential(attention.to_q)


def _other_size(unet: Any, arguments: dict[str, Any]) -> None:
    arguments["sample"] = torch.randn(2, 4, 16, 16)


def _other_dtype(unet: Any, arguments: dict[str, Any]) -> None:
    unet.double()
    for name in ("sample", "encoder_hidden_states"):
        arguments[name] = arguments[name].double()


@pytest.mark.parametrize(
    "change", [_other_prompt, _written_weight, _replaced_weight, _replaced_module, _other_size, _other_dtype]
)
def test_what_another_prompt_or_model_or_shape_computed_is_not_reused(change: Any):
    unet = tiny_unet()
    arguments = inputs(unet, 1, 0)
    with Hash3D(unet, Config(eta=1.0, conditions=1)) as cache:
        look(cache, arguments, 10.0)
        look(cache, arguments, 10.0)
        assert cache.last[0].hit
        change(unet, arguments)
        found = look(cache, arguments, 10.0)
        assert not cache.last[0].hit
        assert cache.statistics().totals["evicted_by_invalidation"] == 1
        with cache.paused():
            assert torch.equal(found, plain(unet, arguments))


def test_another_image_joined_to_the_latent_is_another_condition():
    unet = tiny_unet(in_channels=8)
    arguments = inputs(unet, 1, 0)
    with Hash3D(unet, Config(eta=1.0)) as cache:
        look(cache, arguments, 10.0)
        # The noise may differ, the image may not.
        arguments["sample"][:, :4] += 1
        look(cache, arguments, 10.0)
        assert cache.last[0].hit
        arguments["sample"][:, 4:] += 1
        look(cache, arguments, 10.0)
        assert not cache.last[0].hit


def test_prompts_by_view_keep_their_entries_side_by_side(unet: Any):
    front, back = inputs(unet, 1, 0), inputs(unet, 1, 0)
    _other_prompt(unet, back)
    with Hash3D(unet, Config(eta=1.0)) as cache:
        for arguments, hit in ((front, False), (back, False), (front, True), (back, True)):
            look(cache, arguments, 10.0)
            assert cache.last[0].hit == hit


def test_inputs_that_carry_the_camera_may_change(caplog: pytest.LogCaptureFixture):
    unet = tiny_unet(**ATTENTION_INSIDE, class_embed_type="projection", projection_class_embeddings_input_dim=4)
    cases: list[tuple[Any, int]] = [((), 0), (("class_labels",), 39)]
    for inputs_with_camera, hits in cases:
        with Hash3D(unet, Config(eta=1.0, camera_inputs=inputs_with_camera)) as cache, caplog.at_level(logging.WARNING):
            for step in range(40):
                arguments = inputs(unet, 1, step) | {"class_labels": torch.full((2, 4), step / 40)}
                look(cache, arguments, 10.0)
        assert cache.statistics().totals["hits"] == hits
    assert caplog.text.count("name it in Config.camera_inputs") == 1


def test_changes_act_at_the_next_call(unet: Any):
    with Hash3D(unet, Config(eta=1.0)) as cache:
        look(cache, inputs(unet, 1, 0), 1.0)
        look(cache, inputs(unet, 1, 1), 40.0)
        assert cache.last[0].hit
        cache.change(grids=(Grid(azimuth_degrees=10.0),))
        look(cache, inputs(unet, 1, 1), 40.0)
        assert not cache.last[0].hit
        cache.change(eta=0.0)
        look(cache, inputs(unet, 1, 1), 40.0)
        assert not cache.last[0].tried
        cache.change(eta=1.0, reuse="noise")
        look(cache, inputs(unet, 1, 1), 40.0)
        assert not cache.last[0].hit
        with pytest.raises(ValueError, match="eta: 2.0; it is a probability, 0 to 1"):
            cache.change(eta=2.0)
        assert cache.config.eta == 1.0
        cache.change(lookup="official")
        look(cache, inputs(unet, 1, 1), 40.0)
        look(cache, inputs(unet, 1, 1), 40.0)
        assert cache.last[0].hit
        cache.change(lookup="exact")
        look(cache, inputs(unet, 1, 1), 40.0)
        assert not cache.last[0].hit
        found = cache.statistics()
    gone = sum(found.totals[f"evicted_by_{reason}"] for reason in ("queue", "budget", "age", "invalidation"))
    assert found.totals["insertions"] - gone == found.entries == 1


def test_official_mode_takes_or_leaves_a_batch(unet: Any):
    with Hash3D(unet, Config(eta=1.0, lookup="official")) as cache:
        look(cache, inputs(unet, 1, 0), 0.0)
        look(cache, inputs(unet, 2, 1), 0.0, 0.15)
        assert [looked.hit for looked in cache.last] == [False, False]
        look(cache, inputs(unet, 2, 2), 0.0, 0.15)
        assert [looked.hit for looked in cache.last] == [True, True]


def test_checked_hits_measure_their_error_and_move_eta(unet: Any):
    config = Config(eta=1.0, reuse="noise", check_share=1.0)
    with Hash3D(unet, config) as cache:
        first = look(cache, inputs(unet, 1, 0), 10.0)
        second = look(cache, inputs(unet, 1, 1), 10.0)
        with cache.paused():
            exact = plain(unet, inputs(unet, 1, 1))
        assert torch.equal(second, exact)
        expected = float((first - exact).norm() / exact.norm())
        assert cache.last[0].error == pytest.approx(expected, rel=1e-4)
        assert cache.statistics().error.tolist() == [pytest.approx(expected, rel=1e-4)]
        assert expected > 0.2
        # A limit of a tenth of that error leaves a tenth of the tries.
        cache.change(check_share=0.0, error_limit=expected / 10)
        tried = 0
        for seed in range(200):
            look(cache, inputs(unet, 1, seed), 10.0)
            tried += cache.last[0].tried
        assert 5 <= tried <= 45


def test_the_forward_is_restored_however_the_block_ends(unet: Any):
    with pytest.raises(KeyError), Hash3D(unet):
        assert "forward" in vars(unet)
        raise KeyError
    assert "forward" not in vars(unet)
    with Hash3D(unet), pytest.raises(ValueError, match="forward is already replaced"):
        Hash3D(unet)


def test_a_tuple_comes_back_where_a_tuple_was_asked(unet: Any):
    with Hash3D(unet, Config(eta=1.0)) as cache, torch.no_grad():
        cache.set_camera(azimuth_degrees=0, elevation_degrees=0, radius=1)
        arguments = inputs(unet, 1, 0)
        for _ in range(2):
            (found,) = unet(arguments["sample"], 500, arguments["encoder_hidden_states"], return_dict=False)
            assert torch.equal(found, unet(**arguments)[0])


def test_calls_that_want_gradients_are_let_through(unet: Any, caplog: pytest.LogCaptureFixture):
    with Hash3D(unet, Config(eta=1.0)) as cache:
        cache.set_camera(azimuth_degrees=0, elevation_degrees=0, radius=1)
        for _ in range(2):
            assert unet(**inputs(unet, 1, 0)).sample.requires_grad
    assert cache.passes.bypassed == 2
    assert cache.statistics().totals["insertions"] == 0
    assert caplog.text.count("call the UNet under torch.no_grad()") == 1


def test_a_budget_holds_however_long_a_run_is(unet: Any):
    one = 2 * 16 * 8 * 8 * 4 + 4 * 8 * 8 * 4
    with Hash3D(unet, Config(eta=0.0, budget_bytes=3 * one)) as cache:
        for step in range(8):
            look(cache, inputs(unet, 1, step), 45.0 * step)
            found = cache.statistics()
            assert found.nbytes == min(step + 1, 3) * one <= found.budget_bytes
        # What is counted is what is held: an entry is no window into a batch.
        for entry in cache.table.entries:
            for tensor in (entry.value, entry.latent):
                assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_mistakes_get_a_sentence(unet: Any):
    with Hash3D(unet) as cache, torch.no_grad():
        with pytest.raises(ValueError, match="the UNet was called before set_camera"):
            unet(**inputs(unet, 1, 0))
        with pytest.raises(ValueError, match="azimuth_degrees of camera 0 is nan; it must be finite"):
            cache.set_camera(azimuth_degrees=math.nan, elevation_degrees=0, radius=1)
        with pytest.raises(ValueError, match="set_camera got 2 azimuths, 3 elevations and 1 radii"):
            cache.set_camera(azimuth_degrees=[1, 2], elevation_degrees=[1, 2, 3], radius=1)
        cache.set_camera(azimuth_degrees=[1, 2, 3], elevation_degrees=0, radius=1)
        with pytest.raises(ValueError, match="set_camera got 3 cameras, and the UNet a batch of 1 elements of 2 rows"):
            unet(**inputs(unet, 1, 0))
        with pytest.raises(ValueError, match="batch of 3 rows, which is no multiple of rows_per_element = 2"):
            unet(**tiny_inputs(unet, rows=3))
        cache.set_camera(azimuth_degrees=1, elevation_degrees=0, radius=1)
        with pytest.raises(ValueError, match="the rows of element 0 have timesteps .*, and must have one"):
            unet(**(inputs(unet, 1, 0) | {"timestep": torch.tensor([1, 2])}))
        with pytest.raises(ValueError, match="cross_attention_kwargs.'mask'. is a Tensor"):
            unet(**(inputs(unet, 1, 0) | {"cross_attention_kwargs": {"mask": torch.ones(1)}}))
    with pytest.raises(ValueError, match="reuse: features; choose one of feature, noise, off"):
        Config(reuse="features")  # type: ignore[arg-type]


def test_an_unconditional_row_is_spared_where_its_cell_holds_one(unet: Any):
    """With eta 0 every element runs in full; its row without a condition may come from the cell all the same."""
    config = Config(eta=0.0, unconditional_row=1, unconditional_eta=1.0)
    first, second = inputs(unet, 1, 0), inputs(unet, 1, 1)
    with Hash3D(unet, config) as cache:
        look(cache, first, 10.0)
        found = look(cache, second, 12.0)
        assert (cache.passes.full_elements, cache.passes.hit_elements) == (2, 0)
        assert (cache.passes.full_rows, cache.passes.hit_rows, cache.passes.spared_rows) == (3, 1, 1)
        assert cache.statistics().totals["tries"] == 0
        # The row is what a hit would have given, the other what a full pass gives.
        with cache.paused():
            exact = plain(unet, second)
    with Hash3D(unet, Config(eta=1.0)) as other:
        look(other, first, 10.0)
        reused = look(other, second, 12.0)
    torch.testing.assert_close(found[0], exact[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1], reused[1], rtol=1e-4, atol=1e-5)
    assert (found[1] - exact[1]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="unconditional_eta: 0.5; say unconditional_row"):
        Config(unconditional_eta=0.5)
    with pytest.raises(ValueError, match="unconditional_row: 2; an element's rows are 0 to 1"):
        Config(unconditional_row=2)


def test_only_whole_elements_of_a_batch_spare_their_unconditional_row(unet: Any):
    config = Config(eta=1.0, unconditional_row=1, unconditional_eta=1.0)
    with Hash3D(unet, config) as cache:
        look(cache, inputs(unet, 2, 0), 0.0, 200.0)
        cache.change(eta=0.0)
        mixed = look(cache, inputs(unet, 2, 1), 0.0, 100.0)
        assert cache.passes.spared_rows == 1, "there is nothing at 100 degrees"
        with cache.paused():
            exact = plain(unet, inputs(unet, 2, 1))
    for row in (0, 1, 3):
        torch.testing.assert_close(mixed[row], exact[row], rtol=1e-4, atol=1e-5)
    assert (mixed[2] - exact[2]).abs().max() > 1e-3


def test_a_warp_with_an_unmoved_camera_changes_nothing_and_a_wrong_number_of_sights_is_told(unet: Any):
    sight = Sight(torch.eye(4, dtype=torch.float64), 0.9, torch.full((8, 8), 2.0))
    arguments = inputs(unet, 1, 0)
    with Hash3D(unet, Config(eta=1.0, warp=True)) as cache, torch.no_grad():
        results = []
        for _ in range(2):
            cache.set_camera(azimuth_degrees=0, elevation_degrees=0, radius=2, sights=[sight])
            results.append(unet(**arguments).sample)
        assert cache.last[0].hit
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-5)
        assert cache.table.nbytes == sum(entry.nbytes for entry in cache.table.entries)
        cache.set_camera(azimuth_degrees=0, elevation_degrees=0, radius=2, sights=[sight, sight])
        with pytest.raises(ValueError, match="set_camera got 2 sights, and the UNet a batch of 1 elements"):
            unet(**arguments)
