"""Rules on the course of a training: its losses, accuracies, and how far the weights moved."""

import math

import numpy as np

from new_algorithm.record.advice.finding import Finding, Record, Series, hint, warning
from new_algorithm.record.advice.readings import (
    LEAST_STEPS,
    fall,
    first_non_finite,
    held_out,
    learnt,
    loss_of_constant,
    norms_moved,
    steps_taken,
    too_early,
)
from new_algorithm.record.advice.remedies import first, passes_times, steps_times, width_times
from new_algorithm.record.advice.rises import (
    AWAY,
    LARGEST_RISE,
    Rise,
    largest_rise,
    overfitting,
    swings,
)

NOT_ABOVE = "Not above chance"
CHANCE_MARGIN = 0.02  # accuracy above the share of the largest class
NOTHING = 0.1  # of what there is to learn: sound runs are above .2 after two epochs
THIRD = 1 / 3  # likewise: below it a loss that does not fall is stuck, above it settled
HIGH_START = 3.0  # times the loss of a constant answer, from which a sound loss may still fall
FROZEN = 1e-3  # relative change of weight norms over a run: sound ones 1% to 100%
RESTLESS = 0.05  # likewise: who moves so far and learns nothing has taken too long steps
FLAT = 0.01  # relative fall of the train loss over the last half of a run
LEAST_EPOCHS = 4  # of a run whose halves are compared
STILL_FALLING = 0.05  # relative fall of the train loss in the last epoch


def not_finite(record: Record, series: Series) -> Finding | None:
    epoch = first_non_finite(series) if series else None
    if epoch is None and record.get("status") != "diverged":
        return None
    seen = f"the run ended with: {record.get('error')}"
    if epoch is not None:
        row = int(np.flatnonzero(series["epoch"] == epoch)[0])
        bad = {name: ~np.isfinite(values[row]) for name, values in series.items()}
        name = next(name for name in ("train_loss", *sorted(bad)) if np.any(bad.get(name, False)))
        layers = np.flatnonzero(bad[name]) if np.ndim(bad[name]) else np.empty(0, int)
        where = f" of layer {layers[0] + 1}" if len(layers) else ""
        seen = f"`{name}`{where} is not finite at epoch {epoch}, for the first time"
    return warning("Divergence", seen, "too long steps", steps_times(record, 0.1))


def spoilt(record: Record, series: Series) -> Finding | None:
    """A train loss that ends far above its best, but for the last of ever smaller swings."""
    loss, epochs = series["train_loss"], series["epoch"]
    if not np.isfinite(loss).all() or not loss.min() > 0 or too_early(record, series):
        return None
    if not loss[-1] > (1 + AWAY) * loss.min() or _cut_off(loss):
        return None
    best, worst = int(loss.argmin()), int(loss.argmin() + loss[loss.argmin() :].argmax())
    return warning(
        "Too large steps",
        f"train loss rose from {loss[best]:.3g} at epoch {epochs[best]} to {loss[worst]:.3g} at "
        f"epoch {epochs[worst]}, and ended at {loss[-1]:.3g}",
        "steps across the valley of the loss, which nothing took back",
        steps_times(record, 0.5),
    )


def _cut_off(loss: np.ndarray) -> bool:
    """Whether the end is amid a swing, no higher and no longer than the one before, which came
    back."""
    *_, before, last = (None, None, *swings(loss))
    if before is None or last.end < len(loss) - 1:
        return False
    return last.height <= before.height and last.length <= before.length


