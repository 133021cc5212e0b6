"""Rules on what happens in the layers: Δ, units, Gram matrices, solves, damping, norms.

Scripts that do not record a quantity are not judged by it.
"""

import numpy as np

from new_algorithm.record.advice.finding import Finding, Record, Series, warning
from new_algorithm.record.advice.readings import at_layer, cg_layers, growth
from new_algorithm.record.advice.remedies import (
    cap_times,
    fewer_layers,
    first,
    in_force,
    other_seed,
    passes_less_than_back_propagation,
    penalties_times,
    penalty_of_steps,
    steps_times,
    whole_residual,
)

DEAD = 0.75  # of a layer's units: at most .2 in 8 layers, .5 in 40, .66 in 100, from the start on
# ‖Δ‖ of a layer over that of the output: .02 to 40 in sound runs of 2 to 100 layers
FARTHEST = 1e3
# of G + λ_w I: 20 to 600 with the default penalties; float32 solves to 1e-7 times it, here 1%
WORST_CONDITION = 1e5
# ‖b − A x‖/‖b‖, mean over the layers that end at their cap: .27 to .49 with the default three
# iterations, which are enough; .59 to 1.1 with one, which costs twice the train loss
ROUGH = 0.55
# Share of the promised decrease that came: .25 to 1 where steps are controlled, whose control aims
# at .3; below .1 what is promised says nothing of what comes
KEPT_PROMISE = 0.1
MOST_DAMPING = 16.0  # two steps taken back in a row; sound runs have 1 at the end of every epoch
TAKEN_BACK = 3  # steps of a run; sound ones have none
# Share of Δ that the whole δW̃ takes, in the layer where it is largest: .002 to .1 in sound runs
LEAST_TAKEN = 1e-4
GROWTH = 10.0  # of a layer's norm since the first epoch: up to 3, of spirals up to 9


def dead_units(record: Record, series: Series) -> Finding | None:
    if "dead_share" not in series:
        return None
    share = series["dead_share"]
    dead = np.nan_to_num(share[-1])
    if dead.max() < DEAD:
        return None
    layer = int(dead.argmax())
    since = int(series["epoch"][np.flatnonzero(share[:, layer] >= DEAD)[0]])
    at_first = since == series["epoch"][0]
    return warning(
        "Dead units",
        f"{dead[layer]:.0%} of the units of layer {layer + 1} are zero in every row looked at, "
        f"since epoch {since}",
        "biases far below zero from the start on"
        if at_first
        else "steps so long that they threw biases far below zero",
        first(other_seed(record) if at_first else None, steps_times(record, 0.5)),
    )


def exploding_or_vanishing(record: Record, series: Series) -> Finding | None:
    if "residual_passed" not in series:
        return None
    passed = series["residual_passed"][:, :0:-1]  # of the output layer first, without layer 1
    size = np.cumprod(passed, axis=1)[:, ::-1]  # ‖Δ_l‖/‖Δ_L‖ of layers 1 to L − 1
    with np.errstate(divide="ignore"):
        distance = np.abs(np.log(size))
    distance[~np.isfinite(distance)] = 0  # where nothing is passed, units are dead
    if not size.size or distance.max() < np.log(FARTHEST):
        return None
    epoch, layer = np.unravel_index(distance.argmax(), distance.shape)
    grows = size[epoch, layer] > 1
    return warning(
        f"{'Exploding' if grows else 'Vanishing'} Δ",
        f"at epoch {series['epoch'][epoch]} ‖Δ‖ of layer {layer + 1} is {size[epoch, layer]:.2g} "
        "times that of the output",
        "what is passed down is no multiple of the back-propagated residual, and errs more with "
        "every layer"
        if passes_less_than_back_propagation(record)
        else f"weights that {'lengthen' if grows else 'shorten'} Δ in layer after layer",
        first(
            whole_residual(record),
            penalties_times(record, 10) if grows else None,
            fewer_layers(record),
        ),
    )


