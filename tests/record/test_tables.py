import csv

import pytest

from new_algorithm.record.files import format_table, save_csv

ROWS = [{"sweep": 1, "relative_error": 1 / 3}, {"sweep": 100, "relative_error": 2.5e-12}]


def test_columns_are_aligned_under_their_names():
    assert format_table(ROWS).splitlines() == [
        "sweep  relative error",
        "    1          0.3333",
        "  100         2.5e-12",
    ]


def test_csv_reads_back_the_same_numbers(tmp_path):
    save_csv(tmp_path / "t.csv", ROWS)
    with (tmp_path / "t.csv").open() as file:
        read = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert read == ROWS


WORDS = [
    {"method": "no momentum", "setting": 'defaults, 4 epochs, "b128"', "accuracy": 0.5},
    {"method": "λ_w → ∞", "setting": "two\nlines", "accuracy": float("nan")},
]


def test_csv_reads_back_commas_quotes_and_greek(tmp_path):
    save_csv(tmp_path / "t.csv", WORDS)
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [(row["method"], row["setting"]) for row in read] == [
        (row["method"], row["setting"]) for row in WORDS
    ]
    assert [row["accuracy"] for row in read] == ["0.5", "nan"]


def test_words_and_counts_are_shown_whole():
    assert format_table([{"method": "a long name", "runs": 12345, "loss": 0.123456}]).split(
        "\n"
    ) == ["     method   runs    loss", "a long name  12345  0.1235"]


def test_rows_of_other_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match="runs"):
        save_csv(tmp_path / "t.csv", [{"method": "a"}, {"method": "b", "runs": 3}])
    assert not (tmp_path / "t.csv").exists()
