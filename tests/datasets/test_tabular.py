import hashlib
import json

import numpy as np
import pytest
from sklearn.utils.multiclass import type_of_target

from datasets import load_dataset
from datasets.preprocessing import Preprocessing
from new_algorithm.cli.errors import UserError


@pytest.fixture
def classification():
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.normal(5, 3, (30, 4)).astype(np.float32),
        "y_train": np.arange(30) % 3,
        "x_test": rng.normal(5, 3, (9, 4)).astype(np.float32),
        "y_test": np.arange(9) % 3,
    }


@pytest.fixture
def load(tmp_path):
    def save_and_load(arrays, **options):
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays)
        return load_dataset(str(path), **options)

    return save_and_load


def test_integer_labels_make_a_classification(load, classification):
    dataset = load(classification)
    assert dataset.num_classes == 3
    assert dataset.y_train.dtype == dataset.y_test.dtype == np.int64
    np.testing.assert_array_equal(dataset.y_train, classification["y_train"])
    np.testing.assert_array_equal(dataset.y_test, classification["y_test"])
    assert dataset.name == "mine.npz"
    assert dataset.held_out == "test"


def test_features_are_standardised_by_the_training_rows(load, classification):
    dataset = load(classification)
    x, x_test = classification["x_train"].astype(float), classification["x_test"].astype(float)
    for scaled, raw in ((dataset.x_train, x), (dataset.x_test, x_test)):
        assert scaled.dtype == np.float32
        np.testing.assert_allclose(scaled, (raw - x.mean(0)) / x.std(0), rtol=1e-5, atol=1e-6)


@pytest.fixture
def sorted_by_class():
    """600 rows of three classes, numbered, in the order of their classes; the test set likewise."""
    return {
        "x_train": np.arange(600.0)[:, None],
        "y_train": np.repeat([0, 1, 2], [300, 200, 100]),
        "x_test": np.arange(9.0)[:, None],
        "y_test": np.arange(9) // 3,
    }


def test_validation_has_each_class_of_a_sorted_file_and_unseen_leaves_out_its_rows(
    load, sorted_by_class, caplog
):
    validation = load(sorted_by_class, held_out="validation")
    assert np.bincount(validation.y_test).tolist() == pytest.approx([50, 33, 17], abs=1)
    assert (len(validation.y_train), len(validation.y_test)) == (500, 100)
    np.testing.assert_allclose(validation.x_train.mean(), 0, atol=1e-5)  # by its own rows alone
    np.testing.assert_allclose(validation.x_train.std(), 1, atol=1e-5)
    unseen = load(sorted_by_class, held_out="unseen")
    np.testing.assert_array_equal(unseen.x_train, validation.x_train)
    np.testing.assert_array_equal(unseen.y_test, sorted_by_class["y_test"])
    for seed in (0, 1):
        again = load(sorted_by_class, held_out="validation", seed=seed)
        np.testing.assert_array_equal(again.x_test, validation.x_test)
    assert caplog.records == []


def test_validation_rows_of_a_regression_are_drawn_at_random(load, sorted_by_class):
    y = {"y_train": np.arange(600.5)[:600], "y_test": np.arange(9.0)}
    part = load(sorted_by_class | y, held_out="validation", task="regression")
    assert len(part.y_test) == 100
    assert abs(part.y_test.mean()) < 0.3  # sd 0.1; of the last sixth it would be 1.5
    np.testing.assert_allclose(part.y_train.mean(), 0, atol=1e-5)


@pytest.mark.parametrize(
    ("limits", "held_out", "part"),
    [
        ({"train_limit": 300}, "test", "training"),
        ({"test_limit": 3}, "test", "test"),
        ({"test_limit": 7}, "validation", "validation"),
    ],
)
def test_a_part_of_one_class_is_one_notice(load, sorted_by_class, caplog, limits, held_out, part):
    load(sorted_by_class, held_out=held_out, **limits)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"mine.npz: the {part} rows in use are all of class 0: accuracy")


def test_limits_leave_the_scaling_alone(load, classification):
    whole = load(classification)
    limited = load(classification, train_limit=7, test_limit=2)
    np.testing.assert_array_equal(limited.x_train, whole.x_train[:7])
    np.testing.assert_array_equal(limited.x_test, whole.x_test[:2])


def test_the_hashes_are_of_the_file_whatever_the_split(load, classification):
    expected = {k: hashlib.sha256(a.tobytes()).hexdigest() for k, a in classification.items()}
    assert load(classification).sha256 == expected
    assert load(classification, held_out="validation", train_limit=4).sha256 == expected


