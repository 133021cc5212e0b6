"""`--track`: what TensorBoard and MLflow hold is what the record holds."""

import importlib.util
import json
from contextlib import suppress

import numpy as np
import pytest

from new_algorithm.cli.errors import UserError
from new_algorithm.record import tracking

TRACKS = [
    pytest.param(
        name, marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason="an extra")
    )
    for name in tracking.MIRRORS
]


@pytest.fixture
def mirrored(tmp_path, monkeypatch):
    """mirrored(name) -> numbers by name, each a list of (epoch, value), as that program reads
    them."""

    def of_tensorboard():
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path / "ploting_data" / "t" / "tensorboard"))
        events.Reload()
        return {
            name: [(event.step, event.value) for event in events.Scalars(name)]
            for name in events.Tags()["scalars"]
        }

    def of_mlflow():
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{tmp_path / 'ploting_data' / tracking.DATABASE}")
        experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
        run = client.search_runs([experiment.experiment_id])[0]  # the newest
        assert run.info.run_name == "t"
        assert run.data.params["seed"] == "0"
        histories = (client.get_metric_history(run.info.run_id, name) for name in run.data.metrics)
        return {one[0].key: [(point.step, point.value) for point in one] for one in histories}

    monkeypatch.delenv(tracking.ADDRESS_VARIABLE, raising=False)
    return {"tensorboard": of_tensorboard, "mlflow": of_mlflow}


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("name", TRACKS)
def test_every_recorded_number_is_mirrored_without_a_word(
    name, mirrored, open_run, record_epochs, capsys
):
    with open_run(track=(name,)) as run:
        run.result(input_rank=7)
        record_epochs(run, 3, damping=[0.5, 1e-9, 2.0])
    told = capsys.readouterr()
    assert told.err == ""
    assert all(line.startswith(("Run t: ", "Epoch ")) for line in told.out.splitlines())
    found = mirrored[name]()
    record = json.loads((run.folder / "run.json").read_text())
    assert found.keys() == record["final_metrics"].keys()
    for column, value in record["final_metrics"].items():
        epoch, last = found[column][-1]
        assert last == pytest.approx(value, rel=1e-6), column
        assert epoch == (0 if column == "input_rank" else 3)
    for column in ("train_loss_nats", "damping", "layer_2_weight_norm"):
        assert [epoch for epoch, _ in found[column]] == [1, 2, 3]
    array = np.load(run.folder / "damping.npy")
    np.testing.assert_allclose([value for _, value in found["damping"]], array, rtol=1e-6)


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("name", TRACKS)
def test_a_run_that_goes_on_is_mirrored_from_its_first_epoch(
    name, mirrored, open_run, record_epochs
):
    with suppress(KeyboardInterrupt), open_run(track=(name,)) as run:
        record_epochs(run, 2)
        run.save_checkpoint({}, {})
        raise KeyboardInterrupt
    with open_run(track=(name,), run_options={"resume": True}):
        pass
    assert [epoch for epoch, _ in mirrored[name]()["train_loss_nats"]] == [1, 2]


def test_a_package_that_is_missing_is_told_before_anything_is_replaced(
    open_run, record_epochs, monkeypatch, without_figures
):
    with open_run() as run:
        record_epochs(run, 2)
    before = (run.folder / "run.json").read_bytes()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with (
        pytest.raises(UserError, match=r"^--track mlflow: .* not installed: ./starter --extras"),
        open_run(track=("mlflow",), overwrite=True),
    ):
        pass
    assert (run.folder / "run.json").read_bytes() == before


def test_a_mirror_that_fails_is_given_up_and_the_run_goes_on(
    open_run, record_epochs, monkeypatch, capsys, without_figures
):
    class Failing:
        def __init__(self, record, layout):
            pass

        def log(self, numbers, epoch):
            if epoch == 2:
                raise ConnectionError("the server\nis gone")

        def close(self, status):
            raise AssertionError("it was given up")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setitem(tracking.MIRRORS, "mlflow", Failing)
    with open_run(track=("mlflow",)) as run:
        record_epochs(run, 3)
    told = "--track mlflow is given up (the server is gone); the record is complete"
    assert capsys.readouterr().err.count(told) == 1
    assert np.load(run.folder / "epoch.npy").tolist() == [1, 2, 3]


def test_a_mirror_that_cannot_be_opened_is_told(open_run, monkeypatch):
    def refuse(record, layout):
        raise ConnectionError("no server")

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setitem(tracking.MIRRORS, "mlflow", refuse)
    with (
        pytest.raises(UserError, match=r"cannot be opened \(no server\)"),
        open_run(track=("mlflow",)),
    ):
        pass
