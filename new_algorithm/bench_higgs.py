"""Measure back projection on HIGGS: accuracy beside others, and its scaling in rows and in ranks.

    python new_algorithm/bench_higgs.py auc       # back projection, Adam, momentum; references
    python new_algorithm/bench_higgs.py rows      # a full-batch sweep over 0.1 to 2.6 million rows
    python new_algorithm/bench_higgs.py rows --rows 11000000
    python new_algorithm/bench_higgs.py ranks     # one and two processes; bytes against Adam; paper

`auc` takes the HIGGS file at hand, a sample if there is no other. Every neural network has hidden
layers of --widths units. The settings of each are searched in a grid of equal size, by AUC on the
validation split; then all methods take turns on the test set, seed by seed. Logistic
regression and gradient boosting are scikit-learn's (`./starter --extras`), searched likewise.

`rows` and `ranks` draw their data (higgs-like), full batch. `ranks` then counts the iterations that
back projection and Adam take to the same train loss in batches of several sizes, the bytes that
data-parallel training would add up for it, and the time that this comes to on more nodes, on paper.

Writes tables (.csv) into ploting_data/TAG/, figures into figures/TAG/, and _logs/.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

import bench_mnist
from datasets import Dataset, load_dataset
from new_algorithm import n_layer_relu_data
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import PositiveFloat, PositiveInt, RunFlags, Seed, parse
from new_algorithm.cli.progress import progress
from new_algorithm.measurements.grid_search import describe, grid, search
from new_algorithm.measurements.in_turns import in_turns
from new_algorithm.measurements.methods import Method, back_projection, gradient_descent
from new_algorithm.measurements.rank_scaling import (
    CountingRanks,
    Traffic,
    expected_times,
    run_ranks,
)
from new_algorithm.measurements.reference_models import (
    check_scikit_learn,
    gradient_boosting,
    logistic_regression,
)
from new_algorithm.measurements.row_scaling import alone, measure, prepare
from new_algorithm.measurements.summary import summarise
from new_algorithm.measurements.until_loss import until_loss
from new_algorithm.record.environment import fix_threads
from new_algorithm.record.measurement import Measurement
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run
from new_algorithm.record.tables import Row

Part = Literal["auc", "rows", "ranks"]
Flags = dict[str, Any]

# 36 settings each, but for logistic regression with its one penalty
GRIDS: dict[str, list[Flags]] = {
    "back projection": grid(
        input_lambda_w=(0.1, 0.3),
        hidden_lambda_w=(30.0, 100.0, 300.0),
        step_bounds=((5e-3, 0.2), (2e-2, 0.5)),
        batch_size=(64,),
        epochs=(4, 6, 12),
    ),
    "adam": grid(lr=(4e-3, 8e-3, 1.6e-2, 3.2e-2), batch_size=(16, 32, 64), epochs=(6, 9, 12)),
    "momentum": grid(lr=(0.02, 0.05, 0.1, 0.2), batch_size=(16, 32, 64), epochs=(6, 9, 12)),
    "gradient boosting": grid(
        learning_rate=(0.05, 0.1, 0.2),
        max_leaf_nodes=(7, 15, 31),
        max_iter=(100, 200),
        l2_regularization=(0.0, 10.0),
    ),
    "logistic regression": grid(inverse_penalty=(1e-3, 1e-2, 0.1, 1.0, 10.0)),
}
BATCHES = (4_096, 16_384)
LARGE_BATCH_GRIDS: dict[str, list[Flags]] = {
    "back projection": grid(
        hidden_lambda_w=(0.1, 1.0), step_bounds=((1e-2, 1.0), (5e-2, 1.0), (2e-1, 2.0))
    ),
    "adam": grid(lr=(1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2)),
}
MOST_EPOCHS = {4_096: 8, 16_384: 20}  # after which a setting counts as one that fails
SAME_LOSS_COLUMNS = (
    *("method", "setting", "reached", "iterations", "cpu_s_an_iteration", "bytes_an_iteration"),
    *("megabytes", "train_loss"),
)


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    part: Annotated[Part, tyro.conf.Positional]
    """What to measure; see above."""
    widths: tuple[PositiveInt, ...] = (256, 256)
    """Units of each hidden layer."""
    train_limit: Annotated[
        PositiveInt | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: all)")
    ] = None
    """Use the first N training samples only (auc)."""
    seeds: tuple[Seed, ...] = (0, 1, 2, 3, 4)
    """Seeds of every method (auc)."""
    rows: tuple[PositiveInt, ...] = (100_000, 500_000, 2_600_000)
    """Rows to draw, test rows included (rows); of the first one only (ranks)."""
    sweeps: PositiveInt = 4
    """Sweeps to time; the first one is left out."""
    ranks: tuple[PositiveInt, ...] = (1, 2)
    """Numbers of processes (ranks)."""
    loss: PositiveFloat = 0.6
    """Train loss to reach, in nats (ranks)."""


def main() -> None:
    config = parse(Config, __doc__)
    if len(set(config.widths)) > 1:
        raise UserError("--widths: the baselines need hidden layers of one width")
    for name in ("seeds", "rows", "ranks"):
        if len(set(getattr(config, name))) < max(1, len(getattr(config, name))):
            raise UserError(f"--{name}: give each one once, and at least one")
    check_tag(config.tag, config.overwrite)
    if config.part == "ranks" and config.tag is not None:
        for count in config.ranks:  # of runs of their own
            check_tag(f"{config.tag}_{count}", config.overwrite)
    if config.part == "auc":
        check_scikit_learn()
    fix_threads(config.threads)
    data = {"name": "higgs" if config.part == "auc" else "higgs-like", "held_out": "test"}
    if config.part == "auc":
        data |= {"source": load_dataset("higgs").source}
    with Run(script=Path(__file__), config=config, data=data) as run:
        PARTS[config.part](config, run)


def auc(config: Config, run: Run) -> None:
    """Search every method's settings on the validation split, then compare on the test set."""
    import torch

    torch.set_num_threads(config.threads)
    validation = load_dataset("higgs", held_out="validation", train_limit=config.train_limit)
    test = load_dataset("higgs", train_limit=config.train_limit)
    methods: dict[str, tuple[Method, Dataset]] = {}
    searched: list[Row] = []
    for name, settings in GRIDS.items():
        method_of = METHODS[name](config.widths)
        best, rows = search(name, settings, method_of, validation, config.seeds[:3])
        searched += rows
        methods[f"{name}: {describe(best)}"] = method_of(**best), test
    run.table("grid", searched, "Settings on the validation split:")
    scores = in_turns(config.seeds, methods)
    run.table(
        "auc",
        [summarise(name, found) for name, found in scores.items()],
        f"Test set, mean and standard deviation over {len(config.seeds)} seeds:",
    )


