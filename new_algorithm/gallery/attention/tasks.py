"""What sequences are learnt: characters that follow, classes of series, and copies."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from datasets import Dataset
from datasets.characters import find_tiny_shakespeare
from datasets.dataset import HeldOut, Split
from datasets.mnist1d import find_mnist1d, load_mnist1d
from new_algorithm.back_projection.losses import SOFTMAX
from new_algorithm.gallery.attention.shape import Shape
from new_algorithm.models.model import Model, load_text

if TYPE_CHECKING:  # at run time torch is imported where a model is built
    from new_algorithm.gallery.attention.transformer import Transformer

Task = Literal["shakespeare", "mnist1d", "copies"]
POINTS = 40  # of a series of MNIST-1D
SYMBOLS = 8  # of copies
ROWS = {"train": 6_000, "test": 1_000}
SCORED_PLACES = 64_000  # of the training rows, whose loss is the train loss
FIND: dict[Task, Callable[[], object]] = {
    "shakespeare": find_tiny_shakespeare,
    "mnist1d": find_mnist1d,
    "copies": lambda: None,
}


def sequence_model(task: Task, shape: Shape, length: int, batch_size: int, seed: int) -> Model:
    """Return the transformer of this shape with the data of a task.

    x and y int64 (n, length), y the next of x; of "mnist1d" x float32 (n, POINTS), whatever
    `length` is, and y the classes (n,). seed: of the data of "copies" alone.
    """

    def load(held_out: HeldOut, train_limit: int | None, data_dir: Path | None) -> Dataset:
        if task == "shakespeare":
            return load_text(held_out, train_limit, data_dir, length)
        if task == "mnist1d":
            return load_mnist1d(data_dir, Split(held_out, train_limit))
        return copies(length, Split(held_out, train_limit), seed)

    def build(data: Dataset) -> "Transformer":
        from new_algorithm.gallery.attention.transformer import Transformer

        assert data.num_classes is not None
        tokens = None if task == "mnist1d" else data.num_classes
        return Transformer(tokens, data.num_classes, data.x_train.shape[1], shape)

    return Model(
        f"{shape.architecture} transformer",
        load,
        FIND[task],
        build,
        SOFTMAX,
        batch_size,
        scored_rows=max(1, SCORED_PLACES // length),
    )


def copies(length: int, split: Split, seed: int) -> Dataset:
    """Draw sequences whose second half repeats the first, symbol by symbol.

    Of the `length` symbols to be predicted ⌈length/2⌉ − 1 are random, 3 bits each, and all others
    can be looked up: who sees only the frequencies of symbols has 3 bits, who copies 1.5 or less.
    """
    period = (length + 1) // 2
    rng = np.random.default_rng([seed, 3])
    arrays = {}
    for part, rows in ROWS.items():
        drawn = rng.integers(0, SYMBOLS, (rows, period))
        whole = np.tile(drawn, 3)[:, : length + 1]
        arrays[f"x_{part}"] = np.ascontiguousarray(whole[:, :-1])
        arrays[f"y_{part}"] = np.ascontiguousarray(whole[:, 1:])
    return Dataset(
        name="copies",
        **split.limit(split.hold_out(arrays)),  # type: ignore[arg-type]
        num_classes=SYMBOLS,
        held_out=split.held_out,
        source=f"drawn at random with seed {seed}: {period} symbols, and the same again",
        scaling=f"sequences of {length} symbols",
        sha256={},
    )
