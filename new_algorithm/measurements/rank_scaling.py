"""The time of a sweep on several ranks, the bytes sent to reach a loss, a model for more nodes."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from datasets import Dataset
from new_algorithm.cli.errors import DivergedError, UserError, own_words
from new_algorithm.cli.progress import progress
from new_algorithm.cli.ranks import Ranks
from new_algorithm.methods.back_projection_defaults import input_and_hidden
from new_algorithm.methods.back_projection_settings import Settings
from new_algorithm.methods.back_projection_training import Training
from new_algorithm.methods.chunks import CHUNK_ROWS
from new_algorithm.methods.gradient_descent import ADAM, train_with_optimizer
from new_algorithm.methods.method import Epoch, Problem
from new_algorithm.methods.optimizers import adam
from new_algorithm.record.files import Row, read_csv
from new_algorithm.record.history import read_series
from new_algorithm.record.layout import REPOSITORY, Layout

SCRIPT = "new_algorithm/n_layer_relu_data.py"
RANKS_FILE = "rank_scaling.csv"
NODES_FILE = "expected_times.csv"
LATENCY_S = 2e-5  # of one message within a data centre; assumed, not measured
NODES = (1, 2, 4, 8, 16, 32, 64)
GIGABITS = (10, 100)

# by batch size: a setting that takes more passes counts as one that does not reach the loss
MOST_PASSES = {4_096: 8, 16_384: 20}
PARTS = 4  # of a pass, after each of which the loss is known
HIDDEN_LAMBDA_W = (0.1, 1.0)
OURS, WITH_LAMBDA_H, ADAM_IN_TORCH = "back projection", "back projection, λ_h 0.5", "adam"
LAMBDA_H = {OURS: np.inf, WITH_LAMBDA_H: 0.5}
STEPS: tuple[dict[str, Any], ...] = (
    *({"step_bounds": bounds} for bounds in ((1e-2, 1.0), (5e-2, 1.0), (2e-1, 2.0))),
    {"outer": "adam", "step_size": 0.01},
    {"outer": "orthogonal", "step_size": 0.1},
)
ADAM_RATES = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)
SAME_LOSS_COLUMNS = (
    *("method", "setting", "reached", "iterations", "cpu_s_an_iteration", "bytes_an_iteration"),
    *("megabytes", "train_loss"),
)

# the epochs of a training, and a function that returns the bytes which the last one's steps sent
Counted = tuple[Iterator[Epoch], Callable[[], int]]


class CountingRanks(Ranks):
    """One process that counts the bytes it would send if it were one of several."""

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.all_sum = self._count

    def _count(self, array: NDArray) -> None:
        self.sent_bytes += array.nbytes


def until_loss(
    loss: float, steps: Callable[[int], int], epochs: Iterator[Epoch], sent_bytes: Callable[[], int]
) -> Row | None:
    """Train until the loss; return the columns that this decides, None if it is not reached.

    steps: returns how many so many epochs have. sent_bytes: returns, after an epoch, what its steps
    have sent. The loss is known after each epoch, and iterations are interpolated linearly between
    the last two.
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
    part = (losses[-2] - loss) / (losses[-2] - losses[-1]) if len(losses) > 1 else 1.0
    made, before = steps(epoch.number), steps(epoch.number - 1)
    return {
        "iterations": before + part * (made - before),
        "cpu_s_an_iteration": epoch.clock.cpu_seconds / made,
        "bytes_an_iteration": sent / made,
        "train_loss": losses[-1],
    }


def to_the_same_loss(
    loss: float, widths: tuple[int, ...], data: Dataset, threads: int
) -> list[Row]:
    """Return a row for each method and batch size, of the setting that takes the fewest iterations;
    empty cells where none reaches the loss."""
    layers = pairwise([data.x_train.shape[1], *widths, 1])
    parameters = sum((below + 1) * above for below, above in layers)
    table: list[Row] = []
    jobs = list(product((OURS, WITH_LAMBDA_H, ADAM_IN_TORCH), MOST_PASSES))
    for name, batch in progress(jobs, "to the same loss", len(jobs)):
        epochs = PARTS * MOST_PASSES[batch]
        problem = Problem(data, widths, epochs, seed=0, threads=threads, parts=PARTS)
        steps = problem.passes(batch).steps
        ended = [
            {"setting": setting} | reached
            if (reached := until_loss(loss, steps, *training))
            else None
            for setting, training in large_batch_trainings(name, problem, batch)
        ]
        found = [row for row in ended if row]
        row: Row = dict.fromkeys(SAME_LOSS_COLUMNS, "") | {
            "method": f"{name}, batches of {batch:,}",
            "reached": f"{len(found)} of {len(ended)} in {MOST_PASSES[batch]} passes",
        }
        if found:
            row |= min(found, key=lambda one: one["iterations"])
            # Adam sends its gradient in float32, as data-parallel training does
            row["bytes_an_iteration"] = row["bytes_an_iteration"] or 4 * parameters
            row["megabytes"] = row["iterations"] * row["bytes_an_iteration"] / 1e6
        table.append(row)
    return table


