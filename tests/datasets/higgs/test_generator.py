import gzip
import json
import logging

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from datasets import cached_arrays, check_name, load_dataset
from datasets.dataset import Split
from datasets.higgs import generator
from datasets.higgs.csv_rows import read_blocks
from datasets.higgs.generator import (
    BAYES_AUC,
    BLOCK_ROWS,
    HALF,
    SKEWED,
    draw,
    draw_block,
    load_higgs_like,
    rows_of,
    write_higgs_like,
)
from new_algorithm.cli.errors import UserError

pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def drawn(rows, seed=0):
    features, labels = zip(*draw(rows, seed), strict=True)
    return np.concatenate(features), np.concatenate(labels)


@pytest.fixture(scope="module")
def many():
    return drawn(100_000)


def bayes_score(x):
    """log p(x | 1) − log p(x | 0), float64 (n,), of features x (n, 28)."""
    v = x.astype(np.float64)
    v[:, SKEWED] = np.log(v[:, SKEWED]) / generator._scales()
    return (v[:, HALF:] - generator._tangle(v[:, :HALF])) @ generator._constants()[0]


def auc(scores, labels):
    ranks, positive = rankdata(scores), labels.sum()
    above = ranks[labels == 1].sum() - positive * (positive + 1) / 2
    return above / positive / (len(labels) - positive)


def linear_score(x, labels):
    """Fisher's discriminant, the best linear score for two normal classes."""
    difference = x[labels == 1].mean(axis=0) - x[labels == 0].mean(axis=0)
    return x @ np.linalg.solve(np.cov(x, rowvar=False), difference)


def test_the_best_score_has_the_auc_that_is_promised(many):
    x, y = many
    standard_error = np.sqrt(BAYES_AUC * (1 - BAYES_AUC) / min(y.sum(), (1 - y).sum()))  # at most
    assert standard_error < 0.0016
    assert abs(auc(bayes_score(x), y) - BAYES_AUC) < 3 * standard_error
    assert pytest.approx(norm.cdf(generator.SHIFT_LENGTH / np.sqrt(2))) == BAYES_AUC


def test_the_best_score_is_the_logarithm_of_the_likelihood_ratio(many):
    """Calibrated: among rows of one score s, a share of sigmoid(s + log prior odds) is signal."""
    x, y = many
    prior = np.log(generator.SIGNAL_SHARE / (1 - generator.SIGNAL_SHARE))
    promised = 1 / (1 + np.exp(-bayes_score(x) - prior))
    for low in np.arange(0, 1, 0.1):
        inside = (promised >= low) & (promised < low + 0.1)
        error = np.sqrt(0.25 / inside.sum())
        assert abs(y[inside].mean() - promised[inside].mean()) < 4 * error


def test_a_linear_score_gets_far_less(many):
    x, y = many
    assert 0.6 < auc(linear_score(x.astype(np.float64), y), y) < 0.72
    squares = np.column_stack([x, np.square(x)]).astype(np.float64)
    assert auc(linear_score(squares, y), y) < 0.8


def test_no_feature_alone_says_much(many):
    x, y = many
    for column in x.T:
        assert abs(auc(column[:50_000], y[:50_000]) - 0.5) < 0.12


def test_the_form_is_that_of_higgs(many):
    x, y = many
    assert x.shape == (100_000, 28)
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert np.isfinite(x).all()
    assert set(np.unique(y)) == {0, 1}
    assert abs(y.mean() - 0.53) < 4 * np.sqrt(0.25 / len(y))
    spread = x.std(axis=0)
    assert 0.2 < spread.min() < spread.max() < 6
    skew = (((x - x.mean(axis=0)) / spread) ** 3).mean(axis=0)
    assert (skew[SKEWED] > 0.5).all()  # as of momenta
    assert (np.abs(skew[~SKEWED]) < 0.5).all()  # as of angles


@pytest.mark.parametrize("rows", [1, BLOCK_ROWS - 1, BLOCK_ROWS, BLOCK_ROWS + 1])
def test_the_first_rows_do_not_depend_on_how_many_are_drawn(rows):
    x, y = drawn(rows, seed=3)
    longer_x, longer_y = drawn(2 * BLOCK_ROWS + 5, seed=3)
    assert len(x) == len(y) == rows
    np.testing.assert_array_equal(x, longer_x[:rows])
    np.testing.assert_array_equal(y, longer_y[:rows])


def test_a_block_can_be_drawn_by_itself():
    x, y = drawn(3 * BLOCK_ROWS, seed=3)
    block_x, block_y = draw_block(3, 2)
    np.testing.assert_array_equal(block_x, x[2 * BLOCK_ROWS :])
    np.testing.assert_array_equal(block_y, y[2 * BLOCK_ROWS :])


def test_seeds_and_blocks_are_independent():
    parts = [draw_block(seed, block)[0] for seed, block in ((0, 0), (0, 1), (1, 0), (1, 1))]
    for index, one in enumerate(parts):
        for other in parts[:index]:
            assert abs(np.corrcoef(one[:, 3], other[:, 3])[0, 1]) < 0.04
    scripts = np.random.default_rng([0, 1])  # the stream that scripts shuffle with
    assert not np.array_equal(scripts.random(BLOCK_ROWS) < 0.53, draw_block(0, 1)[1])


def test_the_numbers_change_with_the_version_alone():
    """Sums and not bits: NumPy's sine and exponential differ in the last place between machines."""
    x, y = draw_block(0, 0)
    assert generator.VERSION == 1
    assert y.sum() == 8_651
    np.testing.assert_allclose(x.sum(dtype=np.float64), 389_377.8458543161, rtol=1e-6)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """load(...) -> the Dataset, from a cache of its own in `tmp_path`."""
    monkeypatch.setattr(cached_arrays, "CACHE", tmp_path)
    return lambda rows=2000, seed=0: load_higgs_like(rows, seed, Split())


