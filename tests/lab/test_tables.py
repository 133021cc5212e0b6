import csv

from new_algorithm.lab.tables import format_table, save_csv

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
