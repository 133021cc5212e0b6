"""An experiment from definition to report: interrupted, continued, refused, begun anew."""

import os
import re
import threading
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import ExperimentFlags
from new_algorithm.experiments import method_training, scheduler
from new_algorithm.experiments import single_run as single_run_module
from new_algorithm.experiments.experiment import Variation
from new_algorithm.experiments.method_training import MethodTraining
from new_algorithm.experiments.scheduler import run_experiment
from new_algorithm.experiments.trainable import SEARCH_SEED
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.layout import REPOSITORY
from tests.experiments.tiny_experiments import (
    TASK,
    Pretender,
    alike,
    here,
    json_of,
    overhear,
    rows_of,
    tiny,
)

SCRIPT = REPOSITORY / "new_algorithm" / "compare_methods.py"
TABLES = ("runs.csv", "curves.csv", "trials.csv")
KEYS = ("foof", "prox_prop")
real_workers = scheduler._workers


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(scheduler, "_workers", here)
    for module in (method_training, single_run_module):
        monkeypatch.setattr(module, "warm_up", lambda *_: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The root of an experiment that was never cut short."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "_workers", here)
        carry_out(root, report=True)
    return root


def carry_out(root, experiment=None, script=SCRIPT, report=False, **flags):
    """Carry out and return the folder of the record; figures take longer than all the rest."""
    with pytest.MonkeyPatch.context() as patch:
        if not report:
            patch.setattr(scheduler, "write_report", lambda tag, layout: [])
        run_experiment(experiment or tiny(*KEYS), ExperimentFlags(**flags), script, root)
    return root / "ploting_data" / "tiny"


def tables(root, tag="tiny"):
    return [alike(rows_of(root / "ploting_data" / tag / name)) for name in TABLES]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def listened(monkeypatch):
    return {key: overhear(monkeypatch, key) for key in KEYS}


def trainings(heard):
    return {key: len(calls) for key, calls in heard.items()}


def test_the_record_is_whole(whole):
    folder = whole / "ploting_data" / "tiny"
    assert json_of(folder / "run.json")["status"] == "completed"
    runs, curves, trials = tables(whole)
    assert (len(runs), len(curves), len(trials)) == (4, 8, 4)
    for row in runs:
        assert row["status"] == "completed"
        assert (whole / "ploting_data" / row["tag"] / "run.json").is_file()
        assert 0 < float(row["test_accuracy"]) <= 1
    page, twin = (whole / "figures" / "tiny" / name for name in ("report.html", "README.md"))
    assert "The first is best." in page.read_text()
    assert "The first is best." in twin.read_text()
    assert not re.findall(r'(?:src|href)="(?!#|data:|http)', page.read_text())  # self-contained


def test_every_method_trains_as_often(tmp_path, monkeypatch):
    heard = listened(monkeypatch)
    carry_out(tmp_path)
    assert trainings(heard) == {"foof": 4, "prox_prop": 4}  # two trials and two seeds
    for calls in heard.values():
        seeds = [problem.seed for problem, _ in calls]
        assert seeds == [SEARCH_SEED] * 2 + [0, 1]


def test_same_definition_same_tables(whole, tmp_path):
    carry_out(tmp_path)
    assert tables(tmp_path) == tables(whole)


def test_experiment_cut_short_in_its_third_run_goes_on(whole, tmp_path, monkeypatch):
    heard, made = listened(monkeypatch), []

    def cut(config, layout, script):
        made.append(config.tag)
        if len(made) == 3:
            raise KeyboardInterrupt
        return single_run(config, layout, script)

    single_run = method_training.single_run
    with monkeypatch.context() as patch:
        patch.setattr(method_training, "single_run", cut)
        with pytest.raises(KeyboardInterrupt):
            carry_out(tmp_path)
    folder = tmp_path / "ploting_data" / "tiny"
    assert json_of(folder / "run.json")["status"] == "interrupted"
    assert trainings(heard) == {"foof": 3, "prox_prop": 3}
    carry_out(tmp_path)
    assert trainings(heard) == {"foof": 4, "prox_prop": 4}
    assert json_of(folder / "run.json")["status"] == "completed"
    assert tables(tmp_path) == tables(whole)


def cut_short_in_trial(number, root, monkeypatch, **flags):
    trial, tried = MethodTraining.trial, []

    def cut(self, settings, count):
        tried.append(settings)
        if len(tried) == number:
            raise KeyboardInterrupt
        return trial(self, settings, count)

    with monkeypatch.context() as patch:
        patch.setattr(MethodTraining, "trial", cut)
        with pytest.raises(KeyboardInterrupt):
            carry_out(root, **flags)


def test_search_cut_short_goes_on(whole, tmp_path, monkeypatch):
    heard = listened(monkeypatch)
    cut_short_in_trial(4, tmp_path, monkeypatch)
    assert trainings(heard) == {"foof": 2, "prox_prop": 1}
    carry_out(tmp_path)
    assert trainings(heard) == {"foof": 4, "prox_prop": 4}
    assert tables(tmp_path) == tables(whole)


def test_a_run_that_is_lost_alone_is_made_again(whole, tmp_path, monkeypatch):
    folder = carry_out(tmp_path)
    lost, *_ = [path for path in folder.iterdir() if path.name.endswith(".1")]
    (lost / "run.json").unlink()
    others = {path: path.read_bytes() for path in folder.glob("*.0/*")}
    heard = listened(monkeypatch)
    carry_out(tmp_path)
    assert sum(trainings(heard).values()) == 1
    assert {path: path.read_bytes() for path in folder.glob("*.0/*")} == others
    assert tables(tmp_path) == tables(whole)


def test_more_seeds_add_their_runs_alone(whole, tmp_path, monkeypatch):
    carry_out(tmp_path, runs=1)
    assert len(tables(tmp_path)[0]) == 2
    heard = listened(monkeypatch)
    carry_out(tmp_path)
    assert trainings(heard) == {"foof": 1, "prox_prop": 1}
    assert tables(tmp_path) == tables(whole)


def test_another_definition_is_refused_by_name_and_nothing_is_lost(tmp_path, monkeypatch):
    folder = carry_out(tmp_path)
    before = files(folder)
    heard = listened(monkeypatch)
    with pytest.raises(UserError, match=r"'tiny: 20-6-4'.*--overwrite"):
        carry_out(tmp_path, tiny(*KEYS, tasks=(replace(TASK, epochs=3),)))
    with pytest.raises(UserError, match=r"another threads.*--overwrite"):
        carry_out(tmp_path, threads=2)
    after = files(folder)
    changed = {path.name for path in before if after.get(path) != before[path]}
    assert changed <= {"run.json", "README.md"}  # they say how the last command ended
    assert all(after[path] == before[path] for path in before if path.parent != folder)
    carry_out(tmp_path)
    assert trainings(heard) == {"foof": 0, "prox_prop": 0}


def test_overwrite_begins_anew(whole, tmp_path, monkeypatch):
    folder = carry_out(tmp_path, tiny(*KEYS, tasks=(replace(TASK, epochs=3),)))
    (folder / "left_over").mkdir()
    heard = listened(monkeypatch)
    carry_out(tmp_path, overwrite=True)
    assert trainings(heard) == {"foof": 4, "prox_prop": 4}
    assert not (folder / "left_over").exists()
    assert tables(tmp_path) == tables(whole)


def test_overwriting_that_is_cut_short_keeps_its_first_trial(whole, tmp_path, monkeypatch):
    carry_out(tmp_path, tiny(*KEYS, tasks=(replace(TASK, epochs=3),)))
    heard = listened(monkeypatch)
    cut_short_in_trial(2, tmp_path, monkeypatch, overwrite=True)
    carry_out(tmp_path)  # goes on with the new definition
    assert trainings(heard) == {"foof": 4, "prox_prop": 4}
    assert tables(tmp_path) == tables(whole)


def test_overwriting_that_is_cut_short_before_a_trial_leaves_the_earlier_record(
    tmp_path, monkeypatch
):
    folder = carry_out(tmp_path)
    before = files(folder)
    cut_short_in_trial(1, tmp_path, monkeypatch, overwrite=True)
    assert files(folder) == before


def test_the_earlier_record_is_given_up_while_a_search_goes_on(tmp_path, monkeypatch):
    """A process that is killed later cannot put it back in the place of the trials."""
    monkeypatch.setattr(scheduler, "LOOK_EVERY", 0.01)
    search, given_up = Future(), threading.Event()
    record = SimpleNamespace(folder=tmp_path, supersede=given_up.set)
    waiting = threading.Thread(target=lambda: list(scheduler._finished([search], record)))
    waiting.start()
    assert not given_up.wait(0.1)
    (tmp_path / "chosen_settings").mkdir()
    (tmp_path / "chosen_settings" / "task.method.search.json").touch()
    assert given_up.wait(10)
    search.set_result(None)
    waiting.join(10)


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_tag_of_a_plain_run_is_refused(tmp_path, overwrite):
    folder = tmp_path / "ploting_data" / "tiny"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"kind": "run"}')
    before = files(folder)
    with pytest.raises(UserError, match=r"--tag tiny.*a run.*choose another"):
        carry_out(tmp_path, overwrite=overwrite)
    assert {path: text for path, text in files(folder).items() if path in before} == before