def test_the_data_set_is_split_and_scaled_as_higgs_is(load):
    dataset = load()
    assert (dataset.x_train.shape, dataset.x_test.shape) == ((1600, 28), (400, 28))
    assert (dataset.num_classes, dataset.name) == (2, "higgs-like:2000")
    np.testing.assert_allclose(dataset.x_train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(dataset.x_train.std(axis=0), 1, atol=1e-4)
    x, y = drawn(2000)
    np.testing.assert_array_equal(np.r_[dataset.y_train, dataset.y_test], y)
    np.testing.assert_allclose(
        dataset.x_test, (x[1600:] - x[:1600].mean(axis=0)) / x[:1600].std(axis=0), 1e-3, 1e-4
    )


def test_the_source_says_that_it_is_generated_the_seed_and_the_best_auc(load, tmp_path):
    provenance = load(seed=7).provenance()
    source = provenance["source"]
    assert source.startswith("generated in the form of HIGGS, version 1, with seed 7; ")
    assert "best possible AUC is 0.88" in source
    assert "last 400 of 2,000 rows" in source
    assert str(tmp_path) not in json.dumps(provenance)


def test_rows_are_drawn_once_for_each_number_and_seed(load, tmp_path, monkeypatch, caplog):
    first = load(seed=7)
    load(seed=8)
    load(rows=1000, seed=7)
    assert {path.name for path in tmp_path.iterdir()} == {
        "higgs-like-2000-7",
        "higgs-like-2000-8",
        "higgs-like-1000-7",
    }
    monkeypatch.setattr(generator, "draw_block", lambda *_: pytest.fail("drawn again"))
    np.testing.assert_array_equal(load(seed=7).x_train, first.x_train)
    monkeypatch.undo()
    monkeypatch.setattr(cached_arrays, "CACHE", tmp_path)
    monkeypatch.setattr(generator, "VERSION", 2)
    with caplog.at_level(logging.INFO, "datasets"):
        load(seed=7)
    assert "higgs-like cache: rebuilding, the generator has changed since" in caplog.text


def test_by_name_with_the_seed_of_the_run():
    one, other = (load_dataset("higgs-like:500", seed=seed) for seed in (1, 2))
    assert len(one.x_train) == 400
    assert not np.array_equal(one.x_train, other.x_train)
    assert load_dataset("higgs-like:500", seed=1, held_out="validation").x_test.shape == (66, 28)


@pytest.mark.parametrize(
    "rows",
    [
        "",
        "abc",
        "4",
        "0",
        "-5",
        "1e6",
        "1_000",
        " 5",
        "5.0",
        "100000001",
        "9" * 5000,
        "\u0665\u0665",
        "5:5",
    ],
)
@pytest.mark.parametrize("function", [check_name, load_dataset])
def test_nonsense_is_refused_before_anything_is_drawn(function, rows, monkeypatch):
    monkeypatch.setattr(generator, "draw_block", lambda *_: pytest.fail("drawn"))
    with pytest.raises(
        UserError, match=r"is not a number of rows; give a whole number from 5 to 100"
    ):
        function(f"higgs-like:{rows}")


@pytest.mark.parametrize("name", ["higgs-lik", "higgs-like100", "higgs_like:5", "Higgs-like"])
def test_other_names_are_unknown(name):
    with pytest.raises(UserError, match="unknown data set"):
        check_name(name)


def test_rows_by_default():
    assert rows_of("higgs-like") == 100_000


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
def test_what_is_written_as_csv_is_read_to_the_bit(tmp_path, name):
    write_higgs_like(tmp_path / name, BLOCK_ROWS + 100, 5)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    features, labels = zip(*read_blocks([tmp_path / name]), strict=True)
    x, y = drawn(BLOCK_ROWS + 100, 5)
    np.testing.assert_array_equal(np.concatenate(features), x)
    np.testing.assert_array_equal(np.concatenate(labels), y)
    content = (tmp_path / name).read_bytes()
    assert content.startswith(b"\x1f\x8b") == name.endswith(".gz")


def test_the_same_rows_make_the_same_gzip_file(tmp_path):
    for name in ("one.csv.gz", "other.csv.gz"):
        write_higgs_like(tmp_path / name, 50, 0)
    one, other = ((tmp_path / name).read_bytes() for name in ("one.csv.gz", "other.csv.gz"))
    assert one == other
    assert one[4:8] == bytes(4)  # the time in its header
    assert gzip.decompress(one).count(b"\n") == 50


def test_a_file_that_exists_is_not_overwritten(tmp_path):
    (tmp_path / "rows.csv").write_text("mine")
    with pytest.raises(UserError, match=r"rows\.csv: exists already; delete it, or choose"):
        write_higgs_like(tmp_path / "rows.csv", 50, 0)
    assert (tmp_path / "rows.csv").read_text() == "mine"


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent/rows\.csv: cannot be written \(No such file"):
        write_higgs_like(tmp_path / "absent" / "rows.csv", 50, 0)


def test_a_failure_leaves_no_file(tmp_path, monkeypatch):
    def failing(rows, seed):
        yield draw_block(seed, 0)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(generator, "draw", failing)
    with pytest.raises(UserError, match=r"rows\.csv: cannot be written \(No space left on device"):
        write_higgs_like(tmp_path / "rows.csv", 50, 0)
    assert list(tmp_path.iterdir()) == []
