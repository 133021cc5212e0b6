"""Every model fits both tasks, with its defaults and with what a search may draw."""

import numpy as np
import pytest

from new_algorithm.table_models.models import MODELS
from new_algorithm.table_models.tuning import draw

RNG = np.random.default_rng(1)
X = RNG.normal(size=(150, 3)).astype(np.float32) * [1.0, 100.0, 0.01]
SCORE = X[:, 0] + X[:, 1] / 100
Y = {"classification": (SCORE > 0).astype(int), "regression": 1e4 + 1e3 * SCORE}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", MODELS)
def test_defaults_learn_and_every_setting_of_the_space_is_the_estimators(name, task):
    model = MODELS[name].build(task, {}, 0).fit(X, Y[task])
    assert model.score(X, Y[task]) > 0.8
    space = MODELS[name].space[task]
    rng = np.random.default_rng(0)
    for _ in range(2):
        settings = draw(space, rng)
        fitted = MODELS[name].build(task, settings, 0).fit(X, Y[task])
        assert np.isfinite(fitted.predict(X)).all()
        shown = {key.rsplit("__", 1)[-1]: value for key, value in fitted.get_params().items()}
        assert settings.items() <= shown.items()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_perceptron_does_not_see_the_units_of_features(task):
    # powers of two leave the standardised numbers as they are, to the bit
    built = [MODELS["mlp"].build(task, {"max_iter": 20}, 3) for _ in range(2)]
    first, second = (
        model.fit(X * unit, Y[task]) for model, unit in zip(built, (1, 8), strict=True)
    )
    np.testing.assert_allclose(first.predict(X), second.predict(8 * X), rtol=1e-6)