def test_divergence_does_not_stop_the_others(tmp_path, monkeypatch):
    breaks = Pretender(breaks=lambda settings, epoch: epoch == 2)
    monkeypatch.setitem(METHODS, "pretender", breaks.method())
    timed = replace(TASK, epochs=None, cpu_seconds=0.05)  # the search and the fit diverge as well
    carry_out(tmp_path, tiny("foof", "pretender", tasks=(timed,), trials=0, seeds=(0, 1)))
    runs = rows_of(tmp_path / "ploting_data" / "tiny" / "runs.csv")
    assert {row["variation"] for row in runs} == {METHODS["foof"].name, "pretender"}
    assert {row["status"] for row in runs if row["variation"] != "pretender"} == {"completed"}
    assert len([row for row in runs if row["variation"] == "pretender"]) == 2


def test_diverging_runs_are_counted_in_the_report(tmp_path, monkeypatch):
    breaks = Pretender(breaks=lambda settings, epoch: epoch == 2)
    monkeypatch.setitem(METHODS, "pretender", breaks.method())
    carry_out(tmp_path, tiny("foof", "pretender", trials=0), report=True)
    runs = rows_of(tmp_path / "ploting_data" / "tiny" / "runs.csv")
    lost = [row for row in runs if row["status"] == "diverged"]
    assert [row["variation"] for row in lost] == ["pretender"] * 2
    assert all(row["test_accuracy"] for row in lost)
    assert json_of(tmp_path / "ploting_data" / "tiny" / "run.json")["status"] == "completed"
    assert "diverged" in (tmp_path / "figures" / "tiny" / "README.md").read_text()