def ill_conditioned(record: Record, series: Series) -> Finding | None:
    if "gram_condition" not in series:
        return None
    condition = np.nan_to_num(series["gram_condition"], nan=0, posinf=np.inf)
    stalled = int(series.get("stalled_solves", np.zeros(1)).sum())
    if condition.max() < WORST_CONDITION and not stalled:
        return None
    epoch, layer = np.unravel_index(condition.argmax(), condition.shape)
    solves = f", and {stalled} solves by conjugate gradients stalled" if stalled else ""
    return warning(
        "Ill-conditioned Gram matrices",
        f"the condition number of G + λ_w I is {at_layer(condition[epoch], int(layer))} at epoch "
        f"{series['epoch'][epoch]}{solves}",
        "inputs of that layer that nearly depend on each other, and too little damping for them",
        penalties_times(record, 10, least=0.1),
    )


def rough_solves(record: Record, series: Series) -> Finding | None:
    if not {"cg_residuals", "cg_iterations"} <= series.keys():
        return None
    capped, residuals = cg_layers(record, series), series["cg_residuals"][-1]
    if not capped.any() or not residuals[capped].mean() > ROUGH:
        return None
    worst = int(np.where(capped, residuals, -np.inf).argmax())
    return warning(
        "Conjugate gradients end at their cap",
        f"with a cap of {in_force(record, 'cg_iterations')} the relative residual is "
        f"{residuals[capped].mean():.2g} on average, {at_layer(residuals, worst)}",
        "too few iterations for the condition of the Gram matrices",
        cap_times(record, 4),
    )


def damping_at_its_limit(record: Record, series: Series) -> Finding | None:
    damping = series.get("damping", np.ones(1))[-1]
    back = int(series.get("steps_taken_back", np.zeros(1)).sum())
    if damping < MOST_DAMPING and back < TAKEN_BACK:
        return None
    many = damping >= MOST_DAMPING
    counted = f"{back} steps of {len(series['epoch'])} epochs were taken back"
    return warning(
        "Damping at its limit" if many else "Steps taken back",
        f"λ_w was {damping:.4g} times what was asked for at the end; {counted}"
        if many
        else counted,
        "steps so long that the loss rose steeply, again and again",
        first(steps_times(record, 0.1), penalties_times(record, 10)),
    )


def overdamped(record: Record, series: Series) -> Finding | None:
    if "residual_taken" not in series or "step_bound" not in series:
        return None  # fixed steps make up for strong damping, steps of a bounded length cannot
    taken = np.abs(series["residual_taken"][-1])
    if not taken.max() < LEAST_TAKEN:
        return None
    return warning(
        "Damping too strong",
        f"the changes of the weights would take {taken.max():.1g} of Δ in the layer where they "
        "take most",
        "λ_w far above the eigenvalues of the Gram matrices",
        penalties_times(record, 1e-3),
    )


def broken_promises(record: Record, series: Series) -> Finding | None:
    names = "predicted_step_decrease", "actual_step_decrease"
    if not set(names) <= series.keys():
        return None
    predicted, actual = (float(np.nansum(series[name])) for name in names)
    if not predicted > 0 or actual / predicted >= KEPT_PROMISE:
        return None
    return warning(
        "Steps break their promise",
        f"steps promised to lower the loss by {predicted:.3g} and lowered it by {actual:.3g}, "
        "summed over the means of the epochs",
        "what is passed down is not the back-propagated residual, so that the changes need not "
        "lower the loss"
        if passes_less_than_back_propagation(record)
        else "steps beyond the reach of the layers' linear problems",
        first(whole_residual(record), steps_times(record, 0.5)),
    )


def growing_weights(record: Record, series: Series) -> Finding | None:
    norms, grown = series["layer_norms"], growth(series)
    grown = np.where(np.isfinite(grown), grown, 1)
    layer = int(grown.argmax()) if grown.size else 0
    if not grown.size or grown[layer] < GROWTH:
        return None
    return warning(
        "Exploding weights",
        f"the weight norm of layer {layer + 1} went from {norms[0][layer]:.3g} to "
        f"{norms[-1][layer]:.3g}",
        "long steps in one direction, with nothing that holds the weights",
        penalty_of_steps(record, 10),
    )
