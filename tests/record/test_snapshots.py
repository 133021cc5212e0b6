"""Which epochs are kept, and that what is read is what was written."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.record.snapshots import (
    LARGEST,
    MOST,
    kept_interval,
    named,
    read_arrays,
    save_snapshot,
    snapshots,
)


def test_arrays_come_back_by_name_and_bit(tmp_path):
    arrays = {"0.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3), "n": np.array(7)}
    save_snapshot(tmp_path, 3, arrays)
    found = read_arrays(snapshots(tmp_path)[3])
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_layers_are_numbered_from_the_input_on():
    assert list(named([np.eye(1), np.eye(2)])) == ["layer_1", "layer_2"]


@given(st.integers(0, 10_000), st.floats(1, 10 * LARGEST))
def test_so_many_are_kept_as_there_is_room_for(epoch, size):
    interval = kept_interval(epoch, size)
    kept = {*range(0, epoch + 1, interval), epoch}
    room = max(2, min(MOST, LARGEST // size))
    assert 0 in kept
    assert len(kept) <= max(room, 2)
    if interval > 1:  # and no more are deleted than must be
        assert len({*range(0, epoch + 1, interval // 2), epoch}) >= room


@pytest.mark.parametrize("epochs", [1, MOST, 3 * MOST])
def test_first_and_last_stay_whatever_comes(tmp_path, epochs):
    for epoch in range(epochs + 1):
        save_snapshot(tmp_path, epoch, {"w": np.full(2, epoch)})
        kept = list(snapshots(tmp_path))
        assert kept[0] == 0
        assert kept[-1] == epoch
        assert len(kept) <= MOST
    steps = np.diff(kept)
    assert (steps[:-1] == steps[0]).all()  # evenly, but for the last
