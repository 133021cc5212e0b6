"""What stands in the place of a record where none is wanted, as in all ranks but the first."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from new_algorithm.record.checkpoint import Checkpoint


class SilentRun:
    """Takes what a `Run` takes and keeps nothing of it."""

    checkpoint: Checkpoint | None = None

    def __enter__(self) -> "SilentRun":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def record_epoch(self, epoch: int, **_: Any) -> None:
        pass

    def anomaly(self, text: str) -> None:
        pass

    def result(self, **numbers: float) -> None:
        pass

    def save_weights(self, weights: Sequence[np.ndarray]) -> None:
        pass

    def save_checkpoint(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        pass
