"""Which rows a rank holds, and one process alone. Several: tests/test_ranks_of_a_run.py."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.ranks import GIVEN, Group, _reason, join_ranks, rank_of_this_process, shard

REPOSITORY = Path(__file__).resolve().parents[2]


@given(rows=st.integers(0, 10**6), size=st.integers(1, 50))
def test_shards_are_all_rows_in_order_and_of_nearly_equal_size(rows, size):
    shards = [shard(rows, rank, size) for rank in range(size)]
    assert (shards[0].start, shards[-1].stop) == (0, rows)
    for one, next_one in pairwise(shards):
        assert one.stop == next_one.start
    lengths = [one.stop - one.start for one in shards]
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= 0
    assert lengths[0] == -(-rows // size), "rank 0, which records, is never without rows"


@given(rows=st.integers(1, 10**6), size=st.integers(1, 50), share=st.floats(0, 1))
def test_every_rank_has_as_many_batches_as_the_epoch(rows, size, share):
    """Its part of a batch goes into its shard as often as the batch goes into all rows."""
    batch = max(size, int(share * rows))
    if batch > rows:
        return
    lengths = [len(range(rows)[shard(rows, rank, size)]) for rank in range(size)]
    parts = [batch * length // rows for length in lengths]
    assert batch - size < sum(parts) <= batch
    assert parts[0] > 0
    assert all(
        length // part >= rows // batch for length, part in zip(lengths, parts, strict=True) if part
    )


def test_one_process_has_nothing_to_add_up():
    with join_ranks(1.0) as ranks:
        assert not isinstance(ranks, Group)
        assert (ranks.rank, ranks.size, ranks.sent_bytes, ranks.all_sum) == (0, 1, 0, None)
        assert ranks.same_everywhere(np.zeros(3))
        value = object()
        assert ranks.from_first(value) is value
        assert ranks.gather(value) == [value]
    assert rank_of_this_process() == 0


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none"} | dict.fromkeys(GIVEN, "3")


@pytest.fixture
def variables(monkeypatch):
    """variables({"RANK": "3"}): the launcher's part of the environment."""

    def put(values):
        for name in TORCHRUN:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


def test_rank_is_torchruns(variables):
    variables(TORCHRUN)
    assert rank_of_this_process() == 3
    variables({"RANK": "0", "WORLD_SIZE": "1"})  # another launcher, for one process
    assert rank_of_this_process() == 0


@pytest.mark.parametrize("absent", GIVEN)
def test_half_of_torchruns_variables_are_refused(variables, absent):
    variables({name: value for name, value in TORCHRUN.items() if name != absent})
    with pytest.raises(UserError, match=rf"TORCHELASTIC_RUN_ID is set, but not {absent}: start"):
        rank_of_this_process()
    with pytest.raises(UserError, match="TORCHELASTIC_RUN_ID"), join_ranks(1.0):
        pass


@pytest.mark.parametrize("values", [{"WORLD_SIZE": "2"}, {"RANK": "1"}, {"WORLD_SIZE": "many"}])
def test_several_processes_of_another_launcher_are_refused(variables, values):
    variables(values)
    with pytest.raises(UserError, match=r"not by torchrun: start .* `torchrun --standalone"):
        rank_of_this_process()


def test_one_process_never_imports_torch():
    code = (
        "import sys\nfrom new_algorithm.cli.ranks import join_ranks\n"
        "with join_ranks(1.0):\n    print('torch' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert finished.stdout == "False\n"


def test_reason_is_the_first_sentence_without_torchs_own_place():
    error = RuntimeError("[/src/pair.cc:553] Connection closed by peer [10.0.0.1]:1. Perhaps.")
    assert _reason(error) == "Connection closed by peer [10.0.0.1]:1"
    assert _reason(RuntimeError("")) == "no reason given"
