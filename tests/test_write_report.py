"""The report again from the tables alone, byte by byte."""

import shutil
import subprocess
import sys

import pytest

from tests.test_compare_methods import DEFINITION, assert_one_clear_line

WRITE = "new_algorithm/write_report.py"
TABLES = ("experiment.json", "runs.csv", "curves.csv", "trials.csv")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def reported(work_tree, run_script, tmp_path_factory):
    """The tag of an experiment with tables, report and figures."""
    path = tmp_path_factory.mktemp("definition") / "reported.toml"
    path.write_text(DEFINITION, encoding="utf-8")
    finished = run_script("new_algorithm/compare_methods.py", path, "--tasks", "tiny")
    assert finished.returncode == 0, finished.stderr
    return "reported"


def test_report_is_rebuilt_from_the_tables_alone(reported, work_tree, tmp_path):
    copy = tmp_path / "copy"
    outputs = shutil.ignore_patterns("ploting_data", "figures", "_logs", "__pycache__")
    shutil.copytree(work_tree, copy, ignore=outputs)
    record = copy / "ploting_data" / reported
    record.mkdir(parents=True)
    for name in TABLES:
        shutil.copy(work_tree / "ploting_data" / reported / name, record)
    finished = subprocess.run(
        [sys.executable, str(copy / WRITE), reported], cwd=tmp_path, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    first, again = files(work_tree / "figures" / reported), files(copy / "figures" / reported)
    assert first.keys() == again.keys()
    assert {name.rpartition(".")[2] for name in first} == {"html", "md", "svg"}
    for name, data in first.items():
        assert again[name] == data, name
    assert all(f"figures/{reported}/{name}" in finished.stdout for name in first)
    assert sorted(path.name for path in record.iterdir()) == sorted(TABLES)


@pytest.mark.parametrize("tag", ["absent", "../x"])
def test_unknown_tag_is_refused(tag, work_tree, run_script):
    before = sorted(work_tree.glob("figures/*"))
    assert_one_clear_line(run_script(WRITE, tag), tag)
    assert sorted(work_tree.glob("figures/*")) == before
