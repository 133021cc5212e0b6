"""Measure back projection beside tuned gradient descent: the figures of the README and notebook.

    python new_algorithm/bench_n_layer.py two-layer     # 784-512-10: time to 98.0%, 4 epochs' cost
    python new_algorithm/bench_n_layer.py eigenbasis    # the baselines given the same eigenvectors
    python new_algorithm/bench_n_layer.py depth         # 8, 20, 40 and 100 hidden layers of 64
    python new_algorithm/bench_n_layer.py stability     # depths x data sets, defaults, against Adam
    python new_algorithm/bench_n_layer.py step-cost     # an iteration against SGD written in NumPy
    python new_algorithm/bench_n_layer.py lambda-map    # accuracy and loss over λ_w x λ_h
    python new_algorithm/bench_n_layer.py depth --seeds 0 --depths 8    # a quick look

Methods take turns, seed by seed, in one process on one thread. A baseline's learning rate and batch
size are searched on the validation split, by accuracy at --epochs epochs with seed 0; back
projection has its defaults. "Equal CPU time" gives back projection as many epochs as fit into the
mean CPU time of the baseline, finding the eigenvectors included. Times exclude evaluation.

Writes tables (.csv) into ploting_data/TAG/, a map into figures/TAG/, and _logs/.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import tyro

from datasets import Dataset, load_dataset
from new_algorithm.back_projection.eigenbasis import leading_eigenbasis
from new_algorithm.back_projection.network import initial_weights
from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import PositiveInt, RunFlags, Seed, parse
from new_algorithm.cli.progress import progress
from new_algorithm.measurements.budget import epochs_within
from new_algorithm.measurements.in_turns import in_turns
from new_algorithm.measurements.lambda_map import MAP_FILE
from new_algorithm.measurements.methods import Method, back_projection, gradient_descent
from new_algorithm.measurements.own_data import own_data_sets
from new_algorithm.measurements.step_cost import cost_ratio
from new_algorithm.measurements.summary import summarise
from new_algorithm.n_layer_relu_data import INPUT_LAMBDA_W, PRESETS
from new_algorithm.record.environment import fix_threads
from new_algorithm.record.measurement import Score
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run
from new_algorithm.record.tables import Row, save_csv

Part = Literal["two-layer", "eigenbasis", "depth", "stability", "step-cost", "lambda-map"]

LEARNING_RATES = {
    "adam": (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
    "momentum": (0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
}
TWO_LAYERS = {"num_layers": 2, "hidden_dim": 512}
BATCH_SIZES = (64, 128, 256)
MORE_EPOCHS_IN_THE_SAME_TIME = {64: 1.0, 128: 1.5, 256: 2.0}  # measured, 8 to 40 layers
BASELINE_EPOCHS_STABILITY = {"mnist": 2, "higgs": 10, "synthetic": 10}
ADAM_DEFAULT_LR = 1e-3

LAMBDA_W = (0.01, 0.1, 1.0, 10.0, 100.0)
LAMBDA_H = (0.1, 1.0, 10.0, 100.0, np.inf)


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    part: Annotated[Part, tyro.conf.Positional]
    """What to measure; see above."""
    seeds: tuple[Seed, ...] = (0, 1, 2, 3, 4)
    """Seeds of every method."""
    epochs: PositiveInt = 2
    """Epochs of the baselines."""
    same_time: bool = False
    """Search baselines with more epochs for larger batches, so that all take about as long."""
    depths: tuple[PositiveInt, ...] = (8, 20, 40, 100)
    """Hidden layers of the part `depth`."""


def main() -> None:
    config = parse(Config, __doc__)
    if len(set(config.seeds)) < max(1, len(config.seeds)):
        raise UserError("--seeds: give each seed once, and at least one")
    check_tag(config.tag, config.overwrite)
    fix_threads(config.threads)
    import torch

    torch.set_num_threads(config.threads)
    on_validation = config.part == "lambda-map"
    data = {
        "name": "several" if config.part == "stability" else "mnist",
        "held_out": "validation" if on_validation else "test",
        "source": "datasets/README.md",
    }
    with Run(script=Path(__file__), config=config, data=data) as run:
        PARTS[config.part](config, run)


def two_layer(config: Config, run: Run) -> None:
    """784-512-10 on the pixels: time to 98.0%, and accuracy at the cost of twice the epochs."""
    data = load_dataset("mnist")
    validation = load_dataset("mnist", held_out="validation")
    tuned = best_baselines(config, run, TWO_LAYERS, validation, "grid", per_batch=True)
    methods: dict[str, tuple[Method, Dataset]] = {}
    for epochs in (config.epochs, 2 * config.epochs):
        methods[f"back projection, {epochs} epochs"] = two_layers(epochs), data
        for label, flags in tuned.items():
            flags = flags | {"epochs": epochs, "one_cycle": True}
            methods[f"{label}, {epochs} epochs"] = gradient_descent(**TWO_LAYERS, **flags), data
    scores = in_turns(config.seeds, methods)
    rows = [summarise(name, scores[name]) for name in methods]
    twice = (scores[f"{label}, {2 * config.epochs} epochs"] for label in tuned)
    fitted = epochs_within(min(map(mean_cost, twice)), two_layers, data)
    name = f"back projection, {fitted} epochs: the cost of the cheapest {2 * config.epochs}"
    rows.append(summarise(name, in_turns(config.seeds, {name: (two_layers(fitted), data)})[name]))
    run.table("two_layer", rows, "784-512-10 on MNIST, test set:")


def eigenbasis(config: Config, run: Run) -> None:
    """784-512-10 with the eigenvectors, and our initial weights in them, given to the baselines."""
    pixels = load_dataset("mnist")
    data, weights_of, seconds = in_eigenbasis(pixels)
    validation, validation_weights_of, _ = in_eigenbasis(
        load_dataset("mnist", held_out="validation")
    )
    shape = TWO_LAYERS | {"weights_of": validation_weights_of}
    tuned = best_baselines(config, run, shape, validation, "grid")
    rows: list[Row] = []
    for (label, flags), times in product(tuned.items(), (1, 2)):
        flags = flags | {"epochs": times * config.epochs, "one_cycle": True}
        name = f"{label}, {flags['epochs']} epochs"
        method = gradient_descent(**TWO_LAYERS, weights_of=weights_of, **flags)
        baseline = {name: (at_extra_cost(method, seconds), data)}
        cost = mean_cost(in_turns(config.seeds, baseline)[name])
        fitted = epochs_within(cost, two_layers, pixels)
        ours = f"back projection, {fitted} epochs"
        scores = in_turns(config.seeds, {ours: (two_layers(fitted), pixels)} | baseline)
        rows += [summarise(method, scores[method]) for method in (ours, name)]
        run.table("eigenbasis", rows, "784-512-10, baselines in the eigenvectors, test set:")


def depth(config: Config, run: Run) -> None:
    """Targets on deep and narrow networks, at the CPU time of tuned Adam."""
    data = load_dataset("mnist")
    validation = load_dataset("mnist", held_out="validation")
    rows: list[Row] = []
    for layers in config.depths:
        shape = {"num_layers": layers + 1, "hidden_dim": 64}
        deepest = layers > 40  # slow to learn for every method: twice the epochs, one batch size
        epochs = 2 * config.epochs if deepest else config.epochs
        tuned = best_baselines(
            replace(config, epochs=epochs),
            run,
            shape,
            validation,
            f"grid_{layers}",
            batch_sizes=(128,) if deepest else BATCH_SIZES,
        )
        settings = {
            flags["optimizer"]: f"{label} {flags['epochs']} epochs"
            for label, flags in tuned.items()
        }
        methods = {
            flags["optimizer"]: (gradient_descent(**shape, **flags, one_cycle=True), data)
            for flags in tuned.values()
        }
        fitted = epochs_at_cost_of(methods["adam"][0], data, config.seeds, shape)
        ours = {"back projection": fitted, "back projection, no more epochs": epochs}
        settings |= {name: f"defaults {count} epochs" for name, count in ours.items()}
        methods = {
            name: (back_projection(**shape, epochs=count), data) for name, count in ours.items()
        } | methods
        scores = in_turns(config.seeds, methods)
        rows += [
            summarise(name, scores[name], setting=settings[name], hidden_layers=layers)
            for name in methods
        ]
        run.table("depth", rows, "Hidden layers of 64 on MNIST, test set, at Adam's CPU time:")


def stability(config: Config, run: Run) -> None:
    """The defaults at five depths on data sets of every kind, against Adam at lr 1e-3."""
    data_sets = {name: load_dataset(name) for name in ("mnist", "synthetic", "higgs")}
    data_sets |= own_data_sets()
    rows: list[Row] = []
    for (name, data), layers in product(data_sets.items(), (2, 4, 8, 16, 32)):
        shape = {"num_layers": layers, "hidden_dim": 64}
        adam = gradient_descent(
            **shape,
            optimizer="adam",
            lr=ADAM_DEFAULT_LR,
            epochs=BASELINE_EPOCHS_STABILITY.get(name, 10),
        )
        epochs = epochs_at_cost_of(adam, data, config.seeds, shape)
        label = f"back projection, {epochs} epochs"
        method = back_projection(**shape, epochs=epochs)
        scores = in_turns(config.seeds, {label: (method, data), "adam": (adam, data)})
        pairs = zip(scores[label], scores["adam"], strict=True)
        wins = sum(ours.train_loss < theirs.train_loss for ours, theirs in pairs)
        about = {"data": name, "layers": layers, "lower_loss": wins}
        rows += [summarise(method, scores[method], **about) for method in scores]
    run.table("stability", rows, "Defaults against Adam at lr 1e-3, at Adam's CPU time:")


def step_cost(config: Config, run: Run) -> None:
    """An iteration of back projection against one of SGD with momentum written out in NumPy."""
    shapes = {
        "66-512-10": (66, 512, 10),
        "66, 8 x 64, 10": (66, *[64] * 8, 10),
        "66, 20 x 64, 10": (66, *[64] * 20, 10),
        "28, 3 x 256, 2": (28, 256, 256, 256, 2),
    }
    rows = []
    for (name, widths), batch in product(shapes.items(), (128, 256)):
        seconds, ratio = cost_ratio(widths, batch)
        row = {"shape": name, "batch": batch, "sgd_step_us": 1e6 * seconds, "ratio": ratio}
        rows.append(row)
    run.table("step_cost", rows, "CPU time of an iteration, medians:")


def lambda_map(config: Config, run: Run) -> None:
    """Accuracy and train loss over λ_w x λ_h of the hidden layers, at two depths."""
    data = load_dataset("mnist", held_out="validation")
    rows: list[Row] = []
    jobs = list(product((2, 8), LAMBDA_W, LAMBDA_H))
    for layers, lambda_w, lambda_h in progress(jobs, "map", len(jobs)):
        method = back_projection(
            num_layers=layers + 1,
            epochs=2,
            lambda_w_layers=(INPUT_LAMBDA_W, *[lambda_w] * layers),
            lambda_h_layers=(lambda_h,),
        )
        scores = [method(data, seed) for seed in config.seeds]
        rows.append(
            {
                "hidden_layers": layers,
                "lambda_w": lambda_w,
                "lambda_h": lambda_h,
                "accuracy": float(np.mean([score.held_out_accuracy for score in scores])),
                "train_loss": float(np.mean([score.train_loss for score in scores])),
            }
        )
    save_csv(run.folder / MAP_FILE, rows)


def best_baselines(
    config: Config,
    run: Run,
    shape: dict,
    validation: Dataset,
    table: str,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    per_batch: bool = False,
) -> dict[str, dict]:
    """Return the flags of each optimiser's best setting, by validation accuracy with seed 0.

    per_batch: the best of each batch size, where speed counts too.
    """
    grid = [
        {"optimizer": optimizer, "lr": lr, "batch_size": batch, "epochs": epochs_of(config, batch)}
        for optimizer, rates in LEARNING_RATES.items()
        for lr, batch in product(rates, batch_sizes)
    ]
    rows: list[Row] = []
    for flags in progress(grid, table, len(grid)):
        score = gradient_descent(**shape, **flags, one_cycle=True)(validation, 0)
        rows.append(
            flags
            | {
                "accuracy": score.held_out_accuracy,
                "train_loss": score.train_loss,
                "cpu_s": score.cpu_seconds,
            }
        )
    run.table(table, rows, "Baselines on the validation split:")
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        key = (row["optimizer"], row["batch_size"] if per_batch else None)
        groups.setdefault(key, []).append(row)
    best = [max(group, key=lambda row: row["accuracy"]) for group in groups.values()]
    return {
        f"{row['optimizer']} {row['lr']:g} b{row['batch_size']}": {
            name: row[name] for name in ("optimizer", "lr", "batch_size", "epochs")
        }
        for row in best
    }


def epochs_at_cost_of(baseline: Method, data: Dataset, seeds: Sequence[int], shape: dict) -> int:
    """Return the epochs of back projection that fit into the baseline's mean CPU time."""
    scores = in_turns(seeds, {"baseline": (baseline, data)})["baseline"]
    return epochs_within(
        mean_cost(scores), lambda epochs: back_projection(**shape, epochs=epochs), data
    )


