"""The data set that a script's flags ask for."""

from datasets.dataset import Dataset
from datasets.load import load_dataset, training_rows
from new_algorithm.cli.flags import CommonFlags, check_batch_size


def load_from_flags(config: CommonFlags) -> Dataset:
    """Load what `config` names; a batch larger than its training set is refused before that."""
    rows = training_rows(
        config.dataset,
        data_dir=config.data_dir,
        train_limit=config.train_limit,
        held_out=config.held_out,
    )
    check_batch_size(config.batch_size, rows)
    return load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        train_limit=config.train_limit,
        test_limit=config.test_limit,
        held_out=config.held_out,
        seed=config.seed,
    )
