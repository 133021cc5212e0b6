"""What reaches each layer: gradients, and the residual Δ that is passed down, over the epochs.

Δ of a layer is n times minus the gradient of the mean loss in the layer's output, Z of a ReLU
network, so that the gradient of W̃ is −H̃ᵀΔ/n. Norms of Δ are root mean squares over rows of ‖Δ_i‖.
A unit, or a channel, is dead where its Δ is zero on every row: nothing can move it. Zeros are
exact: a ReLU's mask, not small numbers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from new_algorithm.analysis.directions import (
    AS_THE_RUN,
    TRIED,
    TRIED_HEADS,
    Directions,
    Penalties,
    input_basis,
    penalties_of,
)
from new_algorithm.analysis.figures import flow as figures
from new_algorithm.analysis.findings import Findings, Part, Settings, Table
from new_algorithm.analysis.likelihood import factors, row_residual
from new_algorithm.analysis.subject import Subject, is_relu_network, outputs_of
from new_algorithm.back_projection.eigenbasis import Eigenbasis
from new_algorithm.back_projection.network import append_ones
from new_algorithm.methods.torch_network import folded_weights
from new_algorithm.record.files import Row

MOST_EPOCHS = 6  # that are looked at
ROWS_AT_A_TIME = 250
DRAWS = 32  # of labels a row, where there are too many outputs for a sum over all of them
Objective = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Passed:
    """What is known of a layer's Δ after some rows: sums over its entries, and which units it was
    ever other than zero for."""

    entries: int = 0
    total: float = 0.0
    squares: float = 0.0
    zeros: int = 0
    reached: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.bool))

    def add(self, delta: Tensor, units: int) -> None:
        """delta: (rows, …) with the units along the axis `units`."""
        wide = delta.double()
        self.entries += delta.numel()
        self.total += float(wide.sum())
        self.squares += float(wide.square().sum())
        self.zeros += int((delta == 0).sum())
        self.reached = self.reached | (delta.movedim(units, 0).flatten(1) != 0).any(dim=1)

    def row(self, rows: int) -> Row:
        mean = self.total / self.entries
        return {
            "delta_mean": mean,
            "delta_sd": np.sqrt(max(0.0, self.squares / self.entries - mean**2)),
            "delta_norm": np.sqrt(self.squares / rows),
            "delta_zeros": self.zeros / self.entries,
            "dead_units": int((~self.reached).sum()),
        }


def flow(
    network: nn.Module, layers: Mapping[str, nn.Module], objective: Objective, x: Tensor, y: Tensor
) -> list[Row]:
    """Return a row for each layer: its gradient, weights and biases together, of the rows' mean
    loss; and the Δ at its outputs. Layers that the outputs do not depend on have zeros."""
    outputs: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: outputs.append((name, out)))
        for name, module in layers.items()
    ]
    parameters = {name: list(module.parameters(recurse=False)) for name, module in layers.items()}
    everything = [p for own in parameters.values() for p in own]
    gradients = [torch.zeros_like(p) for p in everything]
    passed = {name: Passed() for name in layers}
    try:
        for part, targets in zip(x.split(ROWS_AT_A_TIME), y.split(ROWS_AT_A_TIME), strict=True):
            outputs.clear()
            loss = objective(network(part), targets) * len(part)  # summed over rows
            wanted = [*everything, *(out for _, out in outputs)]
            found = torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True)
            for total, g in zip(gradients, found, strict=False):
                total += g / len(x)
            for (name, _), g in zip(outputs, found[len(everything) :], strict=True):
                passed[name].add(-g, -1 if isinstance(layers[name], nn.Linear) else 1)
    finally:
        for handle in handles:
            handle.remove()
    of_parameter = iter(gradients)
    rows: list[Row] = []
    for number, (name, own) in enumerate(parameters.items(), start=1):
        gradient = torch.cat([next(of_parameter).flatten() for _ in own]).double()
        row: Row = {
            "layer": number,
            "module": name,
            "gradient_mean": float(gradient.mean()),
            "gradient_sd": float(gradient.std(correction=0)),
            "gradient_norm": float(gradient.norm()),
            "gradient_zeros": float((gradient == 0).double().mean()),
        }
        if passed[name].entries:
            rows.append(row | passed[name].row(len(x)))
    return rows


def networks_over_time(subject: Subject) -> Iterator[tuple[int, nn.Module]]:
    """Yield at most MOST_EPOCHS of the epochs that were kept, the first and the last among them,
    and the networks then; the one at the end where none was kept."""
    if subject.snapshots:
        yield from subject.over_time(MOST_EPOCHS)
    else:
        yield subject.epoch, subject.network


def directions(
    subject: Subject,
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    seed: int,
    basis: Eigenbasis | None = None,
) -> Directions:
    """Return the steps of a ReLU network on these rows, in float64."""
    rng = np.random.default_rng([seed, 2])
    outputs = outputs_of(network, x).double().numpy()
    targets = y.double().numpy() if y.is_floating_point() else y.numpy()
    return Directions(
        [weight.astype(np.float64) for weight in folded_weights(network)],
        append_ones(x.double().numpy()),
        row_residual(subject.loss, outputs, targets),
        factors(subject.loss, outputs, rng, DRAWS),
        basis,
    )


def analyse(subject: Subject, settings: Settings) -> Findings:
    x, y = subject.rows("train", settings.rows, settings.seed)
    of_layers: list[Row] = []
    angles: list[Row] = []
    passed: list[Row] = []
    relu = is_relu_network(subject.network)
    penalties = penalties_of(subject.record, len(subject.layers)) if relu else None
    basis = input_basis(subject) if relu else None
    for epoch, network in networks_over_time(subject):
        layers = {name: network.get_submodule(name) for name in subject.layers}
        at: Row = {"epoch": epoch}
        of_epoch = flow(network, layers, subject.objective, x, y)
        if penalties is not None:
            steps = directions(subject, network, x, y, settings.seed, basis)
            if penalties.changes_what_is_passed:
                sizes = steps.passed_down_sizes(penalties)
                of_epoch = [a | b for a, b in zip(of_epoch, sizes, strict=True)]
            angles += [at | row for row in steps.angles(penalties)]
            passed += [at | row for row in steps.passed_down_angles(penalties)]
        of_layers += [at | row for row in of_epoch]
    rows = f"{len(x):,} train rows"
    found = Findings(
        tables=[Table("flow", f"Gradients and Δ, layer by layer, on {rows}", of_layers)],
        sentences=_flow_sentences(of_layers, isinstance(subject.network, nn.Sequential)),
    )
    if penalties is not None:
        found.tables += [
            Table("angles", f"Cosines between steps, layer by layer, on {rows}", angles),
            Table(
                "passed_down",
                "Cosines between what a layer is asked for and the gradient, by λ_h",
                passed,
            ),
        ]
        found.sentences += _size_sentences(of_layers) + _angle_sentences(angles)
        found.sentences += _passed_sentences(passed, penalties)
        if basis is not None:
            found.sentences.append(
                f"Layer 1's steps are among the run's {len(basis.values)} leading eigenvectors of "
                f"all training rows; the other layers have the Gram matrices of the {rows}, not "
                "the run's moving averages."
            )
    return found


def _last(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["epoch"] == rows[-1]["epoch"]]


def _flow_sentences(rows: list[Row], in_a_row: bool) -> list[str]:
    """in_a_row: whether each layer's inputs are the outputs of the one before."""
    first, last = [row for row in rows if row["epoch"] == rows[0]["epoch"]], _last(rows)
    sentences = []
    for of_epoch in (first, last) if first != last else (last,):
        norms = [row["delta_norm"] for row in of_epoch]
        if in_a_row and len(norms) > 1 and min(norms) > 0:
            ratio = norms[0] / norms[-1]
            sentences.append(
                f"At epoch {of_epoch[0]['epoch']} Δ {'grows' if ratio > 1 else 'shrinks'} on its "
                f"way down: its norm a row is {norms[-1]:.3g} at the last layer and {norms[0]:.3g} "
                f"at the first, {ratio:.3g} times as much or {ratio ** (1 / (len(norms) - 1)):.3g} "
                "times a layer."
            )
    dead = [sum(row["dead_units"] for row in part) for part in (first, last)]
    worst = max(last, key=lambda row: row["dead_units"])
    where = f", most in layer {worst['layer']} ({worst['dead_units']})" if dead[1] else ""
    sentences.append(
        f"Units that no row reaches with any Δ: {dead[0]} at epoch {first[0]['epoch']}, {dead[1]} "
        f"at epoch {last[0]['epoch']}{where}."
    )
    return sentences


