"""The script, on a table that needs no network."""

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from datasets.public_tables.load import load_table
from new_algorithm.table_models.splits import split_of_run

SCRIPT = "new_algorithm/fit_table.py"


@pytest.fixture
def fitted(run_script, work_tree):
    """fitted(flags…) -> the record of the run."""

    def run(*flags):
        ended = run_script(SCRIPT, *flags, "--tag", "fit_table_test", "--overwrite")
        assert ended.returncode == 0, ended.stderr
        record = work_tree / "ploting_data" / "fit_table_test" / "run.json"
        return json.loads(record.read_text(encoding="utf-8")), ended.stdout

    return run


def test_the_error_is_that_of_ridge_regression(fitted, work_tree, monkeypatch):
    record, _ = fitted("--table", "diabetes", "--model", "linear", "--seed", 4)
    monkeypatch.setattr("datasets.sources.OWN_FOLDER", work_tree / "datasets")
    x, y, x_test, y_test = split_of_run(*load_table("diabetes"), "test", 4, stratified=False)
    scale = StandardScaler().fit(x)
    model = Ridge().fit(scale.transform(x), (y - y.mean()) / y.std())
    residual = model.predict(scale.transform(x_test)) - (y_test - y.mean()) / y.std()
    expected = float(np.sqrt(np.mean(residual**2)))
    assert record["final_metrics"]["test_rmse"] == pytest.approx(expected, rel=1e-4)
    assert record["final_metrics"]["test_loss"] == pytest.approx(expected**2 / 2, rel=1e-4)


def test_a_search_records_its_choice_its_trials_and_its_time(fitted, work_tree):
    flags = ("--table", "breast_cancer", "--model", "linear", "--tuned", "--tuning-seconds", 0.3)
    record, said = fitted(*flags, "--held-out", "validation")
    metrics = record["final_metrics"]
    assert metrics["trials"] >= 1
    assert f"Best of {metrics['trials']} trials" in said
    chosen = work_tree / "ploting_data" / "fit_table_test" / "chosen_settings.csv"
    assert chosen.read_text().startswith("setting,value\n")
    assert metrics["train_cpu_seconds"] >= 0.3
    assert metrics["validation_accuracy_fraction"] > 0.9
    assert "test_accuracy_fraction" not in metrics


def test_back_projection_is_the_default(fitted):
    record, said = fitted("--table", "breast_cancer")
    assert record["config"]["model"] == "back-projection"
    assert "test_acc=0.9" in said


def test_an_unknown_table_is_refused(run_script):
    ended = run_script(SCRIPT, "--table", "absent")
    assert ended.returncode == 2
    assert "absent" in ended.stderr
