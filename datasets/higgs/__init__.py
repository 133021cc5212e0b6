"""HIGGS, and data drawn in its form: 28 features, two classes, the last rows a test set."""

from pathlib import Path

from new_algorithm.cli.errors import UserError

FEATURES = 28
TEST_ROWS = 500_000
ROWS_FOR_THAT_TEST_SET = 2_600_000
TEST_DIVISOR = 5  # of fewer rows, one in five is a test row


def count_test_rows(path: Path, rows: int) -> int:
    """How many of the last rows are the test set; UserError if they are too few to split."""
    if rows < TEST_DIVISOR:
        raise UserError(
            f"{path}: {rows} rows are too few for a test set: {TEST_DIVISOR} or more are needed"
        )
    return TEST_ROWS if rows >= ROWS_FOR_THAT_TEST_SET else rows // TEST_DIVISOR
