import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets import mapped_files
from datasets.mapped_files import Standardiser, distinct, is_mapped, release_pages, row_blocks

ROWS = 1 << 18  # of 28 float32: 28 MiB


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((ROWS, 28), np.float32))
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def resident(array):
    """Bytes of the array's file that are in this process's memory."""
    address, inside = array.ctypes.data, False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            first = line.split()[0]
            if "-" in first and not first.endswith(":"):
                start, end = (int(part, 16) for part in first.split("-"))
                inside = start <= address < end
            elif inside and first == "Rss:":
                return int(line.split()[1]) << 10
    raise AssertionError("not mapped")


def views(array):
    return {
        "whole": array,
        "slice": array[5:100, 3:],
        "reshaped slice": np.asarray(array)[100:].reshape(-1),
        "row": array[7],
    }


@pytest.mark.parametrize("view", ["whole", "slice", "reshaped slice", "row"])
def test_the_pages_behind_any_view_go_and_come_back(mapped, view):
    assert mapped.sum() == mapped.size
    assert resident(mapped) > 20 << 20
    release_pages(views(mapped)[view])
    assert resident(mapped) < 1 << 20
    assert mapped.sum() == mapped.size


def test_views_of_a_map_are_told_from_copies(mapped):
    assert all(is_mapped(view) for view in views(mapped).values())
    assert not is_mapped(np.array(mapped[:5]))
    assert not is_mapped(np.arange(3)[1:])


def test_ordinary_arrays_are_left_alone():
    array = np.arange(10)
    release_pages(array[2:])
    release_pages(np.frombuffer(b"bytes", np.uint8))
    np.testing.assert_array_equal(array, np.arange(10))


def test_changes_that_are_nowhere_else_are_kept(mapped):
    private = np.load(mapped.filename, mmap_mode="c")
    private[0] = 7
    anonymous = np.frombuffer(mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE), np.uint8)
    anonymous[0] = 7
    release_pages(private)
    release_pages(anonymous)
    assert private[0, 0] == anonymous[0] == 7


def test_blocks_are_views_of_all_rows_in_order():
    array = np.arange(22).reshape(11, 2)
    blocks = [(rows, block.copy()) for rows, block in row_blocks(array, 4)]
    assert [len(block) for _, block in blocks] == [4, 4, 3]
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), array)
    for rows, block in blocks:
        np.testing.assert_array_equal(array[rows], block)


def test_standardising_a_map_leaves_nothing_of_it_in_memory(mapped):
    standardise = Standardiser.fit(mapped)
    most = 0
    for _, block in standardise.blocks(mapped):
        most = max(most, resident(mapped))
        assert not block.any()
    assert most < 10 << 20
    assert resident(mapped) < 1 << 20


def test_a_map_is_standardised_as_the_array_is(tmp_path):
    x = np.random.default_rng(0).normal(3, 5, (1000, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(Standardiser.fit(mapped)(mapped), Standardiser.fit(x)(x))


def test_distinct_values_are_found_in_all_blocks():
    labels = np.random.default_rng(0).integers(0, 7, 200_000)
    labels[150_000] = 9
    np.testing.assert_array_equal(distinct(labels), [*range(7), 9])


# Standardising.

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
