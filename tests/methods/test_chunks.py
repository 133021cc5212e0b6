"""When the rows of a training come in chunks, and what does not go with that."""

import pytest

from datasets import load_dataset
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.ranks import Ranks
from new_algorithm.methods.back_projection_settings import Settings
from new_algorithm.methods.chunks import chunk_rows_in_force


@pytest.mark.parametrize(
    "flags", [{"order": "sequential"}, {"pass_down": "left"}, {"target": "revive"}]
)
def test_what_needs_a_whole_batch_is_refused_in_chunks_alone(flags):
    data = load_dataset("synthetic", train_limit=60)
    assert chunk_rows_in_force(Settings(**flags), data, Ranks()) is None
    with pytest.raises(UserError, match=next(iter(flags.values()))):
        chunk_rows_in_force(Settings(**flags, chunk_rows=20), data, Ranks())
    assert chunk_rows_in_force(Settings(chunk_rows=20), data, Ranks()) == 20
