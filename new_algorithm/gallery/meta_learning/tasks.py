"""What is learnt to be learnt: waves, characters, series, each with its network and where the tasks
come from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.mnist1d import load_mnist1d
from datasets.omniglot import load_omniglot
from datasets.strokes import strokes
from new_algorithm.cli.errors import UserError
from new_algorithm.gallery.meta_learning.episodes import (
    FREQUENCIES,
    Episodes,
    Sample,
    Tasks,
    new_classes,
    sinusoids,
    with_rotations,
)
from new_algorithm.gallery.meta_learning.models import Model, convolutions, multilayer

TaskName = Literal["sinusoids", "waves", "omniglot", "mnist1d", "strokes"]
HeldOut = Literal["test", "validation"]
HELD_OUT_SEEDS = {"test": 1, "validation": 2}  # of held-out tasks: the same for every run
QUERIES = {"sinusoids": (10, 100), "waves": (10, 100)}  # asked in training and held out; of classes
CLASS_QUERIES = (5, 15)  # likewise, of each class
UNITS, FILTERS = 40, 64
MNIST1D_CLASSES = {"test": (range(6), range(6, 10)), "validation": (range(3), range(3, 6))}
STROKE_CLASSES = 200


@dataclass(frozen=True)
class Demand:
    """Which tasks. ways is None of sinusoids and waves."""

    task: TaskName
    ways: int | None
    shots: int
    held_out: HeldOut
    test_tasks: int


@dataclass(frozen=True)
class Problem:
    """train: draws tasks to learn from. held_out: those that are never learnt from. runs: the 20
    official one-shot runs where the tasks are like them, and held out for the test."""

    model: Model
    train: Sample
    held_out: Tasks
    provenance: dict[str, Any]
    runs: Episodes | None = None


def make_problem(demand: Demand, seed: int, data_dir: Path | None, device: torch.device) -> Problem:
    """Build the network from `seed`, the tasks from the data in `data_dir`.

    UserError where data are missing or have too few classes or examples.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body, width = _body(demand.task)
    model = Model(body.to(device), width, demand.ways or 1, demand.ways is not None)
    if demand.ways is None:
        return _of_functions(demand, model, device)
    train, held_out, provenance, runs = CLASSES[demand.task](demand, data_dir)
    _check(demand, train, held_out)
    draws = [
        new_classes(torch.from_numpy(part).to(device), demand.ways, demand.shots, queries)
        for part, queries in zip((train, held_out), CLASS_QUERIES, strict=True)
    ]
    facts = {"num_classes": demand.ways, "chance_accuracy": 1 / demand.ways, "shots": demand.shots}
    return Problem(
        model,
        lambda rng, tasks: draws[0](rng, tasks).whole(),
        _held_out_tasks(draws[1], demand),
        provenance | facts,
        runs and Episodes(*(array.to(device) for array in runs)),
    )


def _body(task: TaskName) -> tuple[torch.nn.Module, int]:
    if task in QUERIES:
        return multilayer(UNITS), UNITS
    if task == "mnist1d":
        return convolutions(1, FILTERS, 3), FILTERS * 5  # 40, 20, 10, 5 places
    return convolutions(2, FILTERS, 4), FILTERS * 4  # 28², 14², 7², 4², 2² places


def _of_functions(demand: Demand, model: Model, device: torch.device) -> Problem:
    frequencies = FREQUENCIES if demand.task == "waves" else (1.0, 1.0)
    train, held_out = (
        sinusoids(demand.shots, queries, device, frequencies=frequencies)
        for queries in QUERIES[demand.task]
    )
    provenance = {
        "name": demand.task,
        "source": f"drawn at random, frequencies {frequencies[0]:g} to {frequencies[1]:g}",
        "held_out": demand.held_out,
        "num_classes": None,
        "shots": demand.shots,
    }
    return Problem(model, train, _held_out_tasks(held_out, demand), provenance)


def _held_out_tasks(draw: Callable[[np.random.Generator, int], Tasks], demand: Demand) -> Tasks:
    return draw(np.random.default_rng(HELD_OUT_SEEDS[demand.held_out]), demand.test_tasks)


Runs = tuple[Tensor, Tensor, Tensor, Tensor] | None
Classes = tuple[NDArray, NDArray, dict[str, Any], Runs]  # (classes, examples of each, channel, …)


def _omniglot(demand: Demand, data_dir: Path | None) -> Classes:
    data, runs = load_omniglot(data_dir, held_out=demand.held_out), None
    like_runs = (demand.ways, demand.shots) == (*data.runs.labels.shape[1:], 1)
    if like_runs and demand.held_out == "test":
        learn, name = (
            torch.from_numpy(part[:, :, None]) for part in (data.runs.learn, data.runs.name)
        )
        labels = torch.from_numpy(data.runs.labels)
        runs = learn, torch.arange(labels.shape[1]).expand_as(labels), name, labels
    return with_rotations(data.train)[:, :, None], data.test[:, :, None], data.provenance(), runs


def _mnist1d(demand: Demand, data_dir: Path | None) -> Classes:
    data = load_mnist1d(data_dir)
    x, y = (
        np.concatenate(parts)
        for parts in ((data.x_train, data.x_test), (data.y_train, data.y_test))
    )
    each = np.bincount(y).min()
    by_class = np.stack([x[y == label][:each, None] for label in range(y.max() + 1)])
    train, held_out = (by_class[list(labels)] for labels in MNIST1D_CLASSES[demand.held_out])
    counts = {"train": train.shape[0] * each, demand.held_out: held_out.shape[0] * each}
    provenance = data.provenance() | {"held_out": demand.held_out, "counts": counts}
    return train, held_out, provenance, None


def _strokes(demand: Demand, data_dir: Path | None) -> Classes:
    train, held_out = (
        strokes(STROKE_CLASSES, 20, seed)[:, :, None]
        for seed in (0, HELD_OUT_SEEDS[demand.held_out])
    )
    provenance = {
        "name": "strokes",
        "source": "invented characters, no handwriting: nothing is to be concluded from figures",
        "held_out": demand.held_out,
    }
    return with_rotations(train), held_out, provenance, None


CLASSES: dict[str, Callable[[Demand, Path | None], Classes]] = {
    "omniglot": _omniglot,
    "mnist1d": _mnist1d,
    "strokes": _strokes,
}


def _check(demand: Demand, train: NDArray, held_out: NDArray) -> None:
    ways = min(len(train), len(held_out))
    if demand.ways is not None and demand.ways > ways:
        raise UserError(
            f"--ways {demand.ways}: {demand.task} has {len(train)} classes to learn from and "
            f"{len(held_out)} held out: give at most {ways}"
        )
    shots = min(train.shape[1], held_out.shape[1]) - max(CLASS_QUERIES)
    if demand.shots > shots:
        raise UserError(
            f"--shots {demand.shots}: of each class {max(CLASS_QUERIES)} examples are asked for, "
            f"which leaves {shots} to learn from: give at most {shots}"
        )
