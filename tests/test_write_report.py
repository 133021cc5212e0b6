"""The report again from the tables alone, byte by byte."""

import pytest

from new_algorithm.experiments.report import write_report
from new_algorithm.record.layout import Layout
from tests.experiments.invented_record import TAG, write_record
from tests.processes import assert_one_clear_line

WRITE = "new_algorithm/write_report.py"


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_report_is_rebuilt_from_the_tables_alone(work_tree, run_script, tmp_path):
    layouts = Layout(work_tree), Layout(tmp_path)
    for layout in layouts:
        write_record(layout)
    write_report(TAG, layouts[1])
    finished = run_script(WRITE, TAG, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    again, first = (files(layout.figures(TAG)) for layout in layouts)
    assert again == first
    assert {name.rpartition(".")[2] for name in first} == {"html", "md", "svg"}
    assert all(f"Wrote figures/{TAG}/{name}\n" in finished.stdout for name in first)
    assert len([*layouts[0].record(TAG).iterdir()]) == 4  # as before


@pytest.mark.parametrize("tag", ["absent", "../x"])
def test_unknown_tag_is_refused(tag, work_tree, run_script):
    before = sorted(work_tree.glob("figures/*"))
    assert_one_clear_line(run_script(WRITE, tag), tag)
    assert sorted(work_tree.glob("figures/*")) == before
