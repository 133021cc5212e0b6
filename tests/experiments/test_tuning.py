"""Every method's settings and epochs are found at the same cost, on the validation rows alone."""

import json
from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from new_algorithm.back_projection.metrics import Scores
from new_algorithm.cli.errors import UserError
from new_algorithm.experiments import method_training
from new_algorithm.experiments.experiment import Variation
from new_algorithm.experiments.method_training import (
    PROBED_EPOCHS,
    MethodTraining,
    fitted_epochs,
    nearest_epochs,
)
from new_algorithm.experiments.trainable import SEARCH_SEED
from new_algorithm.experiments.tuning import Tuning
from new_algorithm.methods import foof
from new_algorithm.methods.method import Choice, Epoch
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.clock import TrainingClock
from new_algorithm.record.layout import Layout
from tests.experiments.tiny_experiments import TASK, Pretender, json_of, overhear, tiny

TIMED = replace(TASK, epochs=None, cpu_seconds=0.203)  # 20 epochs of 0.01 s


@pytest.fixture(autouse=True)
def _warm(monkeypatch):
    monkeypatch.setattr(method_training, "warm_up", lambda *_: None)


@pytest.fixture
def pretend(monkeypatch):
    """pretend(**how) -> a method in the registry, under its key "pretender"."""

    def register(key="pretender", **how):
        one = Pretender(**how)
        monkeypatch.setitem(METHODS, key, one.method(key))
        return one

    return register


def chosen(experiment, folder, which=0, task=None):
    return tuning_of(experiment, folder, which, task).choose()


def tuning_of(experiment, folder, which=0, task=None):
    task, variation = task or experiment.tasks[0], experiment.variations[which]
    return Tuning(task, variation, experiment.trials, Layout(folder, "tiny"), threads=1)


def test_every_method_is_probed_tried_and_fitted_alike(pretend, tmp_path):
    calls = {key: pretend(key, seconds=cost).calls for key, cost in (("a", 0.01), ("b", 0.04))}
    experiment = tiny(*calls, tasks=(TIMED,), trials=4)
    found = [chosen(experiment, tmp_path, which) for which in (0, 1)]
    # 0.203 s: five epochs of 0.04 s come nearer than six
    for (key, heard), epochs in zip(calls.items(), (20, 5), strict=True):
        made = [problem.epochs for problem, _ in heard]
        assert made == [PROBED_EPOCHS, *[epochs] * 4], key
        assert {problem.seed for problem, _ in heard} == {SEARCH_SEED}
    assert [one.epochs for one in found] == [20, 5]
    assert [len(one.trials) for one in found] == [4, 4]
    assert all(row["epochs"] in (20, 5) and row["cpu_seconds"] > 0.19 for row in found[0].trials)


@pytest.mark.parametrize(("parts", "whole", "probed"), [(4, False, 2), (2, False, 3), (4, True, 6)])
def test_parts_of_a_pass_are_probed_two_at_least(parts, whole, probed, monkeypatch, tmp_path):
    one = Pretender()
    method = replace(one.method(), whole_epochs=whole)
    monkeypatch.setitem(METHODS, "pretender", method)
    chosen(tiny("pretender", tasks=(replace(TIMED, parts=parts),), trials=1), tmp_path)
    assert [problem.epochs for problem, _ in one.calls] == [probed, 20]
    assert {problem.parts for problem, _ in one.calls} == {parts}


@pytest.mark.parametrize(
    ("method", "size", "samples"),
    [
        ("foof", 30, [60, 150, 210, 300, 360, 450, 510, 600]),  # ten batches: 2, 3, 2, 3
        ("foof", 75, [75, 150, 225, 300, 375, 450, 525, 600]),
        ("foof", 100, [100, 200, 300, 400, 500, 600]),  # fewer batches than parts
        ("foof", 512, [300, 600]),
        ("back_projection", None, [75, 150, 225, 300, 375, 450, 525, 600]),
        ("scalable_admm", None, [300, 600]),
    ],
)
def test_samples_are_the_rows_of_the_parts(method, size, samples, tmp_path):
    task, variation = replace(TASK, parts=4), Variation("it", method)
    training = MethodTraining(task, variation, Layout(tmp_path, "tiny"), threads=1)
    settings = {} if size is None else {"batch_size": size}
    record = {"config": {"settings": settings}, "data": {"counts": {"train": 300}}}
    epochs = np.arange(1, len(samples) + 1)
    assert training.samples(record, epochs).tolist() == samples
    assert training.samples({}, np.array([])) is None


