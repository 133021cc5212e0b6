"""A trained network out of its record: rebuilt, with the data that it was trained on.

Nothing is trained again. ReLU networks of NumPy become PyTorch's, whose derivatives are easier.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datasets import Dataset, load_dataset
from new_algorithm.back_projection.losses import Loss, loss_for
from new_algorithm.cli.errors import UserError
from new_algorithm.gallery.attention.shape import SCALES, Shape
from new_algorithm.gallery.attention.tasks import sequence_model
from new_algorithm.methods.method import Problem
from new_algorithm.methods.torch_network import arrays_of, relu_network, torch_objective
from new_algorithm.models.model import MODELS, Model
from new_algorithm.plots.series import Series
from new_algorithm.record.files import read_record
from new_algorithm.record.history import read_series
from new_algorithm.record.layout import Layout
from new_algorithm.record.snapshots import named, read_arrays, snapshots

Arrays = Mapping[str, NDArray]
Part = str  # "train", or what the held-out rows of the run are called


@dataclass(frozen=True)
class Subject:
    """record: run.json. network: as weights.npz has it, in evaluation mode. snapshots: the arrays
    after some epochs, 0 the start, by epoch. load: those arrays → a network of its own. drawn: the
    arrays as the seed alone gives them; back projection's start has of layer 1 what lies among the
    leading eigenvectors of the training rows."""

    tag: str
    record: dict[str, Any]
    series: Series
    data: Dataset
    loss: Loss
    network: nn.Module
    snapshots: Mapping[int, Callable[[], Arrays]]
    load: Callable[[Arrays], nn.Module] = field(repr=False)
    drawn: Callable[[], Arrays] | None = field(default=None, repr=False)

    @cached_property
    def objective(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Outputs and targets of rows → the mean loss."""
        return torch_objective(self.loss)

    @cached_property
    def layers(self) -> dict[str, nn.Module]:
        """Linear layers and convolutions in the order of a pass, by the names of modules."""
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d)
        return {n: m for n, m in self.network.named_modules() if isinstance(m, kinds)}

    @property
    def parts(self) -> tuple[Part, Part]:
        """The names of the training rows and of the held-out ones."""
        return "train", self.data.held_out

    def chosen(self, part: Part, count: int, seed: int) -> NDArray[np.intp]:
        """Return the numbers of at most `count` rows of a part, drawn by the seed, rising."""
        rows = len(self.data.x_train if part == "train" else self.data.x_test)
        if count >= rows:
            return np.arange(rows)
        rng = np.random.default_rng([seed, int(part == "train")])
        return np.sort(rng.choice(rows, count, replace=False))

    def rows(self, part: Part, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return x (n, …) and y of the `chosen` rows; in the type of the network's parameters
        where they are not whole numbers."""
        data, rows = self.data, self.chosen(part, count, seed)
        x, y = (data.x_train, data.y_train) if part == "train" else (data.x_test, data.y_test)
        return self._tensor(x[rows]), self._tensor(y[rows])

    def over_time(self, most: int | None = None) -> Iterator[tuple[int, nn.Module]]:
        """Yield each epoch that was kept and the network after it, a new one each; or at most so
        many, evenly, the first and the last among them."""
        epochs = list(self.snapshots)
        count = len(epochs) if most is None else min(most, len(epochs))
        for place in np.linspace(0, len(epochs) - 1, count).round().astype(int):
            yield epochs[place], self.load(self.snapshots[epochs[place]]())

    def in_double(self) -> "Subject":
        """Return the same in float64."""
        load = self.load
        network = copy.deepcopy(self.network).double()
        return replace(self, network=network, load=lambda arrays: load(arrays).double())

    def _tensor(self, array: NDArray) -> Tensor:
        tensor = torch.from_numpy(np.array(array))
        return (
            tensor.to(next(self.network.parameters()).dtype)
            if tensor.is_floating_point()
            else tensor
        )


def is_relu_network(network: nn.Module) -> bool:
    """Whether a network is linear layers with ReLUs between them and nothing else."""
    if not isinstance(network, nn.Sequential) or len(network) % 2 == 0:
        return False
    return all(
        isinstance(module, nn.ReLU if place % 2 else nn.Linear)
        for place, module in enumerate(network)
    )


def outputs_of(network: nn.Module, x: Tensor, size: int = 500) -> Tensor:
    """Return a network's outputs for rows x, `size` at a time, without a graph."""
    with torch.no_grad():
        return torch.cat([network(part) for part in x.split(size)])


def read_subject(tag: str, layout: Layout, data_dir: Path | None = None) -> Subject:
    """Rebuild the network of a run and load its data, from `data_dir` if it is named.

    UserError where there is no such run, its script trains no network that is known here, its
    weights are missing, or the data are not those it was trained on.
    """
    folder = layout.record(tag)
    record = read_record(folder)
    where = layout.relative(folder)
    if record is None:
        raise UserError(
            f"{tag}: {where}/run.json is missing or damaged: name a run of ploting_data/"
        )
    script = Path(record.get("script", "")).name
    if script not in READERS:
        raise UserError(
            f"{tag}: {script or record['kind']} leaves no network that can be analysed: "
            f"name a run of {', '.join(READERS)}"
        )
    if not (folder / "weights.npz").exists():
        raise UserError(
            f"{tag}: {where}/weights.npz is missing (it is never committed): run "
            f"`{record['command']}` again"
        )
    config = record["config"]
    place = Path(config["data_dir"]) if config.get("data_dir") and data_dir is None else data_dir
    reading = READERS[script](config, place)
    _check_data(tag, record, reading.data)
    kept = {epoch: _reader(path) for epoch, path in snapshots(folder).items()}
    if kept:
        kept = {0: reading.drawn, **kept}
    try:
        network = reading.load(read_arrays(folder / "weights.npz"))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{tag}: {where}/weights.npz cannot be read ({error}): run `{record['command']}` again"
        ) from error
    of_data = reading.data, reading.loss
    how = reading.load, reading.drawn
    return Subject(tag, record, read_series(folder), *of_data, network, kept, *how)


