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


def filters_of(*layers, image_shape):
    subject = relu_subject()
    data = replace(subject.data, image_shape=image_shape)
    network = nn.Sequential(*layers).double()
    return representations.first_filters(replace(subject, data=data, network=network))


def test_filters_are_the_largest_of_the_first_layer_as_pictures():
    wide = nn.Linear(36, 30)
    with torch.no_grad():
        wide.weight[7] *= 100
    grey = filters_of(wide, nn.ReLU(), nn.Linear(30, 2), image_shape=(6, 6))
    assert grey.shape == (representations.FILTERS, 6, 6)
    np.testing.assert_allclose(grey[0].ravel(), wide.weight[7].detach())
    coloured = filters_of(nn.Flatten(), wide, image_shape=(3, 3, 4))
    assert coloured.shape == (representations.FILTERS, 3, 4, 3)
    np.testing.assert_allclose(coloured[0, 1, 2], wide.weight[7].detach()[[6, 18, 30]])


def test_filters_of_a_convolution_are_its_kernels():
    kernel = nn.Conv2d(3, 4, 5)
    with torch.no_grad():
        kernel.weight[2] *= 100
    pictures = filters_of(kernel, nn.ReLU(), image_shape=(3, 32, 32))
    assert pictures.shape == (4, 5, 5, 3)
    np.testing.assert_allclose(np.moveaxis(pictures[0], -1, 0), kernel.weight[2].detach())
    assert filters_of(nn.Conv2d(1, 4, 3), image_shape=(28, 28)).shape == (4, 3, 3)


def test_there_are_no_filters_where_rows_are_no_pictures_or_pixels_are_not_seen():
    assert filters_of(nn.Linear(36, 30), image_shape=None) is None
    assert filters_of(nn.Conv2d(3, 4, 5), image_shape=None) is None
    assert filters_of(nn.Linear(30, 4), image_shape=(6, 6)) is None
    assert filters_of(nn.Conv2d(8, 4, 3), image_shape=(8, 5, 5)) is None


def test_sentences_say_on_how_many_rows_they_were_measured():
    subject = relu_subject()
    found = representations.analyse(subject, Settings(40, 0, other=subject))
    for sentence in found.sentences:
        assert "40 test rows" in sentence or "40 training rows" in sentence


@pytest.mark.parametrize("name", ["spirals", "regression"])
def test_other_tasks_have_what_applies_to_them(name):
    found = representations.analyse(relu_subject(name), Settings(60, 0))
    rows = table(found, "representations")
    assert ("probe_error" in rows[0]) == (name == "spirals")
    projected = table(found, "projection")
    assert len(projected) == 60
    assert {row["class"] for row in projected} == ({0, 1} if name == "spirals" else {""})
