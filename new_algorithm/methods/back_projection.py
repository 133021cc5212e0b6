"""Back projection, as `n_layer_relu_data.py` trains: damped least squares at every layer."""

import math
from dataclasses import replace

from new_algorithm import n_layer_relu_data
from new_algorithm.methods.batch_sizes import TO_256
from new_algorithm.methods.method import Method, Problem, Recorder, Settings, Weights
from new_algorithm.methods.search_space import Range

# the longest step over the shortest: as far apart as the script's own defaults
SHORTEST_STEP = 1 / 20


def _train(problem: Problem, settings: Settings, run: Recorder) -> Weights:
    settings = dict(settings)
    lambda_w = (
        settings.pop("input_lambda_w"),
        *[settings.pop("hidden_lambda_w")] * len(problem.widths),
    )
    longest = settings.pop("longest_step")
    config = n_layer_relu_data.Config(
        lambda_w_layers=lambda_w,
        lambda_h_layers=(settings.pop("lambda_h"),),
        step_bounds=(longest * SHORTEST_STEP, longest),
        **settings,
    )
    return train_with(config, problem, run)


def train_with(config: n_layer_relu_data.Config, problem: Problem, run: Recorder) -> Weights:
    """Train the problem's network for its epochs with all else as `config` says."""
    config = replace(
        config,
        widths=problem.widths,
        num_layers=len(problem.widths) + 1,
        epochs=problem.epochs,
        seed=problem.seed,
        threads=problem.threads,
    )
    return n_layer_relu_data.train(config, problem.data, run)


METHOD = Method(
    "back projection",
    source="README, The method; shared equations (P), (1)–(3) in back_projection/layer_problem.py",
    space={
        "input_lambda_w": Range(0.1, 30.0),
        "hidden_lambda_w": Range(0.03, 300.0),
        "longest_step": Range(5e-3, 1.0),
        "batch_size": TO_256,
    },
    defaults={
        "input_lambda_w": n_layer_relu_data.INPUT_LAMBDA_W,
        "hidden_lambda_w": n_layer_relu_data.HIDDEN_LAMBDA_W,
        "lambda_h": math.inf,
        "longest_step": 2e-2,
        "batch_size": 128,
    },
    train=_train,
    components={
        "no truncation of the input": {"input_rank": 785},
        "no momentum": {"momentum": 0.0},
        "no Gram average": {"gram_average": 0.0},
        "no step control": {"step_size": 0.03},
        "no schedule": {"schedule": "constant"},
        "no solve: the gradient, λ_w 3": {
            "solver": "gradient",
            "hidden_lambda_w": 3.0,
        },
        "no damping to speak of": {"hidden_lambda_w": 1e-3},
        "finite λ_h: 10": {"lambda_h": 10.0},
        "finite λ_h: 1": {"lambda_h": 1.0},
        "what is left passed down": {"pass_down": "left"},
        "sequential order": {"order": "sequential"},
        "conjugate gradients, 3 iterations": {"solver": "cg"},
        "target: project": {"target": "project"},
    },
)