def _reader(path: Path) -> Callable[[], Arrays]:
    return lambda: read_arrays(path)


def _check_data(tag: str, record: dict[str, Any], data: Dataset) -> None:
    known, found = record["data"].get("sha256", {}), data.sha256
    if known != found:
        raise UserError(
            f"{tag}: the data are others than those that it was trained on: give their "
            "folder with --data-dir"
        )


class Reading(NamedTuple):
    """load: arrays → the network. drawn: the arrays that the seed gives."""

    data: Dataset
    loss: Loss
    load: Callable[[Arrays], nn.Module]
    drawn: Callable[[], Arrays]


def _relu(config: dict[str, Any], data_dir: Path | None) -> Reading:
    names = ("train_limit", "test_limit", "held_out", "seed", "batch_size")
    settings = {name: config[name] for name in names}
    data = load_dataset(name=config["dataset"], data_dir=data_dir, **settings)

    def load(arrays: Arrays) -> nn.Module:
        return relu_network([arrays[f"layer_{i}"] for i in range(1, len(arrays) + 1)]).eval()

    def drawn() -> Arrays:
        widths = tuple(config.get("widths") or ())
        widths = widths or (config["hidden_dim"],) * (config["num_layers"] - 1)
        return named(Problem(data, widths, 1, config["seed"]).start()[1])

    return Reading(data, loss_for(data.num_classes, data.y_train)[0], load, drawn)


def _model(config: dict[str, Any], data_dir: Path | None) -> Reading:
    return _of(MODELS[config["model"]], config, data_dir)


def _sequences(config: dict[str, Any], data_dir: Path | None) -> Reading:
    scales = tuple(config["scales"] or SCALES)
    size = config["width"], config["layers"], config["heads"]
    shape = Shape(config["architecture"], *size, scales, config["router"] or "soft")
    at = config["context"], config["batch_size"], config["seed"]
    return _of(sequence_model(config["task"], shape, *at), config, data_dir)


def _of(model: Model, config: dict[str, Any], data_dir: Path | None) -> Reading:
    data = model.load(config["held_out"], config["train_limit"], data_dir)

    def load(arrays: Arrays) -> nn.Module:
        network = model.build(data)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        return network.eval()

    def drawn() -> Arrays:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config["seed"])
            return arrays_of(model.build(data).state_dict())

    return Reading(data, model.loss, load, drawn)


READERS: dict[str, Callable[[dict[str, Any], Path | None], Reading]] = {
    "n_layer_relu_data.py": _relu,
    "two_layer_relu_data.py": _relu,
    "bench_mnist.py": _relu,
    "torch_benchmark.py": _model,
    "attention.py": _sequences,
}