def rows(config: Config, run: Run) -> None:
    """Time a full-batch sweep for each number of rows, in a process of its own."""
    table = []
    for count in progress(config.rows, "rows", len(config.rows)):
        drawn = alone(prepare, count, config.threads)
        found = alone(measure, count, config.widths, config.sweeps, config.threads)
        table.append(found | drawn)
        print(f"{count:,} rows: {found['sweep_s']:.3g} s a sweep", flush=True)
    run.table("row_scaling", table, "Full-batch sweeps:")


def ranks(config: Config, run: Run) -> None:
    """Time full-batch sweeps of several processes; then count iterations and bytes to a loss."""
    data_set = f"higgs-like:{config.rows[0]}"
    data = load_dataset(data_set)
    flags = ["--dataset", data_set, "--batch-size", "full", "--gram-average", "0"]
    flags += ["--widths", *map(str, config.widths), "--epochs", str(config.sweeps)]
    flags += ["--threads", str(config.threads), "--chunk-rows", str(n_layer_relu_data.CHUNK_ROWS)]
    flags += ["--overwrite"] * config.overwrite
    run.table(
        "rank_scaling",
        [
            run_ranks(count, f"{run.tag}_{count}", flags)
            for count in progress(config.ranks, "ranks", len(config.ranks))
        ],
        "Full-batch sweeps by the number of ranks:",
    )
    rows, trainings = to_the_same_loss(config, data)
    run.table("same_loss", rows, f"Iterations and bytes to a train loss of {config.loss:g}:")
    run.table("expected_times", expected_times(trainings), "Expected seconds to that loss:")


