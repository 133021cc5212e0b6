"""Learning to learn as a user runs it: settings, refusals, and what a run leaves behind."""

import csv
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.gallery.meta_learning.by_name import learner_of
from new_algorithm.gallery.meta_learning.tasks import Demand, make_problem
from new_algorithm.meta_learning import CLASSES, FUNCTIONS, Config, epoch_sizes, train
from tests.processes import assert_one_clear_line
from tests.recorder import Recorder

SCRIPT = "new_algorithm/meta_learning.py"


def learner_for(config, model):
    rate, steps = config.settings.rate, config.settings.steps
    return learner_of(config.learner, model, rate, steps, config.proximity)


def test_every_learner_has_settings_for_every_kind_of_task():
    learners = get_args(get_type_hints(Config)["learner"])
    assert tuple(FUNCTIONS) == tuple(CLASSES) == learners
    for learner in learners:
        for task, usual in (("waves", FUNCTIONS), ("mnist1d", CLASSES)):
            assert Config(task=task, learner=learner).settings == usual[learner]
    given = Config(learner="maml", rate=0.5, steps=3, lr=0.25, tasks=2, iterations=7).settings
    assert given == (0.5, 3, 0.25, 2, 7)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"ways": 5}, "--ways: sinusoids have no classes"),
        ({"task": "omniglot", "ways": 1}, "--ways 1"),
        ({"learner": "layer-problem", "steps": 2}, "warm-layer-problem"),
        ({"learner": "warm-layer-problem", "steps": 1}, "at least 2"),
        ({"learner": "maml", "proximity": 2.0}, "--proximity: maml has none"),
    ],
)
def test_what_cannot_be_is_refused(flags, words):
    config = Config(**flags)
    with pytest.raises(UserError, match=words):
        config.settings, config.used_ways  # noqa: B018


def test_shots_of_characters_are_fewer_than_they_have_examples():
    assert [Config(task=task).used_shots for task in ("waves", "mnist1d")] == [10, 10]
    assert [Config(task=task).used_shots for task in ("omniglot", "strokes")] == [1, 1]
    assert Config(task="omniglot", shots=5).used_shots == 5


def test_epochs_share_the_iterations():
    assert epoch_sizes(40) == [2] * 20
    assert sum(epoch_sizes(47)) == 47
    assert set(epoch_sizes(47)) == {2, 3}
    assert epoch_sizes(3) == [1, 1, 1]


def test_data_that_are_not_there_are_named_before_anything_is_written(
    work_tree, run_script, tmp_path
):
    finished = run_script(SCRIPT, "--task", "mnist1d", "--data-dir", tmp_path, "--tag", "none")
    assert_one_clear_line(finished, "no mnist1d.npz there", "mnist1d_data.pkl")
    assert not (work_tree / "ploting_data" / "none").exists()


def test_a_run_learns_to_learn_waves(work_tree, run_script):
    flags = ("--iterations", 150, "--test-tasks", 40, "--further-steps", 1, "--seed", 3)
    finished = run_script(SCRIPT, *flags, "--tag", "meta_waves")
    assert finished.returncode == 0, finished.stderr
    folder = work_tree / "ploting_data" / "meta_waves"
    rows = list(csv.DictReader((folder / "adaptation.csv").open()))
    before, after = (float(row["loss"]) for row in rows[:2])
    assert after < 0.6 < 2.0 < before  # MAML is at 2 after as many iterations
    assert after == pytest.approx(np.load(folder / "test_loss.npy")[-1])
    for name in ("loss", "adaptation", "adapted_curves"):
        assert (work_tree / "figures" / "meta_waves" / f"{name}.png").exists()


def learnt(seed):
    """The parameters and the record after a few iterations."""
    config = Config(task="waves", iterations=20, tasks=5, seed=seed)
    problem = make_problem(Demand("waves", None, 5, "test", 5), seed, None, torch.device("cpu"))
    learner, run = learner_for(config, problem.model), Recorder()
    theta = train(config, config.settings, learner, problem, run)
    return theta, [epoch["held_out"] for epoch in run.epochs]


def test_same_seed_same_bits_and_another_seed_others():
    (first, scores), (second, same), (third, _) = learnt(3), learnt(3), learnt(4)
    assert scores == same
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert any(not torch.equal(value, third[name]) for name, value in first.items())


def test_left_out_tasks_are_told():
    config = Config(learner="implicit", steps=1, iterations=3)  # a step is too little
    demand = Demand("sinusoids", None, 5, "test", 5)
    problem = make_problem(demand, 0, None, torch.device("cpu"))
    run, learner = Recorder(), learner_for(config, problem.model)
    train(config, config.settings, learner, problem, run)
    shares = [epoch["left_out_fraction"] for epoch in run.epochs]
    assert 0.5 < np.mean(shares) <= 1
    told = [text for text in run.anomalies if "left out of the meta-gradient" in text]
    assert len(told) == 1
    assert f"{np.mean(shares):.1%} of all tasks" in told[0]


def test_a_run_that_learns_nothing_says_so():
    config = Config(learner="implicit", steps=1, rate=1e-9, iterations=3)
    problem = make_problem(Demand("sinusoids", None, 5, "test", 5), 0, None, torch.device("cpu"))
    run, learner = Recorder(), learner_for(config, problem.model)
    theta = train(config, config.settings, learner, problem, run)
    for name, value in problem.model.start(config.seed).items():
        assert torch.equal(theta[name], value)
    early, _, nothing = run.anomalies
    assert "epoch 1: no iteration changed θ" in early
    assert "nothing was learnt: none of 3 iterations" in nothing


def test_losses_that_are_not_finite_end_the_run_with_a_remedy():
    config = Config(learner="maml", rate=1e30, iterations=1)
    problem = make_problem(Demand("sinusoids", None, 5, "test", 5), 0, None, torch.device("cpu"))
    learner = learner_for(config, problem.model)
    with pytest.raises(DivergedError, match=r"epoch 1: .* not finite.*--rate 5e\+29"):
        train(config, config.settings, learner, problem, Recorder())
