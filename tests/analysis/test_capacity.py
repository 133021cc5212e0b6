"""Margins, and what is said of a run's bounds: each with its own rows and a verdict."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from new_algorithm.analysis import capacity, pac_bayes
from new_algorithm.analysis.findings import Settings
from new_algorithm.analysis.subject import is_relu_network, outputs_of
from tests.analysis.subjects import relu_subject


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(pac_bayes.certify, "__defaults__", (20, 1000))


def test_margins_are_a_loop_over_rows():
    rng = np.random.default_rng(0)
    outputs, labels = rng.standard_normal((20, 4)), rng.integers(0, 4, 20)
    expected = [f[y] - np.delete(f, y).max() for f, y in zip(outputs, labels, strict=True)]
    found = capacity.margins(torch.tensor(outputs), torch.tensor(labels))
    np.testing.assert_allclose(found, expected)
    # one output: F for the second class, −F for the first
    one = capacity.margins(torch.tensor(outputs[:, :1]), torch.tensor(labels % 2))
    np.testing.assert_allclose(one, np.where(labels % 2, 1, -1) * outputs[:, 0])


def test_the_histogram_has_all_rows_of_both_parts():
    rng = np.random.default_rng(1)
    rows = capacity.histogram([rng.standard_normal(500), 3 * rng.standard_normal(70)], math.log(4))
    for part in ("train_share", "held_out_share"):
        assert sum(row[part] for row in rows) == pytest.approx(1)
    assert all(row["normalised_margin"] * 4 == pytest.approx(row["margin"]) for row in rows)
    mean = sum(row["margin"] * row["train_share"] for row in rows)
    assert abs(mean) < 0.3


@pytest.mark.parametrize("name", ["synthetic", "spirals"])
def test_each_bound_is_above_the_error_and_has_its_verdict(name):
    subject = relu_subject(name, rows=80)
    found = capacity.analyse(subject, Settings(20, 0))
    tables = {one.name: one.rows for one in found.tables}
    rows = tables["bounds"]
    assert len(rows) == 5
    x, y = subject.rows("train", 80, 0)  # of all rows, whatever the settings
    guessing = 1 - np.bincount(subject.data.y_test).max() / len(subject.data.y_test)
    error = float((capacity.margins(outputs_of(subject.network, x), y) <= 0).mean())
    for row in rows:
        assert row["train_error"] == pytest.approx(error)
        said = [s for s in found.sentences if s.startswith(f"{row['bound']}:")]
        assert len(said) == 1
        assert "on 80 training rows" in said[0]
        assert row["log10_value"] == pytest.approx(math.log10(row["value"]))
        nothing = row["value"] >= guessing
        assert ("says nothing" in said[0]) == (row["says_anything"] == "no") == nothing
        if row["bound"] != "PAC-Bayes, a random network":  # which is of another network
            assert row["value"] > error
    sizes = {row["size"]: row["value"] for row in tables["sizes"]}
    widths = [len(x[0]), 5, 4, 1 if name == "spirals" else 4]
    assert sizes["parameters"] == sum((a + 1) * b for a, b in pairwise(widths))


def test_bounds_of_hundreds_of_layers_have_their_power_of_ten():
    found = capacity.analyse(relu_subject(widths=(30,) * 260), Settings(20, 0))
    rows = {row["bound"]: row for one in found.tables if one.name == "bounds" for row in one.rows}
    frobenius = rows["Frobenius norms"]
    assert frobenius["value"] == math.inf
    assert 308 < frobenius["log10_value"] < 1000
    said = next(s for s in found.sentences if s.startswith("Frobenius norms:"))
    assert f"10^{frobenius['log10_value']:.1f} on 60 training rows" in said


def test_without_a_start_there_is_no_bound_around_it():
    subject = replace(relu_subject(), drawn=None)
    found = capacity.analyse(subject, Settings(20, 0))
    rows = next(one.rows for one in found.tables if one.name == "bounds")
    assert [row["bound"] for row in rows] == [
        "number of labellings",
        "spectral norms, from 0",
        "Frobenius norms",
    ]
    assert "PAC-Bayes needs the initial weights" in found.sentences[-1]


def test_other_networks_and_tasks_have_what_applies_to_them():
    found = capacity.analyse(relu_subject("regression"), Settings(20, 0))
    assert [one.name for one in found.tables] == ["sizes"]
    tanh = nn.Sequential(nn.Linear(20, 3), nn.Tanh(), nn.Linear(3, 4)).double()
    assert not is_relu_network(tanh)
    assert not is_relu_network(nn.Sequential(nn.Linear(20, 3), nn.ReLU()))
    assert is_relu_network(relu_subject().network)
    found = capacity.analyse(replace(relu_subject(), network=tanh), Settings(20, 0))
    assert [one.name for one in found.tables] == ["sizes", "margins"]
