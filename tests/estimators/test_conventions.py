"""scikit-learn's own checks, and its tools around the estimators."""

import pickle
from contextlib import nullcontext

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris, make_regression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from new_algorithm.estimators import BackProjectionClassifier, BackProjectionRegressor

BOTH = BackProjectionClassifier, BackProjectionRegressor


@parametrize_with_checks([BackProjectionClassifier(), BackProjectionRegressor()])
def test_scikit_learn_finds_nothing_to_say(estimator, check):
    check(estimator)


def small(**settings):
    return BackProjectionClassifier(8, max_iter=150, random_state=0, **settings)


def test_in_a_pipeline_within_a_grid_search():
    x, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(MinMaxScaler(), small())
    grid = {"backprojectionclassifier__alpha": [1.0, 4e3]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(x, y)
    assert search.best_params_ == {"backprojectionclassifier__alpha": 1.0}
    assert cross_validate(pipeline, x, y, cv=3)["test_score"].mean() > 0.85


def test_sample_weights_are_routed():
    x, y = load_breast_cancer(return_X_y=True)
    one_class = np.where(y == 1, 1.0, 0.0)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = small().set_fit_request(sample_weight=True)
        scoring = make_scorer(accuracy_score).set_score_request(sample_weight=False)
        found = cross_validate(
            routed, x, y, params={"sample_weight": one_class}, scoring=scoring, cv=3
        )
    assert found["test_score"] == pytest.approx([(y == 1).mean()] * 3, abs=0.01)


@pytest.mark.parametrize("make", BOTH)
def test_a_pickled_one_predicts_and_goes_on_with_the_same_bits(make):
    x, y = load_iris(return_X_y=True)
    model = make(8, random_state=0)
    for _ in range(3):
        model.partial_fit(x, y, **({"classes": [0, 1, 2]} if make is BOTH[0] else {}))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict(x), again.predict(x))
    for one in model, again:
        one.partial_fit(x, y)
    for mine, theirs in zip(model.coefs_, again.coefs_, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("make", BOTH)
def test_the_same_seed_gives_the_same_bits_and_another_does_not(make):
    x, y = load_iris(return_X_y=True)
    first, second, other = (make(8, max_iter=5, random_state=seed).fit(x, y) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.coefs_[0], second.coefs_[0])
    assert not np.array_equal(first.coefs_[0], other.coefs_[0])


def test_frames_bring_their_names():
    pandas = pytest.importorskip("pandas")
    x, y = load_iris(return_X_y=True, as_frame=True)
    names = pandas.Series(np.array(["a setosa", "versicolor", "virginica"])[y])
    model = small().fit(x, names)
    assert model.feature_names_in_.tolist() == x.columns.tolist()
    assert model.score(x, names) > 0.9
    with pytest.raises(ValueError, match="feature names"):
        model.predict(x[x.columns[::-1]])


def test_polars_frames_give_what_arrays_give():
    polars = pytest.importorskip("polars")
    x, y = load_iris(return_X_y=True)
    frame = polars.DataFrame(x, schema=["a", "b", "c", "d"])
    model = small().fit(frame, polars.Series(y))
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    of_arrays = small().fit(x, y).predict_proba(x)  # in another order of memory
    np.testing.assert_allclose(model.predict_proba(frame), of_arrays, atol=1e-9)


def test_set_output_is_for_transformers_and_predictions_stay_arrays():
    x, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(MinMaxScaler(), small()).set_output(transform="default")
    assert isinstance(pipeline.fit(x, y).predict(x), np.ndarray)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_layer_sizes": (8, 0)}, "hidden_layer_sizes"),
        ({"alpha": -1.0}, "alpha"),
        ({"batch_size": 0}, "batch_size"),
        ({"lambda_w": (1.0, 2.0, 3.0)}, "lambda_w has 3 values"),
        ({"step_bounds": (1.0, 0.1)}, "step_bounds"),
    ],
)
def test_nonsense_is_refused_by_name(settings, message):
    x, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        BackProjectionClassifier(8).set_params(**settings).fit(x, y)


def test_a_clone_is_as_it_was_made():
    made = BackProjectionRegressor((3, 2), lambda_w=(1.0, 2.0, 3.0), alpha=0.5, random_state=7)
    x, y = make_regression(50, 4, random_state=0)
    assert clone(made.fit(x, y)).get_params() == made.get_params()


def test_a_fit_forgets_the_classes_announced_to_an_earlier_partial_fit():
    x = np.random.default_rng(0).normal(size=(40, 2))
    y = np.where(x[:, 0] > 0, "c", "d")
    model = BackProjectionClassifier(max_iter=1, random_state=0)
    model.partial_fit(x, np.where(x[:, 0] > 0, "a", "b"), classes=["a", "b"])

    model.fit(x, y)

    assert model.classes_.tolist() == ["c", "d"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lambda_w", [1, -1, 1]),
        ("lambda_w", [1, np.nan, 1]),
        ("lambda_h", [1, 0, 1]),
        ("hidden_layer_sizes", (5.5,)),
        ("step_bounds", (0.1, 0.2, 0.3)),
        ("step_bounds", (0.2, 0.1)),
        ("class_weight", {0: 0, 1: 0}),
        ("class_weight", {0: -1, 1: 1}),
    ],
)
def test_a_list_with_a_wrong_value_is_refused_by_its_name(name, value):
    settings = {"hidden_layer_sizes": (4, 4), name: value}
    model = BackProjectionClassifier(max_iter=1, random_state=0, **settings)

    with pytest.raises(ValueError, match=name):
        model.fit(np.eye(8), np.arange(8) % 2)


def test_a_network_goes_on_with_its_own_widths_only():
    model = BackProjectionClassifier((4,), max_iter=1, warm_start=True, random_state=0)
    model.fit(np.eye(8), np.arange(8) % 2).set_params(hidden_layer_sizes=(5,))

    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        model.fit(np.eye(8), np.arange(8) % 2)


NUMBERS = np.array([1.5, 2.0, 3.0, 4.0, 5.0, 6.0])


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("how", ["fit", "partial_fit"])
@pytest.mark.parametrize("make", [MLPRegressor, BackProjectionRegressor])
@pytest.mark.parametrize(
    ("y", "error"),
    [
        (NUMBERS.astype(object), None),
        (NUMBERS.astype(str).astype(object), None),
        (np.array(["a", *NUMBERS[1:]], object), ValueError),
        (np.array([None, *NUMBERS[1:]], object), ValueError),
        (NUMBERS.astype(str), TypeError),
        (NUMBERS.astype(bytes), TypeError),
        (NUMBERS.astype("m8[s]"), TypeError),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_targets_that_are_no_numbers_get_what_the_perceptron_gives_them(
    make, y, error, how, columns
):
    x = np.random.default_rng(0).normal(size=(len(y), 2))
    y = y if columns == 1 else np.stack([y, y], axis=1)
    with nullcontext() if error is None else pytest.raises(error):
        getattr(make(hidden_layer_sizes=(4,), max_iter=2, random_state=0), how)(x, y)


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_texts_of_numbers_in_objects_are_their_numbers(how):
    x = np.random.default_rng(0).normal(size=(len(NUMBERS), 2))
    predicted = [
        getattr(BackProjectionRegressor((4,), max_iter=2, random_state=0), how)(x, y).predict(x)
        for y in (NUMBERS, NUMBERS.astype(str).astype(object))
    ]
    np.testing.assert_array_equal(*predicted)
