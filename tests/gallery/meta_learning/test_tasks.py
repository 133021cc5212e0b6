"""Where tasks come from, what is refused, and how errors on held-out tasks are counted."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from new_algorithm.cli.errors import UserError
from new_algorithm.gallery.meta_learning import evaluation
from new_algorithm.gallery.meta_learning.figures import (
    CURVES_FILE,
    GIVEN,
    STEPS_FILE,
    draw_adaptation,
    draw_curves,
)
from new_algorithm.gallery.meta_learning.learners import LayerProblem, Maml
from new_algorithm.gallery.meta_learning.tasks import Demand, make_problem
from new_algorithm.plots.style import draw
from new_algorithm.record.files import save_csv
from tests.gallery.meta_learning.problems import episodes, smooth
from tests.real_data import MNIST_FOLDER

CPU = torch.device("cpu")
needs_mnist1d = pytest.mark.skipif(
    not (MNIST_FOLDER / "mnist1d.npz").is_file(), reason="no mnist1d.npz at hand"
)
needs_omniglot = pytest.mark.skipif(
    not (MNIST_FOLDER / "omniglot_one_shot_runs.zip").is_file(), reason="no Omniglot at hand"
)


def problem(task, ways=None, shots=1, held_out="test", test_tasks=4, seed=0):
    demand = Demand(task, ways, shots, held_out, test_tasks)
    return make_problem(demand, seed, MNIST_FOLDER, CPU)


def test_held_out_tasks_are_the_same_for_every_seed_and_others_for_validation():
    first, other, validation = (
        problem("waves", shots=5, seed=seed, held_out=held_out)
        for seed, held_out in ((0, "test"), (1, "test"), (0, "validation"))
    )
    assert torch.equal(first.held_out.new_y, other.held_out.new_y)
    assert not torch.equal(first.held_out.new_y, validation.held_out.new_y)
    weights = [p.model.start(0)["body.0.weight"] for p in (first, other, validation)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_invented_characters_make_tasks_of_images():
    made = problem("strokes", ways=5, shots=2)
    held_out = made.held_out.whole()
    assert held_out.x.shape == (4, 10, 1, 28, 28)
    assert held_out.new_x.shape == (4, 75, 1, 28, 28)
    theta = made.model.start(0)
    assert made.model.predict(theta, held_out.x).shape == (4, 10, 5)
    assert made.provenance["chance_accuracy"] == 0.2
    drawn = made.train(np.random.default_rng(0), 2)
    assert not (drawn.x[0, 0] == held_out.x.flatten(0, 1)).flatten(1).all(1).any()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ways": 900}, "--ways 900: strokes has 800 .* give at most 200"),
        ({"ways": 5, "shots": 6}, "--shots 6: .* give at most 5"),
    ],
)
def test_tasks_that_the_data_cannot_make_are_refused(wrong, words):
    with pytest.raises(UserError, match=words):
        problem("strokes", **wrong)


@needs_mnist1d
def test_classes_of_mnist1d_are_for_training_or_for_the_test():
    made, validation = (problem("mnist1d", 3, held_out=name) for name in ("test", "validation"))
    rows = {}
    for name, one in (("test", made), ("validation", validation)):
        drawn = one.train(np.random.default_rng(0), 60)
        for part, x in (("train", drawn.x), ("held out", one.held_out.whole().x)):
            rows[name, part] = {row.numpy().tobytes() for row in x.flatten(0, 1)}
    assert not rows["test", "train"] & rows["test", "held out"]
    assert not rows["validation", "train"] & rows["validation", "held out"]
    assert not rows["validation", "train"] & rows["test", "held out"]
    assert not rows["validation", "held out"] & rows["test", "held out"]
    with pytest.raises(UserError, match=r"--ways 5: mnist1d has 6 .* 4 held out: give at most 4"):
        problem("mnist1d", 5)


@needs_omniglot
def test_omniglot_has_its_turned_classes_and_its_official_runs():
    made = problem("omniglot", 20)
    assert made.provenance["name"] == "omniglot-minimal"
    runs = made.runs
    assert runs.x.shape == runs.new_x.shape == (20, 20, 1, 28, 28)
    assert runs.y.sort(1).values.equal(torch.arange(20).expand(20, 20))
    assert runs.new_y.sort(1).values.equal(torch.arange(20).expand(20, 20))
    assert problem("omniglot", 5).runs is None
    assert problem("omniglot", 20, held_out="validation").runs is None  # they are for the test


def test_what_is_learnt_does_not_change_the_network_that_it_started_from():
    model = problem("waves").model
    theta = model.start(0)
    for value in theta.values():
        value.add_(1)
    for name, value in model.start(0).items():
        assert torch.equal(theta[name], value + 1)


def test_errors_are_those_of_predictions_and_repeat():
    model, theta = smooth(classes=True, outputs=3)
    tasks, learner = episodes(classes=3, tasks=5), Maml(model, 0.5, 2)
    found = evaluation.errors(learner, theta, tasks, 3)
    again = evaluation.errors(learner, theta, tasks, 3, first=2)
    assert torch.equal(found.losses[2:], again.losses)
    for steps, phi in enumerate(islice(learner.path(theta, tasks.x, tasks.y), 4)):
        named = model.predict(phi, tasks.new_x).argmax(-1)
        wrong = [float((a != b).double().mean()) for a, b in zip(named, tasks.new_y, strict=True)]
        np.testing.assert_allclose(found.wrong[steps], wrong, rtol=1e-6)
    own = evaluation.scores(learner, theta, tasks)
    row = evaluation.adaptation(found)[2]
    assert own.loss == pytest.approx(row["loss"])
    assert own.accuracy == pytest.approx(row["accuracy"])
    spread = np.std(found.losses[2].numpy(), ddof=1)
    assert row["loss_half_interval"] == pytest.approx(1.96 * spread / np.sqrt(5), rel=1e-6)


def test_errors_do_not_depend_on_the_parts_in_which_tasks_are_evaluated(monkeypatch):
    model, theta = smooth()
    tasks, learner = episodes(tasks=7), LayerProblem(model)
    whole = evaluation.errors(learner, learner.start(theta), tasks, 1).losses
    monkeypatch.setattr(evaluation, "NUMBERS", 3 * tasks.new_x[0].numel())
    parts = evaluation.errors(learner, learner.start(theta), tasks, 1).losses
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=0)


def test_curves_are_drawn_from_their_file_alone(tmp_path: Path):
    model, theta = smooth()
    learner, tasks = LayerProblem(model), episodes(tasks=4)
    tasks = type(tasks)(*(getattr(tasks, name) for name in ("x", "y", "new_x", "new_y")))
    rows = [
        {"task": task, "curve": curve, "x": x, "y": x * task}
        for task in (1, 2)
        for curve in (GIVEN, "true", "before", "adapted")
        for x in (-1.0, 0.5, 2.0)
    ]
    save_csv(tmp_path / CURVES_FILE, rows)
    steps = evaluation.adaptation(evaluation.errors(learner, learner.start(theta), tasks, 2))
    save_csv(tmp_path / STEPS_FILE, steps)
    for fill, file in ((draw_curves, CURVES_FILE), (draw_adaptation, STEPS_FILE)):
        seen = []

        def keep(figure, fill=fill, file=file, seen=seen):
            fill(figure, tmp_path / file)
            seen += figure.axes

        assert draw(keep)
        if file == CURVES_FILE:
            assert [axes.get_title() for axes in seen] == ["held-out task 1", "held-out task 2"]
            np.testing.assert_array_equal(seen[1].lines[0].get_xdata(), [-1.0, 0.5, 2.0])
            assert seen[1].lines[0].get_label() == GIVEN
        else:
            drawn = seen[0].lines[0].get_ydata()
            np.testing.assert_allclose(drawn, [row["loss"] for row in steps])
