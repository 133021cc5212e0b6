"""Rules on the training rows, by what the record says of them (datasets/facts.py)."""

from typing import Any

from new_algorithm.record.advice.finding import Finding, Record, Series, warning

# Largest deviation of a feature over the median: 2.1 of MNIST's pixels, 2.0 of strokes, 1.3 of
# CIFAR-10, 1 of what is standardised; with one of 20 features 1000 times as large 1000.
WILD_RATIO = 30.0
# Largest value in root mean squares: 20 of HIGGS, 2 to 6 of all others. Such a row weighs 1600
# times as much as another in the Gram matrix. Of n standardised rows it is at most √n.
WILD_VALUE = 40.0
IMBALANCE = 10.0  # rows of the largest class to one of the smallest: 1.3 of MNIST, 1.1 of HIGGS
LEAST_ROWS = 30  # a class's fair share; with fewer rows, chance alone makes some classes small


def wild_features(record: Record, series: Series) -> Finding | None:
    scales = record.get("data", {}).get("feature_scales", {})
    ratio, largest = scales.get("sd_ratio", 1.0), scales.get("largest_value", 0.0)
    if ratio > WILD_RATIO:
        return warning(
            "Features on wild scales",
            f"the standard deviation of the widest feature is {ratio:.4g} times the median one",
            "features in different units, the widest of which is all that the first layer sees",
            words="Standardise each feature, as is done with arrays of an .npz file",
        )
    if largest > WILD_VALUE:
        return warning(
            "Features on wild scales",
            f"the largest value is {largest:.4g} times the root mean square of all",
            "outlying rows, or a feature with a long tail",
            words="Clip that feature, or take its logarithm",
        )
    return None


def far_rows(data: dict[str, Any]) -> list[str]:
    """One sentence for each part of the held-out rows in which one is far outside."""
    parts = {"far_x": "features", "far_y": "target"}
    return [
        f"Held-out row {far['row']}, counted from 0, lies far outside: its {what} are "
        f"{far['times']:.3g} times as large as those of the training rows are on average; it may "
        "decide the held-out loss alone."
        for name, what in parts.items()
        if (far := data.get(name))
    ]


def class_imbalance(record: Record, series: Series) -> Finding | None:
    data = record.get("data", {})
    shares, rows = data.get("class_shares"), data.get("counts", {}).get("train", 0)
    if not shares or rows < LEAST_ROWS * data["num_classes"]:
        return None
    largest, smallest = shares["largest"], shares["smallest"]
    if largest < IMBALANCE * smallest:
        return None
    return warning(
        "Class imbalance",
        f"the largest class has {largest:.1%} of the training rows, the smallest {smallest:.2%}",
        "classes that are rare in the data: accuracy and loss are those of the large ones",
        words="Repeat the training rows of the small classes",
    )
