"""What follows from the data where a parameter does not say it.

The constants were chosen on 51 tables and judged on others: see AGENTS.md.
"""

from collections.abc import Sequence

import numpy as np

from new_algorithm.back_projection.solvers import Penalties

WIDTHS = (100, 50)
LAMBDA_W = 3.0  # of every layer: less fits the noise of few rows
ALPHA_OF_CLASSES, ALPHA_OF_VALUES = 10.0, 7.0  # beside nats, and ½ squared standardised errors
BATCH_ROWS = 64
STEPS_PER_ROOT = 14  # of a training on n rows: 14 √n
FEWEST_ROWS = 400  # that the two rules count: fewer would leave no weights, and no steps
FEWEST_PASSES = 5


def hidden_widths(hidden_layer_sizes: int | Sequence[int]) -> list[int]:
    """Return the units of each hidden layer. ValueError for a layer without any."""
    widths = [int(width) for width in np.atleast_1d(hidden_layer_sizes)]
    if any(width < 1 for width in widths):
        raise ValueError(f"hidden_layer_sizes must be 1 or more, got {widths}")
    return widths


def rows_of_a_batch(batch_size: str | int, rows: int) -> int:
    """Return the rows of a batch of `rows` rows: "auto" leaves few over after a pass."""
    if batch_size == "full":
        return rows
    if batch_size == "auto":
        return rows // max(1, round(rows / BATCH_ROWS))
    return min(int(batch_size), rows)


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
    """Return those of each layer. ValueError for lists of the wrong length."""
    both = zip(
        _per_layer("lambda_w", lambda_w, layers),
        _per_layer("lambda_h", lambda_h, layers),
        strict=True,
    )
    return [Penalties(w, h, decay=decay) for w, h in both]


def _per_layer(name: str, values: float | Sequence[float], layers: int) -> list[float]:
    given = np.atleast_1d(np.asarray(values, float)).tolist()
    if len(given) not in (1, layers):
        raise ValueError(
            f"{name} has {len(given)} values for {layers} layers: give one for all, or one each"
        )
    return given * (layers // len(given))