@pytest.mark.parametrize("shape", [(30,), (30, 1)])
def test_float_targets_make_a_regression_whose_units_are_recorded(load, classification, shape):
    y = np.random.default_rng(1).normal(100, 20, shape)
    dataset = load(classification | {"y_train": y, "y_test": y[:9]})
    assert dataset.num_classes is None
    assert dataset.y_train.dtype == np.float32
    assert dataset.y_train.shape == (30, 1)
    np.testing.assert_allclose(dataset.y_train.mean(), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.y_train.std(), 1, rtol=1e-6)
    units = dataset.provenance()
    own = units["target_mean"] + dataset.y_test * units["target_sd"]
    np.testing.assert_allclose(own, y[:9].reshape(9, 1), rtol=1e-5)


def test_constant_targets_are_centred_alone(load, classification):
    y = {"y_train": np.full(30, 7.0), "y_test": np.arange(9.0)}
    dataset = load(classification | y, task="regression")
    np.testing.assert_array_equal(dataset.y_train, 0)
    np.testing.assert_array_equal(dataset.y_test[:, 0], np.arange(9) - 7)


def test_several_regression_targets_keep_their_columns(load, classification):
    y = np.asfortranarray(np.random.default_rng(1).normal(size=(30, 5)))
    dataset = load(classification | {"y_train": y, "y_test": y[:9]})
    expected = (y - y.mean(axis=0)) / y.std(axis=0)
    np.testing.assert_allclose(dataset.y_train, expected, rtol=1e-5, atol=1e-6)
    assert dataset.y_train.flags.c_contiguous


def test_images_are_flattened_by_rows(load, classification):
    images = np.random.default_rng(2).normal(size=(30, 2, 5, 3))
    dataset = load(classification | {"x_train": np.asfortranarray(images), "x_test": images[:9]})
    flat = images.reshape(30, 30)
    np.testing.assert_allclose(dataset.x_train, (flat - flat.mean(0)) / flat.std(0), atol=1e-5)
    assert dataset.x_train.flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "dtype", "known"),
    [
        ((6, 6), np.uint8, True),
        ((3, 4, 5), np.uint8, True),
        ((4, 5, 1), np.uint8, True),
        ((36,), np.uint8, False),  # a table, whatever the root of its features
        ((6, 6), np.float32, False),
        ((2, 4, 5), np.uint8, False),
    ],
)
def test_bytes_in_the_shape_of_pictures_are_known_to_be_some(
    load, classification, shape, dtype, known
):
    pixels = np.random.default_rng(3).integers(0, 256, (39, *shape)).astype(dtype)
    dataset = load(classification | {"x_train": pixels[:30], "x_test": pixels[30:]})
    assert dataset.image_shape == (shape if known else None)
    assert dataset.x_train.shape == (30, np.prod(shape))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint8, np.int64, ">f4"])
def test_the_type_of_the_features_does_not_matter(load, classification, dtype):
    whole = {k: np.rint(v).astype(int) for k, v in classification.items()}
    typed = whole | {
        k: np.asfortranarray(np.abs(whole[k]).astype(dtype)) for k in whole if "x" in k
    }
    reference = whole | {k: np.abs(whole[k]) for k in whole if "x" in k}
    np.testing.assert_array_equal(load(typed).x_train, load(reference).x_train)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i8", np.uint64])
def test_the_type_of_the_labels_does_not_matter(load, classification, dtype):
    labels = {k: classification[k].astype(dtype) for k in ("y_train", "y_test")}
    np.testing.assert_array_equal(load(classification | labels).y_train, np.arange(30) % 3)


def test_boolean_features_and_labels_are_numbers(load, classification):
    truth = {k: np.abs(v) % 2 >= 1 for k, v in classification.items()}
    dataset = load(truth)
    assert dataset.num_classes == 2
    assert np.isfinite(dataset.x_train).all()


def test_memory_maps_can_be_saved_and_results_can_be_written_to(load, classification, tmp_path):
    mapped = {}
    for key, array in classification.items():
        np.save(tmp_path / f"{key}.npy", array)
        mapped[key] = np.load(tmp_path / f"{key}.npy", mmap_mode="r")
    y = np.linspace(0, 1, 30, dtype=np.float32)
    for dataset in (load(mapped), load(mapped | {"y_train": y, "y_test": y[:9]})):
        dataset.x_train[0] = 1
        dataset.y_train[0] = 1


@pytest.mark.parametrize("fill", [0, 0.1, 7])
def test_constant_features_become_zeros(load, classification, fill):
    classification["x_train"][:, 1] = classification["x_test"][:, 1] = fill
    dataset = load(classification)
    assert np.all(dataset.x_train[:, 1] == 0)
    assert np.all(dataset.x_test[:, 1] == 0)
    assert np.isfinite(dataset.x_train).all()


