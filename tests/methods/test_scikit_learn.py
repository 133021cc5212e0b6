"""The references without a network, which scikit-learn fits."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from datasets import load_dataset
from new_algorithm.cli.errors import UserError
from new_algorithm.methods.method import Problem
from new_algorithm.methods.scikit_learn import GRADIENT_BOOSTING, LOGISTIC_REGRESSION
from tests.training import trained


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    """Two classes by the sign of a product of two features, with noise."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1_200, 3))
    y = (x[:, 0] * x[:, 1] + 0.3 * rng.standard_normal(1_200) > 0).astype(int)
    path = tmp_path_factory.mktemp("products") / "products.npz"
    np.savez(path, x_train=x[:800], y_train=y[:800], x_test=x[800:], y_test=y[800:])
    return Problem(load_dataset(str(path)), (8,), epochs=3, seed=0)


def test_trees_find_a_product_that_a_linear_model_cannot(problem):
    [linear] = trained(LOGISTIC_REGRESSION, problem)
    [trees] = trained(GRADIENT_BOOSTING, problem, max_iter=30)
    assert linear.scores()[1].auc == pytest.approx(0.5, abs=0.1)
    assert linear.scores()[1].loss == pytest.approx(np.log(2), abs=0.02)
    assert trees.scores()[1].auc > 0.9
    assert trees.scores()[1].accuracy > 0.8
    assert trees.clock.cpu_seconds > 0


def test_scores_are_scikit_learns_own(problem):
    data = problem.data
    model = LogisticRegression(C=0.1, max_iter=1_000).fit(data.x_train, data.y_train)
    [epoch] = trained(LOGISTIC_REGRESSION, problem, inverse_penalty=0.1)
    parts = (data.x_train, data.y_train), (data.x_test, data.y_test)
    for found, (x, y) in zip(epoch.scores(), parts, strict=True):
        probability = model.predict_proba(x)[:, 1]
        assert found.loss == pytest.approx(log_loss(y, probability), rel=1e-5)
        assert found.auc == pytest.approx(roc_auc_score(y, probability), abs=1e-6)
        assert found.accuracy == model.score(x, y)
        log_odds = epoch.predict(x)
        assert log_odds.shape == (len(x), 1)
        np.testing.assert_allclose(1 / (1 + np.exp(-log_odds[:, 0])), probability, atol=1e-6)


def test_more_classes_than_two_are_refused():
    four = Problem(load_dataset("synthetic", train_limit=50), (8,), epochs=1, seed=0)
    with pytest.raises(UserError, match="two classes"):
        trained(LOGISTIC_REGRESSION, four)
