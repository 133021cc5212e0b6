"""Settings that follow from the problem: rows, widths and depth say what a flag does not.

One rule in place of settings for each data set. Where it draws its lines, and the numbers in it,
come from trials on validation rows of MNIST, CIFAR-10 in 16 × 16 pixels, rows like HIGGS, other
synthetic data and public tables (AGENTS.md, The step); experiments judge it on test rows, and on
other data.

- Many rows in few layers are seen a few times: Adam's moments of δW̃ at a high rate, large batches.
- Wide layers: Adam's moments, with much damping above the input; of more than FEW_LAYERS at a
  higher rate, with less. Few rows, which they soon know by heart, get larger steps that are damped
  less, and more decay.
- A layer half as wide as some on both its sides: units of the network that die revive.
- Narrow layers: controlled steps. From ten hidden layers on λ_h acts in the layers' own problems;
  beyond fifty the start decides, which takes a longer warm-up and shorter steps. Batches of many
  rows make few steps with little noise in them: longer ones, from the start, less damped, with less
  momentum, as what is many steps old is most of such a run.
"""

import math
from dataclasses import fields, replace
from typing import Any, TypeVar

from new_algorithm.back_projection.batch import rows_of_batch
from new_algorithm.back_projection.gram import MANY_IN_A_BATCH
from new_algorithm.back_projection.outer_steps import Outer
from new_algorithm.back_projection.schedule import WARM_UP
from new_algorithm.back_projection.solvers.of_layers import GRAM_AVERAGE
from new_algorithm.back_projection.step_control import STEP_BOUNDS
from new_algorithm.methods.back_projection_settings import RATES, Settings
from new_algorithm.methods.method import VERY_DEEP, relu_target_of

MANY_ROWS, FEW_ROWS = 100_000, 20_000
FEW_LAYERS, WIDE = 3, 128  # hidden layers; units of a hidden layer
LAMBDA_H_FROM = 10  # hidden layers
BATCH, BATCH_OF_MANY_ROWS = 128, 512
FEWEST_BATCHES = 8  # of a pass: few rows get smaller ones
FEWEST_TO_TELL_DEAD = 32  # rows of a batch: on fewer, units are 0 on all of them by chance
GRAM_AVERAGE_OF_ALL = 0.2  # the whole training set shows Ḡ without noise: older ones lag behind
LONGEST_WARM_UP = 0.5  # share of the steps; between 30 and 50 hidden layers it grows with them

SettingsT = TypeVar("SettingsT", bound=Settings)


