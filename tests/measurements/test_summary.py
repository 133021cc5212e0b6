"""One row for several seeds."""

import math
import statistics

import numpy as np
import pytest

from new_algorithm.measurements.summary import summarise
from new_algorithm.record.measurement import Score


def score(loss=0.5, accuracy=0.9, seconds=2.0, finished=True):
    return Score(loss, 1.1 * loss, accuracy, seconds, finished)


def test_mean_and_sample_standard_deviation():
    losses, accuracies, seconds = [0.1, 0.4, 0.2], [0.9, 0.8, 0.95], [1.0, 3.0, 2.0]
    row = summarise(
        "m", [score(*numbers) for numbers in zip(losses, accuracies, seconds, strict=True)], depth=8
    )
    for name, values in (("train_loss", losses), ("accuracy", accuracies), ("cpu_s", seconds)):
        assert row[name] == pytest.approx(statistics.mean(values))
        assert row[f"{name}_sd"] == pytest.approx(statistics.stdev(values))
    assert (row["method"], row["depth"], row["finished"], row["seeds"]) == ("m", 8, 3, 3)


def test_one_seed_has_no_spread():
    row = summarise("m", [score()])
    assert row["train_loss_sd"] == row["accuracy_sd"] == row["cpu_s_sd"] == 0.0


def test_run_that_ended_early_is_counted_and_not_dropped():
    row = summarise("m", [score(), score(loss=np.inf, finished=False)])
    assert (row["finished"], row["seeds"]) == (1, 2)
    assert math.isinf(row["train_loss"])


def test_regression_has_no_accuracy_and_keeps_its_loss():
    row = summarise("m", [score(accuracy=np.nan), score(loss=0.7, accuracy=np.nan)])
    assert math.isnan(row["accuracy"])
    assert row["train_loss"] == pytest.approx(0.6)
