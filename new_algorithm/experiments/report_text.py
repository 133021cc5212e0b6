"""The sentences of a report: the rules of a comparison, and what the record says of them."""

from dataclasses import dataclass
from itertools import groupby

from new_algorithm.experiments.definition import Task
from new_algorithm.experiments.leaderboard import (
    LEVEL,
    Loss,
    Standing,
    losses_of_baseline,
    summarise_scores,
)
from new_algorithm.experiments.quantities import CPU_SECONDS, is_ablation, metric, negated
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.report_tables import (
    NOT_TESTABLE,
    Cell,
    Table,
    show_p,
    threads,
    with_interval,
)

OVER_BUDGET = 1.1  # times the budget: CPU time varies on a shared machine


def summary(record: ExperimentRecord) -> str:
    """How much ran."""
    experiment = record.experiment
    pairs = [(task.name, one.name) for task in experiment.tasks for one in experiment.variations]
    runs = sum(len(record.runs[pair]) for pair in pairs)
    diverged = sum(record.diverged(*pair) for pair in pairs)
    failed = sum(record.count("failed", *pair) for pair in pairs)
    design = ", ".join(
        _count(len(part), noun)
        for part, noun in (
            (experiment.tasks, "task"),
            (experiment.variations, "variation"),
            (experiment.seeds, "seed"),
        )
    )
    return (
        f"{design}: {_count(runs, 'run')}, {diverged} of which diverged"
        f"{f', {failed} failed' if failed else ''}. "
        f"Baseline: {experiment.baseline}."
    )


def describe(task: Task) -> str:
    """What a task is, in one line."""
    units = "-".join(map(str, task.widths))
    rows = f", {task.train_limit:,} training rows" if task.train_limit else ""
    cost = (
        f"{task.cpu_seconds:g} CPU seconds of training a run"
        if task.cpu_seconds is not None
        else f"{_count(task.epochs or 0, 'epoch')} a run"
    )
    return f"Data set {task.dataset}{rows}; hidden layers of {units} units; {cost}."


def how_to_read(record: ExperimentRecord) -> str:
    """What the numbers of a leaderboard are."""
    order = (
        "Importance is how much worse the score is without the part (or with its replacement), "
        "the most important first."
        if is_ablation(record.experiment)
        else "Best first."
    )
    return (
        f"{order} Means over seeds with 95% t intervals in brackets; sd is over seeds. p values of "
        "the paired t, Wilcoxon signed-rank and permutation tests against the baseline, Holm-"
        "corrected over the methods of the task; d is Cohen's d for pairs, method minus baseline. "
        "In bold: the best, and those that the paired t test against it, Holm-corrected, does not "
        f"tell from it at the {LEVEL:.0%} level."
    )


def verdicts(record: ExperimentRecord, leaderboards: dict[str, list[Standing]]) -> list[str]:
    """By task, where the baseline stands: what the record says of the hypothesis."""
    return [
        f"{task.name}: {_verdict(record, task, leaderboards[task.name])}"
        for task in record.experiment.tasks
    ]


def _verdict(record: ExperimentRecord, task: Task, standings: list[Standing]) -> str:
    """Beside the best of the others; what was not searched where others were is a reference."""
    baseline, quantity = record.experiment.baseline, metric(task.metrics[0])
    searched = {one.variation for one in standings if (task.name, one.variation) in record.trials}
    rivals = [one for one in standings if not searched or one.variation in {baseline, *searched}]
    place = [one.variation for one in rivals].index(baseline)
    if len(rivals) == 1:
        return f"{baseline} is the only one that was searched."
    rival = rivals[1 if place == 0 else 0]
    found = (
        f"{baseline} has the best mean, {rival.variation} the next"
        if place == 0
        else f"{rival.variation} has the best mean, {baseline} is number {place + 1}"
    )
    if rival.comparison is None:
        return f"{found}; they share no seed with a score."
    gap = rival.comparison.difference
    apart = with_interval(gap if gap.mean >= 0 else negated(gap), quantity).markdown()
    told = f"{'' if rival.comparison.significant else 'not '}significant by the paired t test"
    if rival.comparison.t_p is None:
        told = f"{NOT_TESTABLE}: {rival.comparison.reason}"
    return f"{found}; they are {apart} apart ({told})."


def losses(record: ExperimentRecord) -> list[tuple[str, list[str]]]:
    """By task, a sentence for each quantity that another variation is better at."""
    found = []
    for task in record.experiment.tasks:
        by_quantity = groupby(losses_of_baseline(record, task), key=lambda loss: loss.quantity)
        sentences = [_losses_at(record, task, list(group)) for _, group in by_quantity]
        sentences += _divergences(record, task)
        if sentences:
            found.append((task.name, sentences))
    return found


