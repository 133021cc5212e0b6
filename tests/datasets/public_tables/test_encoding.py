"""Columns as numbers: medians, indicators, levels."""

import numpy as np

from datasets.public_tables.encoding import features_of, labels_of

FRAME = {
    "size": np.array([1.0, np.nan, 5.0, 4.0]),
    "whole": np.array([0.5, 1.5, 2.5, 3.5]),
    "kind": np.array(["b", "a", None, "b"], object),
    "code": np.array([10.0, 2.0, 10.0, np.nan]),
    "target": np.array([1.0, 2.0, 3.0, 4.0]),
}


def test_every_kind_of_column():
    x, names = features_of(FRAME, {"target"}, {"code"})
    assert names == [
        *("size", "size=missing", "whole"),
        *("kind=a", "kind=b", "kind=missing"),
        *("code=10", "code=2", "code=missing"),
    ]
    expected = [
        [1.0, 0, 0.5, 0, 1, 0, 1, 0, 0],
        [4.0, 1, 1.5, 1, 0, 0, 0, 1, 0],  # the median of 1, 4, 5
        [5.0, 0, 2.5, 0, 0, 1, 1, 0, 0],
        [4.0, 0, 3.5, 0, 1, 0, 0, 0, 1],
    ]
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, expected)


def test_labels_are_numbered_in_the_order_of_their_names():
    labels, classes = labels_of(np.array(["no", "yes", "maybe", "no"], object))
    assert classes == ["maybe", "no", "yes"]
    assert labels.tolist() == [1, 2, 0, 1]
