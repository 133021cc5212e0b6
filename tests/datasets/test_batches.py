"""Batches in memory and streamed: every row at most once an epoch, with its own targets."""

from collections.abc import Iterable
from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasets import streamed_rows as module
from datasets.streamed_rows import StreamedRows
from new_algorithm.back_projection.rows import EVALUATED_ROWS, RowsInMemory, in_chunks, minibatches

SIZES = {
    "rows": st.integers(1, 200),
    "batch_share": st.floats(0.0, 1.0),
    "chunk_rows": st.integers(1, 60),
    "block_rows": st.integers(1, 30),
    "pool_rows": st.integers(1, 90),
    "seed": st.integers(0, 99),
}


def double(x: NDArray, out: NDArray) -> None:
    np.multiply(x, 2, out=out, casting="same_kind")


def numbered(rows: int) -> tuple[NDArray, NDArray]:
    """Rows [i, −i], and their targets i."""
    number = np.arange(rows)
    return np.stack([number, -number], axis=1).astype(np.float64), number


def streamed(rows: int, chunk_rows: int = 10, dtype: type = np.float64, x=None) -> StreamedRows:
    plain, targets = numbered(rows)
    return StreamedRows(plain if x is None else x, targets, double, 2, chunk_rows, dtype)


def in_memory(rows: int) -> RowsInMemory:
    x, targets = numbered(rows)
    return RowsInMemory(2 * x, targets)


def gathered(chunks: Iterable) -> NDArray:
    """The numbers of a batch's rows, each of whose inputs are its own."""
    found = [np.empty(0, int)]
    for inputs, targets in chunks:
        np.testing.assert_array_equal(inputs, 2 * np.stack([targets, -targets], axis=1))
        found.append(targets.copy())
    return np.concatenate(found)


def epoch_of(rows: RowsInMemory | StreamedRows, size: int, seed: int = 0) -> list[NDArray]:
    return [gathered(batch) for batch in rows.batches(np.random.default_rng(seed), size)]


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK_ROWS", 4)
    monkeypatch.setattr(module, "POOL_ROWS", 24)