def _losses_at(record: ExperimentRecord, task: Task, group: list[Loss]) -> str:
    name = group[0].quantity.name
    better = "; ".join(_loss(record, task, loss) for loss in group)
    return f"{name[0].upper()}{name[1:]}: {better}."


def _loss(record: ExperimentRecord, task: Task, loss: Loss) -> str:
    by = with_interval(loss.advantage, loss.quantity).markdown()
    if loss.comparison.t_p is None:
        remarks = [f"{NOT_TESTABLE}: {loss.comparison.reason}"]
    else:
        remarks = ["significant" if loss.comparison.significant else "not significant"]
        remarks += [f"p = {show_p(loss.comparison.t_p)}".replace("= <", "< ")]
    diverged = record.diverged(task.name, loss.variation)
    if diverged and loss.quantity is CPU_SECONDS:
        remarks += [f"{_count(diverged, 'run')} of it diverged and ended early"]
    return f"{loss.variation} is better by {by} ({', '.join(remarks)})"


def _divergences(record: ExperimentRecord, task: Task) -> list[str]:
    baseline, seeds = record.experiment.baseline, len(record.experiment.seeds)
    own = record.diverged(task.name, baseline)
    fewer = [
        f"{one.name} in {count}"
        for one in record.experiment.variations
        if (count := record.diverged(task.name, one.name)) < own
    ]
    return [f"Divergence: it diverged in {own} of {seeds} runs, {', '.join(fewer)}."] * bool(fewer)


def fairness(record: ExperimentRecord) -> list[str]:
    """The rules of the comparison, and where the record shows them broken."""
    return [
        _trials_rule(record),
        *_budget_rules(record),
        "The test rows are evaluated once a run, after its last epoch; nothing is chosen on them.",
        "The clock counts training, with whatever a method prepares, and CPU seconds of all "
        "threads; evaluation is outside it.",
        f"Every run has the same threads: {threads(record) or 'not recorded'}.",
        "Runs of one seed start from the same weights, but for methods whose papers have a start "
        "of their own; methods that go through minibatches of the same size see them in the same "
        "order.",
        "Runs that diverged are counted, and scored by the weights last saved: those of the epoch "
        "before, or the initial ones; of back projection those of its lowest train loss. None is "
        "dropped or repeated with another seed.",
        *record.experiment.caveats,
    ]


def _trials_rule(record: ExperimentRecord) -> str:
    trials = record.experiment.trials
    if not trials:
        return "Nothing was searched: every method ran with the settings that its definition gives."
    other = [
        f"{one.name} on {task.name}: {found}"
        for task in record.experiment.tasks
        for one in record.experiment.variations
        if (found := len(record.trials.get((task.name, one.name), []))) != trials
    ]
    rule = f"Every method may try {trials} settings a task, on the validation rows."
    return f"{rule} Other numbers of trials: {'; '.join(other)}." if other else rule


def _budget_rules(record: ExperimentRecord) -> list[str]:
    """The cost allowed in a task's runs, and who took more."""
    rules = []
    for task in record.experiment.tasks:
        if task.cpu_seconds is None:
            rules.append(f"{task.name}: every run trains for {_count(task.epochs or 0, 'epoch')}.")
            continue
        over = []
        for one in record.experiment.variations:
            seconds = [*record.values(task.name, one.name, CPU_SECONDS.column).values()]
            mean = sum(seconds) / len(seconds) if seconds else 0.0
            if mean > OVER_BUDGET * task.cpu_seconds:
                over.append(f"{one.name} {CPU_SECONDS.show(mean)}")
        rule = (
            f"{task.name}: a run has as many epochs as come nearest to {task.cpu_seconds:g} CPU "
            "seconds, by what the chosen trial took, at least one."
        )
        excess = f" More than a tenth above that on average: {', '.join(over)}." if over else ""
        rules.append(rule + excess)
    return rules


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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
    verdict = _beside_paper(found.mean, paper.value, paper.tolerance) if found else NO_SCORE
    tolerance = f"± {quantity.show(paper.tolerance)}"
    rows = [
        [Cell(f"paper, {paper.source}"), Cell(quantity.show(paper.value), tolerance)],
        [Cell(f"here, {baseline}"), with_interval(found, quantity) if found else Cell("–")],
    ]
    table = Table([task.name, quantity.name], rows)
    return PaperVerdict(paper.citation, table, verdict, paper.deviations)


def _beside_paper(ours: float, value: float, tolerance: float) -> str:
    if abs(ours - value) <= tolerance:
        return "reproduced within the tolerance"
    return f"not reproduced: {'below' if ours < value else 'above'} the paper's value"
