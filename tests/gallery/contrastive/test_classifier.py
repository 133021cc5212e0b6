"""An encoder with its probe as one network; the scale of its logits by calculus."""

import numpy as np
import pytest
import torch

from new_algorithm.back_projection.losses import SOFTMAX, softmax
from new_algorithm.gallery.contrastive.classifier import (
    LARGEST,
    best_scale,
    classifier,
    read_classifier,
)
from new_algorithm.gallery.contrastive.moco import features
from new_algorithm.gallery.contrastive.tasks import load_task


def test_at_the_best_scale_the_slope_of_the_cross_entropy_is_zero():
    rng = np.random.default_rng(0)
    outputs, labels = rng.standard_normal((200, 3)), rng.integers(0, 3, 200)
    outputs[np.arange(200), labels] += 1
    scale = best_scale(outputs, labels)
    logits = scale * outputs
    residual = np.eye(3)[labels] - softmax(logits)
    assert abs((residual * outputs).sum() / 200) < 1e-5
    assert all(
        SOFTMAX.value(factor * logits, labels) > SOFTMAX.value(logits, labels)
        for factor in (0.9, 1.1)
    )


def test_two_classes_have_the_scale_that_gives_their_frequency():
    """Outputs ±1, right on three of four rows: s = log(3) / 2 makes p = 3/4."""
    outputs = np.array([[1.0, -1.0]] * 4)
    assert best_scale(outputs, np.array([0, 0, 0, 1])) == pytest.approx(np.log(3) / 2, rel=1e-5)


def test_rows_that_are_all_told_apart_have_a_scale_all_the_same():
    assert 10 < best_scale(np.eye(3), np.arange(3)) <= LARGEST


def test_the_classifier_names_what_the_probe_does():
    task = load_task("strokes", None, "test", 300, torch.device("cpu"))
    torch.manual_seed(0)
    encoder = task.encoder(2)
    known, arrays = read_classifier(encoder, task, 60, 0)
    network = classifier(task.encoder(2), task.classes).eval()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    x, labels = task.held_out
    named = network(x).argmax(1)
    of_probe = known.fitted.classes(features(encoder, x).numpy())
    assert (named.numpy() == of_probe).mean() > 0.99  # float32 beside float64
    assert float((named == labels).double().mean()) == pytest.approx(known.probe, abs=0.01)
