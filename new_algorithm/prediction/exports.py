"""A trained network with its preprocessing in a file that other programs load.

Both take float64 (n, columns): numbers, NaN where missing, of texts their places among the
categories, −1 for others. Both give probabilities (n, classes or targets), or values
(n, targets). What columns, categories and labels are is in the file too, as JSON under the name
`about`.
"""

import json
import logging
from pathlib import Path
from typing import Any

from new_algorithm.cli.endings import unwritable
from new_algorithm.cli.errors import UserError
from new_algorithm.prediction.answers import Classes
from new_algorithm.prediction.trained_network import TrainedNetwork
from new_algorithm.record.files import replace_atomically


def export(kind: str, network: TrainedNetwork, path: Path) -> None:
    """Write the file; UserError where it cannot be, or a package is missing."""
    try:
        with replace_atomically(path) as file:
            EXPORTS[kind](network, file)
    except OSError as error:
        raise UserError(unwritable(error, path)) from error


def about(network: TrainedNetwork) -> str:
    """What a program needs to know that uses the network."""
    answer = network.answer
    facts: dict[str, Any] = {
        "columns": [column.to_json() for column in network.preprocessing.columns],
        "outputs": list(answer.headers[1:] if isinstance(answer, Classes) else answer.headers),
    }
    if isinstance(answer, Classes):
        facts["labels"] = list(answer.labels)
    return json.dumps(facts, ensure_ascii=False)


def _to_torch(network: TrainedNetwork, file: Any) -> None:
    import torch

    from new_algorithm.prediction.torch_module import prepared_network

    rows = torch.zeros(2, len(network.preprocessing.columns), dtype=torch.float64)
    shapes = ({0: torch.export.Dim("rows")},)
    logging.getLogger("torch.export").setLevel(logging.ERROR)  # our file has not yet its name
    program = torch.export.export(prepared_network(network), (rows,), dynamic_shapes=shapes)
    torch.export.save(program, file, extra_files={"about": about(network)})


def _to_onnx(network: TrainedNetwork, file: Any) -> None:
    try:
        from new_algorithm.prediction.onnx_graph import onnx_model
    except ImportError as error:
        raise UserError(
            f"--export onnx: the package onnx is not installed ({error}): ./starter --extras "
            "installs it"
        ) from error
    file.write(onnx_model(network, about(network)).SerializeToString())


EXPORTS = {"torch": _to_torch, "onnx": _to_onnx}
