"""Rules on the course of a training: its losses, accuracies, and how far the weights moved."""

import numpy as np

from new_algorithm.record.advice.finding import Finding, Record, Series, hint, warning
from new_algorithm.record.advice.readings import (
    fall,
    held_out,
    learnt,
    loss_of_constant,
    norms_moved,
)
from new_algorithm.record.advice.remedies import (
    first,
    other_data,
    passes_times,
    steps_times,
    width_times,
)
from new_algorithm.record.anomalies import (
    CHANCE_MARGIN,
    first_non_finite,
    largest_rise,
    overfitting,
)

SPOILT = 0.5  # the final train loss above the best one; sound runs end at most 10% above it
NOTHING = 0.1  # of what there is to learn: sound runs are above .2 after two epochs
THIRD = 1 / 3  # likewise: below it a loss that does not fall is stuck, above it settled
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
    """A train loss that rose and did not come back."""
    loss = series["train_loss"]
    if not np.isfinite(loss).all() or not loss[-1] > (1 + SPOILT) * loss.min() > 0:
        return None
    best, worst = int(loss.argmin()), int(loss.argmin() + loss[loss.argmin() :].argmax())
    epochs = series["epoch"]
    return warning(
        "Too large steps",
        f"train loss rose from {loss[best]:.3g} at epoch {epochs[best]} to {loss[worst]:.3g} at "
        f"epoch {epochs[worst]}, and ended at {loss[-1]:.3g}",
        "steps across the valley of the loss, which nothing took back",
        steps_times(record, 0.5),
    )


def stuck(record: Record, series: Series) -> Finding | None:
    """A train loss that does not fall: by steps too large, too small, or on a plateau."""
    loss, epochs, share = series["train_loss"], series["epoch"], learnt(record, series)
    if len(loss) < 2 or not np.isfinite(loss).all():
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
    if (constant := loss_of_constant(record, series)) is not None and loss[-1] > constant:
        return warning(
            "Too large steps",
            f"train loss is {loss[-1]:.4g} at the end, and {constant:.4g} of a constant answer",
            "steps so long that outputs are far too large",
            steps_times(record, 0.1),
        )
    if share is not None and share < NOTHING and moved > RESTLESS and whole < 2 * NOTHING:
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
    """A metric at chance or below on held-out rows, of a network that has learnt."""
    seen, train, held = _at_chance(record, series), learnt(record, series), held_out(series)
    if seen is None or train is None or train < THIRD:
        return None
    return warning(
        "Below chance",
        f"{seen}, though {train:.0%} of what there is to learn was learnt in training",
        f"{held} rows whose labels or features are not like those of training",
        other_data(record, "CHECKED"),
    )


def below_chance(record: Record, series: Series) -> Finding | None:
    """The same of a network that has not, where nothing else says why."""
    seen = _at_chance(record, series)
    if seen is None:
        return None
    return warning("Below chance", seen, "too little training", passes_times(record, 4))


def _at_chance(record: Record, series: Series) -> str | None:
    held = held_out(series)
    share, accuracy = learnt(record, series, held), series.get(f"{held}_accuracy")
    auc = series.get(f"{held}_auc", np.ones(1))[-1]
    if auc < 0.5 - CHANCE_MARGIN:
        return f"{held} AUC is {auc:.4f}, and .5 by chance"
    if accuracy is not None and share is not None and share <= CHANCE_MARGIN:
        chance = record["data"]["chance_accuracy"]
        return f"{held} accuracy is {accuracy[-1]:.4f}, and {chance:.4f} by always naming one class"
    if accuracy is None and share is not None and share <= 0:
        return f"{held} loss is {series[f'{held}_loss'][-1]:.3g}, above that of a constant answer"
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


def spike(record: Record, series: Series) -> Finding | None:
    rise = largest_rise(series)
    if rise is None or spoilt(record, series) is not None:
        return None
    return hint(
        "A spike",
        f"train loss rose {rise.relative:.0%} above its best so far, from epoch {rise.start} to "
        f"epoch {rise.end}, and came back",
        "single long steps",
        steps_times(record, 0.5),
    )


def still_falling(record: Record, series: Series) -> Finding | None:
    loss = series["train_loss"]
    if len(loss) < 2 or overfitting(series) or not fall(loss[-2:]) > STILL_FALLING:
        return None
    return hint(
        "Still learning",
        f"train loss fell {fall(loss[-2:]):.0%} in the last epoch",
        flag=passes_times(record, 2),
    )
