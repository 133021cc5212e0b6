"""References of two classes without a neural network: scikit-learn's models.

A fit counts as one epoch.
"""

from collections.abc import Iterator
from copy import copy
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.losses import LOGISTIC
from new_algorithm.back_projection.metrics import Scores, score
from new_algorithm.cli.errors import UserError
from new_algorithm.methods.method import Choice, Epoch, Method, Problem, Range, Settings
from new_algorithm.record.clock import TrainingClock

LARGEST_LOG_ODDS = 30.0  # those of a probability of exactly 0 or 1 are infinite


def _fitted(problem: Problem, module: str, name: str, **arguments: Any) -> Iterator[Epoch]:
    """Fit the model `name` of sklearn.`module`; UserError without two classes."""
    data, clock = problem.data, TrainingClock()
    if problem.loss is not LOGISTIC:
        raise UserError("the references without a network need two classes: leave them out")
    with clock:
        build = getattr(import_module(f"sklearn.{module}"), name)
        model = build(**arguments).fit(data.x_train, data.y_train)

    def predict(x: NDArray) -> NDArray:
        log_odds = model.decision_function(x)
        return np.clip(log_odds, -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS).reshape(-1, 1)

    def scores() -> tuple[Scores, Scores]:
        parts = (data.x_train, data.y_train), (data.x_test, data.y_test)
        train, held_out = (score(LOGISTIC, [(predict(x), y)]) for x, y in parts)
        return train, held_out

    yield Epoch(1, copy(clock), [], scores, predict)


def _logistic_regression(problem: Problem, settings: Settings) -> Iterator[Epoch]:
    penalty = settings["inverse_penalty"]
    return _fitted(problem, "linear_model", "LogisticRegression", C=penalty, max_iter=1_000)


def _gradient_boosting(problem: Problem, settings: Settings) -> Iterator[Epoch]:
    fixed = {"random_state": problem.seed, "early_stopping": False}
    return _fitted(problem, "ensemble", "HistGradientBoostingClassifier", **fixed, **settings)


LOGISTIC_REGRESSION = Method(
    "logistic regression",
    source="scikit-learn, LogisticRegression; the penalty is ‖w‖²/(2 C)",
    settings={"inverse_penalty": (1.0, Range(1e-3, 10.0))},
    train=_logistic_regression,
    whole_epochs=True,
)

GRADIENT_BOOSTING = Method(
    "gradient boosting",
    source="scikit-learn, HistGradientBoostingClassifier",
    settings={
        "learning_rate": (0.1, Range(0.05, 0.2)),
        "max_leaf_nodes": (31, Choice((7, 15, 31))),
        "max_iter": (100, Choice((100, 200))),
        "l2_regularization": (0.0, Choice((0.0, 10.0))),
    },
    train=_gradient_boosting,
    whole_epochs=True,
)
