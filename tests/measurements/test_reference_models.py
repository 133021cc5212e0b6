"""The reference models as methods; scikit-learn is an extra."""

import numpy as np
import pytest

from datasets import load_dataset
from new_algorithm.cli.errors import UserError
from new_algorithm.measurements.reference_models import (
    check_scikit_learn,
    gradient_boosting,
    logistic_regression,
)

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1_200, 3))
    y = (x[:, 0] * x[:, 1] + 0.3 * rng.standard_normal(1_200) > 0).astype(int)
    path = tmp_path_factory.mktemp("products") / "products.npz"
    np.savez(path, x_train=x[:800], y_train=y[:800], x_test=x[800:], y_test=y[800:])
    return load_dataset(str(path))


def test_trees_find_a_product_that_a_linear_model_cannot(data):
    linear = logistic_regression(1.0)(data, 0)
    trees = gradient_boosting(max_iter=50)(data, 0)
    assert linear.held_out_auc == pytest.approx(0.5, abs=0.1)
    assert trees.held_out_auc > 0.9
    assert trees.held_out_accuracy > 0.8
    assert linear.held_out_loss == pytest.approx(np.log(2), abs=0.02)
    assert trees.cpu_seconds > 0


def test_scores_are_scikit_learns_own(data):
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, roc_auc_score

    model = LogisticRegression(C=0.1, max_iter=1_000).fit(data.x_train, data.y_train)
    probability = model.predict_proba(data.x_test)[:, 1]
    score = logistic_regression(0.1)(data, 0)
    assert score.held_out_loss == pytest.approx(log_loss(data.y_test, probability), rel=1e-5)
    assert score.held_out_auc == pytest.approx(roc_auc_score(data.y_test, probability), abs=2e-4)
    assert score.held_out_accuracy == model.score(data.x_test, data.y_test)


def test_scikit_learn_that_does_not_import_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    with pytest.raises(UserError, match=r"scikit-learn.*--extras"):
        check_scikit_learn()
