import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import facts as module
from datasets.facts import class_shares, facts, farthest_row, feature_scales
from datasets.strokes import load_strokes
from tests.real_data import MNIST_FOLDER, needs_mnist

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((400, 6)).astype(np.float32)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6))
def test_shares_are_those_of_the_largest_and_the_smallest_class(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    shares = class_shares(labels, len(counts))
    assert shares["largest"] == pytest.approx(max(counts) / sum(counts), rel=1e-3)
    assert shares["smallest"] == pytest.approx(min(counts) / sum(counts), rel=1e-3)


def test_a_class_that_limits_left_out_has_no_share():
    assert class_shares(np.array([0, 0, 2]), 3) == {"largest": 0.6667, "smallest": 0.0}


@given(st.floats(3, 1e6), st.integers(0, 5))
def test_the_widest_feature_is_beside_the_median_one(factor, feature):
    scale = np.ones(6)
    scale[feature] = factor
    deviations = np.sort((ROWS * scale).std(axis=0))
    expected = deviations[-1] / np.median(deviations)
    assert feature_scales(ROWS * scale)["sd_ratio"] == pytest.approx(expected, rel=1e-3)


def test_one_outlying_row_of_standardised_features_is_the_root_of_their_number():
    x = np.zeros((2500, 1))
    x[7] = 1e6
    standardised = (x - x.mean()) / x.std()
    assert feature_scales(standardised)["largest_value"] == pytest.approx(50, rel=1e-3)


def test_features_that_do_not_vary_and_values_that_are_not_finite_are_left_out():
    spoilt = np.column_stack([ROWS, np.full(400, 1e9), np.full(400, np.nan)])
    assert feature_scales(spoilt) == feature_scales(ROWS)
    assert feature_scales(np.ones((5, 2))) == {}


def test_a_large_file_is_sampled_evenly(tmp_path, monkeypatch):
    """Here the last tenth of the rows alone is wide."""
    monkeypatch.setattr(module, "SAMPLED_ROWS", 100)
    rows = np.tile(ROWS, (25, 1))
    rows[9_000:, 0] *= 1000
    np.save(tmp_path / "x.npy", rows)
    found = feature_scales(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert found == feature_scales(rows)
    assert found["sd_ratio"] > 100


def test_facts_are_json_and_only_of_what_has_them():
    labels = np.arange(400) % 2
    both = facts(ROWS.reshape(400, 2, 3), labels, 2)
    assert json.loads(json.dumps(both)) == both
    assert both.keys() == {"class_shares", "feature_scales"}
    assert facts(ROWS, ROWS, None).keys() == {"feature_scales"}
    tokens = np.arange(12).reshape(3, 4)
    assert facts(tokens, tokens, 12) == {}


def test_pixels_are_on_one_scale():
    scales = feature_scales(load_strokes().x_train)
    assert scales["sd_ratio"] < 3
    assert scales["largest_value"] < 10


@needs_mnist
def test_pixels_that_hardly_ever_have_ink_do_not_make_scales_wild():
    with np.load(MNIST_FOLDER / "mnist.npz") as file:
        x = file["x_train"].reshape(60_000, -1)
    deviations = x.std(axis=0)
    assert deviations.max() / deviations[deviations > 0].min() > 1000
    scales = feature_scales((x / 255 - 0.1307) / 0.3081)
    assert scales["sd_ratio"] < 3
    assert scales["largest_value"] < 10


@given(st.integers(0, 399), st.floats(-38, 38))
def test_the_row_far_outside_is_found_where_there_is_one(row, exponent):
    held_out = ROWS.copy()
    held_out[row, 3] = -(10.0**exponent)
    scale = np.sqrt(np.mean(np.square(ROWS, dtype=float)))
    found = farthest_row(held_out, ROWS)
    if 10.0**exponent <= 1e4 * scale:
        assert found == {}
    else:
        assert found["row"] == row
        assert found["times"] == pytest.approx(10.0**exponent / scale, rel=1e-3)
    assert farthest_row(ROWS, np.zeros_like(ROWS)) == {}
