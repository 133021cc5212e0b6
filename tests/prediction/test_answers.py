"""What outputs mean, and how scores count, beside other arithmetic."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from datasets.preprocessing import UNKNOWN, Column
from new_algorithm.cli.errors import UserError
from new_algorithm.prediction.answers import Classes, Quantities, answer_of

NAN = np.nan


@pytest.mark.parametrize(
    ("classes", "targets", "places"),
    [
        (Classes((-1, 1)), [[1], [-1], [0], [NAN]], [1, 0, UNKNOWN, NAN]),
        (Classes((1, 2, 5)), [[5], [1], [3]], [2, 0, UNKNOWN]),
        (Classes(("no", "yes"), ("truth",)), [[1], [UNKNOWN], [NAN]], [1, UNKNOWN, NAN]),
        (
            Classes(("a", "b", "c"), ("a", "b", "c")),
            [[0, 1, 0], [0, 0, 1], [1, NAN, 0]],
            [1, 2, NAN],
        ),
    ],
)
def test_truth_is_the_place_of_the_label(classes, targets, places):
    np.testing.assert_array_equal(classes.truth(np.array(targets, float)), places)


def test_where_a_table_has_the_truth():
    assert Classes(("no", "yes"), ("truth",)).columns == [Column("truth", ("no", "yes"))]
    assert Classes((1, 2), ("truth",)).columns == [Column("truth")]
    assert Classes(("a", "b"), ("a", "b")).columns == [Column("a"), Column("b")]
    assert Quantities((0.0, 1.0), (1.0, 1.0), ("u", "v")).columns == [Column("u"), Column("v")]


@pytest.mark.parametrize("outputs", [1, 4])
def test_probabilities_are_torchs_and_the_class_is_the_most_probable(outputs):
    output = np.random.default_rng(0).normal(0, 30, (50, outputs))
    logits = torch.from_numpy(output)
    expected = torch.softmax(logits, 1)
    if outputs == 1:
        expected = torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], 1)
    classes = Classes(("a", "b", "c", "d")[: max(2, outputs)])
    np.testing.assert_allclose(classes.read(output), expected, atol=1e-12)
    named, *probabilities = classes.cells(output)
    best = np.argmax(probabilities, axis=0)
    assert named.tolist() == [classes.labels[place] for place in best]
    assert classes.headers == ["prediction", *(f"probability_{name}" for name in classes.labels)]


def test_scores_of_two_classes_are_scikit_learns():
    rng = np.random.default_rng(1)
    output, truth = np.round(rng.normal(size=(200, 1)), 1), rng.integers(0, 2, 200)
    scores = Classes((0, 1)).scores()
    for part in (slice(0, 150), slice(150, None)):
        scores.add(output[part], truth[part, None].astype(float))
    assert scores.values() == pytest.approx(
        {
            "accuracy": reference.accuracy_score(truth, output[:, 0] > 0),
            "auc": reference.roc_auc_score(truth, output[:, 0]),
        }
    )


def test_unknown_labels_are_errors_and_missing_ones_do_not_count():
    scores = Classes((1, 2)).scores()
    scores.add(np.array([[-1.0], [1.0], [-1.0], [1.0]]), np.array([[1], [2], [3], [NAN]]))
    assert (scores.rows, scores.unknown) == (3, 1)
    assert scores.values() == {"accuracy": pytest.approx(2 / 3), "auc": 1.0}
    empty = Classes((1, 2, 3)).scores()
    empty.add(np.zeros((2, 3)), np.full((2, 1), NAN))
    assert empty.values() == {}


def test_quantities_come_in_their_own_units():
    answer = answer_of(
        {"num_classes": None, "target_mean": [10.0, -1.0], "target_sd": [2.0, 5.0], "target": "uv"}
    )
    output = np.array([[0.0, 1.0], [1.0, -1.0], [5.0, 5.0]])
    values = [[10, 4], [12, -6], [20, 24]]
    np.testing.assert_array_equal(answer.read(output), values)
    assert answer.headers == ["prediction_u", "prediction_v"]
    scores = answer.scores()
    scores.add(output, np.array([[13, 4], [16, -6], [NAN, 0]]))
    assert scores.rows == 2
    assert scores.values() == pytest.approx({"rmse_u": np.sqrt((9 + 16) / 2), "rmse_v": 0})
    assert Quantities((0.0,), (1.0,), ("u",)).headers == ["prediction"]


def test_probabilities_are_sigmoids_and_their_error_is_squared_and_summed_over_a_row():
    answer = answer_of({"num_classes": None, "probabilities": 3})
    rng = np.random.default_rng(5)
    output, truth = rng.normal(size=(30, 3)), rng.uniform(size=(30, 3))
    p = torch.sigmoid(torch.from_numpy(output)).numpy()
    np.testing.assert_allclose(np.column_stack([*answer.cells(output)]), p, atol=1e-12)
    assert answer.headers == ["probability_1", "probability_2", "probability_3"]
    truth[4, 1] = NAN  # a row that does not count
    scores = answer.scores()
    for part in (slice(0, 20), slice(20, None)):
        scores.add(output[part], truth[part])
    expected = np.nansum((p - truth)[np.arange(30) != 4] ** 2) / 29
    assert (scores.rows, scores.values()) == (29, {"squared_error": pytest.approx(expected)})
    with pytest.raises(UserError, match=r"the file has 1 targets a row, .* learned 3"):
        scores.add(output, truth[:, :1])
