"""Fisher information: which parameters the outputs, and the labels, depend on.

With g_i the gradient of −log p(y_i | x_i) of one row, each as a mean over rows i and its diagonal:

    true         F = E_{y ~ p(y | x_i)}[g_i g_iᵀ]    labels drawn from the network's distribution
    empirical    Ē = g_i g_iᵀ                        the data's own labels
    batch sketch (mean of g_i over a batch)²         what costs nothing beside training

F is the Gauss–Newton matrix (likelihood.py) and curvature, but of sequences, whose loss is a mean
over T places, 1/T of it; Ē is not, though both agree where the
network's distribution is the data's (Kunstner, Balles and Hennig 2019). The sketch is neither: of B
independent rows E[(mean of g)²] = ḡ² + Var(g)/B, so that it keeps one B-th of the noise, which
near a minimum is nearly all of Ē, and the square of the mean gradient, which vanishes there.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from new_algorithm.analysis.diagonals import distribution, largest, layer_names, shares
from new_algorithm.analysis.figures import fisher as figures
from new_algorithm.analysis.findings import Findings, Part, Settings, Table
from new_algorithm.analysis.likelihood import DISTRIBUTIONS, factors, is_exact, row_residual
from new_algorithm.analysis.subject import Subject, outputs_of
from new_algorithm.back_projection.batch import rows_of_batch
from new_algorithm.models.model import MODELS
from new_algorithm.record.files import Row

MOST_NUMBERS = 2**23  # of the gradients that are in memory at a time
ROWS_AT_A_TIME = 250  # of a gradient of their mean loss
FEW = 0.01  # the share of parameters whose share of the trace is told


class Squares(NamedTuple):
    """diagonal: the mean over rows of the squared gradient, (parameters,). traces: of each row
    the sum over each layer, (rows, layers)."""

    diagonal: NDArray
    traces: NDArray


def squared_gradients(network: nn.Module, x: Tensor, cotangents: Tensor) -> Squares:
    """Return Σ_k (Jᵢᵀ b_ki)² for each row i, J the derivative of its outputs in the parameters.

    cotangents: b (k, n, …), k of them at the outputs of each row.
    """
    parameters = {name: p.detach() for name, p in network.named_parameters()}
    layers = layer_names(network)
    size = sum(p.numel() for p in parameters.values())

    def of_row(row: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        pull = vjp(lambda w: functional_call(network, w, (row[None],))[0], parameters)[1]
        return {name: g.square().sum(0) for name, g in vmap(pull)(vectors)[0].items()}

    rows = max(1, MOST_NUMBERS // (size * len(cotangents)))
    diagonal = torch.zeros(size, dtype=torch.float64)
    traces = []
    for part, vectors in zip(x.split(rows), cotangents.transpose(0, 1).split(rows), strict=True):
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels of attention know no vmap
            squares = vmap(of_row)(part, vectors)
        diagonal += torch.cat([s.sum(0).flatten() for s in squares.values()])
        of_layers = [
            sum(squares[name].flatten(1).sum(1, dtype=torch.float64) for name in names)
            for names in layers.values()
        ]
        traces.append(torch.stack(of_layers, dim=1))  # type: ignore[arg-type]
    return Squares((diagonal / len(x)).numpy(), torch.cat(traces).numpy())


def true_fisher(subject: Subject, x: Tensor, rng: np.random.Generator) -> Squares:
    """Return F's diagonal: the expectation over all labels where `likelihood.factors` is exact,
    which has no error but that of the rows; else one drawn label a row, which is unbiased."""
    outputs = outputs_of(subject.network, x).numpy()
    return squared_gradients(subject.network, x, _like(x, factors(subject.loss, outputs, rng, 1)))


def empirical_fisher(subject: Subject, x: Tensor, y: Tensor) -> Squares:
    """Return the diagonal of Ē."""
    outputs = outputs_of(subject.network, x).numpy()
    residual = row_residual(subject.loss, outputs, y.numpy())[None]
    return squared_gradients(subject.network, x, _like(x, residual))


def _like(x: Tensor, array: NDArray) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.to(x.dtype) if x.is_floating_point() else tensor


def mean_gradient_squares(subject: Subject, x: Tensor, y: Tensor) -> NDArray:
    """Return the squared norm of the gradient of the rows' mean loss, layer by layer."""
    parameters = dict(subject.network.named_parameters())
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in parameters.items()}
    for part, targets in zip(x.split(ROWS_AT_A_TIME), y.split(ROWS_AT_A_TIME), strict=True):
        loss = subject.objective(subject.network(part), targets) * len(part) / len(x)
        for sum_, g in zip(
            total.values(), torch.autograd.grad(loss, list(parameters.values())), strict=True
        ):
            sum_ += g
    layers = layer_names(subject.network).values()
    return np.array([sum(float(total[name].square().sum()) for name in names) for names in layers])