def _size_sentences(rows: list[Row]) -> list[str]:
    """Of a run that passes down something else than the gradient's Δ."""
    last = _last(rows)
    if "passed_norm" not in last[0]:
        return []
    top, bottom = last[-1], last[0]
    return [
        f"As the run passes Δ down, its norm a row at epoch {bottom['epoch']} is "
        f"{top['passed_norm']:.3g} at the last layer and {bottom['passed_norm']:.3g} at the first, "
        f"where the gradient's Δ has {bottom['delta_norm']:.3g}; of the first layer's entries "
        f"{bottom['passed_zeros']:.1%} are zero (the gradient's: {bottom['delta_zeros']:.1%})."
    ]


def _range(rows: list[Row], name: str) -> str:
    """The smallest and the largest of a column, each with its layer."""
    low, high = (choose(rows, key=lambda row: row[name]) for choose in (min, max))
    return f"{low[name]:.3f} (layer {low['layer']}) to {high[name]:.3f} (layer {high['layer']})"


def _angle_sentences(angles: list[Row]) -> list[str]:
    last = [row for row in _last(angles) if np.isfinite(row["step_gauss_newton"])]
    if not last:
        return []
    nearer = sum(row["step_gauss_newton"] > row["gauss_newton_gradient"] for row in last)
    unsolved = max(row["cg_residual"] for row in last)
    return [
        f"At epoch {last[0]['epoch']} the cosine of back projection's step with minus the "
        f"gradient is {_range(last, 'step_gradient')}, that of the Gauss–Newton step "
        f"{_range(last, 'gauss_newton_gradient')}; between the two steps it is "
        f"{_range(last, 'step_gauss_newton')}.",
        f"Back projection's step is nearer to the Gauss–Newton step than the gradient is in "
        f"{nearer} of {len(last)} layers; conjugate gradients found the Gauss–Newton steps to "
        f"relative residuals of at most {unsolved:.1g}.",
    ]


