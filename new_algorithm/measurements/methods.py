"""Each training method as one call on a data set already loaded, so that runs can interleave."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import bench_mnist
from datasets import Dataset
from new_algorithm import n_layer_relu_data
from new_algorithm.cli.errors import DivergedError
from new_algorithm.record.measurement import Measurement, Score

Method = Callable[[Dataset, int], Score]  # (data, seed)


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
