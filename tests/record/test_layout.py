"""Where outputs lie, with and without a group."""

from datetime import datetime
from pathlib import Path

from new_algorithm.record.layout import GROUP_VARIABLE, REPOSITORY, Layout

ROOT = Path("/copy")
START = datetime(2026, 11, 20, 13, 45, 1)


def test_outputs_lie_below_the_root():
    layout = Layout(ROOT)
    assert layout.records == ROOT / "ploting_data"
    assert layout.record("t") == ROOT / "ploting_data/t"
    assert layout.figures("t") == ROOT / "figures/t"
    assert layout.log("t", START) == ROOT / "_logs/2026-11-20_134501_t.log"
    assert layout.index == ROOT / "figures/local_runs.md"


def test_group_is_a_folder_in_each_of_them_and_the_index_is_one():
    layout = Layout(ROOT, group="leaderboard")
    assert layout.records == ROOT / "ploting_data/leaderboard"
    assert layout.record("t") == ROOT / "ploting_data/leaderboard/t"
    assert layout.figures("t") == ROOT / "figures/leaderboard/t"
    assert layout.log("t", START) == ROOT / "_logs/leaderboard/2026-11-20_134501_t.log"
    assert layout.index == Layout(ROOT).index
    assert layout.relative(layout.record("t")) == "ploting_data/leaderboard/t"


def test_run_of_a_group_is_found_by_its_path_from_without():
    assert Layout(ROOT).record("leaderboard/t") == Layout(ROOT, "leaderboard").record("t")
    assert Layout(ROOT).figures("leaderboard/t") == Layout(ROOT, "leaderboard").figures("t")


def test_an_experiment_gives_its_scripts_their_group(monkeypatch):
    monkeypatch.setenv(GROUP_VARIABLE, "gallery")
    assert Layout(ROOT) == Layout(ROOT, "gallery")
    assert Layout(ROOT, "own").group == "own"
    monkeypatch.delenv(GROUP_VARIABLE)
    assert Layout(ROOT).group == ""


def test_root_is_the_repository_of_the_code():
    assert Layout().root == REPOSITORY
    assert (REPOSITORY / "new_algorithm/record/layout.py").exists()


def test_paths_outside_the_root_stay_whole(tmp_path):
    layout = Layout(tmp_path / "copy")
    assert layout.relative(tmp_path / "elsewhere") == str(tmp_path / "elsewhere")
