"""The sentences of a report: the rules of a comparison, and what the record says of them."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import product

from new_algorithm.experiments.experiment import AnyTask, Paper, ScriptTask, Task
from new_algorithm.experiments.leaderboard import Standing, losses_of_baseline
from new_algorithm.experiments.quantities import CPU_SECONDS, metric
from new_algorithm.experiments.record_tables import ExperimentRecord
from new_algorithm.experiments.report_tables import (
    NOT_TESTABLE,
    NOTHING,
    show_p,
    threads,
    with_interval,
)
from new_algorithm.experiments.statistics import LEVEL, Comparison, summarise
from new_algorithm.models.model import MODELS
from new_algorithm.record.pages import Cell, Table

OVER_BUDGET = 1.1  # times the budget: CPU time varies on a shared machine


def summary(record: ExperimentRecord) -> str:
    """How much ran."""
    experiment = record.experiment
    design = {
        "task": len(experiment.tasks),
        "variation": len(experiment.variations),
        "seed": len(experiment.seeds),
    }
    ended = [row["status"] for rows in record.runs.values() for row in rows]
    failed = f", {ended.count('failed')} failed" if "failed" in ended else ""
    return (
        f"{', '.join(_count(number, noun) for noun, number in design.items())}: "
        f"{_count(len(ended), 'run')}, {ended.count('diverged')} of which diverged{failed}. "
        f"Baseline: {experiment.baseline}."
    )


def describe(task: AnyTask) -> str:
    """What a task is, in one line."""
    if isinstance(task, ScriptTask):
        return f"Script {shlex.join([task.script, *task.flags])}."
    rows = f", {task.train_limit:,} training rows" if task.train_limit else ""
    cost = f"{_count(task.epochs or 0, 'epoch')} a run"
    if task.cpu_seconds is not None:
        cost = f"{task.cpu_seconds:g} CPU seconds of training a run"
    if task.parts > 1:
        cost += f"; an epoch is 1/{task.parts} of a pass"
    if task.model is not None:
        return f"Model {task.model} of new_algorithm/models{rows}; {cost}."
    units = "-".join(map(str, task.widths))
    size = f"; batches of {task.batch_size:,}" if task.batch_size else ""
    if task.label_smoothing:
        size += f"; labels smoothed by {task.label_smoothing:g}"
    return f"Data set {task.dataset}{rows}; hidden layers of {units} units{size}; {cost}."


def how_to_read(record: ExperimentRecord) -> str:
    """What the numbers of a leaderboard are."""
    order = (
        "Importance is how much worse the score is without the part (or with its replacement), "
        "the most important first."
        if record.experiment.is_ablation
        else "Best first."
    )
    return (
        f"{order} Means over seeds with 95% t intervals in brackets; sd is over seeds. p values of "
        "the paired t, Wilcoxon signed-rank and permutation tests against the baseline, Holm-"
        "corrected over the methods of the task; d is Cohen's d for pairs, method minus baseline. "
        "In bold: the best, and those that the paired t test against it, Holm-corrected, does not "
        f"tell from it at the {LEVEL:.0%} level."
    )


def verdict(record: ExperimentRecord, task: AnyTask, standings: list[Standing]) -> str:
    """Where the baseline stands on a task: what the record says of the hypothesis.

    Beside the best of the others; what was not searched where others were is a reference.
    """
    baseline, quantity = record.experiment.baseline, metric(task.metrics[0])
    searched = {one.variation for one in standings if (task.name, one.variation) in record.trials}
    rivals = [one for one in standings if not searched or one.variation in {baseline, *searched}]
    place = [one.variation for one in rivals].index(baseline)
    if len(rivals) == 1:
        return f"{task.name}: {baseline} is the only one that was searched."
    rival = rivals[1 if place == 0 else 0]
    found = (
        f"{baseline} has the best mean, {rival.variation} the next"
        if place == 0
        else f"{rival.variation} has the best mean, {baseline} is number {place + 1}"
    )
    if rival.comparison is None:
        return f"{task.name}: {found}; they share no seed with a score."
    gap = rival.comparison.difference
    apart = with_interval(gap if gap.mean >= 0 else -gap, quantity)
    told = _significance(rival.comparison)
    if rival.comparison.reason is None:
        told += " by the paired t test"
    return f"{task.name}: {found}; they are {apart} apart ({told})."


def _significance(comparison: Comparison) -> str:
    if comparison.reason is not None:
        return f"{NOT_TESTABLE}: {comparison.reason}"
    return "significant" if comparison.significant else "not significant"


def losses(record: ExperimentRecord) -> dict[str, list[str]]:
    """By task, a sentence for each quantity that another variation is better at."""
    found = {task.name: [*_losses(record, task)] for task in record.experiment.tasks}
    return {task: sentences for task, sentences in found.items() if sentences}


def _losses(record: ExperimentRecord, task: AnyTask) -> Iterator[str]:
    names = [one.name for one in record.experiment.variations]
    diverged = {name: record.count("diverged", task.name, name) for name in names}
    for quantity, better in losses_of_baseline(record, task):
        gaps = []
        for name, (advantage, comparison) in better.items():
            remarks = [_significance(comparison)]
            if comparison.t_p is not None:
                remarks.append(f"p = {show_p(comparison.t_p)}".replace("= <", "< "))
            if diverged[name] and quantity is CPU_SECONDS:
                remarks.append(f"{_count(diverged[name], 'run')} of it diverged and ended early")
            by = with_interval(advantage, quantity)
            gaps.append(f"{name} is better by {by} ({', '.join(remarks)})")
        yield f"{quantity.name[0].upper()}{quantity.name[1:]}: {'; '.join(gaps)}."
    own = diverged[record.experiment.baseline]
    if fewer := [f"{name} in {count}" for name, count in diverged.items() if count < own]:
        seeds = len(record.experiment.seeds)
        yield f"Divergence: it diverged in {own} of {seeds} runs, {', '.join(fewer)}."


def fairness(record: ExperimentRecord) -> list[str]:
    """The rules of the comparison, and where the record shows them broken."""
    rules = _rules_of_scripts if record.experiment.of_scripts else _rules_of_methods
    measured = [
        "The clock counts training, with whatever a method prepares, and CPU seconds of all "
        "threads; evaluation is outside it.",
        f"Every run has the same threads: {threads(record) or 'not recorded'}.",
    ]
    return [_trials_rule(record), *rules(record, measured), *record.experiment.caveats]


def _rules_of_methods(record: ExperimentRecord, measured: list[str]) -> list[str]:
    tasks = [task for task in record.experiment.tasks if isinstance(task, Task)]
    return [
        *(_budget_rule(record, task) for task in tasks),
        *_whole_epochs_rule(record, tasks),
        "The test rows are evaluated once a run, after its last epoch; nothing is chosen on them.",
        *measured,
        "Runs of one seed start from the same weights, but for methods whose papers have a start "
        "of their own; methods that go through minibatches of the same size see them in the same "
        "order.",
        "Runs that diverged are counted, and scored by the weights last saved: those of the epoch "
        "before, or the initial ones; of back projection those of its lowest train loss. None is "
        "dropped or repeated with another seed.",
        *_scored_rule(tasks),
    ]


def _rules_of_scripts(_record: ExperimentRecord, measured: list[str]) -> list[str]:
    return [
        "Every run is the script in a process of its own, as long as its flags make it: what it "
        "cost stands beside it, and is not made equal.",
        "Trials are evaluated on validation rows, with a seed that is none of the runs'. Learning "
        "curves are of the runs, on test rows; nothing is chosen on them.",
        *measured,
        "Peak memory is of the whole process, libraries, data and evaluation included, and not of "
        "a graphics card.",
        "Runs that diverged are counted, and scored by what they had recorded before. None is "
        "dropped or repeated with another seed.",
    ]


def _trials_rule(record: ExperimentRecord) -> str:
    trials = record.experiment.trials
    if not trials:
        return "Nothing was searched: every method ran with the settings that its definition gives."
    other = [
        f"{one.name} on {task.name}: {found}"
        for task, one in product(record.experiment.tasks, record.experiment.variations)
        if (found := len(record.trials.get((task.name, one.name), []))) != trials
    ]
    rule = f"Every method may try {trials} settings a task, on the validation rows."
    return f"{rule} Other numbers of trials: {'; '.join(other)}." if other else rule


def _whole_epochs_rule(record: ExperimentRecord, tasks: Sequence[Task]) -> list[str]:
    """Whose epochs are no parts of a pass, where those of others are."""
    whole = record.experiment.whole_epochs
    if not whole or all(task.parts == 1 for task in tasks):
        return []
    return [
        "Where an epoch is a part of a pass it is a whole one, or what stands for it, of "
        f"{', '.join(whole)}: these cannot stop in between, and may miss their budget by more."
    ]


def _scored_rule(tasks: Sequence[Task]) -> list[str]:
    """How many rows a train loss is of, where they are not all."""
    models = dict.fromkeys(task.model for task in tasks if task.model)
    rows = [f"{MODELS[model].scored_rows:,} ({MODELS[model].name})" for model in models]
    return [f"Train losses are of the first training rows: {', '.join(rows)}."] if rows else []


def _budget_rule(record: ExperimentRecord, task: Task) -> str:
    """The cost allowed in a task's runs, and who took more."""
    if task.cpu_seconds is None:
        return f"{task.name}: every run trains for {_count(task.epochs or 0, 'epoch')}."
    over = []
    for one in record.experiment.variations:
        seconds = [*record.values(task.name, one.name, CPU_SECONDS.column).values()]
        if seconds and (mean := sum(seconds) / len(seconds)) > OVER_BUDGET * task.cpu_seconds:
            over.append(f"{one.name} {CPU_SECONDS.show(mean)}")
    rule = (
        f"{task.name}: a run has as many epochs as come nearest to {task.cpu_seconds:g} CPU "
        "seconds, by what the chosen trial took, at least one."
    )
    excess = f" More than a tenth above that on average: {', '.join(over)}." if over else ""
    return rule + excess


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def beside_paper(record: ExperimentRecord, paper: Paper) -> tuple[Table, str]:
    """Return the paper's value and the baseline's mean on the first task, and the verdict on it."""
    task, baseline = record.experiment.tasks[0], record.experiment.baseline
    quantity = metric(task.metrics[0])
    scores = [*record.values(task.name, baseline, quantity.column).values()]
    ours, verdict = Cell(NOTHING), "no run left a score"
    if scores:
        found = summarise(scores)
        ours = with_interval(found, quantity)
        verdict = (
            f"not reproduced: {'below' if found.mean < paper.value else 'above'} the paper's value"
        )
        if abs(found.mean - paper.value) <= paper.tolerance:
            verdict = "reproduced within the tolerance"
    theirs = Cell(quantity.show(paper.value), f"± {quantity.show(paper.tolerance)}")
    rows: list[list[Cell | str]] = [[f"paper, {paper.source}", theirs], [f"here, {baseline}", ours]]
    return Table([task.name, quantity.name], rows), verdict
