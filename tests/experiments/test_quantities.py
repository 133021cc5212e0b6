"""Numbers for a reader."""

from dataclasses import replace

import pytest

from new_algorithm.experiments.quantities import (
    CPU_SECONDS,
    TRAIN_LOSS,
    compared_quantities,
    find_metric,
    metric,
)
from new_algorithm.experiments.statistics import Summary
from tests.experiments.tiny_experiments import TASK


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        (metric("accuracy"), 0.98, "0.9800"),
        (metric("auc"), None, "–"),
        (metric("loss"), 0.06125, "0.0612"),
        (TRAIN_LOSS, 12.345, "12.3"),
        (CPU_SECONDS, 1234.5, "1234"),
        (CPU_SECONDS, 99.0, "99.0"),
        (TRAIN_LOSS, 1e12, "1.00e+12"),
        (TRAIN_LOSS, 0.0, "0.00"),
    ],
)
def test_shown(quantity, value, text):
    assert quantity.show(value) == text


def test_signs_are_typographic():
    assert metric("accuracy").show(-0.01, signed=True) == "−0.0100"
    assert metric("accuracy").show(0.01, signed=True) == "+0.0100"
    assert TRAIN_LOSS.show(-2e-5) == "−2.00e−05"


@pytest.mark.parametrize(
    "named", [("accuracy", "loss"), ("train_loss", "accuracy"), ("loss", "train_loss")]
)
def test_the_train_loss_is_compared_once(named):
    names = [one.name for one in compared_quantities(replace(TASK, metrics=named))]
    assert names[0] == metric(named[0]).name
    assert names.count("train loss") == 1
    assert metric("train_loss") == metric("train_loss", "validation") == TRAIN_LOSS


def test_of_the_metrics_the_losses_alone_are_better_when_less():
    names = ("accuracy", "auc", "loss", "squared_error")
    assert [metric(name).less_is_better for name in names] == [False, False, True, True]


@pytest.mark.parametrize(
    ("name", "less", "label", "shown"),
    [
        ("bits_per_character", True, "test bits per character", "2.35"),
        ("mean_squared_error", True, "test mean squared error", "2.35"),
        ("cpu_seconds", True, "test cpu seconds", "2.35"),
        ("peak_memory_mb", True, "test peak memory mb", "2.35"),
        ("probe_accuracy_100_labels", False, "test probe accuracy 100 labels", "2.3457"),
        ("depth_gain", False, "test depth gain", "2.35"),
        ("orbits", False, "test orbits", "2.35"),
    ],
)
def test_of_a_script_the_words_in_a_name_say_which_way_is_better(name, less, label, shown):
    found = metric(name)
    assert (found.less_is_better, found.name, found.column) == (less, label, f"test_{name}")
    assert found.show(2.34567) == shown


def test_a_metric_is_found_by_its_name_with_and_without_rows_and_unit():
    recorded = {
        "test_accuracy_fraction": 0.9,
        "train_loss_nats": 0.1,
        "bits": 2.0,
        "test_bits": 3.0,
    }
    assert find_metric(recorded, "accuracy", "test") == ("test_accuracy", 0.9)
    assert find_metric(recorded, "test_accuracy_fraction", "test") == ("test_accuracy", 0.9)
    assert find_metric(recorded, "bits", "test") == ("test_bits", 3.0)
    assert find_metric(recorded, "bits", "validation") == ("bits", 2.0)
    assert find_metric(recorded, "accuracy", "validation") is None
    assert find_metric(recorded, "loss", "test") is None


def test_how_much_worse_a_variation_is():
    difference = Summary(0.2, 0.1, 0.1, 0.4, 5)  # variation − baseline
    assert metric("loss").worsening(difference) == difference
    assert metric("accuracy").worsening(difference) == Summary(-0.2, 0.1, -0.4, -0.1, 5)
