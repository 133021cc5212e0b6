"""A search on functions whose optimum is known, cut short, continued and refused."""

import errno
import json
import math

import pytest

from datasets import load_dataset
from new_algorithm.cli.errors import UserError
from new_algorithm.experiments import search as search_module
from new_algorithm.experiments.search import TrialResult, at_an_edge, best, describe_space, search
from new_algorithm.methods.method import Choice, Problem, Range
from new_algorithm.methods.registry import METHODS
from new_algorithm.record.files import save_json

SPACE = {"lr": Range(1e-4, 10.0), "batch": Choice((32, 64, 128)), "noise": Range(1e-3, 1e3)}


def hill(settings):
    """The higher the nearer lr is to 0.1, a little better with batches of 64."""
    height = -((math.log10(settings["lr"]) + 1) ** 2) + 0.1 * (settings["batch"] == 64)
    return TrialResult(height, cpu_seconds=1.5, epochs=2)


def searched(path, objective=hill, trials=18, seed=0, space=SPACE):
    return list(search(path, space, trials, seed, objective))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("whole") / "a b?%.json")


def test_optimum_is_neared_within_the_space(rows):
    tried = [json.loads(row["settings"]) for row in rows]
    assert [row["trial"] for row in rows] == list(range(1, 19))
    assert len({one["noise"] for one in tried}) == 18  # each draws anew
    assert all(1e-4 <= one["lr"] <= 10 and one["batch"] in (32, 64, 128) for one in tried)
    assert all(float(f"{one['lr']:.4g}") == one["lr"] for one in tried)
    found = json.loads(best(rows)["settings"])
    assert abs(math.log10(found["lr"]) + 1) < 0.3
    assert (best(rows)["cpu_seconds"], best(rows)["epochs"]) == (1.5, 2)
    late = [abs(math.log10(one["lr"]) + 1) for one in tried[6:]]
    at_random = (3**2 / 2 + 2**2 / 2) / 5  # mean distance from −1 of what is uniform on [−4, 1]
    assert sum(late) / len(late) < 0.85 * at_random


def test_what_is_given_is_tried_first(rows, tmp_path):
    def first_of(settings):
        path = tmp_path / f"{settings['lr']} {settings['batch']}.json"
        found = list(search(path, SPACE, 3, 0, hill, {"noise": 1.0} | settings))
        assert found == list(search(path, SPACE, 3, 0, hill, {"noise": 1.0} | settings))
        assert [row["settings"] for row in found[1:]] != [row["settings"] for row in rows[1:3]]
        return json.loads(found[0]["settings"])

    assert first_of({"lr": 0.5, "batch": 64}) == {"lr": 0.5, "batch": 64, "noise": 1.0}
    assert first_of({"lr": 50.0, "batch": 100}) == {"lr": 10.0, "batch": 128, "noise": 1.0}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_can_begin_with_its_defaults(method, tmp_path):
    space = method.space
    if not space:
        return
    problem = Problem(load_dataset("synthetic", train_limit=300), (64,) * 12, epochs=1, seed=0)
    defaults = method.in_values(problem, method.defaults)
    [row] = search(tmp_path / "s.json", space, 1, 0, lambda _: TrialResult(1.0), defaults)
    tried = json.loads(row["settings"])
    assert tried.keys() == space.keys()
    for name, values in space.items():
        if isinstance(values, Range):
            assert tried[name] == pytest.approx(defaults[name])
        else:
            assert tried[name] in values.values


def test_seed_decides_what_is_tried(rows, tmp_path):
    assert searched(tmp_path / "same.json") == rows
    assert searched(tmp_path / "other.json", seed=1, trials=3) != rows[:3]


@pytest.mark.parametrize("error", [KeyboardInterrupt])
def test_search_cut_short_ends_as_if_never_left(error, rows, tmp_path):
    calls = []

    def breaks(settings):
        calls.append(settings)
        if len(calls) == 10:
            raise error
        return hill(settings)

    path = tmp_path / "cut.json"
    with pytest.raises(error):
        searched(path, breaks)
    assert searched(path, breaks) == rows
    assert len(calls) == 18 + 1  # the one cut short alone was run twice
    assert searched(path, breaks, trials=5) == rows[:5]
    assert len(calls) == 18 + 1


