"""Numbers for a reader."""

import pytest

from new_algorithm.experiments.quantities import CPU_SECONDS, TRAIN_LOSS, metric
from new_algorithm.experiments.statistics import Summary


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


def test_of_the_metrics_the_loss_alone_is_better_when_less():
    found = {name: metric(name).less_is_better for name in ("accuracy", "auc", "loss")}
    assert found == {"accuracy": False, "auc": False, "loss": True}


def test_how_much_worse_a_variation_is():
    difference = Summary(0.2, 0.1, 0.1, 0.4, 5)  # variation − baseline
    assert metric("loss").worsening(difference) == difference
    assert metric("accuracy").worsening(difference) == Summary(-0.2, 0.1, -0.4, -0.1, 5)