def test_all_zero_inputs_and_duplicated_rows_are_fine(load, classification):
    classification["x_train"][:] = 0
    assert np.isfinite(load(classification).x_test).all()


def test_one_sample_is_a_regression_of_zero_features(load):
    one = {"x_train": np.ones((1, 2)), "y_train": np.full(1, 0.5)}
    dataset = load(one | {"x_test": np.ones((1, 2)), "y_test": np.full(1, 0.5)})
    np.testing.assert_array_equal(dataset.x_train, [[0, 0]])


def test_unknown_keys_are_ignored(load, classification):
    assert load(classification | {"comment": np.array("any")}).num_classes == 3


WRITTEN = {
    "texts": (np.array(["gut", "böse", "neutral"]), ["böse", "gut", "neutral"]),
    "bytes": (np.array([b"b", b"a", b"c"]), ["a", "b", "c"]),
    "from 1": (np.array([1, 2, 3]), [1, 2, 3]),
    "around 0": (np.array([-1, 0, 1]), [-1, 0, 1]),
    "gaps": (np.array([40, 2, 7]), [2, 7, 40]),
    "floats": (np.array([1.0, 3.0, 2.0], np.float32), [1, 2, 3]),
    "huge": (np.array([5, 2**63, 2**64 - 1], np.uint64), [5, 2**63, 2**64 - 1]),
    "one-hot": (np.eye(3, dtype=int), [0, 1, 2]),
    "one-hot floats": (np.eye(3)[[2, 0, 1]], [0, 1, 2]),
    "a column": (np.array([[3.0], [1.0], [2.0]]), [1, 2, 3]),
}


@pytest.mark.parametrize(("written", "labels"), WRITTEN.values(), ids=WRITTEN)
def test_labels_as_people_have_them_are_classes(load, classification, written, labels):
    codes = classification["y_train"], classification["y_test"]
    dataset = load(classification | {"y_train": written[codes[0]], "y_test": written[codes[1]]})
    assert dataset.num_classes == 3
    assert dataset.provenance()["labels"] == labels
    assert dataset.y_train.dtype == np.int64
    flat = written.argmax(1) if written.shape == (3, 3) else written.reshape(3)
    own = [label.decode() if isinstance(label, bytes) else label for label in flat.tolist()]
    for found, expected in zip((dataset.y_train, dataset.y_test), codes, strict=True):
        assert [labels[code] for code in found] == [own[code] for code in expected]


@pytest.mark.parametrize("y", [[-1, 1], [0.0, 1.0], ["no", "yes"], [False, True], [1, 2, 3]])
def test_what_is_a_class_is_what_scikit_learn_takes_for_one(load, classification, y):
    column = np.array(y)[np.arange(30) % len(y)]
    assert type_of_target(column) in ("binary", "multiclass")
    dataset = load(classification | {"y_train": column, "y_test": column[:9]})
    assert dataset.num_classes == len(y)


@pytest.mark.parametrize("shape", [(30,), (30, 2)])
def test_what_is_continuous_is_a_regression(load, classification, shape):
    y = np.random.default_rng(0).normal(size=shape)
    assert type_of_target(y).startswith("continuous")
    assert load(classification | {"y_train": y, "y_test": y[:9]}).num_classes is None


def test_the_task_can_be_said(load, classification):
    counts = {"y_train": np.arange(30) % 3, "y_test": np.arange(9) % 3}
    dataset = load(classification | counts, task="regression")
    assert dataset.num_classes is None
    assert dataset.y_train.shape == (30, 1)
    halves = {key: y / 2 for key, y in counts.items()}
    assert load(classification | halves).num_classes is None
    assert load(classification | halves, task="classification").labels == (0, 0.5, 1)
    texts = {key: y.astype(str) for key, y in counts.items()}
    with pytest.raises(UserError, match="y_train holds texts; a regression needs numbers"):
        load(classification | texts, task="regression")


def test_whole_floats_that_may_be_either_are_asked_about(load):
    y = np.arange(200.0) % 60
    x = np.ones((200, 1))
    arrays = {"x_train": x, "y_train": y, "x_test": x[:9], "y_test": y[:9]}
    with pytest.raises(UserError, match="60 different whole numbers in 209 rows, which may be"):
        load(arrays)
    assert load(arrays, task="classification").num_classes == 60
    assert load(arrays, task="regression").num_classes is None


