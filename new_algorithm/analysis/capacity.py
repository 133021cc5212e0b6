"""How large a class of networks the run chose from, and what follows for new rows, if anything.

A bound on an error says something below 1, and something about the network beyond its training
error where it is near the error on held-out rows, which stands beside it.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from new_algorithm.analysis import bounds, pac_bayes
from new_algorithm.analysis.figures import capacity as figures
from new_algorithm.analysis.findings import Findings, Part, Settings, Table
from new_algorithm.analysis.subject import Subject, is_relu_network, outputs_of
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX
from new_algorithm.methods.torch_network import folded_weights
from new_algorithm.record.files import Row

DELTA = pac_bayes.DELTA + pac_bayes.DELTA_DRAWS  # of each bound alone
BINS = 60  # of the margins' histogram
LN_10 = math.log(10)
LN_LARGEST = 700.0  # ln of what a float holds, about
SHOWN_AS_IT_IS = 1e6  # a bound up to which it is written out


def margins(outputs: Tensor, labels: Tensor) -> NDArray:
    """Return F_y − max_{k≠y} F_k of each row; one output is the second class's, the first's 0."""
    f = outputs.flatten(0, -2).double()
    if f.shape[1] == 1:
        f = nn.functional.pad(f, (1, 0))
    own = labels.flatten()[:, None]
    others = f.scatter(1, own, -torch.inf)
    return (f.gather(1, own)[:, 0] - others.amax(dim=1)).numpy()


def histogram(found: Sequence[NDArray], log_unit: float) -> list[Row]:
    """Return a row a bin of equal width: its middle, that in units of exp(`log_unit`), and the
    share of training and of held-out rows in it."""
    edges = np.linspace(min(m.min() for m in found), max(m.max() for m in found), BINS + 1)
    train, held_out = (np.histogram(m, edges)[0] / len(m) for m in found)
    return [
        {
            "margin": float(middle),
            "normalised_margin": float(middle) * math.exp(-log_unit),
            "train_share": float(a),
            "held_out_share": float(b),
        }
        for middle, a, b in zip((edges[1:] + edges[:-1]) / 2, train, held_out, strict=True)
    ]


def analyse(subject: Subject, settings: Settings) -> Findings:
    count = sum(p.numel() for p in subject.network.parameters())
    n = len(subject.data.x_train)
    sizes: list[Row] = [_size("parameters", count, n)]
    found = Findings(tables=[Table("sizes", f"Sizes, beside {n:,} training rows", sizes)])
    found.sentences.append(
        f"{count:,} parameters, {count / n:.3g} for each of {n:,} training rows."
    )
    if subject.loss not in (SOFTMAX, LOGISTIC):
        found.sentences.append("The network names no classes: bounds on mistakes do not apply.")
        return found
    parts = [subject.rows(part, max(n, len(subject.data.x_test)), 0) for part in subject.parts]
    of_parts = [margins(outputs_of(subject.network, x), y) for x, y in parts]
    errors = [float((m <= 0).mean()) for m in of_parts]
    held_out = subject.parts[1]
    found.sentences.append(
        "The margin, F_y less the largest other output, has the median "
        f"{np.median(of_parts[0]):.3g} on training rows and {np.median(of_parts[1]):.3g} on "
        f"{held_out} rows; the errors are {errors[0]:.4f} and {errors[1]:.4f}."
    )
    log_unit = 0.0
    if not is_relu_network(subject.network):
        found.sentences.append(
            "Bounds are computed for linear layers with ReLUs between them, which this is not."
        )
    else:
        rows = _bounds(subject, settings, parts, of_parts, sizes)
        labels = parts[1][1].flatten()
        guessing = 1 - float(torch.bincount(labels).max()) / len(labels)
        for row in rows:
            row |= {"train_error": errors[0], "held_out_error": errors[1]}
            row["says_anything"] = "yes" if row["value"] < guessing else "no"
        title = f"At least the error on new rows, each with probability {1 - DELTA:.3f}"
        found.tables.append(Table("bounds", title, rows))
        found.sentences += _verdict(rows, n, guessing, errors[1], held_out)
        log_unit = _log_margin_unit(subject, parts[0][0])
    found.tables.append(Table("margins", "Margins", histogram(of_parts, log_unit), shown=False))
    return found


def _size(name: str, value: float, n: float = math.nan) -> Row:
    return {"size": name, "value": value, "for_each_row": value / n}


def _matrices(network: nn.Module) -> list[NDArray]:
    return bounds.without_biases([w.astype(float) for w in folded_weights(network)])


def _norm_of_inputs(x: Tensor) -> float:
    norm = torch.linalg.vector_norm(x, dtype=torch.float64)
    return math.sqrt(float(norm) ** 2 + len(x))  # ‖[X, 1]‖_F


def _log_margin_unit(subject: Subject, x: Tensor) -> float:
    """ln R_A ‖X‖_F / n, by which Bartlett, Foster and Telgarsky 2017 normalise margins."""
    matrices = _matrices(subject.network)
    complexity = bounds.log_spectral_complexity(matrices, [np.zeros_like(a) for a in matrices])
    return complexity + math.log(_norm_of_inputs(x) / len(x))


def _bounds(
    subject: Subject,
    settings: Settings,
    parts: Sequence[tuple[Tensor, Tensor]],
    of_parts: Sequence[NDArray],
    sizes: list[Row],
) -> list[Row]:
    """Return a row a bound; the sizes that bounds rest on are added to those that are there."""
    x, n, matrices = parts[0][0], len(parts[0][0]), _matrices(subject.network)
    widths = [x.shape[1], *(w.shape[1] for w in folded_weights(subject.network))]
    one_output = [*widths[:-1], 1]
    sizes += [
        _size("VC dimension of an output, at most", bounds.vc_dimension(one_output), n),
        _size("order of the largest VC dimension", bounds.vc_order(one_output), n),
    ]
    error = float((of_parts[0] <= 0).mean())
    growth = bounds.growth_bound(error, widths, n, DELTA)
    rows = [_row("number of labellings", math.log(growth))]
    references = {"0": [np.zeros_like(a) for a in matrices]}
    # not snapshot 0, of which back projection has put layer 1 among the data's eigenvectors: what a
    # bound is measured from must not know the training rows
    initial = None if subject.drawn is None else subject.load(subject.drawn())
    if initial is not None:
        references["the start"] = _matrices(initial)
    inputs = _norm_of_inputs(x)
    for place, reference in references.items():
        complexity = bounds.log_spectral_complexity(matrices, reference) / LN_10
        sizes.append(_size(f"log₁₀ of the spectral complexity, from {place}", complexity))
        bound = bounds.spectral_bound(matrices, reference, inputs, of_parts[0], DELTA)
        rows.append(_row(f"spectral norms, from {place}", *bound))
    frobenius = sum(math.log10(float(np.linalg.norm(a))) for a in matrices)
    sizes.append(_size("log₁₀ of the product of Frobenius norms", frobenius))
    bound = bounds.frobenius_bound(matrices, inputs, of_parts[0], DELTA)
    rows.append(_row("Frobenius norms", *bound))
    if initial is not None:
        trained, prior = (
            [torch.from_numpy(w) for w in folded_weights(net)] for net in (subject.network, initial)
        )
        certificate = pac_bayes.certify(trained, prior, parts[0], parts[1], settings.seed)
        sizes.append(_size("KL divergence of PAC-Bayes, nats", certificate.kl, n))
        row = _row("PAC-Bayes, a random network", math.log(certificate.bound))
        row["its_train_error"], row["its_held_out_error"] = certificate[1:3]
        rows.append(row)
    return rows


def _row(name: str, log_value: float, margin: float = math.nan) -> Row:
    """log_value: ln of the bound, which itself may be more than a float holds: ∞ then."""
    return {
        "bound": name,
        "value": math.exp(log_value) if log_value < LN_LARGEST else math.inf,
        "log10_value": log_value / LN_10,
        "at_margin": margin,
        "its_train_error": math.nan,
        "its_held_out_error": math.nan,
    }


def _verdict(
    rows: Sequence[Row], n: int, guessing: float, held_out_error: float, held_out: str
) -> list[str]:
    """One sentence a bound: its value and whether it says anything of a network trained on n
    rows, more than what guessing, which errs on that share, would say."""
    told = []
    of_n = f"on {n:,} training rows"
    for row in rows:
        name, value = row["bound"], float(row["value"])
        if value >= 1:
            shown = f"{value:.3g}" if value < SHOWN_AS_IT_IS else f"10^{row['log10_value']:.1f}"
            told.append(f"{name}: {shown} {of_n}, above 1: says nothing.")
        elif value >= guessing:
            told.append(
                f"{name}: {value:.3f} {of_n}, where naming one class always errs on "
                f"{guessing:.3f}: says nothing."
            )
        else:
            told.append(
                f"{name}: {value:.3f} {of_n}, below 1, where the network's own {held_out} error is "
                f"{held_out_error:.4f}."
            )
    if not math.isnan(float(rows[-1]["its_train_error"])):
        told.append(
            "The random network of PAC-Bayes, not the run's own, errs on "
            f"{rows[-1]['its_train_error']:.4f} of training and "
            f"{rows[-1]['its_held_out_error']:.4f} of {held_out} rows; its mean is moved from the "
            "run's weights, and its variances are chosen, so that the bound is low."
        )
    else:
        told.append("PAC-Bayes needs the initial weights, which this run has not kept.")
    return told


PART = Part(
    "capacity",
    "Capacity",
    analyse,
    {
        "margins.csv": (figures.draw_margins, (6.5, 4.2)),
        "bounds.csv": (figures.draw_bounds, (6.5, 3.0)),
    },
    {
        "bounds": "Bounds on the error on new rows, and the errors that were measured.",
        "margins": "Margins of rows; above, over spectral complexity times ‖X‖/n.",
    },
)
