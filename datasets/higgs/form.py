"""The form of HIGGS, and of what is drawn like it: 28 features, the last rows a test set."""

from pathlib import Path

from new_algorithm.cli.errors import UserError

FEATURES = 28
TEST_ROWS = 500_000
ROWS_FOR_THAT_TEST_SET = 2_600_000
TEST_SHARE = 5  # one row in five of fewer rows


def count_test_rows(path: Path, rows: int) -> int:
    """How many of the last rows are the test set; UserError if they are too few to split."""
    if rows < TEST_SHARE:
        raise UserError(
            f"{path}: {rows} rows are too few to set a test set apart: {TEST_SHARE} or more are "
            "needed"
        )
    return TEST_ROWS if rows >= ROWS_FOR_THAT_TEST_SET else rows // TEST_SHARE