def test_x_and_y_alone_are_split_by_class(load):
    arrays = {"x": np.arange(500.0)[:, None], "y": np.repeat(["a", "b"], [300, 200])}
    whole = load(arrays)
    assert np.bincount(whole.y_train).tolist() == [240, 160]
    assert np.bincount(whole.y_test).tolist() == [60, 40]
    part, unseen = (load(arrays, held_out=held_out) for held_out in ("validation", "unseen"))
    assert np.bincount(part.y_test).tolist() == pytest.approx([40, 26], abs=1)
    np.testing.assert_array_equal(unseen.x_train, part.x_train)
    assert set(own_units(whole)) == set(own_units(unseen))
    assert not set(own_units(part)) & set(own_units(unseen))
    assert "of 500 rows a fifth" in whole.source
    np.testing.assert_array_equal(load(arrays, seed=1).x_test, whole.x_test)


def own_units(dataset):
    """The held-out rows of one feature as they were before they were standardised."""
    facts = dataset.provenance()["preprocessing"]
    return np.rint(dataset.x_test[:, 0] * facts["sds"][0] + facts["means"][0]).astype(int).tolist()


def test_the_record_holds_what_the_features_were_standardised_with(load, classification):
    classification["x_train"][:, 2] = 7
    dataset = load(classification)
    facts = json.loads(json.dumps(dataset.provenance()["preprocessing"]))
    assert facts["sds"][2] is None
    again = Preprocessing.from_json(facts)
    for x, scaled in (("x_train", dataset.x_train), ("x_test", dataset.x_test)):
        np.testing.assert_array_equal(again.transform(classification[x].astype(float)), scaled)


REFUSED = {
    "no rows": ({"x_train": np.zeros((0, 4)), "y_train": np.zeros(0, int)}, "x_train has no rows"),
    "a scalar": ({"y_test": np.array(3)}, "y_test has no rows"),
    "no features": ({"x_train": np.zeros((30, 0)), "x_test": np.zeros((9, 0))}, "x_train .*fill"),
    "row counts": ({"y_train": np.arange(29) % 3}, "x_train has 30 rows and y_train 29"),
    "test row counts": ({"y_test": np.arange(8) % 3}, "x_test has 9 rows and y_test 8"),
    "feature shapes": ({"x_test": np.zeros((9, 5))}, r"x_train have shape \(4,\).*x_test \(5,\)"),
    "target shapes": (
        {"y_train": np.zeros((30, 2)), "y_test": np.zeros((9, 3))},
        r"y_train have shape \(2,\).*y_test \(3,\)",
    ),
    "NaN": ({"x_train": np.where(np.arange(120) == 10, np.nan, 1.0).reshape(30, 4)}, "row 2 "),
    "infinity": ({"x_test": np.full((9, 4), np.inf)}, "x_test holds NaN, infinity"),
    "half infinity": ({"x_test": np.full((9, 4), np.inf, np.float16)}, "x_test holds NaN"),
    "beyond float32": ({"x_train": np.full((30, 4), 1e300)}, "x_train .*beyond float32"),
    "NaN target": ({"y_train": np.full(30, np.nan), "y_test": np.zeros(9)}, "y_train holds NaN"),
    "one class": ({"y_train": np.zeros(30, int)}, "one class only, 0"),
    "unknown label": ({"y_test": np.arange(9)}, "held-out rows include another label"),
    "one text": ({"y_train": np.array(["a"] * 30)}, "one of y_train, y_test holds texts"),
    "not one-hot": (
        {"y_train": np.ones((30, 3), int), "y_test": np.eye(3, dtype=int)[[0] * 9]},
        "y_train has 3 columns that are not one-hot",
    ),
    "3-D targets": (
        {"y_train": np.zeros((30, 2, 2)), "y_test": np.zeros((9, 2, 2))},
        r"y_train has rows of shape \(2, 2\)",
    ),
    "objects": ({"x_train": np.array([[None] * 4] * 30)}, "x_train holds pickled objects"),
    "complex": ({"x_train": np.ones((30, 4), complex)}, "x_train holds type complex"),
    "an outlier": (
        {
            "x_train": np.where(np.arange(30)[:, None] == 0, 1e-30, 0) * np.ones(4),
            "x_test": np.full((9, 4), 3e38),
        },
        "x_test leaves the range of float32",
    ),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_mistakes_are_refused_with_file_and_array_named(load, classification, changes, message):
    with pytest.raises(UserError, match=message) as refusal:
        load(classification | changes)
    assert "mine.npz" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("key", ["x_train", "y_train", "x_test", "y_test"])
def test_a_missing_array_is_named(load, classification, key):
    del classification[key]
    with pytest.raises(UserError, match=f"{key} is missing"):
        load(classification)
