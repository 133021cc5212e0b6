"""Back projection, as `n_layer_relu_data.py` trains: damped least squares at every layer."""

import math
from collections.abc import Iterator
from dataclasses import replace

from new_algorithm.cli.flags import per_layer
from new_algorithm.cli.ranks import Ranks
from new_algorithm.methods import method
from new_algorithm.methods.back_projection_defaults import following, lengthened
from new_algorithm.methods.back_projection_settings import Settings
from new_algorithm.methods.back_projection_training import Training
from new_algorithm.methods.chunks import chunk_rows_in_force, comes_in_chunks
from new_algorithm.methods.method import Choice, Epoch, Method, Problem, Range


def train_with(settings: Settings, problem: Problem) -> Iterator[Epoch]:
    """Train the problem's network in this process; yield after each epoch."""
    chunk_rows = chunk_rows_in_force(settings, problem.data, Ranks())
    return Training(settings, problem, chunk_rows).epochs()


def _train(problem: Problem, searched: method.Settings) -> Iterator[Epoch]:
    return train_with(settings_of(problem, searched), problem)


def settings_of(problem: Problem, searched: method.Settings) -> Settings:
    """Return the flags that these mean, with what follows from the problem where they leave it.

    input_lambda_w, hidden_lambda_w: λ_w of the first layer and of the others; None: as it follows.
    step: a factor on what follows for the bounds of controlled steps, or for η of others.
    """
    rest, layers = dict(searched), len(problem.widths) + 1
    of_input, of_hidden = rest.pop("input_lambda_w"), rest.pop("hidden_lambda_w")
    lambda_h, step = rest.pop("lambda_h"), rest.pop("step")
    flags = Settings(**rest, lambda_h_layers=() if lambda_h is None else (lambda_h,))
    in_chunks = comes_in_chunks(flags, problem.data, Ranks())
    flags = following(flags, len(problem.data.x_train), problem.widths, in_chunks)
    first, *others = per_layer(flags.lambda_w_layers, layers, "--lambda-w-layers")
    first = first if of_input is None else of_input
    others = others if of_hidden is None else [of_hidden] * len(others)
    flags = replace(flags, lambda_w_layers=(first, *others))
    if flags.eta is not None:
        return replace(flags, step_size=step * flags.eta)
    assert flags.step_bounds is not None
    return replace(flags, step_bounds=lengthened(step, flags.step_bounds))


def in_values(problem: Problem, searched: method.Settings) -> method.Settings:
    """Return the settings of METHOD with a value for each that follows from the problem."""
    flags = settings_of(problem, searched)
    of_input, *of_hidden = flags.lambda_w_layers
    values = {
        "input_lambda_w": of_input,
        "hidden_lambda_w": of_hidden[-1] if of_hidden else of_input,
        "lambda_h": flags.lambda_h_layers[0],
    }
    own = {name: getattr(flags, name) for name in searched if hasattr(flags, name)}
    return searched | own | values


METHOD = Method(
    "back projection",
    source="README, The method; shared equations (P), (1)–(3) in back_projection/layer_problem.py",
    # what is None follows from the problem: back_projection_defaults.py
    settings={
        "input_lambda_w": (None, Range(0.1, 30.0)),
        "hidden_lambda_w": (None, Range(0.03, 30.0)),
        "lambda_h": (None, Choice((math.inf, 1.0, 0.5, 0.25))),
        "outer": (None, Choice(("nesterov", "adam", "orthogonal"))),
        "step": (1.0, Range(0.2, 5.0)),
        "weight_decay": (None, Choice((0.0, 5e-4, 1e-3))),
        "decoupled_decay": (None, Choice((0.0, 3e-4, 1e-3, 2e-3, 4e-3, 8e-3))),
        "batch_size": (None, Choice((64, 128, 256, 512))),
    },
    train=_train,
    in_values=in_values,
    components={
        "no truncation of the input": {"input_rank": 785},
        "no momentum": {"momentum": 0.0},
        "no Gram average": {"gram_average": 0.0},
        "no step control": {"outer": "nesterov", "step_size": 0.03},
        "no schedule": {"schedule": "constant"},
        "no solve: the gradient, λ_w 3": {"solver": "gradient", "hidden_lambda_w": 3.0},
        "no damping to speak of": {"hidden_lambda_w": 1e-3},
        "no weight decay": {"weight_decay": 0.0, "decoupled_decay": 0.0},
        "decay inside alone": {"weight_decay": 1e-3, "decoupled_decay": 0.0},
        "decoupled decay alone": {"weight_decay": 0.0, "decoupled_decay": 2e-3},
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
