"""What a classifier gets wrong: classes that it confuses, how sure it is, its surest mistakes.

Calibration: predictions are put into BINS of equal width by the probability p of the class that is
named; the expected calibration error is Σ_b n_b/n |accuracy_b − mean p_b| (Guo et al. 2017, eq. 3).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from new_algorithm.analysis.figures import errors as figures
from new_algorithm.analysis.findings import Findings, Part, Settings, Table
from new_algorithm.analysis.pictures import in_unit_range, pictures
from new_algorithm.analysis.subject import Subject, outputs_of
from new_algorithm.back_projection.losses import LOGISTIC, SOFTMAX, sigmoid, softmax
from new_algorithm.record.files import Row

BINS = 15  # as there
MISTAKES = 12  # shown
MOST_ROWS = 20_000  # of one pass through the network
MOST_CLASSES = 30  # of a confusion matrix that can be read


def probabilities(
    subject: Subject, part: str, settings: Settings
) -> tuple[NDArray, NDArray, NDArray]:
    """Return inputs, labels (n,) and probabilities (n, classes) of the rows of a part; of sequences
    that have a label at each place, a row a place."""
    x, y = subject.rows(part, _count(settings), settings.seed)
    outputs = outputs_of(subject.network, x).flatten(0, -2).double().numpy()
    if subject.loss is LOGISTIC:
        second = sigmoid(outputs[:, 0])
        return x.numpy(), y.flatten().numpy(), np.stack([1 - second, second], axis=1)
    return x.numpy(), y.flatten().numpy(), softmax(outputs)


def _count(settings: Settings) -> int:
    return max(settings.rows, MOST_ROWS)


def confusion_matrix(labels: NDArray, named: NDArray, classes: int) -> NDArray[np.intp]:
    """Return (classes, classes): how many rows of each class, in rows, were given each name."""
    counts = np.bincount(labels * classes + named, minlength=classes**2)
    return counts.reshape(classes, classes)


def per_class(confusion: NDArray) -> list[Row]:
    """Return precision, recall and F₁ of each class; NaN for one never named, or never there."""
    right, there, named = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        recall, precision = right / there, right / named
        f1 = 2 * right / (there + named)
    return [
        {
            "class": label,
            "rows": int(there[label]),
            "precision": float(precision[label]),
            "recall": float(recall[label]),
            "f1": float(f1[label]),
        }
        for label in range(len(confusion))
    ]


def reliability(sure: NDArray, right: NDArray) -> tuple[list[Row], float]:
    """Return a row a bin that is not empty, and the expected calibration error.

    sure: p of the named class (n,). right: whether it was the row's (n,). Shares that are right
    have 95% intervals of Wilson (1927), which stay in [0, 1] and are wide for few rows.
    """
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    rows: list[Row] = []
    error = 0.0
    for one in np.unique(bins):
        inside = bins == one
        n = int(inside.sum())
        mean, accuracy = float(sure[inside].mean()), float(right[inside].mean())
        error += n / len(sure) * abs(accuracy - mean)
        low, high = binomtest(int(right[inside].sum()), n).proportion_ci(method="wilson")
        at: Row = {"probability": mean, "accuracy": accuracy}
        rows.append(at | {"low": float(low), "high": float(high), "rows": n})
    return rows, error


def analyse(subject: Subject, settings: Settings) -> Findings:
    if subject.loss not in (SOFTMAX, LOGISTIC):
        return Findings(sentences=["The network names no classes: there are none to confuse."])
    part = subject.parts[1]
    x, labels, p = probabilities(subject, part, settings)
    named, sure = p.argmax(axis=1), p.max(axis=1)
    right = named == labels
    confusion = confusion_matrix(labels, named, p.shape[1])
    bins, error = reliability(sure, right)
    found = Findings(
        tables=[
            Table("classes", f"Each class, on {len(labels):,} {part} rows", per_class(confusion)),
            Table("reliability", "How sure, and how often right", bins, shown=False),
        ]
    )
    if p.shape[1] <= MOST_CLASSES:
        found.arrays["confusion"] = confusion
    _show_surest(found, subject, settings, x, labels, p)
    found.sentences.append(_wrong_sentence(confusion, part))
    gap = float(sure.mean() - right.mean())
    way = "too sure" if gap > 0 else "not sure enough"
    found.sentences.append(
        f"On {len(labels):,} {part} rows the expected calibration error is {error:.4f}: on average "
        f"the network is {way} by {abs(gap):.4f}."
    )
    return found


def _show_surest(
    found: Findings, subject: Subject, settings: Settings, x: NDArray, labels: NDArray, p: NDArray
) -> None:
    """The rows that are named wrong with the highest probabilities, and what they look like."""
    named, sure = p.argmax(axis=1), p.max(axis=1)
    wrong = np.flatnonzero(named != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES]
    if not len(worst):
        return
    chosen = subject.chosen(subject.parts[1], _count(settings), settings.seed)
    number = np.repeat(chosen, len(labels) // len(x))
    rows: list[Row] = [
        {
            "row": int(number[i]),
            "class": int(labels[i]),
            "named": int(named[i]),
            "probability": float(sure[i]),
        }
        for i in worst
    ]
    found.tables.append(Table("surest_mistakes", "The surest mistakes", rows))
    if subject.data.image_shape is not None:
        images = pictures(x, subject.data.image_shape)
        found.arrays["mistakes"] = in_unit_range(images[worst], images)


def _wrong_sentence(confusion: NDArray, part: str) -> str:
    off = confusion * (1 - np.eye(len(confusion), dtype=int))
    told = f"{off.sum():,} of {confusion.sum():,} {part} rows are named wrong"
    if not off.any():
        return f"{told}."
    a, b = np.unravel_index(off.argmax(), off.shape)
    return f"{told}; most often class {a} is taken for {b}, in {off[a, b]} rows."


PART = Part(
    "errors",
    "Errors",
    analyse,
    {
        "confusion.npy": (figures.draw_confusion, (6.0, 5.4)),
        "reliability.csv": (figures.draw_reliability, (5.0, 4.2)),
        "mistakes.npy": (figures.draw_mistakes, (8.0, 3.2)),
    },
    {
        "confusion": "Rows of each class by the name that they were given; shades are shares.",
        "reliability": "How often the network is right, by how sure it is; 95% intervals.",
        "mistakes": "The surest mistakes: class, name that was given, and its probability.",
    },
)