def batch_sketch(subject: Subject, x: Tensor, y: Tensor, size: int) -> NDArray:
    """Return the sketch's trace, (batches, layers), of as many whole batches as there are."""
    whole = len(x) // size * size
    batches = zip(x[:whole].split(size), y[:whole].split(size), strict=True)
    return np.array([mean_gradient_squares(subject, *batch) for batch in batches])


def expected_sketch(mean_square: NDArray, squared_mean: NDArray, rows: int, batch: int) -> NDArray:
    """Return an unbiased estimate of ḡ² + Var(g)/B from rows that were drawn independently.

    mean_square: of g over them. squared_mean: the square of the mean of g over them.
    """
    variance = (mean_square - squared_mean) * rows / (rows - 1)
    return squared_mean - variance / rows + variance / batch


def batch_size_of(subject: Subject, rows: int) -> int:
    """Return the batch size of the run, at most `rows`; `full`, or none at all, is all of them."""
    config = subject.record["config"]
    of_model = MODELS[config["model"]].batch_size if "model" in config else "full"
    size = config.get("batch_size") or of_model
    return rows_of_batch(size, rows)


def standard_error(values: NDArray) -> NDArray:
    """Return that of the mean over the first axis, NaN of a single one."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    return values.std(axis=0, ddof=1) / np.sqrt(len(values))


def analyse(subject: Subject, settings: Settings) -> Findings:
    x, y = subject.rows("train", settings.rows, settings.seed)
    shuffled = torch.from_numpy(np.random.default_rng(settings.seed).permutation(len(x)))
    x, y = x[shuffled], y[shuffled]  # rows that follow each other make batches
    n, batch = len(x), batch_size_of(subject, len(x))
    true = true_fisher(subject, x, np.random.default_rng([settings.seed, 2]))
    empirical = empirical_fisher(subject, x, y)
    sketch = batch_sketch(subject, x, y, batch)
    squared_mean = mean_gradient_squares(subject, x, y)
    expected = expected_sketch(empirical.traces.mean(axis=0), squared_mean, n, batch)
    kinds = {"true": true.traces, "empirical": empirical.traces, "sketch": sketch}
    means = {kind: values.mean(axis=0) for kind, values in kinds.items()}
    errors = {kind: standard_error(values) for kind, values in kinds.items()}
    rows: list[Row] = []
    for index, (module, names) in enumerate(layer_names(subject.network).items()):
        row: Row = {"layer": index + 1, "module": module}
        row["parameters"] = sum(subject.network.get_parameter(name).numel() for name in names)
        for kind in kinds:
            row |= {kind: means[kind][index], f"{kind}_error": errors[kind][index]}
        row["sketch_expected"] = expected[index]
        row["empirical_over_sketch"] = means["empirical"][index] / means["sketch"][index]
        row["share_of_true"] = means["true"][index] / means["true"].sum()
        rows.append(row)
    diagonals = {"true": true.diagonal, "empirical": empirical.diagonal}
    spread = [
        row
        for kind, diagonal in diagonals.items()
        for row in distribution(subject.network, kind, diagonal)
    ]
    return Findings(
        tables=[
            Table("fisher", f"Traces of the Fisher information a layer, {n:,} train rows", rows),
            Table(
                "fisher_parameters",
                "The parameters that matter most; places are (output, input) of a matrix",
                largest(subject.network, true.diagonal),
            ),
            Table("fisher_diagonal", "log₁₀ of the diagonals' entries, by layer", spread),
        ],
        arrays={
            "fisher_shares": shares(true.diagonal),
            **{f"fisher_{kind}": diagonal for kind, diagonal in diagonals.items()},
        },
        sentences=_sentences(subject, x, kinds, batch, squared_mean, true.diagonal),
    )


def _with_error(values: NDArray) -> str:
    error = f" ± {float(standard_error(values)):.2g}" if len(values) > 1 else ""
    return f"{values.mean():.4g}{error}"


def _sentences(
    subject: Subject,
    x: Tensor,
    kinds: dict[str, NDArray],
    batch: int,
    squared_mean: NDArray,
    diagonal: NDArray,
) -> list[str]:
    totals = {kind: values.sum(axis=1) for kind, values in kinds.items()}
    mean = {kind: float(values.mean()) for kind, values in totals.items()}
    told = {kind: _with_error(values) for kind, values in totals.items()}
    outputs = outputs_of(subject.network, x[:1]).numpy()
    exact = is_exact(outputs)
    how = "summed over all labels" if exact else "one drawn label a row"
    few = max(1, round(FEW * len(diagonal)))
    share = np.sort(diagonal)[-few:].sum() / diagonal.sum()
    of_layers = kinds["true"].mean(axis=0) / mean["true"]
    top = int(of_layers.argmax())
    difference = totals["empirical"] - totals["true"]  # of the same rows
    return [
        f"The trace of the true Fisher information is {told['true']} a row ({how}, "
        f"{DISTRIBUTIONS[subject.loss]}; standard errors over rows), that of the empirical one "
        f"{told['empirical']}: {mean['empirical'] / mean['true']:.3g} times as much, a difference "
        f"of {_with_error(difference)} over the same rows.",
        f"The square of a batch's mean gradient ({batch:,} rows) comes to {told['sketch']}, "
        f"1/{mean['empirical'] / mean['sketch']:.3g} of the empirical: averaging before squaring "
        f"keeps 1/{batch:,} of the gradients' noise, beside the squared mean gradient "
        f"({squared_mean.sum():.3g} over all rows drawn).",
        f"{FEW:.0%} of the {len(diagonal):,} parameters hold {share:.1%} of the true trace, and "
        f"{(diagonal == 0).mean():.1%} have none; layer {top + 1} of {len(of_layers)} holds the "
        f"most, {of_layers[top]:.1%}, the last one {of_layers[-1]:.1%}.",
        *told_of_sequences(outputs),
    ]


def told_of_sequences(outputs: NDArray) -> list[str]:
    """A sentence where outputs are (n, places, m)."""
    if outputs.ndim == 2:
        return []
    return [
        f"A row is a sequence, and its loss the mean over {outputs.shape[1]} places: the true "
        f"Fisher information is 1/{outputs.shape[1]} of the Gauss–Newton matrix."
    ]


PART = Part(
    "fisher",
    "Fisher information",
    analyse,
    {
        "fisher.csv": (figures.draw_traces, (7.0, 4.2)),
        "fisher_diagonal.csv": (figures.draw_diagonals, (8.0, 3.8)),
        "fisher_shares.npy": (figures.draw_shares, (5.0, 4.2)),
    },
    {
        "fisher": "Traces a layer, with the standard error of the mean; the sketch squares a "
        "batch's mean gradient, and the grey band is what its mean should be.",
        "fisher_diagonal": "Entries of the diagonals by layer: the median, from the lower to the "
        "upper quartile, and thin from 1% to 99%; zeros are left out.",
        "fisher_shares": "How much of the true trace the largest entries hold.",
    },
)
