"""What follows from the data where a parameter does not say it.

The constants were chosen on 51 tables and judged on others: see AGENTS.md.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from new_algorithm.back_projection.batch import rows_of_batch
from new_algorithm.back_projection.solvers import Penalties

WIDTHS = (100, 50)
LAMBDA_W = 3.0  # of every layer: less fits the noise of few rows
ALPHA_OF_CLASSES, ALPHA_OF_VALUES = 10.0, 7.0  # beside nats, and ½ squared standardised errors
BATCH_ROWS = 64
STEPS_PER_ROOT = 14  # of a training on n rows: 14 √n
FEWEST_ROWS = 400  # that the two rules count: fewer would leave no weights, and no steps
FEWEST_PASSES = 5


def hidden_widths(hidden_layer_sizes: int | Sequence[int]) -> list[int]:
    """Return the units of each hidden layer. ValueError for what is no whole number above 0."""
    given = np.atleast_1d(hidden_layer_sizes)
    whole = given.ndim == 1 and (given.dtype.kind in "iu" or len(given) == 0)
    if not whole or (given < 1).any():
        raise ValueError(
            f"hidden_layer_sizes must be whole numbers of 1 or more, got {given.tolist()}"
        )
    return [int(width) for width in given]


def checked_bounds(step_bounds: Sequence[float]) -> tuple[float, float]:
    """Return the least and the largest squared length of a step. ValueError for anything else."""
    bounds = np.asarray(step_bounds)
    if bounds.shape != (2,) or bounds.dtype.kind not in "iuf" or not _rise(bounds):
        raise ValueError(
            f"step_bounds must be two numbers, 0 < a <= b < inf, got {bounds.tolist()}"
        )
    return float(bounds[0]), float(bounds[1])


def _rise(bounds: NDArray) -> bool:
    return bool(0 < bounds[0] <= bounds[1] < np.inf)


def rows_of_a_batch(batch_size: str | int, rows: int) -> int:
    """Return the rows of a batch of `rows` rows: "auto" leaves few over after a pass."""
    if batch_size == "auto":
        return rows // max(1, round(rows / BATCH_ROWS))
    return rows_of_batch(batch_size, rows)


def passes_over(max_iter: str | int, rows: int, batch_rows: int) -> int:
    """Return the passes over the rows; "auto" makes steps in proportion to the root of the rows.

    More rows are worth a longer training; in proportion to them it would cost more than it gains.
    """
    if not isinstance(max_iter, str):
        return int(max_iter)
    steps = STEPS_PER_ROOT * np.sqrt(max(rows, FEWEST_ROWS))
    return max(FEWEST_PASSES, round(steps * batch_rows / rows))


def decay(alpha: float, rows: int) -> float:
    """Return what (P) has on ‖W‖²/2 beside the mean loss: `alpha` over the rows.

    Beside the sum of the losses the penalty is then the same for any number of rows, as in ridge
    regression: evidence outweighs it in the end.
    """
    return alpha / max(rows, FEWEST_ROWS)


def penalties(
    lambda_w: float | Sequence[float], lambda_h: float | Sequence[float], decay: float, layers: int
) -> list[Penalties]:
    """Return those of each layer. ValueError for lists of the wrong length or range."""
    all_w = _per_layer("lambda_w", lambda_w, layers)
    if not all(0 <= value < np.inf for value in all_w):
        raise ValueError(f"lambda_w must be 0 or more and finite, got {all_w}")
    all_h = _per_layer("lambda_h", lambda_h, layers)
    if not all(value > 0 for value in all_h):
        raise ValueError(f"lambda_h must be above 0, got {all_h}")
    both = zip(all_w, all_h, strict=True)
    return [Penalties(w, h, decay=decay) for w, h in both]


def _per_layer(name: str, values: float | Sequence[float], layers: int) -> list[float]:
    given = np.atleast_1d(np.asarray(values, float)).tolist()
    if len(given) not in (1, layers):
        raise ValueError(
            f"{name} has {len(given)} values for {layers} layers: give one for all, or one each"
        )
    return given * (layers // len(given))