def test_the_best_trial_is_chosen_and_read_again(pretend, tmp_path):
    one = pretend()
    experiment = tiny("pretender", trials=5)
    first = chosen(experiment, tmp_path)
    sizes = [json.loads(row["settings"])["size"] for row in first.trials]
    assert first.settings == {"size": max(sizes)}
    assert [row["value"] for row in first.trials] == pytest.approx([size / 100 for size in sizes])
    assert len(one.calls) == 5  # the task's own epochs need no probe
    assert chosen(experiment, tmp_path) == first
    assert len(one.calls) == 5


def test_models_have_batches_and_inputs_of_their_own(tmp_path):
    task = replace(TASK, dataset=None, widths=(), model="cnn")
    of_model = Tuning(task, Variation("AdamW", "adamw"), 3, Layout(tmp_path), 1).space
    assert METHODS["adamw"].space.keys() - of_model.keys() == {"batch_size", "inputs"}


def test_of_a_loss_the_smallest_is_chosen(pretend, tmp_path, monkeypatch):
    heard = overhear(monkeypatch, "foof")
    found = chosen(tiny("foof", tasks=(replace(TASK, metrics=("loss",)),)), tmp_path)
    best = max(found.trials, key=lambda row: row["value"])
    assert all(row["value"] < 0 for row in found.trials)
    assert {**METHODS["foof"].defaults, **json.loads(best["settings"])} == found.settings
    assert [problem.epochs for problem, _ in heard] == [2, 2]


def test_of_probabilities_the_smallest_squared_error_is_chosen(pretend, tmp_path, monkeypatch):
    errors = {}

    def train(problem, settings):
        scores = Scores(1.0, squared_error=settings["size"])
        errors[settings["size"]] = scores.squared_error
        yield Epoch(1, TrainingClock(0.01, 0.01), [], lambda: (scores, scores))

    pretend()
    monkeypatch.setitem(METHODS, "pretender", replace(METHODS["pretender"], train=train))
    task = replace(TASK, metrics=("squared_error",))
    found = chosen(tiny("pretender", tasks=(task,), trials=4), tmp_path)
    assert found.settings["size"] == min(errors.values())
    assert {row["value"] for row in found.trials} == {-error for error in errors.values()}


