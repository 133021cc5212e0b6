"""Whether the rows of a training come in chunks, and how many at a time."""

from datasets import Dataset
from datasets.mapped_files import is_mapped
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.ranks import Ranks
from new_algorithm.methods.back_projection_settings import Settings

CHUNK_ROWS = 4_096  # in memory at a time where rows are streamed
STREAMED_FROM_BYTES = 1 << 26  # of a mapped file; a smaller one is read into memory


def comes_in_chunks(settings: Settings, data: Dataset, ranks: Ranks) -> bool:
    """Return whether the rows of a batch may come in several chunks."""
    rows, columns = data.x_train.shape
    # in the eigenvectors of their Gram matrix fewer rows than columns are a small square
    large = data.x_train.nbytes > STREAMED_FROM_BYTES and is_mapped(data.x_train) and rows > columns
    return large or ranks.size > 1 or settings.chunk_rows is not None


def chunk_rows_in_force(settings: Settings, data: Dataset, ranks: Ranks) -> int | None:
    """Return how many rows are in memory at a time; None where all of them are.

    UserError where the flags forbid what the data or the ranks need.
    """
    if isinstance(settings.batch_size, int) and settings.batch_size < ranks.size:
        raise UserError(
            f"--batch-size {settings.batch_size} is less than one row for each of {ranks.size} "
            f"ranks: give at least {ranks.size}"
        )
    if not comes_in_chunks(settings, data, ranks):
        return None
    if settings.target == "revive":
        raise UserError(
            "--relu-target revive looks for units that are 0 on a whole batch, and here the rows "
            "come in chunks: give --relu-target mask, or one process, a --train-limit and no "
            "--chunk-rows"
        )
    if settings.solves_on_the_way:
        raise UserError(
            "--order sequential and --pass-down left need a whole batch in memory, and here the "
            "rows come in chunks: give --order simultaneous --pass-down whole, or one process, a "
            "--train-limit and no --chunk-rows"
        )
    return settings.chunk_rows or CHUNK_ROWS
