import mmap

import numpy as np
import pytest

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
