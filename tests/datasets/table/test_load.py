"""Tables as data sets: whatever the file is like, the numbers are those of a dense oracle."""

import numpy as np
import pytest

PARTS = ("x_train", "y_train", "x_test", "y_test")


def same(one, other):
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in PARTS)


def dense(columns):
    """Features and labels as they should be, before they are standardised."""
    colours = sorted(set(columns["colour"]))
    one_hot = np.array([[colour == own for own in colours] for colour in columns["colour"]])
    x = np.column_stack([columns["length"], columns["width"], one_hot])
    labels = sorted(set(columns["species"]))
    return x, np.array([labels.index(label) for label in columns["species"]]), labels


def test_the_numbers_are_those_of_a_dense_oracle(rows, write, load):
    columns = rows()
    dataset = load(write(columns))
    x, y, labels = dense(columns)
    assert dataset.labels == tuple(labels) == ("Versicolor", "setosa", "virginica")
    assert (len(dataset.x_train), len(dataset.x_test)) == (48, 12)
    assert np.bincount(dataset.y_test).tolist() == [4, 4, 4]
    facts = dataset.provenance()["preprocessing"]
    mean, sd = np.array(facts["means"]), np.array(facts["sds"])
    found = np.concatenate([dataset.x_train, dataset.x_test]) * sd + mean
    place = [int(np.abs(x - row).max(axis=1).argmin()) for row in found]
    assert sorted(place) == list(range(60))  # each row once
    assert place[:48] == sorted(place[:48])  # in the order of the file
    np.testing.assert_allclose(found, x[place], atol=1e-5)
    np.testing.assert_array_equal(np.r_[dataset.y_train, dataset.y_test], y[place])
    training = x[place[:48]]
    np.testing.assert_allclose(mean, training.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sd, training.std(axis=0), rtol=1e-12)


KINDS = {
    "tsv": {"name": "mine.tsv", "delimiter": "\t"},
    "semicolons": {"delimiter": ";"},
    "bars": {"delimiter": "|"},
    "gzip": {"name": "mine.csv.gz"},
    "CRLF": {"ends": "\r\n"},
    "decimal comma": {"delimiter": ";", "comma": ","},
    "upper case": {"name": "MINE.CSV"},
    "Parquet": {"name": "mine.parquet"},
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_kind_of_the_file_does_not_matter(rows, write, load, kind):
    plain, other = load(write(rows())), load(write(rows(), **kind))
    assert same(plain, other)
    assert other.sha256 == plain.sha256
    assert other.preprocessing == plain.preprocessing


def test_a_byte_order_mark_and_a_missing_last_line_end_do_not_matter(rows, write, load):
    plain = load(path := write(rows()))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().removesuffix(b"\n"))
    assert same(plain, load(path))


def test_without_a_header_columns_are_numbered(rows, write, load):
    dataset = load(write(rows(), header=False), target=["column_4"])
    assert same(dataset, load(write(rows())))
    assert dataset.preprocessing.features[:2] == ["column_1", "column_2"]


def test_texts_may_hold_delimiters_quotes_and_line_ends(rows, write, load):
    columns = rows()
    names = {"red": 'a "red", one', "green": "green\nand more", "blue": " blue ", "black": "ü"}
    columns["colour"] = [names[colour] for colour in columns["colour"]]
    dataset = load(write(columns))
    assert dataset.preprocessing.columns[2].categories == tuple(
        sorted(name.strip() for name in names.values())
    )


def test_several_targets_are_a_regression_or_classes_written_one_hot(rows, write, load):
    columns = rows()
    two = load(write(columns), target=["length", "width"])
    assert two.num_classes is None
    assert two.y_train.shape == (48, 2)
    facts = two.provenance()
    assert facts["target"] == ["length", "width"]
    own = np.r_[two.y_train, two.y_test] * facts["target_sd"] + facts["target_mean"]
    expected = np.column_stack([columns["length"], columns["width"]])
    np.testing.assert_allclose(np.sort(own, axis=0), np.sort(expected, axis=0), atol=1e-4)
    kinds = ("setosa", "virginica", "Versicolor")
    one_hot = {kind: [int(kind == own) for own in columns["species"]] for kind in kinds}
    del columns["species"]
    dataset = load(write(columns | one_hot), target=kinds)
    assert dataset.labels == kinds
    assert np.bincount(dataset.y_train).tolist() == [16, 16, 16]