def _passed_sentences(passed: list[Row], penalties: Penalties) -> list[str]:
    last = _last(passed)
    if len(last) < 2:
        return []
    sentences = []
    if penalties.changes_what_is_passed:
        lowest = min(last, key=lambda row: row[AS_THE_RUN])
        sentences.append(
            f"As the run passes Δ down, what the first layer is asked for has a cosine of "
            f"{last[0][AS_THE_RUN]:.3f} with minus the gradient; the lowest is "
            f"{lowest[AS_THE_RUN]:.3f}, in layer {lowest['layer']}."
        )
    names = [f"{relative:g}" for relative in TRIED]
    first = [last[0][head] for head in TRIED_HEADS]
    turns = [f"{np.degrees(np.arccos(np.clip(cosine, -1, 1))):.0f}°" for cosine in first]
    against = sum(row[head] < 0 for row in last for head in TRIED_HEADS)
    sentences.append(
        f"With λ_h of {', '.join(names)} in all layers, the first layer would be asked for a "
        f"change {', '.join(turns)} away from minus the gradient (cosines "
        f"{', '.join(f'{cosine:.3f}' for cosine in first)}): each layer that Δ passes divides its "
        f"components by k + λ_h, k the eigenvalues of WᵀW, and the masks do not undo it. "
        f"{against} of {len(names) * len(last)} changes would be uphill."
    )
    return sentences


PART = Part(
    "flow",
    "Gradients and residuals",
    analyse,
    {
        "flow.csv": (figures.draw_flow, (9.0, 6.4)),
        "angles.csv": (figures.draw_angles, (10.0, 3.6)),
        "passed_down.csv": (figures.draw_passed_down, (9.0, 3.6)),
    },
    {
        "flow": "Norms of gradients and of Δ, and shares of exact zeros; a line an epoch. Δ is the "
        "gradient's; where a run passes down something else, that stands beside it.",
        "angles": "Cosines between minus the gradient, back projection's step and the Gauss–Newton "
        "step of each layer; a line an epoch.",
        "passed_down": "Cosines of what each layer is asked for with minus the gradient: as the "
        "run passes Δ down, and at the last epoch kept with other λ_h.",
    },
)
