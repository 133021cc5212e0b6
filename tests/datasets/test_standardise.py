import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets import mapped_files
from datasets.mapped_files import Standardiser

matrices = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=8),
    elements=st.floats(-1e6, 1e6, width=32),
)


@given(matrices)
def test_each_feature_has_mean_0_and_sd_1_or_is_zero(x):
    scaled = Standardiser.fit(x)(x).astype(np.float64)
    constant = (x == x[0]).all(axis=0)
    assert np.all(scaled[:, constant] == 0)
    varying = x.std(axis=0) > 1e-6 * np.abs(x).max()
    np.testing.assert_allclose(scaled[:, varying].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled[:, varying].std(axis=0), 1, atol=1e-5)


@given(matrices)
def test_the_result_is_finite_float32_in_c_order(x):
    scaled = Standardiser.fit(x)(x)
    assert scaled.dtype == np.float32
    assert scaled.flags.c_contiguous
    assert np.isfinite(scaled).all()


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e30, 255])
def test_constants_are_zero_although_their_mean_is_rounded(value):
    x = np.full((1000, 2), value)
    assert np.all(Standardiser.fit(x)(x) == 0)


def test_a_feature_constant_in_training_is_zero_in_other_rows_too():
    standardiser = Standardiser.fit(np.full((5, 1), 7.0))
    assert standardiser(np.array([[9.0]])) == 0


def test_an_offset_far_above_the_spread_does_no_harm():
    spread = np.array([[-1.0], [1.0]] * 50)
    np.testing.assert_allclose(Standardiser.fit(spread + 2**40)(spread + 2**40), spread)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, ">i2", np.float16, np.float64])
def test_the_type_and_order_of_the_input_do_not_matter(dtype):
    x = np.random.default_rng(0).integers(0, 2, (20, 3))
    given_type = np.asfortranarray(x.astype(dtype))
    expected = (x - x.mean(axis=0)) / x.std(axis=0)
    np.testing.assert_allclose(Standardiser.fit(given_type)(given_type), expected, rtol=1e-6)


def test_inputs_larger_than_a_block_come_out_the_same(monkeypatch):
    x = np.random.default_rng(0).normal(3, 5, (101, 4))
    whole = Standardiser.fit(x)(x)
    monkeypatch.setattr(mapped_files, "BLOCK_ELEMENTS", 40)
    np.testing.assert_allclose(Standardiser.fit(x)(x), whole, rtol=1e-6, atol=1e-6)
