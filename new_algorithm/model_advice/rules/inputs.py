"""Rules on how inputs are normalised."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from new_algorithm.model_advice.examined import Examined
from new_algorithm.model_advice.kinds import WEIGHTS_FIRST
from new_algorithm.model_advice.suggestion import Suggestion

ROWS = 8  # fewer say too little of a mean
CHANNELS = 16  # images have fewer, features of a network more
OFF_MEAN, OFF_SCALE = 0.5, 2.0  # of inputs that constants have normalised: mean, and sd or 1/sd
FAR_SCALE = 10.0  # of inputs without constants
UNEVEN = 100.0  # largest deviation of a column by the median one
SAME = 0.01  # between constants

LECUN = "LeCun et al. 1998, Efficient backprop, section 4.3"


def constants_of(normalisation: Any) -> tuple[list[float], list[float]] | None:
    """Mean and deviation of (mean, sd), of a transform that has both, or of a chain with one."""
    if normalisation is None:
        return None
    for one in getattr(normalisation, "transforms", (normalisation,)):
        if hasattr(one, "mean") and hasattr(one, "std"):
            return _floats(one.mean), _floats(one.std)
    if isinstance(normalisation, tuple | list) and len(normalisation) == 2:
        return _floats(normalisation[0]), _floats(normalisation[1])
    return None


def normalisation_misfits_data(seen: Examined) -> Iterator[Suggestion]:
    """What the first layer is given, against mean 0 and deviation 1.

    With constants μ and σ that were applied, and inputs of mean m and deviation s after that, the
    data have mean μ + σm and deviation σs.
    """
    x = first_input(seen)
    if x is None or x.shape[0] < ROWS:
        return
    mean, deviation = channel_statistics(x)
    constants = constants_of(seen.settings.normalisation)
    shown = f"mean {_shown(mean)}, standard deviation {_shown(deviation)}"
    if x.min() >= 0 and x.max() > 50 and x.ndim == 4:
        yield _misfit(f"images from 0 to {float(x.max()):.0f}", "images / 255, then (x − μ)/σ")
    elif constants is not None:
        used_mean, used_deviation = (torch.tensor(one).double() for one in constants)
        off = (mean.abs() > OFF_MEAN) | (deviation > OFF_SCALE) | (deviation * OFF_SCALE < 1)
        if off.any():
            yield _misfit(
                f"after normalisation with mean {_shown(used_mean)} and deviation "
                f"{_shown(used_deviation)}: {shown}",
                f"mean {_shown(used_mean + used_deviation * mean)} and deviation "
                f"{_shown(used_deviation * deviation)}, as of this batch, if the transform is "
                "applied once and to the scale that it expects",
            )
    elif ((mean.abs() > deviation) | (deviation > FAR_SCALE) | (deviation * FAR_SCALE < 1)).any():
        yield _misfit(shown, "(x − μ)/σ with mean and deviation of the training rows")
    elif x.ndim == 2 and (spread := _spread_of_columns(x)) > UNEVEN:
        yield _misfit(
            f"one column's standard deviation is {spread:.0f} times the median one",
            "standardise each column, with mean and deviation of the training rows",
        )


def normalisation_misfits_weights(seen: Examined) -> Iterator[Suggestion]:
    """Pretrained weights expect the constants that they were trained with."""
    weights = seen.settings.weights
    expected = constants_of(weights.transforms()) if hasattr(weights, "transforms") else None
    used, x = constants_of(seen.settings.normalisation), seen.x
    if expected is None:
        return
    if used is not None:
        differ = any(
            len(a) != len(b) or any(abs(p - q) > SAME for p, q in zip(a, b, strict=True))
            for a, b in zip(used, expected, strict=True)
        )
        found = f"mean {_shown(used[0])} and deviation {_shown(used[1])}"
    else:
        differ = isinstance(x, Tensor) and bool((x >= 0).all())
        found = "inputs without a negative number, hence not normalised"
    if differ:
        yield Suggestion(
            where="normalisation",
            seen=f"{found}; {weights} were trained with mean {_shown(expected[0])} and deviation "
            f"{_shown(expected[1])}",
            why="pretrained layers see other inputs than they have learnt from",
            instead="the weights' own transforms: weights.transforms()",
            source="torchvision: models and pre-trained weights",
        )


def first_input(seen: Examined) -> Tensor | None:
    """What the first layer with weights is given; None where that is indices, or not of x.

    Without a trace it is x.
    """
    first = seen.trace.of_kind(*WEIGHTS_FIRST)
    x = seen.x
    if first:
        layer = seen.trace.operations[first[0]]
        if layer.kind == "embedding" or not layer.given:
            return None
        x = layer.given[0].detach()
    if not isinstance(x, Tensor) or x.ndim < 2 or not (x.is_floating_point() or x.ndim == 4):
        return None
    return x


def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel of images (n, c, h, w), else of all, (c,) or (1,)."""
    channels = x.shape[1] if x.ndim == 4 and x.shape[1] <= CHANNELS else 1
    columns = x.double().transpose(0, 1).reshape(channels, -1)
    return columns.mean(dim=1), columns.std(dim=1)


def _spread_of_columns(x: Tensor) -> float:
    deviations = x.double().std(dim=0)
    deviations = deviations[deviations > 0]
    return float(deviations.max() / deviations.median()) if len(deviations) else 1.0


def _misfit(found: str, instead: str) -> Suggestion:
    return Suggestion(
        where="inputs",
        seen=found,
        why="far from mean 0 and deviation 1 the first layer is badly conditioned, and usual "
        "initialisations and learning rates do not fit",
        instead=instead,
        source=LECUN,
    )


def _floats(values: Any) -> list[float]:
    return [float(one) for one in (values if hasattr(values, "__len__") else [values])]


def _shown(values: Any) -> str:
    return ", ".join(f"{float(one):.3g}" for one in values)
