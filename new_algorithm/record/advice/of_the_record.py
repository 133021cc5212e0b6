"""Rules on how a run ended and what its figures are worth: hints, but for a failure."""

from new_algorithm.record.advice.finding import Finding, Record, Series, hint, warning
from new_algorithm.record.advice.readings import held_out
from new_algorithm.record.advice.remedies import has, in_force, of_experiment, other_seed


def failed(record: Record, series: Series) -> Finding | None:
    if record.get("status") != "failed":
        return None
    seen = f"the run ended with {record.get('error') or 'an error'}; the log says where"
    return warning("Failure", seen, "an error in the program, or a machine at its limits")


def interrupted(record: Record, series: Series) -> Finding | None:
    if record.get("status") != "interrupted":
        return None
    seen = "the run was stopped early, and its numbers end before the last epoch asked for"
    flag = f"--tag {record.get('tag')} --resume" if has(record, "resume") else None
    return hint("Interrupted", seen, flag=flag)


def settings_chosen(record: Record, series: Series) -> Finding | None:
    if not series or held_out(series) != "validation" or of_experiment(record):
        return None
    seen = "settings may be chosen by validation rows; once they are, evaluate them once"
    return hint("Validation", seen, flag="--held-out test" if has(record, "held_out") else None)


def uncommitted(record: Record, series: Series) -> Finding | None:
    if not (record.get("git") or {}).get("dirty"):
        return None
    return hint(
        "Uncommitted changes",
        "files differed from the commit: commit and repeat before citing the numbers",
    )


def one_seed(record: Record, series: Series) -> Finding | None:
    if not series or record.get("status") != "completed" or of_experiment(record):
        return None
    if (in_force(record, "repeats") or 1) > 1:
        return None
    return hint("One seed", "a single run says nothing about spread", flag=other_seed(record))
