"""The network of a run and its data, script by script: what weights.npz and snapshots/ hold."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import nn

from datasets import Dataset, load_dataset
from datasets.synthetic import teacher_data
from new_algorithm.back_projection.losses import SOFTMAX, SQUARED, Loss
from new_algorithm.gallery.architecture_search.cells import Plan
from new_algorithm.gallery.architecture_search.genotypes import genotype_of
from new_algorithm.gallery.architecture_search.images import load_images
from new_algorithm.gallery.attention.shape import SCALES, Shape
from new_algorithm.gallery.attention.tasks import sequence_model
from new_algorithm.gallery.contrastive.classifier import classifier
from new_algorithm.gallery.contrastive.tasks import load_task
from new_algorithm.gallery.meta_learning.adapted_network import adapted_network
from new_algorithm.gallery.meta_learning.by_name import learner_of
from new_algorithm.gallery.meta_learning.episodes import Episodes
from new_algorithm.gallery.meta_learning.tasks import Demand, make_problem
from new_algorithm.methods.method import Problem, loss_of
from new_algorithm.methods.torch_network import arrays_of, relu_network
from new_algorithm.models.model import MODELS, Model
from new_algorithm.record.files import read_csv
from new_algorithm.record.kept_run import RELU_SCRIPTS, layers_of
from new_algorithm.record.snapshots import named

Arrays = Mapping[str, NDArray]
CPU = torch.device("cpu")


class Source(NamedTuple):
    """record: run.json. folder: where it lies. data_dir: where the data do, else as usual."""

    record: dict[str, Any]
    folder: Path
    data_dir: Path | None

    @property
    def config(self) -> dict[str, Any]:
        return self.record["config"]


class Reading(NamedTuple):
    """load: arrays → the network. drawn: the arrays that the seed gives, where there is need of
    them. about: a sentence on what is looked at, where that is not plain from the run."""

    data: Dataset
    loss: Loss
    load: Callable[[Arrays], nn.Module]
    drawn: Callable[[], Arrays] | None = None
    about: str = ""


def _relu(source: Source) -> Reading:
    config = source.config
    names = ("train_limit", "test_limit", "held_out", "seed", "batch_size")
    settings = {name: config[name] for name in names}
    later = {"target_columns": "target", "task": "task", "missing": "missing", "drop": "drop"}
    settings |= {later[name]: config[name] for name in later if name in config}  # not in older ones
    data = load_dataset(name=config["dataset"], data_dir=source.data_dir, **settings)
    widths = tuple(config.get("widths") or ())
    return _of_layers(data, widths or (config["hidden_dim"],) * (config["num_layers"] - 1), config)


def _teacher(source: Source) -> Reading:
    config = source.config
    data, _ = teacher_data(config["seed"], config["teacher_widths"], config["rows"])
    return _of_layers(data, (config["hidden_dim"],), config, np.float64)


def _of_layers(
    data: Dataset, widths: tuple[int, ...], config: dict[str, Any], dtype: DTypeLike = np.float32
) -> Reading:
    """A ReLU network of these widths, by layers W̃."""

    def load(arrays: Arrays) -> nn.Module:
        return relu_network(layers_of(arrays))

    def drawn() -> Arrays:
        return named(Problem(data, widths, 1, config["seed"]).start(dtype)[1])

    return Reading(data, loss_of(data)[0], load, drawn)


def _model(source: Source) -> Reading:
    return _of_model(MODELS[source.config["model"]], source)


def _sequences(source: Source) -> Reading:
    config = source.config
    scales = tuple(config["scales"] or SCALES)
    size = config["width"], config["layers"], config["heads"]
    shape = Shape(config["architecture"], *size, scales, config["router"] or "soft")
    at = config["context"], config["batch_size"], config["seed"]
    return _of_model(sequence_model(config["task"], shape, *at), source)


def _of_model(model: Model, source: Source) -> Reading:
    config = source.config
    data = model.load(config["held_out"], config["train_limit"], source.data_dir)

    def drawn() -> Arrays:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["seed"])
            return arrays_of(model.build(data).state_dict())

    return Reading(data, model.loss, _by_state(lambda: model.build(data)), drawn)


def _by_state(build: Callable[[], nn.Module]) -> Callable[[Arrays], nn.Module]:
    """How arrays of a state_dict become a network."""

    def load(arrays: Arrays) -> nn.Module:
        network = build()
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return network

    return load


def _contrastive(source: Source) -> Reading:
    config = source.config
    where = config["dataset"], source.data_dir, config["held_out"], config["train_limit"]
    task = load_task(*where, CPU)
    about = (
        "Looked at is a classifier: the encoder, learnt without labels, and behind it the linear "
        f"probe that (P) makes of {max(config['labels']):,} labelled rows, its outputs times the "
        "one number of the lowest cross entropy on validation rows. Losses here are this "
        "classifier's and not the contrastive one, and its probe is solved anew for each epoch."
    )
    load = _by_state(lambda: classifier(task.encoder(config["width"]), task.classes))
    return Reading(task.data, SOFTMAX, load, about=about)


def _meta(source: Source) -> Reading:
    config, facts = source.config, source.record["data"]
    ways, held_out = facts["num_classes"], config["held_out"]
    demand = Demand(config["task"], ways, facts["shots"], held_out, config["test_tasks"])
    problem = make_problem(demand, config["seed"], source.data_dir, CPU)
    rate, steps = (source.record["settings"][name] for name in ("rate", "steps"))
    learner = learner_of(config["learner"], problem.model, rate, steps, config["proximity"])
    task = next(iter(problem.held_out.parts(1)))

    def load(theta: Arrays) -> nn.Module:
        given = {name: torch.from_numpy(array) for name, array in theta.items()}
        return adapted_network(learner, given, task)

    about = (
        "Looked at is what the learner makes of θ for the first held-out task: train rows are the "
        f"{task.x.shape[1]} that it learns this task from, {held_out} rows the "
        f"{task.new_x.shape[1]} that are asked; "
    ) + (
        "batch norms keep the statistics of the latter."
        if ways
        else "the loss is half the mean square error, of which the run records the whole."
    )
    data, loss = _of_one_task(task, facts, problem.provenance), SOFTMAX if ways else SQUARED
    return Reading(data, loss, load, about=about)


def _of_one_task(task: Episodes, facts: dict[str, Any], found: dict[str, Any]) -> Dataset:
    return Dataset(
        name=facts["name"],
        x_train=task.x[0].numpy(),
        y_train=task.y[0].numpy(),
        x_test=task.new_x[0].numpy(),
        y_test=task.new_y[0].numpy(),
        num_classes=facts["num_classes"],
        held_out=facts["held_out"],
        source=facts["source"],
        scaling=facts.get("scaling", ""),
        sha256=found.get("sha256", {}),
    )


def _derived(source: Source) -> Reading:
    config = source.config
    limits = config["train_limit"], config["test_limit"], source.data_dir
    data = load_images(config["dataset"], config["held_out"], *limits)
    assert data.num_classes is not None
    names = ("channels", "cells", "nodes")
    plan = Plan(data.x_train.shape[1], data.num_classes, **{name: config[name] for name in names})
    first = {"seed": str(config["seed"]), "cells": "derived"}
    rows = read_csv(source.folder / "cells.csv")
    genotype = genotype_of(row for row in rows if first.items() <= row.items())
    about = "Looked at is the derived network of the first seed, trained from scratch."
    return Reading(data, SOFTMAX, _by_state(lambda: plan.derived(genotype)), about=about)


READERS: dict[str, Callable[[Source], Reading]] = {
    **dict.fromkeys(RELU_SCRIPTS, _relu),
    "two_layer_relu.py": _teacher,
    "torch_benchmark.py": _model,
    "attention.py": _sequences,
    "contrastive.py": _contrastive,
    "meta_learning.py": _meta,
    "architecture_search.py": _derived,
}
