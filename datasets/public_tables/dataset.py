"""A public table as a data set: split, standardised, ready for a ReLU network."""

from pathlib import Path

from datasets.dataset import TEST_DIVISOR, Dataset, Split
from datasets.public_tables.catalogue import TABLES
from datasets.public_tables.load import load_table
from datasets.tabular import tabular_dataset

PREFIX = "table:"


def table_of(name: str) -> str | None:
    """The table that `table:NAME` names; None for the name of anything else."""
    return name.removeprefix(PREFIX) if name.startswith(PREFIX) else None


def load_public_table(table: str, data_dir: Path | None, split: Split) -> Dataset:
    """Load one of TABLES; its features are those of `load_table`, standardised.

    Test and validation rows are drawn, of each class alike where there are classes. UserError for
    an unknown name, or where its package cannot be had.
    """
    rows = load_table(table, data_dir)
    count = len(rows.y)
    split.check_batch(count - count // TEST_DIVISOR)
    about = TABLES[table]
    return tabular_dataset(
        Path(PREFIX + table),
        rows._asdict(),
        split,
        f"table {about.member} of {about.package}",
        in_random_order=False,
        task=about.task,
    )