def large_batch_trainings(name: str, problem: Problem, batch: int) -> Iterator[tuple[str, Counted]]:
    """Yield trainings in large batches without a schedule, by the name of their setting."""
    if name == ADAM_IN_TORCH:
        for lr in ADAM_RATES:
            settings = ADAM.defaults | {"lr": lr, "batch_size": batch}
            epochs = train_with_optimizer(problem, adam, settings, one_cycle=False)
            yield f"lr {lr:g}", (epochs, lambda: 0)
        return
    for hidden_lambda_w, steps in product(HIDDEN_LAMBDA_W, STEPS):
        of_training = Settings(
            batch_size=batch,
            schedule="constant",
            lambda_w_layers=input_and_hidden(1.0, hidden_lambda_w, len(problem.widths)),
            lambda_h_layers=(LAMBDA_H[name],),
            weight_decay=0.0,  # nor does Adam decay here
            decoupled_decay=0.0,
            **steps,
        )
        values = [
            f"{key} {'/'.join(f'{one:g}' for one in value) if key == 'step_bounds' else value}"
            for key, value in steps.items()
        ]
        setting = " ".join([f"hidden_lambda_w {hidden_lambda_w:g}", *values])
        yield setting, counted_training(of_training, problem)


def counted_training(settings: Settings, problem: Problem, chunk_rows: int = CHUNK_ROWS) -> Counted:
    """Return back projection, run as one of several ranks would."""
    training = Training(settings, problem, chunk_rows, CountingRanks())
    return training.epochs(), lambda: training.sent_bytes


def expected_seconds(row: Row, nodes: int, gigabits: float) -> float:
    """Return the time to the loss on R nodes with equal numbers of rows and ring all-reduce.

    A ring moves 2 (R − 1)/R of the bytes over each link, in 2 (R − 1) messages one after the other
    (Patarasuk and Yuan 2009), here without overlap with the computation. All computation is divided
    by R, even the solves or the optimizer's step, which in fact every node repeats: small batches
    on many nodes take longer than this.
    """
    moved = 2 * (nodes - 1) / nodes * row["bytes_an_iteration"]
    sending = 8 * moved / (gigabits * 1e9) + 2 * (nodes - 1) * LATENCY_S
    return row["iterations"] * (row["cpu_s_an_iteration"] / nodes + sending)


def expected_times(same_loss: Sequence[Row]) -> list[Row]:
    """Return a row for each method that reached the loss, and link: seconds on 1 … 64 nodes."""
    return [
        {"method": row["method"], "gigabit_per_s": gigabits}
        | {f"nodes_{nodes}_s": expected_seconds(row, nodes, gigabits) for nodes in NODES}
        for row in same_loss
        if row["iterations"]
        for gigabits in GIGABITS
    ]


def run_ranks(ranks: int, tag: str, flags: Sequence[str]) -> Row:
    """Run the script with so many ranks; return medians over all epochs but the first.

    UserError if the run fails, or `tag` is taken.
    """
    command = [sys.executable]
    if ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command += [SCRIPT, "--tag", tag, *flags]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"{ranks} ranks: {own_words(done)}")
    series = read_series(Layout(REPOSITORY).record(tag))
    wall, cpu = (np.diff(series[f"train_{kind}_seconds"]) for kind in ("wall", "cpu"))
    return {
        "ranks": ranks,
        "sweep_s": float(np.median(wall)),
        "cpu_s_of_rank_0": float(np.median(cpu)),
        "summed_bytes": int(np.median(series["sent_bytes"][1:])),
        "train_loss": float(series["train_loss"][-1]),
        "tag": tag,
    }


def draw_rank_scaling(figure: Figure, path: Path) -> None:
    """Draw the seconds of a sweep against ranks on one machine."""
    table = read_csv(path)
    axes = figure.add_subplot()
    ranks, seconds = (np.array([float(row[n]) for row in table]) for n in ("ranks", "sweep_s"))
    axes.plot(ranks, seconds, label="measured", marker="o")
    axes.plot(ranks, seconds[0] / ranks, label="in proportion", marker="")
    _in_powers_of_two(axes, ranks)
    axes.set_xlabel("ranks on one machine, one thread each")
    axes.set_ylabel("seconds a sweep")
    axes.legend()


def draw_expected_times(figure: Figure, path: Path) -> None:
    """Draw the expected seconds to the same loss against nodes, a panel for each link."""
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
