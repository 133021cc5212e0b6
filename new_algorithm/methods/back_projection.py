"""Back projection, as `n_layer_relu_data.py` trains: damped least squares at every layer."""

import math
from collections.abc import Iterator
from typing import Any

from new_algorithm.back_projection.outer_steps import Outer
from new_algorithm.back_projection.solvers.of_layers import INPUT_LAMBDA_W
from new_algorithm.back_projection.step_control import STEP_BOUNDS
from new_algorithm.cli.ranks import Ranks
from new_algorithm.methods import method
from new_algorithm.methods.back_projection_settings import PRESETS, RATES, Settings
from new_algorithm.methods.back_projection_training import Training, chunk_rows_in_force
from new_algorithm.methods.method import Choice, Epoch, Method, Problem, Range

# α of decay that W ← (1 − η α) W makes of about that inside (P), whose steps are of other lengths
DECOUPLED = {"adam": 300.0, "orthogonal": 30.0}


def train_with(settings: Settings, problem: Problem) -> Iterator[Epoch]:
    """Train the problem's network in this process; yield after each epoch."""
    chunk_rows = chunk_rows_in_force(settings, problem.data, Ranks())
    return Training(settings, problem, chunk_rows).epochs()


def _train(problem: Problem, searched: method.Settings) -> Iterator[Epoch]:
    rest = dict(searched)
    lambda_w = rest.pop("input_lambda_w"), *[rest.pop("hidden_lambda_w")] * len(problem.widths)
    steps = steps_of(rest["outer"], rest.pop("step"), rest.pop("weight_decay"))
    lambda_h = (rest.pop("lambda_h"),)
    settings = Settings(lambda_w_layers=lambda_w, lambda_h_layers=lambda_h, **steps | rest)
    return train_with(settings, problem)


def steps_of(outer: Outer, step: float, decay: float) -> dict[str, Any]:
    """Return flags for steps `step` times as long as by default, with a decay like α inside (P)."""
    if outer in RATES:
        return {
            "step_size": step * RATES[outer],
            "weight_decay": decay * DECOUPLED[outer],
            "decay_form": "decoupled",
        }
    least, most = STEP_BOUNDS
    return {"step_bounds": (step * least, step * most), "weight_decay": decay}


def _train_preset(problem: Problem, searched: method.Settings) -> Iterator[Epoch]:
    preset = PRESETS[preset_for(problem)]
    known = Settings.__dataclass_fields__
    return train_with(Settings(**{k: v for k, v in preset.items() if k in known}), problem)


def preset_for(problem: Problem) -> str:
    """Return the preset that the README recommends for such a network."""
    if problem.data.name == "higgs" and len(problem.widths) == 2:  # it lists λ_w of three layers
        return "higgs"
    return "two-layer" if len(problem.widths) == 1 else "deep"


PRESET = Method(
    "back projection, preset",
    source="methods/back_projection_settings.py, PRESETS",
    settings={},
    train=_train_preset,
)

METHOD = Method(
    "back projection",
    source="README, The method; shared equations (P), (1)–(3) in back_projection/layer_problem.py",
    settings={
        "input_lambda_w": (INPUT_LAMBDA_W, Range(0.1, 30.0)),
        # of the defaults of Settings a search at 40 × 64 left little (AGENTS.md, The step)
        "hidden_lambda_w": (1.0, Range(0.03, 300.0)),
        "lambda_h": (math.inf, Choice((math.inf, 1.0, 0.3))),
        "outer": ("nesterov", Choice(("momentum", "nesterov", "adam", "orthogonal"))),
        "step": (2.0, Range(0.25, 30.0)),
        "weight_decay": (1e-3, Choice((0.0, 1e-4, 1e-3))),
        "batch_size": (128, Choice((64, 128, 256, 512))),
    },
    train=_train,
    components={
        "no truncation of the input": {"input_rank": 785},
        "no momentum": {"momentum": 0.0},
        "no Gram average": {"gram_average": 0.0},
        "no step control": {"step_size": 0.03},
        "no schedule": {"schedule": "constant"},
        "no solve: the gradient, λ_w 3": {"solver": "gradient", "hidden_lambda_w": 3.0},
        "no damping to speak of": {"hidden_lambda_w": 1e-3},
        "no weight decay": {"weight_decay": 0.0},
        "own λ_h: 1": {"lambda_h": 1.0},
        "own λ_h: 0.1": {"lambda_h": 0.1},
        "passed-down λ_h: 10": {"lambda_h": 10.0, "hidden_penalty": "passed-down"},
        "passed-down λ_h: 1": {"lambda_h": 1.0, "hidden_penalty": "passed-down"},
        "heavy ball": {"outer": "momentum"},
        "Adam's moments": {"outer": "adam"},
        "orthogonal": {"outer": "orthogonal"},
        "what is left passed down": {"pass_down": "left"},
        "sequential order": {"order": "sequential"},
        "conjugate gradients, 3 iterations": {"solver": "cg"},
        "target: project": {"target": "project"},
    },
)
