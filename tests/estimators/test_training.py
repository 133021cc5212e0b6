"""The estimators train what the scripts train, and what their parameters say."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from datasets import load_dataset
from new_algorithm.back_projection.network import append_ones, forward
from new_algorithm.back_projection.step_control import STEP_BOUNDS
from new_algorithm.estimators import BackProjectionClassifier, BackProjectionRegressor
from new_algorithm.methods.back_projection import train_with
from new_algorithm.methods.back_projection_settings import Settings
from new_algorithm.methods.method import Problem

AS_IN_THE_SCRIPT = {"max_iter": 3, "standardize": False, "random_state": 3}
# whose defaults follow from the problem, where the estimators' were chosen on tables
AS_IN_THE_ESTIMATOR = {"outer": "momentum", "step_bounds": STEP_BOUNDS, "decoupled_decay": 0.0}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", ["spirals", "synthetic"])  # two classes, and more
@pytest.mark.parametrize("decay", [0.0, 1e-3])
@threadpool_limits.wrap(limits=1)  # several threads share out sums as they come
def test_the_weights_are_those_of_the_script(name, decay):
    data = load_dataset(name, seed=3)
    settings = Settings(
        lambda_w_layers=(3.0, 0.1, 0.1), weight_decay=decay, batch_size=100, **AS_IN_THE_ESTIMATOR
    )
    *_, last = train_with(settings, Problem(data, (16, 8), 3, seed=3))
    model = BackProjectionClassifier(
        (16, 8),
        lambda_w=(3.0, 0.1, 0.1),
        alpha=decay * len(data.x_train),
        batch_size=100,
        **AS_IN_THE_SCRIPT,
    ).fit(data.x_train, data.y_train)
    for weight, coef, intercept in zip(last.weights, model.coefs_, model.intercepts_, strict=True):
        np.testing.assert_array_equal(weight, np.vstack([coef, intercept]))
    _, held_out = last.scores()
    assert model.score(data.x_test, data.y_test) == pytest.approx(held_out.accuracy, abs=2e-3)


def test_values_are_those_of_the_script():
    data = load_dataset("regression", seed=3)
    settings = Settings(lambda_w_layers=(3.0, 0.1), weight_decay=0.0, **AS_IN_THE_ESTIMATOR)
    *_, last = train_with(settings, Problem(data, (16,), 3, seed=3))
    model = BackProjectionRegressor(
        16, lambda_w=(3.0, 0.1), alpha=0.0, batch_size=128, **AS_IN_THE_SCRIPT
    ).fit(data.x_train, data.y_train.ravel())
    expected = forward(last.weights, append_ones(data.x_test))[1]
    found = model.predict(data.x_test).reshape(expected.shape)
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize("batch_size", ["full", 20])
def test_class_weights_are_weights_of_rows(batch_size):
    x, y = load_iris(return_X_y=True)
    x, y = x[:130], y[:130]
    settings = {"max_iter": 5, "batch_size": batch_size, "random_state": 0}
    by_class = BackProjectionClassifier(8, class_weight={0: 1, 1: 2, 2: 5}, **settings).fit(x, y)
    by_row = BackProjectionClassifier(8, **settings).fit(x, y, np.array([1, 2, 5])[y])
    np.testing.assert_allclose(by_class.coefs_[0], by_row.coefs_[0], rtol=1e-12)
    plain = BackProjectionClassifier(8, **settings).fit(x, y)
    assert not np.allclose(by_class.coefs_[0], plain.coefs_[0])


def test_rare_classes_count_as_much_where_weights_are_balanced():
    x = np.concatenate([rng().normal(0, 1, (950, 3)), rng(1).normal(1, 1, (50, 3))])
    y = np.repeat([0, 1], [950, 50])
    models = [
        BackProjectionClassifier(8, class_weight=weight, random_state=0).fit(x, y)
        for weight in (None, "balanced")
    ]
    plain, balanced = (model.predict_proba(x)[:, 1].mean() for model in models)
    assert plain == pytest.approx(0.05, abs=0.01)
    assert 0.2 < balanced < 0.6


def test_several_outputs_in_any_unit():
    x = rng().standard_normal((300, 4))
    y = np.stack([x[:, 0] ** 2, 1e6 * np.abs(x[:, 1]) + 5e6], axis=1)
    model = BackProjectionRegressor(32, random_state=0).fit(x, y)
    assert model.predict(x).shape == y.shape
    assert model.score(x, y) > 0.95
    other = BackProjectionRegressor(32, random_state=0).fit(x, 1e-3 * y)
    far = np.abs(other.predict(x) - 1e-3 * model.predict(x)).max(axis=0)
    assert (far < 1e-3 * (1e-3 * y).std(axis=0)).all()


def test_decay_shrinks_outputs_towards_the_mean():
    x, y = load_diabetes(return_X_y=True)
    spread = [
        BackProjectionRegressor(16, alpha=alpha, max_iter=400, random_state=0)
        .fit(x, y)
        .predict(x)
        .std()
        for alpha in (1.0, 100.0, 1e6)
    ]
    assert spread[0] > spread[1] > spread[2]
    assert spread[2] < 1e-2 * y.std()


@pytest.mark.parametrize("make", [BackProjectionClassifier, BackProjectionRegressor])
def test_early_stopping_keeps_the_weights_of_the_best_score_on_rows_left_out(make):
    x, y = load_breast_cancer(return_X_y=True)
    model = make((32, 32), early_stopping=True, alpha=0.0, random_state=0, n_iter_no_change=5)
    model.fit(x, y)
    assert len(model.validation_scores_) == model.n_iter_ == len(model.loss_curve_)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert best < model.n_iter_


def test_a_warm_start_goes_on_and_a_cold_one_does_not():
    x, y = load_iris(return_X_y=True)
    settings = {"max_iter": 40, "alpha": 0.0, "random_state": 0}
    cold, warm = (BackProjectionClassifier(8, warm_start=w, **settings) for w in (False, True))
    losses = []
    for model in cold, warm:
        model.fit(x, y)
        first = model.loss_curve_[0]
        losses.append((first, model.fit(x, y).loss_curve_[0]))
    assert losses[0][0] == losses[0][1] == losses[1][0]
    assert losses[1][1] < 0.9 * losses[1][0]


def test_passes_over_parts_learn_and_the_scale_is_that_of_the_first():
    x, y = load_breast_cancer(return_X_y=True)
    model = BackProjectionClassifier(16, random_state=0)
    for passes in range(20):
        for part in np.array_split(rng(passes).permutation(len(x)), 4):
            model.partial_fit(x[part], y[part], classes=[0, 1])
    assert model.score(x, y) > 0.97
    assert model.n_iter_ == 80


def test_constant_features_one_class_and_few_rows():
    x, y = load_iris(return_X_y=True)
    x = np.hstack([x, np.full((len(x), 2), 3.0)])
    assert BackProjectionClassifier(8, random_state=0).fit(x, y).score(x, y) > 0.9
    one = BackProjectionClassifier(8, max_iter=2, random_state=0).fit(x[:50], y[:50])
    assert set(one.predict(x)) == {0}
    few = BackProjectionRegressor(8, max_iter=2, random_state=0).fit(x[:2], [1.0, 2.0])
    assert np.isfinite(few.predict(x)).all()


def test_a_linear_target_is_found_as_well_as_by_ridge_regression():
    x = rng().standard_normal((500, 10))
    y = x @ rng(1).standard_normal(10) + 0.5 * rng(2).standard_normal(500)
    test = rng(3).standard_normal((500, 10))
    truth = test @ rng(1).standard_normal(10)
    ridge = Ridge().fit(StandardScaler().fit_transform(x), y)
    linear = np.mean((ridge.predict(test) - truth) ** 2)
    model = BackProjectionRegressor(random_state=0).fit(x, y)
    # a network of 5,000 weights cannot be as sure, but not far off
    assert np.mean((model.predict(test) - truth) ** 2) < linear + 0.1 * truth.var()


def test_what_a_pass_over_a_part_cannot_do_is_refused():
    x, y = load_iris(return_X_y=True)
    for settings in ({"early_stopping": True}, {"class_weight": "balanced"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            BackProjectionClassifier(8, **settings).partial_fit(x, y, classes=[0, 1, 2])


def test_weights_of_rows_and_classes_that_leave_nothing_are_refused():
    x, y = load_iris(return_X_y=True)
    model = BackProjectionClassifier(8, class_weight={0: 0, 1: 1, 2: 1})
    with pytest.raises(ValueError, match="leave every row a weight of zero"):
        model.fit(x, y, sample_weight=(y == 0).astype(float))


def test_a_warm_start_shuffles_anew():
    x, y = load_iris(return_X_y=True)
    model = BackProjectionClassifier(8, batch_size=50, max_iter=1, warm_start=True, random_state=0)
    orders = []
    for _ in range(3):
        model.fit(x, y)
        orders.append(np.random.default_rng([0, 1, model._passes]).permutation(150))
    assert model._passes == 3
    assert not any(np.array_equal(one, other) for one, other in pairwise(orders))
