"""Many short runs in one process leave no open file, no growing memory, and no stray file.

python -m pytest tests/test_soak.py --soak 1000
"""

import gc
import os
from pathlib import Path

from datasets import load_dataset
from new_algorithm.cli.ranks import Ranks
from new_algorithm.methods.chunks import chunk_rows_in_force
from new_algorithm.n_layer_relu_data import Config, in_force, train_and_record
from new_algorithm.record.provenance import reset_peak_memory
from new_algorithm.record.run import Run
from tests.test_resumed_runs import contents

WARM_UP = 4  # runs, after which caches are filled
# Bytes that memory may vary by, and that a run may add, where there are many: what grows at first
# is no object of Python's but native heaps, 4.7, 7.5 and 8.1 MB after 25, 50 and 75 runs on their
# own, and within a process that runs other tests any number of them.
SLACK, LEAK, MANY = 2e7, 10e3, 100


def short_run(root, number):
    """Each run replaces the one before, and every other one streams its rows."""
    config = Config(
        dataset="synthetic",
        tag="soak",
        overwrite=True,
        train_limit=300,
        num_layers=3,
        hidden_dim=8,
        epochs=2,
        chunk_rows=100 if number % 2 else None,
    )
    config, data = in_force(config, rows=300), load_dataset("synthetic", train_limit=300)
    script = root / "new_algorithm" / "toy.py"
    with Run.open(script=script, config=config, data=data.provenance(), root=root) as run:
        ranks = Ranks()
        train_and_record(config, data, chunk_rows_in_force(config, data, ranks), run, ranks)


def names(root):
    return {path for path in contents(root) if path.parts[0] != "_logs"}


def open_files():
    """What the descriptors of this process are of, but for the one that lists them."""
    links = [Path("/proc/self/fd", number) for number in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(link) for link in links if link.is_symlink())


def test_short_runs_leave_nothing_behind(tmp_path, soak):
    for number in range(WARM_UP):
        short_run(tmp_path, number)
    gc.collect()
    files, before, memory = names(tmp_path), len(open_files()), reset_peak_memory()
    for number in range(soak):
        short_run(tmp_path, number)
    gc.collect()
    grown = reset_peak_memory() - memory
    print(f"{soak} runs: memory grew by {grown / 1e6:.2f} MB")
    assert len(open_files()) == before, open_files()
    assert names(tmp_path) == files
    assert len(list((tmp_path / "_logs").iterdir())) <= WARM_UP + soak
    if soak >= MANY:
        assert grown < SLACK + LEAK * soak
