"""Small trainings by the scripts' own loops, recorded as theirs are: sound ones, and faulty ones.

A maker of a run takes the root to record below, and pytest's monkeypatch.
"""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import bench_mnist
from datasets import Dataset, load_dataset
from datasets.strokes import load_strokes
from new_algorithm import n_layer_relu_data, two_layer_relu_data
from new_algorithm.back_projection import network
from new_algorithm.back_projection.step_control import STEP_BOUNDS
from new_algorithm.cli.errors import DivergedError
from new_algorithm.cli.ranks import Ranks
from new_algorithm.methods.back_projection_defaults import input_and_hidden
from new_algorithm.methods.back_projection_settings import PRESETS
from new_algorithm.methods.chunks import chunk_rows_in_force
from new_algorithm.record.files import read_record
from new_algorithm.record.history import read_series
from new_algorithm.record.run import Run

SMALL = {"tag": "t", "hidden_dim": 16, "batch_size": 64, "dataset": "synthetic"}
# of back projection, which nothing moves but the flags of a test
STEADY = {
    "num_layers": 3,
    "outer": "momentum",
    "step_bounds": STEP_BOUNDS,
    "weight_decay": 0.0,
    "decoupled_decay": 0.0,
}

FAITHFUL = PRESETS["faithful"] | {"num_layers": 4, "hidden_dim": 16, "epochs": 12}


def drawn(name: str = "synthetic", rows: int = 1200, held_out: str = "test") -> Dataset:
    return load_dataset(name, train_limit=rows, test_limit=500, held_out=held_out)


def recorded(root: Path, script: Any, data: Dataset | None = None, **flags: Any):
    """Train with a script's loop; return its record and series, whatever becomes of it."""
    more = STEADY if script is n_layer_relu_data else {}
    if more:
        hidden = (more | flags)["num_layers"] - 1
        more = more | {"lambda_w_layers": input_and_hidden(3.0, 0.1, hidden)}
    config = script.Config(**(SMALL | more | flags))
    data = drawn(config.dataset) if data is None else data
    if n_layer := script is n_layer_relu_data:
        config = script.in_force(config, len(data.x_train))
    file = Path(script.__file__)
    with (
        suppress(DivergedError),
        Run.open(script=file, config=config, data=data.provenance(), root=root) as run,
    ):
        if n_layer:
            chunk_rows = chunk_rows_in_force(config, data, Ranks())
            script.train_and_record(config, data, chunk_rows, run, Ranks())
        elif script is two_layer_relu_data:
            script.train(config, data, config.lambda_w_layers, config.lambda_h_layers[-1], run)
        else:
            script.train(config, data, run)
    folder = root / "ploting_data" / "t"
    return read_record(folder), read_series(folder)


def run_of(script, data=None, **flags):
    """A maker of a run; `data` is drawn as it is made."""
    return lambda root, _: recorded(root, script, data() if data else None, **flags)


def n_layer(data=None, **flags):
    return run_of(n_layer_relu_data, data, **flags)


def two_layer(data=None, **flags):
    return run_of(two_layer_relu_data, data, **flags)


def bench(data=None, **flags):
    return run_of(bench_mnist, data, **flags)


def by_flags(script, *flags):
    """A run of a whole script."""

    def make(root, monkeypatch):
        monkeypatch.setattr("sys.argv", [script.__file__, *flags, "--tag", "t"])
        monkeypatch.setattr(Run, "open", partial(Run.open, root=root))
        script.main()
        folder = root / "ploting_data" / "t"
        return read_record(folder), read_series(folder)

    return make


def from_weights(change, **flags):
    """A run of n_layer_relu_data whose initial weights `change` spoils in place."""

    def make(root, monkeypatch):
        def spoilt(*arguments, initial=network.initial_weights):
            weights = initial(*arguments)
            change(weights)
            return weights

        monkeypatch.setattr(network, "initial_weights", spoilt)
        return recorded(root, n_layer_relu_data, **flags)

    return make


def from_file(change, **flags):
    """A run on an .npz file, of 5 normal features and the sign of the first, that `change` spoils.

    change(x, y) in place, of 3200 rows, the last 800 of which are the test set.
    """

    def make(root, _):
        x = np.random.default_rng(0).standard_normal((3200, 5))
        y = (x[:, 0] > 0).astype(int)
        change(x, y)
        path = root / "own.npz"
        np.savez(path, x_train=x[:2400], y_train=y[:2400], x_test=x[2400:], y_test=y[2400:])
        return recorded(root, n_layer_relu_data, load_dataset(str(path)), epochs=2, **flags)

    return make


def shuffled_held_out(name="synthetic"):
    data = drawn(name)
    return replace(data, y_test=np.random.default_rng(0).permutation(data.y_test))


def one_feature_times_1000():
    data, scale = drawn(), np.ones(20, np.float32)
    scale[3] = 1000
    return replace(data, x_train=data.x_train * scale, x_test=data.x_test * scale)


def flat_strokes():
    data = load_strokes(train_limit=1000)
    x_train, x_test = (x.reshape(len(x), -1) for x in (data.x_train, data.x_test))
    return replace(data, x_train=x_train, x_test=x_test)


def rare_class(x, y):
    y[:] = x[:, 0] > 2.4  # in .8% of the rows


def outlier(x, y):
    x[7, 3] = 1e6


def other_units(x, y):
    x[:, 1] *= 1e6


def without_second_layer(weights):
    weights[1][-1] = -100


def without_biases(factor):
    def change(weights):
        for weight in weights:
            weight[:-1] *= factor
            weight[-1] = 0

    return change
