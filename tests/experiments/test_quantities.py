"""Numbers for a reader."""

import pytest

from new_algorithm.experiments.definition import METRICS
from new_algorithm.experiments.quantities import CPU_SECONDS, TRAIN_LOSS, metric


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
    assert [metric(name).less_is_better for name in METRICS] == [False, False, True]
