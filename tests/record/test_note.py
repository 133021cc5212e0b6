import json
import re

import pytest

from new_algorithm.record.layout import Layout
from new_algorithm.record.note import write_note
from new_algorithm.record.summary import summary


@pytest.mark.usefixtures("without_figures")
def test_the_note_says_what_ran_what_came_out_and_what_to_do(tmp_path, open_run, record_epochs):
    data = {"source": "IDX | files", "num_classes": 10}
    with open_run(seed=5, run_options={"data": data}) as run:
        record_epochs(run, 3, test_loss=[0.5, 0.4, 0.6])
        run.anomaly("layer 1: stalled")
    note = (tmp_path / "figures" / "t" / "README.md").read_text()
    first = note.split("\n\n")[1].splitlines()
    assert len(first) <= 10
    told = dict(line.removeprefix("- ").split(": ", 1) for line in first)
    assert told["Status"].startswith("**completed**")
    assert told["Again"] == f"`{json.loads((run.folder / 'run.json').read_text())['command']}`"
    assert "test accuracy **0.9333**, loss 0.6 nats" in told["Result"]
    assert "test loss rose from 0.4 at epoch 2" in told["Odd"]
    assert "layer 1: stalled" in told["Odd"]
    assert told["Next"].startswith("try `--")
    assert "| data: source | IDX \\| files |" in note
    assert "| seed | 5 |" in note
    assert "| train_loss_nats | 0.33333 |" in note
    assert "## Anomalies\n\n- layer 1: stalled\n\n" in note, (
        "those read off the arrays are findings"
    )
    findings = note[note.index("## Findings") : note.index("## Anomalies")]
    assert findings.count("**Overfitting**") == note.count("**Overfitting**") == 1
    assert "test loss rose from 0.4 at epoch 2 to 0.6 at epoch 3" in findings
    assert "\n## " not in note[note.index("## Configuration") :], "it stands at the end"


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
    note = (tmp_path / "figures/t/README.md").read_text()
    assert "## Anomalies\n\n- None met.\n" in note
    assert "## Findings\n\n- Nothing stands out.\n" in note


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


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"num_classes": 3, "labels": [0, 1, 2]}, "3 classes."),
        (
            {"num_classes": None, "target_mean": [0.5], "target": ["price"]},
            "a regression of one target; learned is price.",
        ),
        ({"num_classes": None, "target_mean": [0.5, 2.0]}, "a regression of 2 targets."),
    ],
)
def test_the_line_of_the_data_says_what_is_learned(facts, told):
    data = {"name": "mine", "counts": {"train": 1000}, "shape": [3], **facts}
    lines = summary("t", {"data": data}, [], has_weights=False)
    assert f"Data: mine: 1,000 train rows of 3 numbers, {told}" in lines


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