@pytest.mark.parametrize("value", [None, math.nan])
def test_diverged_trials_count_and_are_never_best(value, tmp_path):
    rows = searched(
        tmp_path / "d.json", lambda s: TrialResult(value, 0.5) if s["lr"] > 0.05 else hill(s)
    )
    lost = [row for row in rows if row["state"] == "diverged"]
    assert len(rows) == 18
    assert 0 < len(lost) < 10
    assert all(row["value"] == -math.inf and row["cpu_seconds"] == 0.5 for row in lost)
    assert json.loads(best(rows)["settings"])["lr"] <= 0.05
    assert best(lost) is None


@pytest.mark.parametrize(
    ("changed", "word"),
    [({"space": SPACE | {"lr": Range(1e-4, 1.0)}}, "space"), ({"seed": 7}, "seed")],
)
def test_other_space_or_seed_is_refused(changed, word, tmp_path):
    searched(tmp_path / "s.json", trials=2)
    with pytest.raises(UserError, match=rf"another {word}.*--overwrite"):
        searched(tmp_path / "s.json", trials=2, **changed)
    assert len(searched(tmp_path / "s.json", trials=3)) == 3


@pytest.mark.parametrize("text", ["no search at all", "[]", '{"trials": []}'])
def test_file_of_another_kind_is_refused_and_kept(text, tmp_path):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(UserError, match=r"s\.json.*move it away, or give another --tag"):
        searched(tmp_path / "s.json", trials=1)
    assert (tmp_path / "s.json").read_text() == text


def test_a_full_disk_is_one_line_and_costs_no_finished_trial(rows, tmp_path, monkeypatch):
    def full(path, facts):
        if len(facts["trials"]) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_json(path, facts)

    path = tmp_path / "s.json"
    with monkeypatch.context() as patch:
        patch.setattr(search_module, "save_json", full)
        with pytest.raises(UserError) as failure:
            searched(path)
    text = str(failure.value)
    assert "\n" not in text
    assert "s.json cannot be written (No space left on device)" in text
    assert "finished trials are kept" in text
    assert not {"remove", "delete", "overwrite"} & {*text.split()}
    calls = []
    assert searched(path, lambda settings: calls.append(settings) or hill(settings)) == rows
    assert len(calls) == 18 - 2


def test_choices_of_any_type_come_back_as_they_are(tmp_path):
    values = ((0.001, 0.02), "he", True, None, math.inf)
    seen = []

    def objective(settings):
        seen.append(settings["x"])
        return TrialResult(1.0)

    searched(tmp_path / "c.json", objective, trials=12, space={"x": Choice(values)})
    assert set(seen) <= set(values)
    assert len(set(seen)) > 2


def test_space_in_words():
    space = {"lr": Range(0.1, 30.0), "batch": Choice((64, 128))}
    assert describe_space(space) == {"lr": "log 0.1 to 30", "batch": "one of 64, 128"}


@pytest.mark.parametrize(
    ("values", "value", "edge"),
    [
        (Range(1e-4, 1.0), 1e-4, True),
        (Range(1e-4, 1.0), 1.4e-4, True),  # 4% of the four decades
        (Range(1e-4, 1.0), 1.8e-4, False),  # 6%
        (Range(1e-4, 1.0), 0.5, False),
        (Range(1e-4, 1.0), 0.7, True),
        (Choice((32, 64, 128)), 32, True),
        (Choice((32, 64, 128)), 64, False),
        (Choice((128, 32, 64)), 128, True),
        (Choice((0.0, 0.95)), 0.95, False),  # of two, each is an end
        (Choice(("exact", "cg3", "cg5")), "cg5", False),
        (Choice((False, True)), True, False),
        (Choice(("0.7", "0.8", "0.9")), "0.7", True),  # a script's
        (Choice(("0.7", "0.8", "0.9")), "0.8", False),
    ],
)
def test_ends_of_ranges_and_of_numbers_are_edges(values, value, edge):
    inner = {"inner": Range(1.0, 100.0), "setting": values}
    found = at_an_edge(inner, {"inner": 10.0, "setting": value})
    assert found == (["setting"] if edge else [])
