"""Each training method as one call on a data set already loaded, so that runs can interleave."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import bench_mnist
from datasets import Dataset
from new_algorithm import n_layer_relu_data
from new_algorithm.lab.errors import DivergedError
from new_algorithm.lab.silent_run import SilentRun

Method = Callable[[Dataset, int], "Score"]  # (data, seed)


@dataclass(frozen=True)
class Score:
    """How a run ended. Accuracy is NaN for regression, AUC unless there are two classes;
    cpu_seconds of training, all included."""

    train_loss: float
    held_out_loss: float
    held_out_accuracy: float
    cpu_seconds: float
    finished: bool
    held_out_auc: float = np.nan


@dataclass
class Measurement(SilentRun):
    """Stands for a Run of a script's `train` and keeps the last epoch in memory."""

    anomalies: list[str] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    def record_epoch(self, epoch: int, **numbers: Any) -> None:
        self.last = numbers

    def anomaly(self, text: str) -> None:
        self.anomalies.append(text)

    def score(self, finished: bool) -> Score:
        """Summarise; infinite losses where no epoch was finished."""
        if not self.last:
            return Score(np.inf, np.inf, 0.0, 0.0, finished)
        train, held_out = self.last["train"], self.last["held_out"]
        return Score(
            train.loss,
            held_out.loss,
            np.nan if held_out.accuracy is None else held_out.accuracy,
            self.last["clock"].cpu_seconds,
            finished,
            np.nan if held_out.auc is None else held_out.auc,
        )


def back_projection(**flags: Any) -> Method:
    """Return back projection with `flags` over the defaults of its script, or over a preset's."""
    preset = n_layer_relu_data.PRESETS[flags.pop("preset", "deep")]
    config = replace(preset, **flags)

    def train(data: Dataset, seed: int) -> Score:
        run, settings = Measurement(), replace(config, seed=seed)
        return _scored(run, lambda: n_layer_relu_data.train(settings, data, run))

    return train


def gradient_descent(
    *, weights_of: Callable[[int], list[np.ndarray]] | None = None, **flags: Any
) -> Method:
    """Return PyTorch's back-propagation with `flags` over the defaults of bench_mnist.py.

    weights_of: the initial weights of a seed, where they are not those of the script.
    """
    config = bench_mnist.Config(**flags)

    def train(data: Dataset, seed: int) -> Score:
        run, weights = Measurement(), weights_of and weights_of(seed)
        settings = replace(config, seed=seed)
        return _scored(run, lambda: bench_mnist.train(settings, data, run, weights))

    return train


def _scored(run: Measurement, train: Callable[[], None]) -> Score:
    try:
        train()
    except DivergedError:
        return run.score(finished=False)
    return run.score(finished=True)
