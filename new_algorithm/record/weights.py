"""The weights that a run leaves: the last epoch's, and those that did best on validation rows.

weights.npz has the last epoch that was recorded. best_weights.npz is there where rows were held out
for validation: a choice made on test rows would flatter the test score. Best is the epoch of the
largest area under the ROC curve, of more than two classes of the largest accuracy, of a regression
of the smallest loss; equals are told apart by the loss, then the earlier epoch counts.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from new_algorithm.record.files import replace_atomically

WEIGHTS_FILE = "weights.npz"
BEST_FILE = "best_weights.npz"
VALIDATION = "validation"
SCORES = ("auc", "accuracy")


def is_best(row: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    """Whether an epoch did better on validation rows than the `best` one before it, if there is
    one; False where none were held out, or its numbers are not finite."""
    if f"{VALIDATION}_loss" not in row:
        return False
    merit = _merit(row)
    return all(map(math.isfinite, merit)) and (best is None or merit > _merit(best))


def _merit(row: Mapping[str, Any]) -> tuple[float, ...]:
    """What is larger the better the epoch was."""
    scores = (row.get(f"{VALIDATION}_{name}") for name in SCORES)
    score = next((one for one in scores if one is not None), 0.0)
    return score, -row[f"{VALIDATION}_loss"]


def keep_best(folder: Path) -> bool:
    """Let best_weights.npz be what weights.npz is now; False where there is none."""
    weights = folder / WEIGHTS_FILE
    if not weights.exists():
        return False
    with replace_atomically(folder / BEST_FILE) as file:
        file.write(weights.read_bytes())
    return True