@settings(max_examples=40)
@given(**SIZES)
def test_an_epoch_sees_no_row_twice_and_leaves_less_than_a_batch(
    rows, batch_share, chunk_rows, block_rows, pool_rows, seed
):
    size = max(1, int(batch_share * rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ROWS", block_rows)
        patch.setattr(module, "POOL_ROWS", pool_rows)
        for source in (in_memory(rows), streamed(rows, chunk_rows)):
            found = epoch_of(source, size, seed)
            assert all(len(batch) == size for batch in found)
            seen = np.concatenate(found)
            assert len(np.unique(seen)) == len(seen)
            assert 0 <= rows - len(seen) < size


@settings(max_examples=40)
@given(**SIZES)
def test_batches_are_the_same_when_gone_through_again_and_chunks_are_small_enough(
    rows, batch_share, chunk_rows, block_rows, pool_rows, seed
):
    size = max(1, int(batch_share * rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ROWS", block_rows)
        patch.setattr(module, "POOL_ROWS", pool_rows)
        source = streamed(rows, chunk_rows)
        for batch in source.batches(np.random.default_rng(seed), size):
            first, lengths = gathered(batch), [len(inputs) for inputs, _ in batch]
            np.testing.assert_array_equal(gathered(batch), first)
            assert min(lengths) > 0
            assert max(lengths) <= chunk_rows
            assert len(lengths) == -(-size // chunk_rows), "no more chunks than are needed"


@settings(max_examples=40)
@given(**SIZES)
def test_nothing_is_read_row_by_row(rows, batch_share, chunk_rows, block_rows, pool_rows, seed):
    size = max(1, int(batch_share * rows))
    reads = []

    def counted(x: NDArray, out: NDArray) -> None:
        reads.append(len(x))
        double(x, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ROWS", block_rows)
        patch.setattr(module, "POOL_ROWS", pool_rows)
        x, targets = numbered(rows)
        source = StreamedRows(x, targets, counted, 2, chunk_rows, np.float64)
        epoch = epoch_of(source, size, seed)
    blocks, chunks = -(-rows // block_rows), len(epoch) * (1 + -(-size // chunk_rows))
    assert len(reads) <= blocks + chunks
    assert sum(reads) <= rows
    assert 0 not in reads


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [1, 7, 10, 23, 50])
def test_seeds_repeat_their_batches_and_epochs_differ(size):
    for source in (in_memory(50), streamed(50)):
        rng = np.random.default_rng(3)
        first, second = ([gathered(batch) for batch in source.batches(rng, size)] for _ in range(2))
        again = epoch_of(source, size, seed=3)
        np.testing.assert_array_equal(np.stack(first), np.stack(again))
        if size < 50:
            assert (np.stack(first) != np.stack(second)).any()
        else:
            np.testing.assert_array_equal(first[0], np.arange(50))


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [7, 23])
def test_rows_left_over_come_in_another_epoch(size):
    for source in (in_memory(50), streamed(50)):
        rng = np.random.default_rng(0)
        seen = {
            int(row)
            for _ in range(20)
            for batch in source.batches(rng, size)
            for row in gathered(batch)
        }
        assert seen == set(range(50))


@pytest.mark.usefixtures("small_blocks")
def test_small_batches_mix_rows_of_a_whole_pool():
    blocks = [len(set(batch // 4)) for batch in epoch_of(streamed(480), 8)]
    assert np.mean(blocks) > 4, "it would fill two, and a pool has six"


@pytest.mark.parametrize("rows", [0, 1, 9, 10, 11, 50])
def test_chunks_are_all_rows_in_their_order(rows):
    chunks = [(len(inputs), gathered([(inputs, y)])) for inputs, y in streamed(rows).chunks()]
    np.testing.assert_array_equal(
        np.concatenate([np.empty(0, int), *(y for _, y in chunks)]), np.arange(rows)
    )
    assert [length for length, _ in chunks] == [10] * (rows // 10) + [rows % 10] * (rows % 10 > 0)
    np.testing.assert_array_equal(gathered(in_memory(rows).chunks()), np.arange(rows))
    for source in (streamed(rows), in_memory(rows)):
        np.testing.assert_array_equal(gathered([source.first(11)]), np.arange(min(rows, 11)))
        assert len(source) == rows


def test_chunks_in_memory_are_views_of_at_most_so_many():
    x, targets = numbered(EVALUATED_ROWS + 3)
    chunks = list(RowsInMemory(x, targets).chunks())
    assert [len(inputs) for inputs, _ in chunks] == [EVALUATED_ROWS, 3]
    assert all(np.shares_memory(inputs, x) for inputs, _ in chunks)
    assert [len(inputs) for inputs, _ in in_chunks(x[:7], targets[:7], 3)] == [3, 3, 1]


def test_full_batch_in_memory_is_every_row_in_place():
    x, targets = numbered(5)
    (((inputs, labels),),) = RowsInMemory(x, targets).batches(np.random.default_rng(0), 5)
    assert inputs is x
    assert labels is targets


def test_first_rows_are_copies():
    x, targets = numbered(5)
    inputs, labels = RowsInMemory(x, targets).first(3)
    inputs[:], labels[:] = -1, -1
    np.testing.assert_array_equal(x, numbered(5)[0])
    np.testing.assert_array_equal(targets, numbered(5)[1])


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("size", [6, 23, 50])
def test_mapped_file_gives_what_an_array_gives(tmp_path, size):
    x, _ = numbered(50)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for found, expected in zip(
        epoch_of(streamed(50, x=mapped), size), epoch_of(streamed(50), size), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [5, 20, 50])
def test_inputs_have_the_type_asked_for_and_targets_keep_theirs(dtype, size):
    x = numbered(50)[0].astype(np.float32)
    targets = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    source = StreamedRows(x, targets, double, 2, 10, dtype)
    for batch in chain(source.batches(np.random.default_rng(0), size), [source.chunks()]):
        for inputs, labels in batch:
            assert (inputs.dtype, labels.dtype) == (dtype, np.float32)
            np.testing.assert_array_equal(labels, targets[(inputs[:, 0] / 2).astype(int)])
    assert source.first(3)[0].dtype == dtype


@pytest.mark.parametrize("rows", [0, 3])
def test_part_that_is_too_small_for_a_row_has_empty_batches_without_end(rows):
    batches = streamed(rows).batches(np.random.default_rng(0), 0)
    assert [list(batch) for batch in islice(batches, 1_000)] == [[]] * 1_000


# Indices.


@given(rows=st.integers(2, 200), batch_share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
def test_shuffled_indices_come_once(rows, batch_share, seed):
    batch_size = max(1, int(batch_share * rows))
    batches = list(minibatches(np.random.default_rng(seed), rows, batch_size))
    seen = np.concatenate(batches)
    assert all(len(batch) == batch_size for batch in batches)
    assert len(np.unique(seen)) == len(seen)
    assert rows - len(seen) < batch_size


def test_shuffles_differ_and_seeds_repeat():
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(list(minibatches(rng, 50, 10))) for _ in range(2))
    again = np.concatenate(list(minibatches(np.random.default_rng(0), 50, 10)))
    assert (first != second).any()
    np.testing.assert_array_equal(first, again)
