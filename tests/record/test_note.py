import json
import re

import numpy as np
import pytest

from new_algorithm.record.layout import Layout
from new_algorithm.record.note import next_steps, write_note


@pytest.mark.usefixtures("without_figures")
def test_the_note_says_what_ran_what_came_out_and_what_to_do(tmp_path, open_run, record_epochs):
    data = {"source": "IDX | files", "num_classes": 10}
    with open_run(seed=5, run_options={"data": data}) as run:
        record_epochs(run, 3, test_loss=[0.5, 0.4, 0.6])
        run.anomaly("layer 1: stalled")
    note = (tmp_path / "figures" / "t" / "README.md").read_text()
    assert "Status: **completed**" in note
    assert f"    {json.loads((run.folder / 'run.json').read_text())['command']}\n" in note
    assert "| data: source | IDX \\| files |" in note
    assert "| seed | 5 |" in note
    assert "| train_loss_nats | 0.33333 |" in note
    assert "- layer 1: stalled\n- Overfitting: test loss rose 50%" in note
    assert "Test loss was lowest at epoch 2" in note


def test_every_link_leads_to_a_file(tmp_path, open_run, record_epochs):
    with open_run() as run:
        record_epochs(run)
    folder = tmp_path / "figures" / "t"
    links = re.findall(r"\]\(([^)]+)\)", (folder / "README.md").read_text())
    assert len(links) == 6  # three figures, three files
    for link in links:
        assert not link.startswith("/")
        assert (folder / link).exists()


@pytest.mark.usefixtures("without_figures")
def test_sound_numbers_have_none_found(tmp_path, open_run, record_epochs):
    with open_run() as run:
        record_epochs(run)
    assert "## Anomalies\n\n- None found.\n" in (tmp_path / "figures/t/README.md").read_text()


@pytest.mark.usefixtures("without_figures")
def test_the_note_is_written_from_the_files_alone(tmp_path, open_run, record_epochs):
    with open_run() as run:
        record_epochs(run)
    note = tmp_path / "figures" / "t" / "README.md"
    first = note.read_text()
    note.unlink()
    write_note("t", Layout(tmp_path))
    assert note.read_text() == first


def test_a_failure_is_named(tmp_path, open_run):
    try:
        with open_run():
            raise RuntimeError("boom")
    except RuntimeError:
        pass
    note = (tmp_path / "figures" / "t" / "README.md").read_text()
    assert "Status: **failed** (RuntimeError: boom)" in note
    assert "None: no epoch was recorded." in note


@pytest.mark.usefixtures("without_figures")
def test_tables_of_a_run_are_linked_once_each(tmp_path, open_run, record_epochs):
    with open_run() as run:
        record_epochs(run)
        run.table("grid", [{"method": "a, b", "accuracy": 0.5}], "The grid:")
    folder = tmp_path / "figures" / "t"
    links = re.findall(r"\[([^\]]+)\]\(([^)]+)\)", (folder / "README.md").read_text())
    names = [name for name, _ in links]
    assert names == ["run.json", "metrics_log.csv", "timing_log.csv", "grid.csv"]
    assert "a, b" in (folder / dict(links)["grid.csv"]).read_text()


COMPLETED = {"status": "completed"}
SEEDS = "One seed says nothing about spread: repeat with other values of `--seed`."


def series(train, test):
    return {
        "epoch": np.arange(1, len(train) + 1),
        "train_loss": np.array(train),
        "test_loss": np.array(test),
        "layer_norms": np.ones((len(train), 1)),
    }


def test_a_settled_run_needs_other_seeds_alone():
    assert next_steps(series([0.5, 0.49], [0.5, 0.5]), COMPLETED) == [SEEDS]


def test_a_loss_that_still_falls_wants_more_epochs():
    steps = next_steps(series([0.5, 0.4], [0.5, 0.45]), COMPLETED)
    assert steps == ["Train loss fell 20% in the last epoch: try more epochs.", SEEDS]


def test_overfitting_names_the_epoch_to_stop_at():
    steps = next_steps(series([0.5, 0.3, 0.1], [0.5, 0.4, 0.6]), COMPLETED)
    assert steps[0].startswith("Test loss was lowest at epoch 2: stop there")


def test_instability_wants_smaller_steps():
    for numbers in ([0.5, 0.9], [0.5, np.nan]):
        assert "smaller steps" in next_steps(series(numbers, [0.5, 0.5]), COMPLETED)[0]
    assert "smaller steps" in next_steps({}, {"status": "diverged"})[0]


def test_uncommitted_changes_are_named():
    record = COMPLETED | {"git": {"commit": "x", "dirty": True}}
    steps = next_steps(series([0.5, 0.49], [0.5, 0.5]), record)
    assert steps[0].startswith("Files differed from the commit")


def test_a_run_on_validation_asks_for_one_test():
    numbers = series([0.5, 0.49], [0.5, 0.5])
    numbers["validation_loss"] = numbers.pop("test_loss")
    assert "`--held-out test`" in next_steps(numbers, COMPLETED)[0]


def test_a_failed_run_points_to_the_log():
    assert next_steps({}, {"status": "failed"})[0].startswith("Read the error in the log")