def test_a_run_that_fails_is_counted_and_the_others_go_on(tmp_path, monkeypatch):
    def breaks(settings, epoch):
        if len(one.calls) == 3 and epoch == 2:  # after a run that fits the epochs and seed 0
            raise np.linalg.LinAlgError("singular matrix")
        return False

    one = Pretender(breaks=breaks)
    monkeypatch.setitem(METHODS, "pretender", one.method())
    folder = carry_out(tmp_path, tiny("foof", "pretender", trials=0), report=True)
    runs = rows_of(folder / "runs.csv")
    assert [row["status"] for row in runs] == ["completed"] * 3 + ["failed"]
    assert "singular matrix" in runs[-1]["error"]
    (anomaly,) = json_of(folder / "run.json")["anomalies"]
    assert "singular matrix: the same command runs it again" in anomaly
    twin = (tmp_path / "figures" / "tiny" / "README.md").read_text()
    assert "4 runs, 0 of which diverged, 1 failed." in twin
    carry_out(tmp_path, tiny("foof", "pretender", trials=0))
    assert [row["status"] for row in rows_of(folder / "runs.csv")] == ["completed"] * 4


@pytest.mark.parametrize(
    ("error", "words"),
    [(np.linalg.LinAlgError("singular matrix"), "singular"), (MemoryError(), "not enough memory")],
)
def test_a_trial_that_breaks_counts_as_diverged_and_the_others_go_on(
    tmp_path, monkeypatch, capsys, error, words
):
    def breaks(settings, epoch):
        if len(one.calls) == 1:  # the one that fits the epochs
            raise error
        return False

    one = Pretender(breaks=breaks)
    monkeypatch.setitem(METHODS, "pretender", one.method())
    folder = carry_out(tmp_path, tiny("foof", "pretender", trials=0))
    told = capsys.readouterr().err
    assert f"notice: {TASK.name}, pretender, trial 1: " in told
    assert words in told
    assert told.count("it counts as diverged") == 1
    assert [row["status"] for row in rows_of(folder / "runs.csv")] == ["completed"] * 4


def test_workers_beyond_the_cores_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scheduler, "CORES", 1)
    carry_out(tmp_path, tiny("foof", trials=0), workers=2)
    assert "2 workers of 1 threads share 1 cores" in capsys.readouterr().err


def test_a_worker_that_is_killed_is_one_line():
    with pytest.raises(UserError) as error, real_workers(ExperimentFlags()) as pool:
        pool.submit(os._exit, 1).result()
    assert "worker process was killed" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_experiment_that_cannot_be_searched_ends_in_one_line(tmp_path, monkeypatch):
    breaks = Pretender(breaks=lambda settings, epoch: True)
    monkeypatch.setitem(METHODS, "pretender", breaks.method())
    with pytest.raises(UserError, match="all 2 trials diverged"):
        carry_out(tmp_path, tiny("foof", "pretender"))


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("variation", ("a b", "a_b")),
        ("variation", ("x" * 41, "x" * 40)),
        ("variation", ("λ",)),
        ("task", ("8 × 64", "8 x 64")),
    ],
)
def test_names_that_make_the_same_files_are_refused(part, names, tmp_path):
    experiment = tiny("foof")
    if part == "task":
        experiment = replace(experiment, tasks=tuple(replace(TASK, name=name) for name in names))
    else:
        variations = tuple(Variation(name, "foof") for name in names)
        experiment = replace(experiment, variations=variations, baseline=names[0])
    with pytest.raises(UserError) as refusal:
        carry_out(tmp_path, experiment)
    assert f"{part} {names[-1]!r}" in str(refusal.value)
    assert list(tmp_path.iterdir()) == []
