"""Two scores a seed, recorded by one run or by several, and what their pairs say."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from new_algorithm.cli.errors import UserError
from new_algorithm.experiments.statistics import compare_paired, summarise
from new_algorithm.record.files import Row, read_csv, read_record
from new_algorithm.record.layout import Layout
from new_algorithm.record.run import Run

TOLD = {  # of a row of paired statistics, as results of a run
    "mean_difference": "mean_difference",
    "difference_low_95": "low_95",
    "difference_high_95": "high_95",
    "paired_t_p": "t_p",
}


def read_pairs(
    tags: Sequence[str], file: str, may_differ: Sequence[str], layout: Layout
) -> tuple[list[Row], dict[str, Any]]:
    """Return the rows of that file of all runs, each with a seed, and the first one's record.

    UserError for a run without that file, for one whose settings, but for those that may differ, or
    data are others than the first one's, and for a seed that is there twice.
    """
    rows: list[Row] = []
    first: dict[str, Any] = {}
    for tag in tags:
        record, path = read_record(layout.record(tag)), layout.record(tag) / file
        if record is None or not path.exists():
            raise UserError(f"--gather {tag}: no run of that tag has left {file}; check its name")
        first = first or record
        for name, value in first["config"].items():
            if name not in may_differ and record["config"].get(name) != value:
                raise UserError(
                    f"--gather {tag}: its --{name.replace('_', '-')} is not that of {tags[0]}: "
                    "gather runs that differ in their seeds alone"
                )
        if record["data"]["sha256"] != first["data"]["sha256"]:
            raise UserError(f"--gather {tag}: its data are not those of {tags[0]}")
        rows += [{name: float(text) for name, text in row.items()} for row in read_csv(path)]
    for row in rows:
        row["seed"] = int(row["seed"])
    seeds = [row["seed"] for row in rows]
    if twice := {seed for seed in seeds if seeds.count(seed) > 1}:
        raise UserError(f"--gather: seed {min(twice)} is there more than once")
    return sorted(rows, key=lambda row: row["seed"]), first


def record_pairs(rows: Sequence[Row], names: tuple[str, str], table: str, run: Run) -> None:
    """Record the rows as a table, the means of the two accuracies and, of two seeds or more, what
    statistics paired by seed make of the first less the second."""
    one, other = names[0].capitalize(), names[1]
    run.table(table, rows, f"{one} against {other}, held-out accuracy (fraction):")
    a, b = ({row["seed"]: row[f"{name}_accuracy"] for row in rows} for name in names)
    means = zip(names, (a, b), strict=True)
    run.result(**{f"{name}_accuracy_mean": fmean(of_seeds.values()) for name, of_seeds in means})
    if len(rows) > 1:
        row = paired_row(a, b)
        run.table("paired_statistics", [row], f"{one} − {other}, paired by seed:")
        run.result(**{name: row[column] for name, column in TOLD.items() if row[column] != ""})


def paired_row(a: Mapping[int, float], b: Mapping[int, float]) -> Row:
    """Return a row of a table about a − b, values by seed; empty where nothing can be tested."""
    found = compare_paired(a, b)
    difference = found.difference
    row = {
        "pairs": difference.count,
        "mean": summarise(list(a.values())).mean,
        "mean_of_other": summarise(list(b.values())).mean,
        "mean_difference": difference.mean,
        "low_95": difference.low,
        "high_95": difference.high,
        "t_p": found.t_p,
        "wilcoxon_p": found.wilcoxon_p,
        "permutation_p": found.permutation_p,
        "cohens_d": found.cohens_d,
        "not_tested_because": found.reason,
    }
    return {name: "" if value is None else value for name, value in row.items()}
