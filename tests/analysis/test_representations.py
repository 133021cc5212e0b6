"""What layers put out, which units are dead, what a probe reads, and what a second run shares."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from new_algorithm.analysis import representations
from new_algorithm.analysis.findings import Settings
from new_algorithm.analysis.layer_outputs import on_share, outputs_of_layers
from new_algorithm.analysis.subject import outputs_of
from tests.analysis.subjects import relu_subject


def table(found, name):
    return next(one.rows for one in found.tables if one.name == name)


def test_layers_put_out_what_a_pass_by_hand_does():
    subject = relu_subject(rows=700)  # more than one chunk
    x, _ = subject.rows("train", 700, 0)
    seen = outputs_of_layers(subject, x, 0)
    assert list(seen) == ["inputs", "1", "3", "4"]
    h = x
    for module, name in zip(subject.network, [None, "1", None, "3", "4"], strict=True):
        h = module(h)
        if name:
            np.testing.assert_allclose(seen[name], h.detach(), atol=1e-12)
    np.testing.assert_array_equal(seen["4"], outputs_of(subject.network, x))


def test_units_that_no_row_turns_on_are_dead():
    subject = relu_subject(widths=(6, 5))
    with torch.no_grad():
        subject.network[0].bias[:2] = -1e3
        subject.network[2].bias[1] = 1e3
    found = representations.analyse(subject, Settings(50, 0))
    rows = table(found, "representations")
    assert rows[1]["dead_units"] >= 2
    assert rows[2]["always_on"] >= 1
    shares = on_share(outputs_of_layers(subject, subject.rows("train", 50, 0)[0], 0))
    assert (shares["1"][:2] == 0).all()
    assert shares["3"][1] == 1
    assert np.isnan(rows[0]["dead_units"])  # inputs are no ReLU's
    assert np.isnan(rows[3]["dead_units"])


def test_a_probe_reads_what_is_there_and_guesses_where_nothing_is():
    rng = np.random.default_rng(0)
    labels, truth = rng.integers(0, 4, (2, 400))
    noise = rng.standard_normal((2, 400, 6))
    seen = {"there": np.eye(4)[labels] + 0.05 * noise[0, :, :4], "noise": noise[0]}
    new = {"there": np.eye(4)[truth] + 0.05 * noise[1, :, :4], "noise": noise[1]}
    there, guessed = representations.probe_errors(seen, labels, new, truth, seed=0)
    assert there == 0
    assert guessed == pytest.approx(0.75, abs=0.1)


def test_a_run_beside_itself_is_itself():
    subject = relu_subject()
    found = representations.analyse(subject, Settings(60, 0, other=subject))
    np.testing.assert_allclose(np.diag(found.arrays["cka_beside"]), 1)
    np.testing.assert_allclose(found.arrays["cka_beside"], found.arrays["cka"], atol=1e-12)
    strange = relu_subject("spirals")
    found = representations.analyse(subject, Settings(60, 0, other=strange))
    assert "cka_beside" not in found.arrays
    assert any("other inputs" in sentence for sentence in found.sentences)


def test_filters_are_the_largest_of_the_first_layer_as_pictures():
    subject = relu_subject()  # 20 features are no picture
    assert representations.first_filters(subject) is None
    wide = nn.Sequential(nn.Linear(36, 30), nn.ReLU(), nn.Linear(30, 2)).double()
    with torch.no_grad():
        wide[0].weight[7] *= 100
    pictured = replace(subject, network=wide)
    pictures = representations.first_filters(pictured)
    assert pictures.shape == (representations.FILTERS, 6, 6)
    np.testing.assert_allclose(pictures[0].ravel(), wide[0].weight[7].detach())
    coloured = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)).double()
    pictures = representations.first_filters(replace(subject, network=coloured))
    assert pictures.shape == (4, 5, 5, 3)


@pytest.mark.parametrize("name", ["spirals", "regression"])
def test_other_tasks_have_what_applies_to_them(name):
    found = representations.analyse(relu_subject(name), Settings(60, 0))
    rows = table(found, "representations")
    assert ("probe_error" in rows[0]) == (name == "spirals")
    projected = table(found, "projection")
    assert len(projected) == 60
    assert {row["class"] for row in projected} == ({0, 1} if name == "spirals" else {""})