def test_the_batch_size_of_a_task_is_every_methods_and_is_not_searched(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(foof, "heavy_ball", lambda _: lambda weights: lambda *_: steps.append(1))
    for size, expected in ((50, 2 * 6), (1_000, 2)):  # of 300 rows in two epochs; all at once
        steps.clear()
        task = replace(TASK, batch_size=size)
        experiment = tiny("foof", tasks=(task,), trials=1)
        found = chosen(experiment, tmp_path / str(size))
        assert found.settings["batch_size"] == size
        assert "batch_size" not in json.loads(found.trials[0]["settings"])
        assert len(steps) == expected


def test_a_search_in_large_batches_begins_at_what_is_known_of_them(tmp_path):
    def defaults(size, method="kfac", **given):
        task, variation = replace(TASK, batch_size=size), Variation("it", method, given)
        return MethodTraining(task, variation, Layout(tmp_path, "tiny"), threads=1).defaults

    usual, large = METHODS["kfac"].defaults, METHODS["kfac"].large_batches
    assert defaults(512) == usual | {"batch_size": 512}
    assert defaults(4_096) == usual | large | {"batch_size": 4_096}
    assert defaults(4_096, lr=0.3)["lr"] == 0.3
    assert defaults(512, "back_projection") != defaults(4_096, "back_projection")


@pytest.mark.parametrize("given", [{"trials": 0}, {"searched": False}, {"settings": {"size": 7.0}}])
def test_what_is_not_searched_keeps_its_settings(given, pretend, tmp_path):
    one = pretend()
    variation = Variation("p", "pretender", given.get("settings", {}), given.get("searched", True))
    experiment = replace(
        tiny("pretender", tasks=(TIMED,)), variations=(variation,), trials=given.get("trials", 2)
    )
    found = chosen(experiment, tmp_path)
    assert found.settings == {"size": 7.0 if "settings" in given else 5.0}
    assert (found.trials, found.epochs) == ([], 20)
    assert [problem.epochs for problem, _ in one.calls] == [PROBED_EPOCHS, 20]
    assert tuning_of(experiment, tmp_path).trials == 1


def test_diverged_trials_are_counted_and_never_chosen(pretend, tmp_path):
    pretend(breaks=lambda settings, epoch: settings["size"] > 6 and epoch == 2)
    found = chosen(tiny("pretender", trials=9), tmp_path)
    lost = [row for row in found.trials if row["state"] == "diverged"]
    assert len(found.trials) == 9
    assert 0 < len(lost) < 9
    assert all(row["cpu_seconds"] == 0.01 for row in lost)  # what the first epoch cost
    assert found.settings["size"] <= 6


def test_all_trials_diverging_is_one_line(pretend, tmp_path):
    pretend(breaks=lambda settings, epoch: True)
    with pytest.raises(UserError) as refusal:
        chosen(tiny("pretender"), tmp_path)
    text = str(refusal.value)
    assert "\n" not in text
    for word in (TASK.name, "pretender", "all 2 trials diverged", "methods/pretender.py"):
        assert word in text


@pytest.mark.parametrize(("first_bad", "epochs"), [(1, 1), (2, 1), (9, 20), (30, 20)])
def test_defaults_that_diverge_have_their_epochs_too(first_bad, epochs, pretend, tmp_path):
    pretend(breaks=lambda settings, epoch: epoch >= first_bad)
    assert chosen(tiny("pretender", tasks=(TIMED,), trials=0), tmp_path).epochs == epochs


def test_a_probe_that_diverges_leaves_nothing_for_the_trials_after_it(pretend, tmp_path):
    one = pretend(breaks=lambda settings, epoch: len(one.calls) == 1)
    found = chosen(tiny("pretender", tasks=(TIMED,), trials=3), tmp_path)
    assert [row["state"] for row in found.trials] == ["diverged", "complete", "complete"]
    assert [problem.epochs for problem, _ in one.calls[:4]] == [PROBED_EPOCHS] * 2 + [20] * 2


def test_another_definition_is_refused_and_nothing_lost(pretend, tmp_path):
    one = pretend()
    experiment = tiny("pretender")
    chosen(experiment, tmp_path)
    (path,) = (tmp_path / "ploting_data" / "tiny" / "chosen_settings").glob("*pretender.json")
    before, calls = path.read_bytes(), len(one.calls)
    others = [
        replace(experiment, trials=3),
        replace(experiment, tasks=(replace(TASK, widths=(7,)),)),
        replace(experiment, variations=(Variation("pretender", "pretender", {"size": 3.0}),)),
    ]
    for other in others:
        with pytest.raises(UserError, match=r"tiny_20-6-4\.pretender\.json.*--tag.*--overwrite"):
            chosen(other, tmp_path)
    assert (path.read_bytes(), len(one.calls)) == (before, calls)


def test_a_metric_that_the_data_do_not_have_is_named(tmp_path):
    task = replace(tiny("sgd").tasks[0], metrics=("auc",))
    with pytest.raises(UserError, match=r"there is no auc of these data: name another"):
        chosen(tiny("sgd", trials=1), tmp_path, task=task)  # four classes


def test_settings_of_any_type_come_back_as_they_were(pretend, tmp_path, monkeypatch):
    one = Pretender()
    awkward = {"size": 5.0, "pair": (0.1, 2), "endless": float("inf"), "order": "he", "on": True}
    space = {"pair": Choice(((0.1, 2), (0.3, 4)))}
    method = replace(one.method(), settings={**awkward, "pair": ((0.1, 2), space["pair"])})
    monkeypatch.setitem(METHODS, "pretender", method)
    experiment = tiny("pretender", trials=0)
    assert chosen(experiment, tmp_path).settings == awkward
    assert chosen(experiment, tmp_path).settings == awkward
    searched = [chosen(tiny("pretender"), tmp_path / "searched") for _ in range(2)]
    assert searched[0] == searched[1]
    assert searched[0].settings["pair"] in space["pair"].values


def test_the_answer_is_kept_in_full(pretend, tmp_path):
    pretend()
    found = chosen(tiny("pretender"), tmp_path)
    (path,) = (tmp_path / "ploting_data" / "tiny" / "chosen_settings").glob("*pretender.json")
    assert json_of(path)["trials"] == found.trials
    assert json_of(path)["settings"] == found.settings


def training(start, epochs_cost, epochs):
    """A training with a start and epochs of given CPU seconds; `made` lists those that ran."""
    made = []

    def train():
        clock = TrainingClock(cpu_seconds=start)
        for epoch in range(epochs):
            clock.cpu_seconds += epochs_cost[epoch % len(epochs_cost)]
            made.append(epoch)
            yield Epoch(epoch + 1, copy(clock), [], lambda: pytest.fail("nothing needs scores"))

    return train(), made


@pytest.mark.parametrize(
    ("start", "an_epoch", "budget", "expected"),
    [
        (0.0, 0.5, 3.0, 6),
        (0.5, 0.25, 3.0, 10),
        (0.0, 0.01, 1.0, 100),
        (0.4, 1.0, 3.0, 3),  # 3.4 s come nearer to 3 than 2.4
        (0.7, 1.0, 3.0, 2),
        (0.0, 5.0, 3.0, 1),  # over the budget: one epoch all the same
        (4.0, 0.1, 3.0, 1),
    ],
)
@pytest.mark.parametrize("probed", [3, 1000])
def test_as_many_epochs_as_come_nearest_beside_the_start(start, an_epoch, budget, expected, probed):
    epochs, made = training(start, [an_epoch], probed)
    assert fitted_epochs(budget * (1 + 1e-9), epochs) == expected
    assert len(made) <= min(probed, expected + 1)


def test_epochs_that_cost_more_now_and_then_count_with_their_mean():
    cost = [0.1, 0.1, 0.4, 0.1, 0.1, 0.4]  # a factorisation in every third
    assert fitted_epochs(3.9, training(0.0, cost, 7)[0]) == pytest.approx(20, abs=2)
    assert fitted_epochs(3.9, training(0.0, cost, 1000)[0]) == 20


@pytest.mark.parametrize(
    ("epochs", "took", "expected"), [(1, 1.05, 2), (10, 4.0, 5), (1, 9.0, 1), (3, 2.0, 3)]
)
def test_epochs_are_corrected_by_what_a_trial_took(epochs, took, expected):
    assert nearest_epochs(2.0, epochs, took) == expected


@pytest.mark.parametrize(("name", "best"), [("train_loss", max), ("loss", min)])
def test_a_search_goes_by_the_first_metric_be_it_of_training(name, best, monkeypatch, tmp_path):
    def train(problem, settings):
        _, weights = problem.start()
        scores = [Scores(loss, None, None) for loss in (1 / settings["size"], settings["size"])]
        yield Epoch(1, TrainingClock(0.1, 0.1), weights, lambda: scores)

    monkeypatch.setitem(METHODS, "pretender", replace(Pretender().method(), train=train))
    task = replace(TASK, metrics=(name,))
    found = chosen(tiny("pretender", tasks=(task,), trials=6), tmp_path)
    tried = [json.loads(row["settings"])["size"] for row in found.trials]
    assert found.settings["size"] == best(tried)
    assert len(set(tried)) > 1
