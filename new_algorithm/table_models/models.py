"""What is compared on tables: a network trained by back projection, and scikit-learn's references.

All but the trees and back projection, which scales by itself, have standardised features, and in
regression standardised targets. They are imported when they are built: scikit-learn takes seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from datasets.public_tables.catalogue import Task
from new_algorithm.methods.method import Choice, Range, Settings, Space

Fitted = Any  # an estimator of scikit-learn's interface, which ships no types

WIDTHS = Choice(((64,), (100,), (100, 50), (128, 128), (256, 256)))
BATCHES = Choice((32, 64, 128, 256))
STOPPING = Choice((False, True))


@dataclass(frozen=True)
class Model:
    """module, names: of the estimators of each task. space: what a search may try. scaled: whether
    it is given standardised features and targets. seeded: whether it draws at random."""

    module: str
    names: Mapping[Task, str]
    space: Mapping[Task, Space]
    fixed: Mapping[Task, Settings] = field(
        default_factory=lambda: {"classification": {}, "regression": {}}
    )
    scaled: bool = True
    seeded: bool = True

    def build(self, task: Task, settings: Settings, seed: int) -> Fitted:
        """Return the estimator, not fitted; what `settings` leave out has its defaults."""
        drawn = {"random_state": seed} if self.seeded else {}
        kind = getattr(import_module(self.module), self.names[task])
        estimator = kind(**self.fixed[task], **settings, **drawn)
        return _with_scaling(estimator, task) if self.scaled else estimator


def _with_scaling(estimator: Fitted, task: Task) -> Fitted:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), estimator)
    if task == "classification":
        return pipeline
    return TransformedTargetRegressor(pipeline, transformer=StandardScaler())


def _both(space: Space) -> dict[Task, Space]:
    return {"classification": space, "regression": space}


_TREES: Space = {
    "learning_rate": Range(0.02, 0.3),
    "max_leaf_nodes": Choice((7, 15, 31, 63)),
    "min_samples_leaf": Choice((5, 20, 50)),
    "l2_regularization": Choice((0.0, 1.0, 10.0)),
}
MODELS: dict[str, Model] = {
    "back-projection": Model(
        "new_algorithm.estimators",
        {"classification": "BackProjectionClassifier", "regression": "BackProjectionRegressor"},
        _both(
            {
                "hidden_layer_sizes": WIDTHS,
                "alpha": Range(0.025, 250.0),  # over the rows
                "lambda_w": Range(0.1, 10.0),
                "batch_size": BATCHES,
                "early_stopping": STOPPING,
            }
        ),
        scaled=False,
    ),
    "mlp": Model(
        "sklearn.neural_network",
        {"classification": "MLPClassifier", "regression": "MLPRegressor"},
        _both(
            {
                "hidden_layer_sizes": WIDTHS,
                "alpha": Range(1e-5, 1.0),
                "learning_rate_init": Range(1e-4, 1e-2),
                "batch_size": BATCHES,
                "early_stopping": STOPPING,
            }
        ),
    ),
    "linear": Model(
        "sklearn.linear_model",
        {"classification": "LogisticRegression", "regression": "Ridge"},
        {"classification": {"C": Range(1e-3, 100.0)}, "regression": {"alpha": Range(1e-2, 1e3)}},
        fixed={"classification": {"max_iter": 1_000}, "regression": {}},
        seeded=False,
    ),
    "trees": Model(
        "sklearn.ensemble",
        {
            "classification": "HistGradientBoostingClassifier",
            "regression": "HistGradientBoostingRegressor",
        },
        _both(_TREES),
        scaled=False,
    ),
}
