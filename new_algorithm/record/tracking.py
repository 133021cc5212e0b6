"""`--track`: what a run records is mirrored, number by number, in TensorBoard or MLflow.

run.json and the files beside it stay the source: a run that goes on is mirrored anew from its first
epoch, and a mirror that fails is given up, with one notice, while the run goes on.
"""

import importlib.util
import io
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import redirect_stdout
from typing import Any, Protocol

from new_algorithm.cli.console import notice
from new_algorithm.cli.errors import UserError
from new_algorithm.record.files import Row
from new_algorithm.record.layout import Layout

ADDRESS_VARIABLE = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"  # beside the records, where that variable is not set
EXPERIMENT = "Back Projection"
ENDINGS = {"completed": "FINISHED", "interrupted": "KILLED"}  # of MLflow; all others are FAILED


class Mirror(Protocol):
    def log(self, numbers: Row, epoch: int) -> None: ...

    def close(self, status: str) -> None: ...


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir ploting_data` shows all runs."""

    def __init__(self, record: dict[str, Any], layout: Layout) -> None:
        summaries = importlib.import_module("torch.utils.tensorboard")  # takes seconds
        folder = layout.record(record["tag"]) / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)  # of the run before it was cut short
        self._writer = summaries.SummaryWriter(str(folder))
        for name, value in _settings(record):
            self._writer.add_text(name, value)

    def log(self, numbers: Row, epoch: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self, status: str) -> None:
        self._writer.add_text("status", status)
        self._writer.close()


class MLflow:
    """A run of the experiment `Back Projection`, at MLFLOW_TRACKING_URI or in a database file."""

    def __init__(self, record: dict[str, Any], layout: Layout) -> None:
        tracking = importlib.import_module("mlflow.tracking")
        log = logging.getLogger("mlflow")
        log.setLevel(max(log.level, logging.WARNING))  # of a new database it would tell
        self._entities = importlib.import_module("mlflow.entities")
        address = os.environ.get(ADDRESS_VARIABLE) or f"sqlite:///{layout.records / DATABASE}"
        self._client = tracking.MlflowClient(tracking_uri=address)
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        number = (
            experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        )
        self._run = self._client.create_run(number, run_name=record["tag"]).info.run_id
        settings = [self._entities.Param(name, value) for name, value in _settings(record)]
        self._client.log_batch(self._run, params=settings)

    def log(self, numbers: Row, epoch: int) -> None:
        now = int(1_000 * time.time())
        metrics = [self._entities.Metric(name, x, now, epoch) for name, x in numbers.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self, status: str) -> None:
        with redirect_stdout(io.StringIO()):  # where it prints the run's address on a server
            self._client.set_terminated(self._run, ENDINGS.get(status, "FAILED"))


MIRRORS: dict[str, Callable[[dict[str, Any], Layout], Mirror]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
}


class Mirrors:
    """All mirrors of one run, most often none."""

    def __init__(self, names: Sequence[str], record: dict[str, Any], layout: Layout) -> None:
        """UserError for one that cannot be opened."""
        self._open: dict[str, Mirror] = {}
        for name in names:
            try:
                self._open[name] = MIRRORS[name](record, layout)
            except Exception as error:  # whatever a server or a file system says
                raise UserError(f"--track {name}: cannot be opened ({_words(error)})") from error

    def log(self, numbers: Row, epoch: int) -> None:
        """Mirror the numbers of an epoch, or those of the run so far."""
        self._each(lambda mirror: mirror.log(numbers, epoch))

    def replay(self, rows: Iterable[Row]) -> None:
        """Mirror the epochs of a run that goes on."""
        for row in rows:
            self.log(row, row["epoch"])

    def close(self, status: str) -> None:
        self._each(lambda mirror: mirror.close(status))
        self._open = {}

    def _each(self, act: Callable[[Mirror], None]) -> None:
        for name, mirror in list(self._open.items()):
            try:
                act(mirror)
            except Exception as error:  # no training ends for its mirror
                del self._open[name]
                notice(f"--track {name} is given up ({_words(error)}); the record is complete")


def check_packages(names: Iterable[str]) -> None:
    """UserError for a mirror whose package, of the same name, is not there."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"--track {name}: the package {name} is not installed: ./starter --extras "
                "installs it"
            )


def _settings(record: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in record["config"].items()]


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
