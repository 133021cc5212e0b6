"""Scores of several seeds as one row of a table."""

from collections.abc import Sequence

import numpy as np

from new_algorithm.record.measurement import Score
from new_algorithm.record.tables import Row


def summarise(name: str, scores: Sequence[Score], **more: str | int | float) -> Row:
    """Return mean and standard deviation (n − 1) over seeds, and how many runs finished."""
    row: Row = {"method": name, **more}
    for label, values in (
        ("train_loss", [score.train_loss for score in scores]),
        ("accuracy", [score.held_out_accuracy for score in scores]),
        ("auc", [score.held_out_auc for score in scores]),
        ("cpu_s", [score.cpu_seconds for score in scores]),
    ):
        if label == "auc" and np.isnan(values).all():
            continue  # there are not two classes
        row[label] = float(np.mean(values))
        with np.errstate(invalid="ignore"):  # an infinite loss has no spread
            row[f"{label}_sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return row | {"finished": sum(score.finished for score in scores), "seeds": len(scores)}
