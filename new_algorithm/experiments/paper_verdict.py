"""What a paper reports beside what was found here."""

from dataclasses import dataclass

from new_algorithm.experiments.leaderboard import summarise_scores
from new_algorithm.experiments.quantities import metric
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.report_tables import Cell, Table, with_interval

NO_SCORE = "no run left a score"


@dataclass(frozen=True)
class PaperVerdict:
    """verdict: reproduced within the tolerance, or where our mean lies instead."""

    citation: str
    table: Table
    verdict: str
    deviations: tuple[str, ...]


def paper_verdict(record: ExperimentRecord) -> PaperVerdict | None:
    """Hold the baseline's mean on the first task against the paper; None where there is none."""
    paper, task = record.experiment.paper, record.experiment.tasks[0]
    if paper is None:
        return None
    quantity, baseline = metric(task.metrics[0]), record.experiment.baseline
    found = summarise_scores(record, task, baseline)
    verdict = _verdict(found.mean, paper.value, paper.tolerance) if found else NO_SCORE
    tolerance = f"± {quantity.show(paper.tolerance)}"
    rows = [
        [Cell(f"paper, {paper.source}"), Cell(quantity.show(paper.value), tolerance)],
        [Cell(f"here, {baseline}"), with_interval(found, quantity) if found else Cell("–")],
    ]
    table = Table([task.name, quantity.name], rows)
    return PaperVerdict(paper.citation, table, verdict, paper.deviations)


def _verdict(ours: float, value: float, tolerance: float) -> str:
    if abs(ours - value) <= tolerance:
        return "reproduced within the tolerance"
    return f"not reproduced: {'below' if ours < value else 'above'} the paper's value"