def mean_cost(scores: Sequence[Score]) -> float:
    """Return the mean CPU seconds of runs."""
    return float(np.mean([score.cpu_seconds for score in scores]))


def epochs_of(config: Config, batch_size: int) -> int:
    """Return a baseline's epochs: larger batches make more in the same time."""
    times = MORE_EPOCHS_IN_THE_SAME_TIME[batch_size] if config.same_time else 1.0
    return round(times * config.epochs)


def two_layers(epochs: int) -> Method:
    """Return back projection on two layers."""
    return back_projection(preset="two-layer", epochs=epochs)


def in_eigenbasis(
    data: Dataset,
) -> tuple[Dataset, Callable[[int], list[np.ndarray]], float]:
    """Return the data in the eigenvectors of the two-layer preset, the initial weights of a seed
    in them, and the CPU seconds that finding the eigenvectors and projecting take (median of 5)."""
    rank, times = PRESETS["two-layer"].input_rank, []
    for _ in range(5):
        start = time.process_time()
        basis, projected = leading_eigenbasis(data.x_train, rank)
        times.append(time.process_time() - start)
    widths = (data.x_train.shape[1], TWO_LAYERS["hidden_dim"], data.num_classes)

    def weights_of(seed: int) -> list[np.ndarray]:
        first, *others = initial_weights(np.random.default_rng([seed, 1]), widths)
        rotated = basis.vectors.T @ first
        return [np.vstack([rotated, np.zeros_like(rotated[:1])]), *others]

    x_train = np.ascontiguousarray(projected)
    projected_data = replace(data, x_train=x_train, x_test=basis.project(data.x_test))
    return projected_data, weights_of, float(np.median(times))


def at_extra_cost(method: Method, seconds: float) -> Method:
    """Return `method` with `seconds` added to its CPU time."""

    def train(data: Dataset, seed: int) -> Score:
        score = method(data, seed)
        return replace(score, cpu_seconds=score.cpu_seconds + seconds)

    return train


PARTS: dict[Part, Callable[[Config, Run], None]] = {
    "two-layer": two_layer,
    "eigenbasis": eigenbasis,
    "depth": depth,
    "stability": stability,
    "step-cost": step_cost,
    "lambda-map": lambda_map,
}


if __name__ == "__main__":
    run_main(main)
