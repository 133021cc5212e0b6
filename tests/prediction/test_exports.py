"""What is exported says what NumPy says, of missing values and unheard-of texts too."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from datasets.preprocessing import UNKNOWN, Column, Preprocessing
from new_algorithm.back_projection.network import initial_weights
from new_algorithm.prediction.answers import Classes, Probabilities, Quantities
from new_algorithm.prediction.exports import export
from new_algorithm.prediction.torch_module import prepared_network
from new_algorithm.prediction.trained_network import TrainedNetwork

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is None or importlib.util.find_spec("onnx") is None,
    reason="an extra",
)
COLUMNS = [
    Column("length"),
    Column("colour", ("blue", "green", "never seen", "red")),
    Column("constant"),
    Column("year"),
]
ANSWERS = {
    "two classes": Classes(("no", "yes")),
    "three classes": Classes((1, 2, 5)),
    "a value": Quantities((1e6,), (250.0,), ("price",)),
    "two values": Quantities((0.0, 5.0), (1.0, 0.1)),
    "three probabilities": Probabilities(3),
}


def table(rows=40, seed=0):
    """Raw rows (n, 4): a quarter lack the length, a tenth have colours unheard of."""
    rng = np.random.default_rng(seed)
    length = np.where(rng.uniform(size=rows) < 0.25, np.nan, 1e-3 * rng.normal(size=rows))
    colour = rng.choice([0.0, 1.0, 3.0, UNKNOWN, np.nan], rows)
    return np.column_stack([length, colour, np.full(rows, 7.0), rng.integers(1900, 2000, rows)])


def network(answer, dtype=np.float32):
    raw = table()
    preprocessing = Preprocessing.fit(COLUMNS, raw, missing="median")
    outputs = len(answer.headers) - isinstance(answer, Classes)
    if isinstance(answer, Classes) and outputs == 2:
        outputs = 1
    widths = (len(preprocessing.means), 16, 8, outputs)
    weights = initial_weights(np.random.default_rng(3), widths, dtype)
    for weight in weights:
        weight[-1] = 0.1
    return TrainedNetwork(preprocessing, weights, answer)


def expected(trained, raw):
    return np.concatenate([trained.answer.read(outputs) for _, outputs in trained.outputs(raw)])


@pytest.fixture(params=ANSWERS)
def trained(request):
    return network(ANSWERS[request.param])


def test_the_rows_tell_all_kinds_of_columns_apart():
    raw, trained = table(), network(ANSWERS["three classes"])
    assert trained.preprocessing.features == [
        "length",
        "length is missing",
        "colour=blue",
        "colour=green",
        "colour=never seen",
        "colour=red",
        "colour is missing",
        "constant",
        "year",
    ]
    assert np.isinf(trained.preprocessing.sds[4])
    assert len(np.unique(expected(trained, raw)[:, 0])) > 35


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ANSWERS)
def test_the_module_of_torch_says_what_numpy_says(name, dtype):
    trained = network(ANSWERS[name], dtype)
    raw = table(seed=1)
    said = prepared_network(trained)(torch.from_numpy(raw)).numpy()
    np.testing.assert_allclose(said, expected(trained, raw), rtol=1e-6, atol=1e-6)


def test_torch_loads_it_for_any_number_of_rows(trained, tmp_path):
    export("torch", trained, tmp_path / "network.pt2")
    files = {"about": ""}
    program = torch.export.load(tmp_path / "network.pt2", extra_files=files)
    for rows in (1, 2, 33):
        raw = table(rows, seed=2)
        said = program.module()(torch.from_numpy(raw)).numpy()
        np.testing.assert_allclose(said, expected(trained, raw), rtol=1e-6, atol=1e-5)
    about = json.loads(files["about"])
    assert [column["name"] for column in about["columns"]] == [column.name for column in COLUMNS]
    assert about["columns"][1]["categories"] == list(COLUMNS[1].categories)
    assert len(about["outputs"]) == said.shape[1]


@needs_onnx
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnx_runtime_says_what_numpy_says(dtype, tmp_path):
    import onnxruntime

    for name, answer in ANSWERS.items():
        trained, path = network(answer, dtype), tmp_path / f"{name}.onnx"
        export("onnx", trained, path)
        session = onnxruntime.InferenceSession(path)
        for rows in (1, 33):
            raw = table(rows, seed=2)
            (said,) = session.run(None, {"x": raw})
            np.testing.assert_allclose(said, expected(trained, raw), rtol=1e-6, atol=1e-5)
        about = json.loads(session.get_modelmeta().custom_metadata_map["about"])
        assert len(about["outputs"]) == said.shape[1]
