"""Confusion, per-class figures and calibration against loops, closed forms and scikit-learn."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import precision_recall_fscore_support
from torch import nn

from new_algorithm.analysis import errors
from new_algorithm.analysis.findings import Settings
from new_algorithm.analysis.pictures import pictures
from new_algorithm.analysis.subject import outputs_of
from tests.analysis.subjects import relu_subject

SETTINGS = Settings(50, 0)


def table(found, name):
    return next(one.rows for one in found.tables if one.name == name)


def test_confusion_is_counted_and_per_class_figures_are_scikit_learns():
    labels, named = np.random.default_rng(0).integers(0, 5, (2, 300))
    confusion = errors.confusion_matrix(labels, named, 5)
    counted = np.zeros((5, 5))
    for a, b in zip(labels, named, strict=True):
        counted[a, b] += 1
    np.testing.assert_array_equal(confusion, counted)
    reference = precision_recall_fscore_support(labels, named)
    for label, row in enumerate(errors.per_class(confusion)):
        found = row["precision"], row["recall"], row["f1"], row["rows"]
        assert found == pytest.approx([one[label] for one in reference])


def test_a_class_that_is_never_named_has_no_precision():
    row = errors.per_class(np.array([[3, 0], [2, 0]]))[1]
    assert np.isnan(row["precision"])
    assert (row["recall"], row["f1"]) == (0, 0)


def test_who_is_as_sure_as_right_is_calibrated():
    # in each bin so many of 100 rows are right as the probability says
    sure = np.repeat([0.25, 0.5, 0.75, 1.0], 100)
    right = np.concatenate([np.arange(100) < 100 * p for p in (0.25, 0.5, 0.75, 1.0)])
    rows, error = errors.reliability(sure, right)
    assert error == pytest.approx(0, abs=1e-12)
    assert [row["accuracy"] for row in rows] == pytest.approx([0.25, 0.5, 0.75, 1])
    for row in rows:  # Wilson's ends p solve (share − p)² = z² p (1 − p)/n
        for end in (row["low"], row["high"]):
            distance = 1.959964**2 * end * (1 - end) / row["rows"]
            assert (row["accuracy"] - end) ** 2 == pytest.approx(distance, rel=1e-5, abs=1e-12)
        assert row["low"] < row["high"]


@pytest.mark.parametrize(("sure", "accuracy"), [(0.9, 0.6), (0.4, 0.7), (1.0, 0.0)])
def test_one_probability_has_the_error_of_its_distance(sure, accuracy):
    right = np.arange(50) < 50 * accuracy
    _, error = errors.reliability(np.full(50, sure), right)
    assert error == pytest.approx(abs(sure - accuracy))


def test_calibration_is_a_loop_over_bins():
    rng = np.random.default_rng(1)
    sure, right = rng.uniform(0.1, 1, 500), rng.random(500) < 0.5
    edges = np.linspace(0, 1, errors.BINS + 1)
    expected = 0.0
    for low, high in pairwise(edges):
        inside = (sure >= low) & (sure < high)
        expected += abs(right[inside].sum() - sure[inside].sum()) / 500
    assert errors.reliability(sure, right)[1] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["synthetic", "spirals"])
def test_probabilities_are_the_networks(name):
    subject = relu_subject(name)
    x, labels, p = errors.probabilities(subject, "test", SETTINGS)
    np.testing.assert_array_equal(labels, subject.data.y_test)
    f = outputs_of(subject.network, subject.rows("test", 10**6, 0)[0]).numpy()
    if name == "spirals":
        np.testing.assert_allclose(p[:, 1], expit(f[:, 0]))
        np.testing.assert_allclose(p.sum(axis=1), 1)
    else:
        np.testing.assert_allclose(p, softmax(f, axis=1))
    assert len(x) == len(p)


def test_the_surest_mistakes_are_rows_of_the_data_set(monkeypatch):
    monkeypatch.setattr(errors, "MOST_ROWS", 40)
    subject = relu_subject(rows=60)
    found = errors.analyse(subject, Settings(40, seed=3))
    mistakes = table(found, "surest_mistakes")
    assert len(mistakes) == errors.MISTAKES
    probabilities = [row["probability"] for row in mistakes]
    assert probabilities == sorted(probabilities, reverse=True)
    chosen = subject.chosen("test", 40, 3)
    f = outputs_of(subject.network, subject.rows("test", 60, 0)[0]).numpy()
    for row in mistakes:
        assert row["row"] in chosen
        assert row["class"] == subject.data.y_test[row["row"]]
        assert row["named"] == f[row["row"]].argmax()
        assert row["probability"] == pytest.approx(softmax(f[row["row"]]).max())
    wrong = (f.argmax(axis=1) != subject.data.y_test)[chosen].sum()
    assert found.sentences[0].startswith(f"{wrong} of 40 test rows are named wrong")


@pytest.mark.parametrize(
    ("image_shape", "picture"), [(None, None), ((6, 6), (6, 6)), ((3, 3, 4), (3, 4, 3))]
)
def test_mistakes_are_shown_as_the_data_set_says_whatever_the_number_of_features(
    image_shape, picture
):
    subject = relu_subject(rows=60)
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 5, (60, 36)).astype(np.float32)
    y = rng.integers(0, 4, 60)
    data = replace(subject.data, x_test=x, y_test=y, image_shape=image_shape)
    network = nn.Sequential(nn.Linear(36, 4))
    found = errors.analyse(replace(subject, data=data, network=network), SETTINGS)
    if image_shape is None:
        assert "mistakes" not in found.arrays
        return
    assert found.arrays["mistakes"].shape == (errors.MISTAKES, *picture)
    row = table(found, "surest_mistakes")[0]["row"]
    shown = pictures(x[row][None], image_shape)
    low, high = (end(pictures(x, image_shape), axis=(0, 1, 2)) for end in (np.min, np.max))
    np.testing.assert_allclose(found.arrays["mistakes"][0], ((shown - low) / (high - low))[0])


def test_who_makes_no_mistakes_has_no_table_of_them():
    subject = relu_subject()
    f = outputs_of(subject.network, subject.rows("test", 60, 0)[0]).numpy()
    data = replace(subject.data, y_test=f.argmax(axis=1))
    found = errors.analyse(replace(subject, data=data), SETTINGS)
    assert [one.name for one in found.tables] == ["classes", "reliability"]
    assert found.sentences[0] == "0 of 60 test rows are named wrong."


def test_regression_has_no_classes():
    found = errors.analyse(relu_subject("regression"), SETTINGS)
    assert found.tables == []
    assert found.sentences == ["The network names no classes: there are none to confuse."]