def stuck(record: Record, series: Series) -> Finding | None:
    """A train loss that does not fall: by steps too large, too small, or on a plateau."""
    loss, epochs, share = series["train_loss"], series["epoch"], learnt(record, series)
    if len(loss) < 2 or not np.isfinite(loss).all() or too_early(record, series):
        return None
    moved, whole = norms_moved(series), fall(loss)
    from_to = f"from {loss[0]:.4g} at epoch {epochs[0]} to {loss[-1]:.4g} at epoch {epochs[-1]}"
    if moved < FROZEN and abs(whole) < FLAT and (share is None or share < 1 - NOTHING):
        return warning(
            "Too small steps",
            f"train loss went {from_to}, and no weight norm changed by more than {moved:.1g}",
            "steps too short to leave the start",
            steps_times(record, 100),
        )
    constant, falls = loss_of_constant(record, series), bool((np.diff(loss) < 0).all())
    high = constant is not None and loss[-1] > constant * (HIGH_START if falls else 1)
    if high and not _cut_off(loss):
        return warning(
            "Too large steps",
            f"train loss is {loss[-1]:.4g} at the end, and {constant:.4g} of a constant answer",
            "steps so long that outputs are far too large",
            steps_times(record, 0.1),
        )
    learns_nothing = share is not None and share < NOTHING and whole < 2 * NOTHING
    if share is not None and learns_nothing and moved > RESTLESS and not falls:
        return warning(
            "Too large steps",
            f"train loss went {from_to} and {max(share, 0):.0%} of what there is to learn was "
            f"learnt, while a weight norm changed by {moved:.0%}",
            "steps that throw the weights about",
            steps_times(record, 0.1),
        )
    half = loss[len(loss) // 2 :]
    if len(loss) < LEAST_EPOCHS or abs(fall(half)) >= FLAT:
        return None
    since = epochs[len(loss) // 2]
    if share is not None and share < THIRD:
        return warning(
            "Plateau",
            f"train loss went from {half[0]:.4g} at epoch {since} to {half[-1]:.4g} at the end, "
            f"with {max(share, 0):.0%} of what there is to learn learnt",
            "a saddle, or a network too small for the task",
            first(steps_times(record, 3.0), width_times(record, 2)),
        )
    seen = f"train loss has changed by {abs(fall(half)):.1%} since epoch {since}"
    return hint("Settled", seen, flag=passes_times(record, 0.5))


def alien_held_out_rows(record: Record, series: Series) -> Finding | None:
    """A metric about chance or below on held-out rows, of a network that has learnt."""
    seen, train, held = _at_chance(record, series), learnt(record, series), held_out(series)
    if seen is None or train is None or train < THIRD:
        return None
    name, evidence = seen
    return warning(
        name,
        f"{evidence}, though {train:.0%} of what there is to learn was learnt in training",
        f"{held} rows whose labels or features are not like those of training",
        words="Compare labels and features of both sets of rows",
    )


def below_chance(record: Record, series: Series) -> Finding | None:
    """The same of a network that has not, where nothing else says why."""
    seen = _at_chance(record, series)
    if seen is None or too_early(record, series):
        return None
    return warning(*seen, "too little training", passes_times(record, 4))


def _at_chance(record: Record, series: Series) -> tuple[str, str] | None:
    """The name of the finding, and its evidence."""
    held = held_out(series)
    share, accuracy = learnt(record, series, held), series.get(f"{held}_accuracy")
    auc = series.get(f"{held}_auc", np.ones(1))[-1]
    if auc < 0.5 - CHANCE_MARGIN:
        return NOT_ABOVE, f"{held} AUC is {auc:.4f}, and .5 by chance"
    if accuracy is not None and share is not None and share <= CHANCE_MARGIN:
        chance = record["data"]["chance_accuracy"]
        seen = f"{held} accuracy is {accuracy[-1]:.4f}, and {chance:.4f} by always naming one class"
        return ("Hardly above chance" if share > 0 else NOT_ABOVE), seen
    if accuracy is None and share is not None and share <= 0:
        loss = series[f"{held}_loss"][-1]
        return NOT_ABOVE, f"{held} loss is {loss:.3g}, above that of a constant answer"
    return None


def overfitted(record: Record, series: Series) -> Finding | None:
    rise, held = overfitting(series), held_out(series)
    if rise is None:
        return None
    loss, epochs = series[f"{held}_loss"], series["epoch"]
    best = float(loss[epochs == rise.start][0])
    return warning(
        "Overfitting",
        f"{held} loss rose from {best:.3g} at epoch {rise.start} to {loss[-1]:.3g} at epoch "
        f"{rise.end} while train loss fell to {series['train_loss'][-1]:.3g}",
        f"more passes than the training rows are good for, from epoch {rise.start} on",
        passes_times(record, rise.start / rise.end),
    )


def few_steps(record: Record, series: Series) -> Finding | None:
    steps = steps_taken(record, series)
    if steps is None or not too_early(record, series):
        return None
    return hint(
        "Few steps",
        f"{steps} in all: what losses say of the training is left aside",
        flag=passes_times(record, math.ceil(LEAST_STEPS / steps)),
    )


def swinging(record: Record, series: Series) -> Finding | None:
    """A train loss that leaves its best again and again; or once, by less."""
    loss, rise = series["train_loss"], largest_rise(series)
    if rise is None or not np.isfinite(loss).all() or too_early(record, series):
        return None
    many = len(found := swings(loss))
    if many < 2:
        return _spike(record, rise, -fall(np.array([loss.min(), loss[-1]])))
    amid = ", and the run ends amid the last one" if found[-1].end == len(loss) - 1 else ""
    return hint(
        "A loss that swings",
        f"train loss rose far above its best so far {many} times, by up to {rise.relative:.0%}, "
        f"and came back{amid}",
        "long steps, lengthened by momentum",
        passes_times(record, 2) if amid else steps_times(record, 0.5),
    )


def _spike(record: Record, rise: Rise, left: float) -> Finding:
    end = f"ended {left:.0%} above it" if left > LARGEST_RISE else "came back"
    return hint(
        "A spike",
        f"train loss rose {rise.relative:.0%} above its best so far, from epoch {rise.start} to "
        f"epoch {rise.end}, and {end}",
        "single long steps",
        steps_times(record, 0.5),
    )


def still_falling(record: Record, series: Series) -> Finding | None:
    loss = series["train_loss"]
    if len(loss) < 2 or overfitting(series) or too_early(record, series):
        return None
    if not fall(loss[-2:]) > STILL_FALLING:
        return None
    return hint(
        "Still learning",
        f"train loss fell {fall(loss[-2:]):.0%} in the last epoch",
        flag=passes_times(record, 2),
    )
