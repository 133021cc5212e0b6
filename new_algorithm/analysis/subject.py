"""A trained network out of its record: rebuilt, with the data that it was trained on.

Nothing is trained again. ReLU networks of NumPy become PyTorch's, whose derivatives are easier.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from datasets import Dataset
from new_algorithm.analysis.readers import READERS, Arrays, Source
from new_algorithm.back_projection.losses import Loss
from new_algorithm.cli.errors import UserError
from new_algorithm.methods.torch_network import torch_objective
from new_algorithm.plots.series import Series
from new_algorithm.record.fitting import fitting
from new_algorithm.record.history import read_series
from new_algorithm.record.kept_run import KeptRun, find_run, last_epoch
from new_algorithm.record.layout import Layout
from new_algorithm.record.snapshots import read_arrays, snapshots
from new_algorithm.record.weights import WEIGHTS_FILE

Rows = str  # "train", or what the held-out rows of the run are called


@dataclass(frozen=True)
class Subject:
    """tag: as the run was asked for. record: run.json. network: as weights.npz has it, in
    evaluation mode. snapshots: the arrays after some epochs, 0 the start, by epoch. load: those
    arrays → a network of its own. drawn: the arrays as the seed alone gives them; back projection's
    start has of layer 1 what lies among the leading eigenvectors of the training rows. kind: a
    sentence on what network this is, where the run alone does not tell."""

    tag: str
    record: dict[str, Any]
    series: Series
    data: Dataset
    loss: Loss
    network: nn.Module
    snapshots: Mapping[int, Callable[[], Arrays]]
    load: Callable[[Arrays], nn.Module] = field(repr=False)
    drawn: Callable[[], Arrays] | None = field(default=None, repr=False)
    kind: str = ""

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
    def epoch(self) -> int:
        """After which the weights of weights.npz were."""
        return last_epoch(self.record)

    @property
    def about(self) -> str:
        """What is looked at: which network, of which epoch."""
        metrics = self.record["final_metrics"]
        which = "the last that was recorded"
        if "saved_epoch" in metrics:  # as of older runs
            which = f"of {metrics.get('epoch', 0)}, that of the lowest train loss"
        weights = f"The end of the run is here epoch {self.epoch}, {which}: weights.npz has it."
        if not self.snapshots:
            weights += " No snapshots on the way to it are kept."
        elif (last := max(self.snapshots)) != self.epoch:
            weights += f" The last epoch kept, where paths of snapshots end, is {last}."
        if "best_epoch" in metrics:
            weights += f" Best on validation rows was epoch {metrics['best_epoch']}."
        return f"{self.kind} {weights}".strip()

    @property
    def dtype(self) -> torch.dtype:
        """Of the network's parameters."""
        return next(self.network.parameters()).dtype

    @property
    def parts(self) -> tuple[Rows, Rows]:
        """The names of the training rows and of the held-out ones."""
        return "train", self.data.held_out

    def chosen(self, part: Rows, count: int, seed: int) -> NDArray[np.intp]:
        """Return the numbers of at most `count` rows of a part, drawn by the seed, rising."""
        rows = len(self.data.x_train if part == "train" else self.data.x_test)
        if count >= rows:
            return np.arange(rows)
        rng = np.random.default_rng([seed, int(part == "train")])
        return np.sort(rng.choice(rows, count, replace=False))

    def rows(self, part: Rows, count: int, seed: int) -> tuple[Tensor, Tensor]:
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

    def to(self, dtype: torch.dtype) -> "Subject":
        """Return the same with parameters of this type."""
        load = self.load
        network = copy.deepcopy(self.network).to(dtype)
        return replace(self, network=network, load=lambda arrays: load(arrays).to(dtype))

    def in_double(self) -> "Subject":
        return self.to(torch.float64)

    def _tensor(self, array: NDArray) -> Tensor:
        tensor = torch.from_numpy(np.array(array))
        return tensor.to(self.dtype) if tensor.is_floating_point() else tensor


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

    tag: of a run, or EXPERIMENT/RUN. UserError where there is no such run, its script keeps no
    weights, they are missing, or the data are not those that it was trained on.
    """
    run = find_run(tag, layout)
    with fitting(f"{tag}: {run.where}/ does not hold what an analysis needs", "repeat the run"):
        return _subject_of(run, data_dir)


def _subject_of(run: KeptRun, data_dir: Path | None) -> Subject:
    tag = run.tag
    folder, record = run.folder, run.record
    if record.get("kind") == "experiment":
        raise UserError(f"{tag} is an experiment: name a run in its folder, as {tag}/RUN")
    read = READERS.get(run.script)
    if read is None:
        raise UserError(
            f"{tag}: {record.get('script') or record['kind']} keeps no weights that can be "
            f"analysed: train such a network alone, by one of {', '.join(READERS)}"
        )
    config = record["config"]
    if config.get("gather"):
        raise UserError(
            f"{tag} has no network of its own: name one of {', '.join(config['gather'])}"
        )
    arrays = run.read(folder / WEIGHTS_FILE)
    given = Path(config["data_dir"]) if config.get("data_dir") and data_dir is None else data_dir
    reading = read(Source(record, folder, given))
    _check_data(tag, record, reading.data)

    def load(arrays: Arrays) -> nn.Module:
        return reading.load(arrays).eval()

    kept = {epoch: _reader(path) for epoch, path in snapshots(folder).items()}
    if kept and reading.drawn is not None:
        kept = {0: reading.drawn, **kept}
    try:
        network = load(arrays)
    except (KeyError, RuntimeError) as error:  # arrays of another network
        raise UserError(
            f"{tag}: {run.where}/{WEIGHTS_FILE} cannot be read ({error}): {run.again}"
        ) from error
    return Subject(
        tag,
        record,
        read_series(folder),
        reading.data,
        reading.loss,
        network,
        kept,
        load,
        reading.drawn,
        reading.about,
    )


def _reader(path: Path) -> Callable[[], Arrays]:
    return lambda: read_arrays(path)


def _check_data(tag: str, record: dict[str, Any], data: Dataset) -> None:
    known, found = record["data"].get("sha256", {}), data.sha256
    if known != found:
        raise UserError(
            f"{tag}: the data are others than those that it was trained on: give their "
            "folder with --data-dir"
        )
