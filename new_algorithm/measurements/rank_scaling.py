"""What ranks take for a sweep, what they send, and what that comes to on more nodes, on paper."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.ranks import Alone
from new_algorithm.record.history import read_series
from new_algorithm.record.layout import REPOSITORY, Layout
from new_algorithm.record.tables import Row

SCRIPT = "new_algorithm/n_layer_relu_data.py"
LATENCY_S = 2e-5  # of one message, as within a computing centre; assumed, not measured
NODES = (1, 2, 4, 8, 16, 32, 64)
GIGABITS = (10, 100)


@dataclass(frozen=True)
class Traffic:
    """A training to a given loss: iterations, seconds that one computes, bytes that it adds up."""

    method: str
    iterations: float
    compute_s: float
    sum_bytes: float

    def seconds(self, nodes: int, gigabits: float) -> float:
        """Return the time on so many nodes: rows shared out evenly, sums by ring all-reduce.

        A ring moves 2 (R − 1)/R of the bytes over each link, in 2 (R − 1) messages one after the
        other (Patarasuk and Yuan 2009); nothing of it is hidden behind the computation. All of an
        iteration's computation is taken to be shared out, also the solves, or an optimiser's step,
        which every node repeats: small batches on many nodes take longer than this says.
        """
        moved = 2 * (nodes - 1) / nodes * self.sum_bytes
        sending = 8 * moved / (gigabits * 1e9) + 2 * (nodes - 1) * LATENCY_S
        return self.iterations * (self.compute_s / nodes + sending)


class CountingRanks(Alone):
    """One process that counts what it would send, were it one of several."""

    def __init__(self) -> None:
        self.sent_bytes = 0

    def all_sum(self, array: NDArray) -> None:
        self.sent_bytes += array.nbytes


def expected_times(trainings: Sequence[Traffic]) -> list[Row]:
    """Return one row a method and link: the expected seconds on 1 … 64 nodes."""
    return [
        {"method": training.method, "gigabit_per_s": gigabits}
        | {f"nodes_{nodes}_s": training.seconds(nodes, gigabits) for nodes in NODES}
        for training in trainings
        for gigabits in GIGABITS
    ]


def run_ranks(ranks: int, tag: str, flags: Sequence[str]) -> Row:
    """Train with so many ranks, as a user would, and return what its record says of a sweep.

    The medians are of all epochs but the first. UserError if the run fails, or `tag` is taken.
    """
    command = [sys.executable]
    if ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += [SCRIPT, "--tag", tag, *flags]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        lines = (line for line in done.stderr.splitlines() if line.startswith("error: "))
        raise UserError(f"{ranks} ranks: {next(lines, 'no message').removeprefix('error: ')}")
    series = read_series(Layout(REPOSITORY).record(tag))
    return {
        "ranks": ranks,
        "sweep_s": _median_of_an_epoch(series["train_wall_seconds"]),
        "cpu_s_of_rank_0": _median_of_an_epoch(series["train_cpu_seconds"]),
        "summed_bytes": int(np.median(series["sent_bytes"][1:])),
        "train_loss": float(series["train_loss"][-1]),
        "tag": tag,
    }


def _median_of_an_epoch(cumulative: Any) -> float:
    return float(np.median(np.diff(cumulative)))
