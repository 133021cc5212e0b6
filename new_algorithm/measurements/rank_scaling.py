"""What ranks take for a sweep, what they send to reach a loss, and on more nodes, on paper."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from datasets import Dataset
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.progress import progress
from new_algorithm.cli.ranks import Alone
from new_algorithm.methods.adam import adam
from new_algorithm.methods.back_projection import epochs_of
from new_algorithm.methods.back_projection_settings import Settings
from new_algorithm.methods.back_projection_training import CHUNK_ROWS, Training
from new_algorithm.methods.gradient_descent import train_with_optimizer
from new_algorithm.methods.method import Epoch, Problem
from new_algorithm.record.files import Row, read_csv
from new_algorithm.record.history import read_series
from new_algorithm.record.layout import REPOSITORY, Layout

SCRIPT = "new_algorithm/n_layer_relu_data.py"
RANKS_FILE = "rank_scaling.csv"
NODES_FILE = "expected_times.csv"
LATENCY_S = 2e-5  # of one message, as within a computing centre; assumed, not measured
NODES = (1, 2, 4, 8, 16, 32, 64)
GIGABITS = (10, 100)

# batch size: the epochs after which a setting counts as one that does not reach the loss
MOST_EPOCHS = {4_096: 8, 16_384: 20}
BACK_PROJECTION_SETTINGS = tuple(  # hidden λ_w, step bounds
    product((0.1, 1.0), ((1e-2, 1.0), (5e-2, 1.0), (2e-1, 2.0)))
)
ADAM_RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
SAME_LOSS_COLUMNS = (
    *("method", "setting", "reached", "iterations", "cpu_s_an_iteration", "bytes_an_iteration"),
    *("megabytes", "train_loss"),
)

# the epochs of a training, and a function that says what the steps of the last one have sent
Counted = tuple[Iterator[Epoch], Callable[[], int]]


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
        self.all_sum = self._count

    def _count(self, array: NDArray) -> None:
        self.sent_bytes += array.nbytes


class Reached(NamedTuple):
    """iterations: interpolated between epochs. cpu_s, sent_bytes: of one iteration. last_loss:
    where the training ended."""

    iterations: float
    cpu_s: float
    sent_bytes: float
    last_loss: float


def until_loss(
    loss: float,
    iterations_an_epoch: int,
    epochs: Iterator[Epoch],
    sent_bytes: Callable[[], int],
) -> Reached | None:
    """Train until the loss; None if it is not reached.

    sent_bytes: says, after an epoch, what its steps have sent. The loss is known after each epoch;
    between the last two it is taken to fall in a straight line.
    """
    losses, sent = [], 0
    try:
        for epoch in epochs:
            sent += sent_bytes()  # before the evaluation, which sends too
            losses.append(epoch.scores()[0].loss)
            if losses[-1] <= loss:
                break
        else:
            return None
    except DivergedError:
        return None
    made = epoch.number * iterations_an_epoch
    part = (losses[-2] - loss) / (losses[-2] - losses[-1]) if len(losses) > 1 else 1.0
    return Reached(
        iterations=(epoch.number - 1 + part) * iterations_an_epoch,
        cpu_s=epoch.clock.cpu_seconds / made,
        sent_bytes=sent / made,
        last_loss=losses[-1],
    )


def to_the_same_loss(
    loss: float, widths: tuple[int, ...], data: Dataset, threads: int
) -> tuple[list[Row], list[Traffic]]:
    """Return for each method and batch size the setting that takes the fewest iterations."""
    table: list[Row] = []
    trainings = []
    jobs = list(product(("back projection", "adam"), MOST_EPOCHS))
    for name, batch in progress(jobs, "to the same loss", len(jobs)):
        problem = Problem(data, widths, MOST_EPOCHS[batch], seed=0, threads=threads)
        ended = [
            (setting, until_loss(loss, len(data.x_train) // batch, *training))
            for setting, training in large_batch_trainings(name, problem, batch)
        ]
        found = [(reached, setting) for setting, reached in ended if reached is not None]
        row: Row = dict.fromkeys(SAME_LOSS_COLUMNS, "")
        row["method"] = method = f"{name}, batches of {batch:,}"
        row["reached"] = f"{len(found)} of {len(ended)} in {MOST_EPOCHS[batch]} epochs"
        if found:
            best, setting = min(found, key=lambda pair: pair[0].iterations)
            # Adam sends its gradient in float32, as data-parallel training does
            sums = best.sent_bytes or 4 * parameters([data.x_train.shape[1], *widths, 1])
            trainings.append(Traffic(method, best.iterations, best.cpu_s, sums))
            numbers = (best.iterations, best.cpu_s, sums, best.iterations * sums / 1e6)
            row |= {"setting": setting} | dict(
                zip(SAME_LOSS_COLUMNS[3:], (*numbers, best.last_loss), strict=True)
            )
        table.append(row)
    return table, trainings


def large_batch_trainings(name: str, problem: Problem, batch: int) -> Iterator[tuple[str, Counted]]:
    """Yield trainings in large batches without a schedule, by the name of their setting."""
    if name == "adam":
        for lr in ADAM_RATES:
            epochs = train_with_optimizer(problem, adam(lr), batch, one_cycle=False)
            yield f"lr {lr:g}", (epochs, lambda: 0)
        return
    for hidden_lambda_w, (least, most) in BACK_PROJECTION_SETTINGS:
        settings = Settings(
            batch_size=batch,
            schedule="constant",
            lambda_w_layers=(1.0, *[hidden_lambda_w] * len(problem.widths)),
            step_bounds=(least, most),
        )
        setting = f"hidden_lambda_w {hidden_lambda_w:g} step_bounds {least:g}/{most:g}"
        yield setting, counted_training(settings, problem)


def counted_training(settings: Settings, problem: Problem, chunk_rows: int = CHUNK_ROWS) -> Counted:
    """Return the epochs of back projection, and what the steps of the last one have sent."""
    training = Training(settings, problem, chunk_rows, CountingRanks())
    return epochs_of(training, problem.epochs), lambda: training.sent_bytes


def parameters(widths: Sequence[int]) -> int:
    """Return how many weights a network has, biases included."""
    return sum((below + 1) * above for below, above in pairwise(widths))


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


def draw_rank_scaling(figure: Figure, path: Path) -> None:
    """Seconds a sweep against ranks on one machine."""
    table = read_csv(path)
    axes = figure.add_subplot()
    ranks, seconds = (
        np.array([float(row["ranks"]) for row in table]),
        np.array([float(row["sweep_s"]) for row in table]),
    )
    axes.plot(ranks, seconds, label="measured", marker="o")
    axes.plot(ranks, seconds[0] / ranks, label="in proportion", marker="")
    _in_powers_of_two(axes, ranks)
    axes.set_xlabel("ranks on one machine, one thread each")
    axes.set_ylabel("seconds a sweep")
    axes.legend()


def draw_expected_times(figure: Figure, path: Path) -> None:
    """Seconds to the same loss against nodes, one panel a link."""
    table = read_csv(path)
    links = list(dict.fromkeys(row["gigabit_per_s"] for row in table))
    for axes, link in zip(figure.subplots(1, len(links), sharey=True), links, strict=True):
        for row in (row for row in table if row["gigabit_per_s"] == link):
            columns = [name for name in row if name.startswith("nodes_")]
            nodes = np.array([int(name.split("_")[1]) for name in columns])
            axes.plot(nodes, [float(row[name]) for name in columns], label=row["method"])
        _in_powers_of_two(axes, nodes)
        axes.set_title(f"{link} Gbit/s")
        axes.set_xlabel("nodes, on paper")
    figure.axes[0].set_ylabel("seconds to the same train loss")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)


def _in_powers_of_two(axes: Axes, counts: np.ndarray) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(counts, [f"{count:g}" for count in counts])
