"""What the numbers of curvature.py come to, in sentences; from its tables alone."""

from collections.abc import Sequence

import numpy as np

from new_algorithm.analysis.spectra import GAUSS_NEWTON, HESSIAN
from new_algorithm.record.files import Row


def told_of_spectra(rows: Sequence[Row], pairs: Sequence[Row], count: int, relu: bool) -> list[str]:
    """rows: of curvature.csv, the first two of the whole network. pairs: of eigenvalues.csv.
    count: of the rows of data. relu: whether blocks of both matrices are the same."""
    whole = {row["matrix"]: row for row in rows if row["block"] == "all"}
    gauss_newton, hessian = whole[GAUSS_NEWTON], whole[HESSIAN]
    leading = [
        pair["eigenvalue"]
        for pair in pairs
        if pair["block"] == "all" and pair["matrix"] == GAUSS_NEWTON
    ]
    told = []
    if leading and gauss_newton["trace"] > 0:
        share = sum(leading) / gauss_newton["trace"]
        times = gauss_newton["largest"] * gauss_newton["parameters"] / gauss_newton["trace"]
        worst = max(gauss_newton["worst_residual"], hessian["worst_residual"])
        told.append(
            f"On {count:,} train rows the largest eigenvalue is {gauss_newton['largest']:.4g} of "
            f"the Gauss–Newton matrix and {hessian['largest']:.4g} of the Hessian (residuals up to "
            f"{worst:.0e}). The former's {len(leading)} leading ones are {share:.0%} of its trace, "
            f"and the largest is {times:,.0f} times the mean of all "
            f"{gauss_newton['parameters']:,}."
        )
    if hessian["smallest"] < 0 < hessian["largest"]:
        told.append(
            f"The Hessian's lowest eigenvalue is {_said(hessian['smallest'])}, "
            f"{-hessian['smallest'] / hessian['largest']:.1%} of its largest in size: "
            "the loss curves down along some directions."
        )
    elif hessian["smallest"] >= 0:  # NaN is neither
        told.append("No eigenvalue of the Hessian is below zero.")
    traces = (f"{row['trace']:.4g} ± {row['trace_error']:.2g}" for row in (gauss_newton, hessian))
    told.append(
        "The traces of the Gauss–Newton matrix and of the Hessian are {} and {}".format(*traces)
        + (
            "; in a ReLU network, where a layer has one block in both, they are equal."
            if relu
            else "."
        )
    )
    blocks = [row for row in rows if row["block"] != "all" and row["matrix"] == GAUSS_NEWTON]
    total = sum(row["trace"] for row in blocks)
    parameters = sum(row["parameters"] for row in blocks)
    if total > 0:
        most = max(blocks, key=lambda row: row["trace"])
        steepest = max(blocks, key=lambda row: row["largest"])
        told.append(
            f"{most['block'].capitalize()} of {len(blocks)} has {most['trace'] / total:.0%} of the "
            f"trace, with {most['parameters'] / parameters:.0%} of the parameters; the largest "
            f"eigenvalue of a block is {steepest['largest']:.4g}, of {steepest['block']}."
        )
    return told


def told_of_beliefs(rows: Sequence[Row], steps: Sequence[Row]) -> list[str]:
    """rows: of beliefs.csv. steps: of decreases.csv."""
    ratios = np.array([row["ratio"] for row in rows])
    along = np.array([row["ratio_along_change"] for row in rows])
    told = []
    if np.isfinite(ratios).all():
        low, high = rows[int(ratios.argmin())], rows[int(ratios.argmax())]
        told.append(
            f"The largest eigenvalue of back projection's model Ḡ ⊗ I is {low['ratio']:.3g} "
            f"({low['layer']}) to {high['ratio']:.3g} ({high['layer']}) times that of the layer's "
            f"Gauss–Newton block, {np.median(ratios):.3g} times in the median."
        )
    shares = np.array([row["overlap"] for row in rows])
    worst = rows[int(np.nanargmin(shares))] if np.isfinite(shares).any() else None
    if worst is not None:
        told.append(
            "Of a block's leading eigenvectors the part that lies where the model has its own is "
            f"{np.nanmedian(shares):.2f} in the median over layers and {worst['overlap']:.2f} at "
            f"least ({worst['layer']}), where chance gives {worst['by_chance']:.3f}."
        )
    if np.isfinite(along).all():
        told.append(
            "Along a layer's own change the model's curvature is "
            f"{along.min():.3g} to {along.max():.3g} times the Gauss–Newton matrix's. What all "
            "layers have in common the step size makes good, but not the factor of "
            f"{along.max() / along.min():.3g} between them."
        )
    together = [row for row in steps if row["layers"] == "all"]
    whole = next(row for row in together if row["step"] == 1)
    best = max(together, key=lambda row: row["actual"])
    of_step = {1: "", best["step"]: ", the best of those tried"}
    told += [
        f"All layers moving η = {row['step']:.3g} times their changes{of_step[row['step']]}: the "
        f"slope promises a decrease of {_said(row['slope'])}, the model {_said(row['model'])}, "
        f"Gauss–Newton {_said(row['gauss_newton'])}; it is {_said(row['actual'])}."
        for row in ([whole] if best is whole else [whole, best])
    ]
    return told


def _said(number: float) -> str:
    return f"{number:.3g}".replace("-", "−")
