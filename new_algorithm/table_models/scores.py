"""Loss, accuracy and error of a fitted estimator on rows of a table."""

import numpy as np
from numpy.typing import NDArray

from datasets.public_tables.catalogue import Task
from new_algorithm.back_projection.metrics import Scores
from new_algorithm.table_models.models import Fitted

LEAST_PROBABILITY = 1e-15  # of the true class: a model may say 0


def scores_of(
    model: Fitted, task: Task, x: NDArray, y: NDArray, unit: float
) -> tuple[Scores, float]:
    """Return loss and accuracy, and the error, less of which is better.

    Of classification: mean of −ln p, and the share of wrong answers. Of regression: half of the
    squared error in units² of `unit`, the targets' standard deviation in training, and its root
    mean square error in that unit.
    """
    if task == "classification":
        probabilities = model.predict_proba(x)
        column = np.searchsorted(model.classes_, y)  # every class was learnt from
        true = probabilities[np.arange(len(y)), column].astype(np.float64)
        loss = -np.log(np.clip(true, LEAST_PROBABILITY, 1.0))
        accuracy = float(np.mean(model.predict(x) == y))
        return Scores(float(loss.mean()), accuracy), 1.0 - accuracy
    residual = (np.asarray(model.predict(x), np.float64).ravel() - y) / unit
    mean_square = float(np.mean(residual**2))
    return Scores(mean_square / 2), float(np.sqrt(mean_square))