def to_the_same_loss(config: Config, data: Dataset) -> tuple[list[Row], list[Traffic]]:
    """Return for each method and batch the setting that takes the fewest iterations."""
    import torch

    torch.set_num_threads(config.threads)
    jobs = [(name, batch) for name in LARGE_BATCH_GRIDS for batch in BATCHES]
    table: list[Row] = []
    trainings = []
    for name, batch in progress(jobs, "to the same loss", len(jobs)):
        iterations = len(data.x_train) // batch
        found = []
        for flags in LARGE_BATCH_GRIDS[name]:
            train = large_batch_training(name, config, data, batch, flags)
            ended = until_loss(config.loss, iterations, train)
            if ended is not None:
                found.append((ended, flags))
        method = f"{name}, batches of {batch:,}"
        reached = f"{len(found)} of {len(LARGE_BATCH_GRIDS[name])} in {MOST_EPOCHS[batch]} epochs"
        if not found:
            empty: Row = dict.fromkeys(SAME_LOSS_COLUMNS, "")
            table.append(empty | {"method": method, "reached": reached})
            continue
        best, flags = min(found, key=lambda pair: pair[0].iterations)
        # without a count they are the gradient in float32, as data-parallel training sends it
        sums = best.sent_bytes or 4 * parameters([data.x_train.shape[1], *config.widths, 1])
        trainings.append(Traffic(method, best.iterations, best.cpu_s, sums))
        table.append(
            {
                "method": method,
                "setting": describe(flags),
                "reached": reached,
                "iterations": best.iterations,
                "cpu_s_an_iteration": best.cpu_s,
                "bytes_an_iteration": sums,
                "megabytes": best.iterations * sums / 1e6,
                "train_loss": best.last_loss,
            }
        )
    return table, trainings


def large_batch_training(
    name: str, config: Config, data: Dataset, batch: int, flags: Flags
) -> Callable[[Measurement], None]:
    """Return a training in large batches, without a schedule, that records into a Measurement."""
    common = {"batch_size": batch, "epochs": MOST_EPOCHS[batch], "threads": config.threads}
    if name == "adam":
        shape = {"num_layers": len(config.widths) + 1, "hidden_dim": config.widths[0]}
        baseline = bench_mnist.Config(optimizer="adam", **shape, **common, **flags)
        return lambda run: bench_mnist.train(baseline, data, run)
    settings = n_layer_relu_data.Config(
        widths=config.widths,
        num_layers=len(config.widths) + 1,
        schedule="constant",
        chunk_rows=n_layer_relu_data.CHUNK_ROWS,
        lambda_w_layers=(1.0, *[flags["hidden_lambda_w"]] * len(config.widths)),
        step_bounds=flags["step_bounds"],
        **common,
    )
    return lambda run: n_layer_relu_data.train(settings, data, run, CountingRanks())


def parameters(widths: Sequence[int]) -> int:
    """Return how many weights a network has, biases included."""
    return sum((below + 1) * above for below, above in pairwise(widths))


def back_projection_of(widths: tuple[int, ...]) -> Callable[..., Method]:
    """Return back projection as a function of the settings that are searched."""

    def method(input_lambda_w: float, hidden_lambda_w: float, **flags: Any) -> Method:
        lambda_w = (input_lambda_w, *[hidden_lambda_w] * len(widths))
        return back_projection(widths=widths, lambda_w_layers=lambda_w, **flags)

    return method


def baseline_of(optimizer: str) -> Callable[[tuple[int, ...]], Callable[..., Method]]:
    """Return a function of the widths that gives gradient descent as a function of settings."""
    return lambda widths: partial(
        gradient_descent,
        optimizer=optimizer,
        one_cycle=True,
        num_layers=len(widths) + 1,
        hidden_dim=widths[0],
    )


METHODS: dict[str, Callable[[tuple[int, ...]], Callable[..., Method]]] = {
    "back projection": back_projection_of,
    "adam": baseline_of("adam"),
    "momentum": baseline_of("momentum"),
    "gradient boosting": lambda widths: gradient_boosting,
    "logistic regression": lambda widths: logistic_regression,
}


PARTS: dict[Part, Callable[[Config, Run], None]] = {"auc": auc, "rows": rows, "ranks": ranks}


if __name__ == "__main__":
    run_main(main)