def following(
    settings: SettingsT, rows: int, widths: tuple[int, ...], in_chunks: bool = False
) -> SettingsT:
    """Return the settings with every one that is None or empty as it follows from the problem.

    rows: of the training set. widths: units of each hidden layer. in_chunks: whether the rows of a
    batch may come in several chunks. A setting that was given stays;
    with an outer step of another kind, its own step size and decay follow, and with bounds of
    steps, steps that are controlled.
    """
    rule, outer = _rule(rows, widths), settings.outer
    rule["batch_size"] = min(rule["batch_size"], max(1, rows // FEWEST_BATCHES))
    size = rows_of_batch(settings.batch_size or rule["batch_size"], rows)
    if size >= MANY_IN_A_BATCH and rule["outer"] == "nesterov" and len(widths) <= VERY_DEEP:
        rule |= _in_large_batches(len(widths), whole=size == rows)
    rule["gram_average"] = GRAM_AVERAGE_OF_ALL if size == rows else GRAM_AVERAGE
    if in_chunks or size < FEWEST_TO_TELL_DEAD:
        rule["target"] = "mask"
    if settings.solves_on_the_way or settings.hidden_penalty != "own-solve":
        rule["lambda_h_layers"] = (math.inf,)
    if settings.step_bounds is not None and settings.step_size is None and rule["outer"] in RATES:
        outer = outer or "nesterov"
    if outer is not None and not _of_one_kind(outer, rule["outer"]):
        rule |= _steps(outer)
    missing = {name: value for name, value in rule.items() if getattr(settings, name) in (None, ())}
    return replace(settings, **missing)


def in_words(settings: Settings, resolved: Settings) -> str:
    """Return the flags that say what `resolved` has and `settings` left open, those of effect."""
    words = []
    resolved = replace(resolved, step_size=resolved.eta)
    if resolved.eta is not None:
        resolved = replace(resolved, step_bounds=None)
    if resolved.schedule == "constant":
        resolved = replace(resolved, warm_up=None)
    flags = {field.name: field.name.replace("_", "-") for field in fields(Settings)}
    flags["target"] = "relu-target"
    for name, flag in flags.items():
        before, value = getattr(settings, name), getattr(resolved, name)
        if before in (None, ()) and value not in (None, ()):
            values = value if isinstance(value, tuple) else (value,)
            shown = [one if isinstance(one, str) else f"{one:g}" for one in values]
            more = ["…"] if len(shown) > 2 else []
            words += [f"--{flag}", *shown[:2], *more]
    return " ".join(words)


def _rule(rows: int, widths: tuple[int, ...]) -> dict[str, Any]:
    hidden, widest = len(widths), max(widths, default=0)
    layers: dict[str, Any] = {"lambda_w_layers": (1.0,), "lambda_h_layers": (math.inf,)}
    layers |= {"target": relu_target_of(widths)}
    layers |= {"batch_size": BATCH, "warm_up": min(max(WARM_UP, hidden / 100), LONGEST_WARM_UP)}
    if rows >= MANY_ROWS and hidden <= FEW_LAYERS:
        return (
            layers
            | _steps("adam", 1e-2)
            | {"batch_size": BATCH_OF_MANY_ROWS, "decoupled_decay": 0.0}
        )
    if widest > WIDE and hidden > FEW_LAYERS:
        return layers | _steps("adam", 5e-3) | {"lambda_w_layers": (3.0,)}
    if widest > WIDE:
        # as a penalty beside the sum of the losses, which counts less the more rows there are
        decays = {"decoupled_decay": min(max(50.0 / max(rows, 1), 1e-3), 8e-3)}
        if rows < FEW_ROWS:
            layers["lambda_w_layers"] = input_and_hidden(0.5, 1.0, hidden)
            return layers | _steps("adam", 9e-3) | decays | {"weight_decay": 1e-3}
        layers["lambda_w_layers"] = input_and_hidden(1.0, 10.0, hidden)
        return layers | _steps("adam") | decays
    if hidden > VERY_DEEP:
        layers["lambda_h_layers"] = (1.0,)
        layers["lambda_w_layers"] = input_and_hidden(3.0, 0.1, hidden)
        shorter = {"step_bounds": lengthened(2), "decoupled_decay": 0.0}
        return layers | _steps("nesterov") | shorter
    if hidden >= LAMBDA_H_FROM:
        layers["lambda_h_layers"] = (0.5,)
    layers["lambda_w_layers"] = input_and_hidden(3.0, 0.3, hidden)
    # what all layers lose multiplies in the output, and with it what reaches each of them
    decay = min(2e-3, 0.04 / hidden) if hidden else 0.0
    return layers | _steps("nesterov") | {"decoupled_decay": decay}


def _in_large_batches(hidden: int, whole: bool) -> dict[str, Any]:
    """Return what narrow layers have for large batches, or for the whole training set at once."""
    return {
        "lambda_w_layers": input_and_hidden(1.0, 0.05, hidden),
        "lambda_h_layers": (0.5,),
        "step_bounds": lengthened(200 if whole else 100),
        "warm_up": 0.04,
        "momentum": 0.85 if whole else 0.8,
        "decoupled_decay": min(8e-3, 0.064 / hidden) if hidden else 0.0,  # of few steps
    }


def _steps(outer: Outer, step_size: float | None = None) -> dict[str, Any]:
    """Return the outer step, and what goes with it. step_size: where it is not the usual one."""
    controlled = outer not in RATES
    return {
        "outer": outer,
        "momentum": 0.9,
        "step_size": step_size,
        "step_bounds": lengthened(4),
        "weight_decay": 1e-3 if controlled else 0.0,
        "decoupled_decay": 1e-3 if controlled else 3e-4,
    }


def _of_one_kind(outer: Outer, other: Outer) -> bool:
    """Whether what goes with one step goes with the other."""
    return outer == other or not {outer, other} & RATES.keys()


def lengthened(factor: float, bounds: tuple[float, float] = STEP_BOUNDS) -> tuple[float, float]:
    """Return the bounds times `factor`."""
    least, most = bounds
    return factor * least, factor * most


def input_and_hidden(of_input: float, of_hidden: float, hidden: int) -> tuple[float, ...]:
    """Return λ_w of the input layer, and of the `hidden` layers above it."""
    return of_input, *[of_hidden] * hidden
