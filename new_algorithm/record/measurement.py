"""What a run came to, kept in memory: for searches and benchmarks, which record themselves."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from new_algorithm.record.silent_run import SilentRun


@dataclass(frozen=True)
class Score:
    """How a run ended. Accuracy is NaN for regression, AUC unless there are two classes;
    cpu_seconds of training, all included."""

    train_loss: float
    held_out_loss: float
    held_out_accuracy: float
    cpu_seconds: float
    finished: bool
    held_out_auc: float = np.nan


@dataclass
class Measurement(SilentRun):
    """Stands for a Run of a script's `train` and keeps the last epoch in memory."""

    anomalies: list[str] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)

    def record_epoch(self, epoch: int, **numbers: Any) -> None:
        self.last = numbers

    def anomaly(self, text: str) -> None:
        self.anomalies.append(text)

    def score(self, finished: bool) -> Score:
        """Summarise; infinite losses where no epoch was finished."""
        if not self.last:
            return Score(np.inf, np.inf, 0.0, 0.0, finished)
        train, held_out = self.last["train"], self.last["held_out"]
        return Score(
            train.loss,
            held_out.loss,
            np.nan if held_out.accuracy is None else held_out.accuracy,
            self.last["clock"].cpu_seconds,
            finished,
            np.nan if held_out.auc is None else held_out.auc,
        )
