"""What a report says over all tasks: ranks, how often the baseline holds its own, and its cost."""

import numpy as np

from new_algorithm.experiments.across_tasks import AcrossTasks, Margin, Rival
from new_algorithm.experiments.ranks import critical_difference, friedman_p
from new_algorithm.experiments.report_tables import NOTHING, Cell, Table, show_p


def across_table(found: AcrossTasks, baseline: str) -> Table:
    """A row a variation, the best mean rank first; the baseline beside each of the others."""
    rivals = {one.name: one for one in found.rivals}
    means = found.ranks.mean(axis=0)
    header = [
        *("method", "mean rank", f"{baseline} better or equal", "worst, points", "worst, %"),
        *("CPU ratio", "median", "tasks above ½", "p, Wilcoxon"),
    ]
    rows: list[list[Cell | str]] = []
    for at in np.argsort(means, kind="stable"):
        name = found.variations[at]
        beside = _beside(rivals[name]) if name in rivals else [NOTHING] * 7
        rows.append([name, f"{means[at]:.2f}", *beside])
    tasks, methods = found.ranks.shape
    apart = critical_difference(methods, tasks)
    notes = [
        f"Over {tasks} tasks. Better or equal: within one standard error of the paired differences "
        f"over seeds. Worst: {baseline}'s least margin, of accuracies in points, else in percent "
        "of the other's mean. CPU ratio: its CPU seconds over the other's, of the sums over tasks, "
        "then the median of the tasks' ratios. p: Wilcoxon's test over the tasks' means, "
        "Holm-corrected.",
        f"All alike (Friedman, F of Iman and Davenport): p = {show_p(friedman_p(found.ranks))}. "
        f"Mean ranks differ where they are {apart:.2f} apart (Nemenyi).".replace("= <", "< "),
    ]
    return Table(header, rows, notes=notes)


def margins_table(found: AcrossTasks) -> Table:
    """A row a task: by how much the baseline is better than each of the others."""
    units = [margin.in_points for margin in found.rivals[0].margins]
    rows: list[list[Cell | str]] = [
        [task, "points" if units[at] else "%", *(_margin(one.margins[at]) for one in found.rivals)]
        for at, task in enumerate(found.tasks)
    ]
    note = "Mean ± standard error over seeds; above 0 it is better; in bold where it is worse."
    return Table(["task", "in", *(one.name for one in found.rivals)], rows, texts=2, notes=[note])


def _beside(one: Rival) -> list[Cell | str]:
    count, above = len(one.margins), sum(ratio > 0.5 for ratio in one.cpu_ratios)
    return [
        f"{one.held} of {count} ({one.held / count:.0%})",
        *(_worst(one.worst(in_points)) for in_points in (True, False)),
        *(f"{one.cpu_ratio:.2f}", f"{np.median(one.cpu_ratios):.2f}", str(above)),
        show_p(one.wilcoxon_p),
    ]


def _worst(margin: Margin | None) -> Cell:
    if margin is None:
        return Cell(NOTHING)
    return Cell(_signed(margin.mean), f"({margin.task})")


def _margin(margin: Margin) -> Cell:
    text = f"{_signed(margin.mean)} ± {margin.standard_error:.2f}"
    return Cell(text, strong=not margin.holds)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")
