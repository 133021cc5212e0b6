import json

import pytest

from new_algorithm.record.index import rebuild_index
from new_algorithm.record.layout import Layout
from new_algorithm.record.reservation import hold_lock


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path)


def add(layout, tag, **entries):
    layout.record(tag).mkdir(parents=True)
    record = {"start": "2026-11-20T12:00:00+00:00", "status": "completed"} | entries
    (layout.record(tag) / "run.json").write_text(json.dumps(record))


def rows(layout):
    rebuild_index(layout)
    lines = layout.index.read_text().splitlines()[4:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_newest_first_across_time_zones(layout):
    add(layout, "early", start="2026-11-20T12:00:00+00:00")
    add(layout, "late", start="2026-11-20T11:00:00-05:00")
    assert [row[0] for row in rows(layout)] == ["late", "early"]


def test_a_row_shows_the_run(layout):
    metrics = {"train_loss_nats": 0.123456789, "test_accuracy_fraction": 0.98}
    add(
        layout,
        "t",
        script="new_algorithm/x.py",
        data={"name": "mnist"},
        final_metrics=metrics | {"train_cpu_seconds": 12.5},
    )
    layout.figures("t").mkdir(parents=True)
    (layout.figures("t") / "README.md").touch()
    expected = ["[t](t/README.md)", "2026-11-20 12:00", "new_algorithm/x.py", "mnist"]
    assert rows(layout) == [[*expected, "0.12346", "0.98", "12.5", "completed"]]


def test_accuracy_on_validation_is_not_passed_off_as_test(layout):
    add(layout, "t", final_metrics={"validation_accuracy_fraction": 0.9})
    assert rows(layout)[0][5] == "0.9 (validation)"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1, 2]", "null", '{"start": 3}', '{"config": 4, "final_metrics": [1]}', "\x00"],
)
def test_half_written_and_foreign_records_do_no_harm(layout, text):
    add(layout, "good")
    layout.record("bad").mkdir(parents=True)
    (layout.record("bad") / "run.json").write_text(text)
    (layout.records / "no_record").mkdir()
    (layout.records / "a_file").touch()
    assert [row[0] for row in rows(layout)] == ["good", "bad"]


def test_the_index_is_rebuilt_wholly(layout):
    layout.index.parent.mkdir()
    layout.index.write_text("something else")
    add(layout, "t")
    assert len(rows(layout)) == 1
    (layout.record("t") / "run.json").unlink()
    assert rows(layout) == []


def test_a_run_whose_process_is_gone_was_killed(layout):
    add(layout, "t", status="running")
    layout.lock("t").parent.mkdir()
    with hold_lock(layout.lock("t")):
        assert rows(layout)[0][-1] == "running"
    assert rows(layout)[0][-1] == "killed"