@pytest.mark.parametrize("labels", [[-1, 1], [1, 2, 3], [2.0, 0.0], [True, False], ["1", "x"]])
@pytest.mark.parametrize("name", ["mine.csv", "mine.parquet"])
def test_labels_as_people_have_them(rows, write, load, labels, name):
    columns = rows()
    columns["species"] = [labels[i % len(labels)] for i in range(60)]
    dataset = load(write(columns, name))
    as_text = isinstance(labels[0], str | bool)
    expected = sorted(map(str, labels)) if as_text else sorted(map(int, labels))
    assert list(dataset.labels) == expected
    assert np.bincount(np.r_[dataset.y_train, dataset.y_test]).tolist() == [
        60 // len(labels)
    ] * len(labels)


def test_a_sorted_file_has_every_class_in_every_part(rows, write, load, caplog):
    columns = rows(90)
    order = np.argsort(columns["species"], kind="stable")
    ordered = {name: [values[i] for i in order] for name, values in columns.items()}
    for held_out, size in (("test", 6), ("validation", 4), ("unseen", 6)):
        dataset = load(write(ordered), held_out=held_out)
        assert np.bincount(dataset.y_test).tolist() == [size] * 3
        assert "a fifth, drawn of each class alike with seed 5" in dataset.source
    assert caplog.records == []


def test_validation_rows_are_neither_test_rows_nor_drawn_anew(rows, write, load):
    path = write(rows())
    part, unseen, whole = (load(path, held_out=h) for h in ("validation", "unseen", "test"))
    np.testing.assert_array_equal(part.x_train, unseen.x_train)
    np.testing.assert_array_equal(unseen.y_test, whole.y_test)
    assert len(part.x_train) + len(part.x_test) == len(whole.x_train)
    for seed in (1, 2):
        assert same(load(path, seed=seed), whole)


def test_missing_values_are_filled_if_that_is_wanted(rows, write, load):
    columns = rows()
    columns["length"][3], columns["colour"][5], columns["width"][0] = None, None, "NA"
    for name in ("mine.csv", "mine.csv.gz"):
        dataset = load(write(columns, name), missing="median")
        features = dataset.preprocessing.features
        assert np.isfinite(dataset.x_train).all()
        assert np.isfinite(dataset.x_test).all()
        assert {"length is missing", "colour is missing", "width is missing"} >= {
            name for name in features if "missing" in name
        }
        assert sum("missing" in name for name in features) >= 1


def test_columns_can_be_left_out(rows, write, load):
    named = {"id": [f"person {i}" for i in range(60)]} | rows()
    assert same(load(write(named), drop=["id"]), load(write(rows())))


def test_limits_take_the_first_rows_of_a_split(rows, write, load):
    whole, part = load(path := write(rows())), load(path, train_limit=10, test_limit=3)
    np.testing.assert_array_equal(part.x_train, whole.x_train[:10])
    np.testing.assert_array_equal(part.y_test, whole.y_test[:3])


def test_rows_of_one_class_are_told(rows, write, load, caplog):
    columns = rows()
    columns["species"] = sorted(columns["species"])
    load(write(columns), train_limit=5)
    assert "the training rows in use are all of class Versicolor" in caplog.text


def test_a_rare_class_stays_in_training(rows, write, load):
    columns = rows()
    columns["species"][7] = "rare"
    dataset = load(write(columns))
    assert dataset.labels[1] == "rare"
    assert 1 in dataset.y_train
    assert 1 not in dataset.y_test
