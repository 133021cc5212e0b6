"""What scikit-learn makes of the same data without a neural network, for two classes.

scikit-learn is an extra: `./starter --extras`. Its models answer as the other methods do.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from datasets import Dataset
from new_algorithm.back_projection.losses import LOGISTIC
from new_algorithm.back_projection.metrics import Scores, scores_of
from new_algorithm.cli.errors import UserError
from new_algorithm.measurements.methods import Method
from new_algorithm.record.measurement import Score

LARGEST_LOG_ODDS = 30.0  # a probability of exactly 0 or 1 has infinite ones


def check_scikit_learn() -> None:
    """UserError where scikit-learn does not import."""
    try:
        import sklearn.ensemble  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        raise UserError(
            f"the reference models need scikit-learn ({error}): ./starter --extras installs it"
        ) from error


def logistic_regression(inverse_penalty: float) -> Method:
    """Return logistic regression on the features, L2-penalised by 1/(2 inverse_penalty)."""
    from sklearn.linear_model import LogisticRegression

    return _method(lambda seed: LogisticRegression(C=inverse_penalty, max_iter=1_000))


def gradient_boosting(**settings: Any) -> Method:
    """Return histogram gradient-boosted trees with `settings` of scikit-learn's classifier."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    return _method(
        lambda seed: HistGradientBoostingClassifier(
            random_state=seed, early_stopping=False, **settings
        )
    )


def _method(build: Callable[[int], Any]) -> Method:
    def train(data: Dataset, seed: int) -> Score:
        start = time.process_time()
        model = build(seed).fit(data.x_train, data.y_train)
        seconds = time.process_time() - start
        on_train = _scores(model, data.x_train, data.y_train)
        held_out = _scores(model, data.x_test, data.y_test)
        return Score(on_train.loss, held_out.loss, held_out.accuracy, seconds, True, held_out.auc)

    return train


def _scores(model: Any, x: np.ndarray, y: np.ndarray) -> Scores:
    log_odds = np.clip(model.decision_function(x), -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)
    return scores_of(LOGISTIC, log_odds.reshape(-1, 1), y)
