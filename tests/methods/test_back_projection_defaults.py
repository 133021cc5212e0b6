"""What settings follow from a problem, and that what was given stays."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import load_dataset
from new_algorithm.methods.back_projection import METHOD, in_values, settings_of
from new_algorithm.methods.back_projection_defaults import following, in_words
from new_algorithm.methods.back_projection_settings import PRESETS, RATES, Settings
from new_algorithm.methods.method import Problem
from tests.training import final_weights

NETWORKS = [(), (16, 8), (64,) * 8, (64,) * 20, (64,) * 100, (512,), (256, 256), (300,) * 6]
ON_THE_WAY = [{"order": "sequential"}, {"pass_down": "left"}]


@given(
    st.integers(1, 1_000_000),
    st.lists(st.integers(1, 700), max_size=60).map(tuple),
    st.sampled_from([{}, *ON_THE_WAY, {"outer": "adam"}, {"outer": "momentum"}]),
)
def test_nothing_is_left_open_and_nothing_contradicts_itself(rows, widths, flags):
    settings = following(Settings(**flags), rows, widths)
    settings.check_penalties(len(widths) + 1)
    assert following(settings, rows, widths) == settings
    own = {"step_size", "input_rank", "judge_every", "chunk_rows"}  # None says something there
    assert None not in [getattr(settings, f.name) for f in fields(Settings) if f.name not in own]
    assert settings.batch_size <= rows
    assert all(getattr(settings, name) == value for name, value in flags.items())


@pytest.mark.parametrize("widths", NETWORKS)
@pytest.mark.parametrize("outer", ["momentum", "nesterov", "adam", "orthogonal"])
def test_step_sizes_are_those_of_the_outer_step(widths, outer):
    for rows in (1_000, 500_000):
        settings = following(Settings(outer=outer), rows, widths)
        if outer in RATES:
            assert RATES[outer] <= settings.eta <= 4 * RATES[outer]
        else:
            assert settings.eta is None


def test_a_setting_that_was_given_stays():
    flags = {"lambda_w_layers": (2.0,), "weight_decay": 0.0, "step_bounds": (1.0, 2.0)}
    settings = following(Settings(**flags, lambda_h_layers=(3.0,)), 1_000, (64,) * 20)
    assert settings.lambda_h_layers == (3.0,)
    assert all(getattr(settings, name) == value for name, value in flags.items())
    faithful = Settings(
        **{k: v for k, v in PRESETS["faithful"].items() if k in Settings.__dataclass_fields__}
    )
    assert following(faithful, 1_000, (64,) * 8).solves_on_the_way
    assert following(faithful, 1_000, (64,) * 8).step_size == 1.0


@pytest.mark.parametrize("rows", [1_000, 500_000])
@pytest.mark.parametrize("widths", NETWORKS)
def test_bounds_of_steps_ask_for_steps_that_have_bounds(rows, widths):
    settings = following(Settings(step_bounds=(0.05, 1.0)), rows, widths)
    assert settings.eta is None
    assert settings.step_bounds == (0.05, 1.0)
    assert following(Settings(step_bounds=(0.05, 1.0), outer="adam"), rows, widths).outer == "adam"


def test_a_setting_of_a_search_that_is_given_changes_nothing_else():
    problem = Problem(load_dataset("synthetic", train_limit=200), (256, 256), epochs=1, seed=0)
    follows = in_values(problem, METHOD.defaults)
    for name, value in {"input_lambda_w": 7.0, "hidden_lambda_w": 0.7, "step": 2.0}.items():
        changed = METHOD.defaults | {name: value}
        assert in_values(problem, changed) == follows | {name: value}
    settings = settings_of(problem, METHOD.defaults)
    assert settings_of(problem, METHOD.defaults | {"step": 2.0}).eta == 2 * settings.eta
    controlled = METHOD.defaults | {"outer": "nesterov", "step": 0.5}
    assert settings_of(problem, controlled).step_bounds == (2e-3, 4e-2)  # of 4 × STEP_BOUNDS


def test_deep_networks_lose_no_more_in_all_layers_than_shallower_ones():
    """Of a network without biases the output shrinks by (1 − α)^layers in a step of decay alone."""
    lost = [
        (hidden + 1) * following(Settings(), 50_000, (64,) * hidden).decoupled_decay
        for hidden in (20, 30, 40, 50)
    ]
    lost_in_large_batches = [
        (hidden + 1)
        * following(Settings(batch_size="full"), 50_000, (64,) * hidden).decoupled_decay
        for hidden in (1, 8, 20, 50)
    ]
    assert max(lost) < 0.05
    assert max(lost_in_large_batches) < 0.08
    assert following(Settings(), 50_000, (64,) * 100).decoupled_decay == 0
    warm_up = [following(Settings(), 9, (64,) * n).warm_up for n in (1, 30, 40, 50, 100)]
    assert warm_up == [0.3, 0.3, 0.4, 0.5, 0.5]


def test_less_momentum_in_large_batches_goes_with_their_own_steps_alone():
    widths = (64,) * 8
    usual, part, whole = (
        following(Settings(batch_size=size), 50_000, widths).momentum
        for size in (128, 4_096, "full")
    )
    assert part < whole < usual == 0.9
    averages = following(Settings(batch_size="full", outer="adam"), 50_000, widths)
    assert averages.momentum == 0.9  # β₁
    given = following(Settings(batch_size="full", momentum=0.3), 50_000, widths)
    assert given.momentum == 0.3


def test_a_penalty_counts_less_with_more_rows():
    decay = [following(Settings(), n, (512,)).decoupled_decay for n in (100, 20_000, 50_000)]
    assert decay == [8e-3, 2.5e-3, 1e-3]
    assert following(Settings(), 1_000_000, (512,)).decoupled_decay == 0


@pytest.mark.parametrize("widths", [w for w in NETWORKS if w])
def test_what_follows_has_values_that_a_search_can_start_from(widths):
    data = load_dataset("synthetic", train_limit=200)
    problem = Problem(data, widths, epochs=1, seed=0)
    values = in_values(problem, METHOD.defaults)
    assert values.keys() == METHOD.defaults.keys()
    assert None not in values.values()
    assert in_values(problem, values) == values
    if sum(widths) < 1_000:
        for ours, theirs in zip(
            final_weights(METHOD, problem, **values), final_weights(METHOD, problem), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def test_what_follows_is_told_as_flags():
    given = Settings(outer="momentum", weight_decay=0.0)
    told = in_words(given, following(given, 2_000, (64,) * 20))
    assert "--lambda-w-layers 3 0.3 … --lambda-h-layers 0.5 --batch-size 128" in told
    assert "--step-bounds 0.004 0.08" in told
    assert "--outer" not in told
    assert "--weight-decay" not in told
    assert "--step-size" not in told
    told = in_words(Settings(), following(Settings(), 20_000, (512,)))
    assert "--outer adam --step-size 0.003" in told
    assert "--relu-target mask" in told
    assert "--step-bounds" not in told
    constant = Settings(schedule="constant")
    assert "--warm-up" not in in_words(constant, following(constant, 1_000, (64,)))
    assert in_words(given, given) == ""


def test_batches_of_many_rows_make_longer_and_less_damped_steps():
    def of(size, rows=50_000, widths=(64,) * 8, **given):
        return following(Settings(batch_size=size, **given), rows, widths)

    few, many, whole = of(1_024), of(4_096), of("full")
    assert of(60_000) == replace(whole, batch_size=60_000)
    assert few.step_bounds[1] < many.step_bounds[1] < whole.step_bounds[1]
    assert few.lambda_w_layers[1] > many.lambda_w_layers[1] == whole.lambda_w_layers[1]
    assert math.isinf(few.lambda_h_layers[0])
    assert math.isfinite(many.lambda_h_layers[0])
    for size in ("full", 4_096):  # of which there are a thousand at most
        alike = replace(of(125, rows=1_000), gram_average=whole.gram_average)  # all are in a batch
        assert of(size, rows=1_000) == replace(alike, batch_size=size)
    assert whole.gram_average < many.gram_average == few.gram_average
    assert of("full", gram_average=0.5).gram_average == 0.5
    for widths in ((512,), (64,) * 100):  # that are not narrow, or so deep that the start decides
        assert of(4_096, widths=widths) == replace(of(128, widths=widths), batch_size=4_096)
    assert math.isinf(of("full", order="sequential").lambda_h_layers[0])
    assert of("full", lambda_w_layers=(2.0,)).lambda_w_layers == (2.0,)


def test_dead_units_revive_where_a_layer_is_narrower_than_its_neighbours():
    assert following(Settings(), 1_000, (64, 16, 64)).target == "revive"
    for widths in ((100, 30, 30, 60), (1_000, 250, 30, 250)):
        assert following(Settings(), 1_000, widths).target == "revive"
    assert following(Settings(batch_size=31), 1_000, (64, 16, 64)).target == "mask"
    for widths in ((9, 8, 7, 6), (64,) * 40, (64, 63, 64), (512, 256, 64), (16, 64), (16,), ()):
        assert following(Settings(), 1_000, widths).target == "mask"
    assert following(Settings(), 1_000, (64, 16, 64), in_chunks=True).target == "mask"
    assert following(Settings(target="project"), 1_000, (64, 16, 64)).target == "project"


def test_few_rows_get_small_batches():
    sizes = [following(Settings(), n, (64,)).batch_size for n in (1, 7, 60, 1_000, 2_000, 99_999)]
    assert sizes == [1, 1, 7, 125, 128, 128]
    # of which units are 0 by chance, and which are noisy
    assert following(Settings(), 200, (64, 16, 64)).target == "mask"
    few, many = (following(Settings(), rows, (64,)).gram_average for rows in (100, 2_000))
    assert few == many


def test_lambda_h_acts_in_depth_alone():
    finite = [
        math.isfinite(following(Settings(), 1_000, (64,) * n).lambda_h_layers[0])
        for n in (1, 8, 10, 60)
    ]
    assert finite == [False, False, True, True]
