"""Preprocessing, network and what its outputs mean, as one graph of ONNX."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from new_algorithm.prediction.answers import Answer, Classes, Probabilities, Quantities
from new_algorithm.prediction.feature_arrays import FeatureArrays, feature_arrays
from new_algorithm.prediction.trained_network import TrainedNetwork

OPSET = 17  # of 2022; every operation is in it
FORMAT = 8  # the version of the file that goes with it


class _Graph:
    """Operations and constants as they are added; a value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: NDArray) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operation: str, *inputs: str, output: str | None = None, **options: Any) -> str:
        output = output or f"{operation.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **options))
        return output


def onnx_model(network: TrainedNetwork, about: str) -> Any:
    """x, double (n, columns) → y (n, outputs)."""
    graph, weights = _Graph(), network.weights
    kind = helper.np_dtype_to_tensor_dtype(weights[0].dtype)
    value = _features(graph, feature_arrays(network.preprocessing), kind)
    for layer, weight in enumerate(weights, start=1):
        value = graph.add("Gemm", value, graph.constant(weight[:-1]), graph.constant(weight[-1]))
        if layer < len(weights):
            value = graph.add("Relu", value)
    _answer(graph, network.answer, value, weights[0].dtype)
    columns, outputs = len(network.preprocessing.columns), len(network.answer.headers)
    if isinstance(network.answer, Quantities):
        kind = TensorProto.DOUBLE
    if isinstance(network.answer, Classes):
        outputs -= 1  # the class itself is no number
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "back_projection",
            [helper.make_tensor_value_info("x", TensorProto.DOUBLE, ["rows", columns])],
            [helper.make_tensor_value_info("y", kind, ["rows", outputs])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=FORMAT,
    )
    helper.set_model_props(model, {"about": about})
    onnx.checker.check_model(model, full_check=True)
    return model


def _features(graph: _Graph, arrays: FeatureArrays, kind: int) -> str:
    v = graph.add("Gather", "x", graph.constant(arrays.source), axis=1)
    missing = graph.add("IsNaN", v)
    number = graph.add("Where", missing, graph.constant(arrays.fill), v)
    equal = graph.add("Equal", v, graph.constant(arrays.category))
    one_hot = graph.add("Cast", equal, to=TensorProto.DOUBLE)
    value = graph.add("Where", graph.constant(arrays.is_category), one_hot, number)
    indicator = graph.add("Cast", missing, to=TensorProto.DOUBLE)
    value = graph.add("Where", graph.constant(arrays.is_indicator), indicator, value)
    centred = graph.add("Sub", value, graph.constant(arrays.mean))
    scaled = graph.add("Div", centred, graph.constant(arrays.sd))
    single = graph.add("Cast", scaled, to=TensorProto.FLOAT)  # as in training
    return graph.add("Cast", single, to=kind)


def _answer(graph: _Graph, answer: Answer, value: str, dtype: DTypeLike) -> None:
    if isinstance(answer, Quantities):
        double = graph.add("Cast", value, to=TensorProto.DOUBLE)
        scaled = graph.add("Mul", double, graph.constant(np.array(answer.sd)))
        graph.add("Add", scaled, graph.constant(np.array(answer.mean)), output="y")
    elif isinstance(answer, Probabilities):
        graph.add("Sigmoid", value, output="y")
    elif len(answer.labels) == 2:
        second = graph.add("Sigmoid", value)
        one = graph.constant(np.ones(1, dtype))
        graph.add("Concat", graph.add("Sub", one, second), second, axis=1, output="y")
    else:
        graph.add("Softmax", value, axis=1, output="y")
