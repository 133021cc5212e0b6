"""Measure the method itself: the cost of a step, scaling in rows and processes, the λ map.

    python new_algorithm/measure.py step-cost     # an iteration against SGD written in NumPy
    python new_algorithm/measure.py lambda-map    # accuracy and train loss over λ_w x λ_h, on MNIST
    python new_algorithm/measure.py rows          # a full-batch sweep over 0.1 to 2.6 million rows
    python new_algorithm/measure.py rows --rows 11000000
    python new_algorithm/measure.py ranks         # one and two processes; bytes against Adam
    python new_algorithm/measure.py optimizers    # of PyTorch: time and memory by kind of layer

`rows` and `ranks` use generated data (higgs-like). `ranks` then counts the iterations that back
projection and Adam need to reach the same train loss with several batch sizes, and the bytes that
data-parallel training would sum for it; a model gives the expected time on more nodes.
compare_methods.py compares with other methods.

Writes tables (.csv) into ploting_data/TAG/, figures into figures/TAG/, and _logs/.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

from datasets import load_dataset
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import PositiveFloat, PositiveInt, RunFlags, Seed, parse
from new_algorithm.cli.progress import progress
from new_algorithm.cli.threads import fix_threads
from new_algorithm.measurements import (
    TABLES,
    lambda_map,
    optimizer_cost,
    rank_scaling,
    row_scaling,
    step_cost,
)
from new_algorithm.methods.chunks import CHUNK_ROWS
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    part: Annotated[
        Literal["step-cost", "lambda-map", "rows", "ranks", "optimizers"], tyro.conf.Positional
    ]
    """What to measure; see above."""
    seeds: tuple[Seed, ...] = (0, 1)
    """Seeds of every cell (lambda-map)."""
    widths: tuple[PositiveInt, ...] = (256, 256)
    """Units of each hidden layer (rows, ranks)."""
    rows: tuple[PositiveInt, ...] = (100_000, 500_000, 2_600_000)
    """Numbers of rows to generate, test rows included (rows); the first one counts for ranks."""
    sweeps: PositiveInt = 4
    """Sweeps, of which all but the first are timed (rows, ranks)."""
    ranks: tuple[PositiveInt, ...] = (1, 2)
    """Numbers of processes (ranks)."""
    loss: PositiveFloat = 0.6
    """Train loss to reach, in nats (ranks)."""


def main() -> None:
    config = parse(Config, __doc__)
    for name in ("seeds", "rows", "ranks"):
        if len(set(getattr(config, name))) < max(1, len(getattr(config, name))):
            raise UserError(f"--{name}: give at least one value, and none twice")
    check_tag(config.tag, config.overwrite)
    if config.part == "ranks" and config.tag is not None:
        for count in config.ranks:  # each is a run with a tag of its own
            check_tag(f"{config.tag}_{count}", config.overwrite)
    fix_threads(config.threads)
    part, data = PARTS[config.part]
    with Run.open(script=Path(__file__), config=config, data=data, tables=TABLES) as run:
        part(config, run)


def measure_step_cost(config: Config, run: Run) -> None:
    run.table("step_cost", step_cost.measure(), "CPU time of an iteration, medians:")


def measure_optimizers(config: Config, run: Run) -> None:
    rows = optimizer_cost.measure()
    run.table("optimizer_cost", rows, "CPU time of an iteration, means, and memory:")


def measure_lambda_map(config: Config, run: Run) -> None:
    rows = lambda_map.measure(config.seeds)
    run.table("lambda_map", rows, "Means over the seeds, validation:")


def measure_rows(config: Config, run: Run) -> None:
    """Time a full-batch sweep for each number of rows, in a process of its own."""
    table = []
    for count in progress(config.rows, "rows", len(config.rows)):
        drawn = row_scaling.alone(row_scaling.prepare, count, config.threads)
        arguments = count, config.widths, config.sweeps, config.threads
        found = row_scaling.alone(row_scaling.measure, *arguments)
        table.append(found | drawn)
        print(f"{count:,} rows: {found['sweep_s']:.3g} s a sweep", flush=True)
    run.table("row_scaling", table, "Full-batch sweeps:")


def measure_ranks(config: Config, run: Run) -> None:
    """Time full-batch sweeps of several processes; then count iterations and bytes to a loss."""
    data_set = f"higgs-like:{config.rows[0]}"
    data = load_dataset(data_set)
    flags = ["--dataset", data_set, "--batch-size", "full", "--gram-average", "0"]
    flags += ["--widths", *map(str, config.widths), "--epochs", str(config.sweeps)]
    flags += ["--threads", str(config.threads), "--chunk-rows", str(CHUNK_ROWS)]
    flags += ["--overwrite"] * config.overwrite
    timed = [
        rank_scaling.run_ranks(count, f"{run.tag}_{count}", flags)
        for count in progress(config.ranks, "ranks", len(config.ranks))
    ]
    run.table("rank_scaling", timed, "Full-batch sweeps by the number of ranks:")
    rows = rank_scaling.to_the_same_loss(config.loss, config.widths, data, config.threads)
    run.table("same_loss", rows, f"Iterations and bytes to a train loss of {config.loss:g}:")
    times = rank_scaling.expected_times(rows)
    run.table("expected_times", times, "Expected seconds to that loss:")


DRAWN = {"name": "higgs-like", "held_out": "test"}
PARTS = {
    "step-cost": (measure_step_cost, {"name": "random batches"}),
    "lambda-map": (measure_lambda_map, {"name": "mnist", "held_out": "validation"}),
    "rows": (measure_rows, DRAWN),
    "ranks": (measure_ranks, DRAWN),
    "optimizers": (measure_optimizers, {"name": "random batches"}),
}


if __name__ == "__main__":
    run_main(main)
