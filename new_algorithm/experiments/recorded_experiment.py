"""An experiment from its definition to its report, under one tag."""

from dataclasses import replace
from pathlib import Path

from datasets.load import check_name
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import ExperimentFlags
from new_algorithm.experiments.collect import collect
from new_algorithm.experiments.experiment import Experiment
from new_algorithm.experiments.report import write_report
from new_algorithm.experiments.scheduler import Means, conduct
from new_algorithm.experiments.single_run import slug
from new_algorithm.record.environment import fix_threads
from new_algorithm.record.layout import REPOSITORY, Layout
from new_algorithm.record.record_json import read_record
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run


def run_experiment(
    experiment: Experiment, config: ExperimentFlags, script: Path, root: Path = REPOSITORY
) -> None:
    """Carry it out or go on with it, gather its record and write its report."""
    experiment = replace(experiment, seeds=experiment.seeds[: config.runs])
    config = replace(config, tag=config.tag or experiment.name)
    layout = Layout(root)
    check_tag(config.tag, overwrite=True, layout=layout)
    for task in experiment.tasks:
        check_name(task.dataset)
    _check_slugs("task", [task.name for task in experiment.tasks])
    _check_slugs("variation", [variation.name for variation in experiment.variations])
    if not config.overwrite:
        _check_same_script(config.tag, layout, script)
    fix_threads(config.threads)
    data = {"name": ", ".join(dict.fromkeys(task.dataset for task in experiment.tasks))}
    with Run(script=script, config=config, data=data, root=root, keep=True) as run:
        members = Layout(root, group=run.tag)
        means = Means(members, script, config.threads, config.workers)
        chosen = conduct(experiment, means)
        command = (read_record(run.folder) or {})["command"]
        collect(experiment, chosen, members, run.folder, command)
    for path in write_report(config.tag, layout):
        print(f"Wrote {layout.relative(path)}", flush=True)


def _check_slugs(part: str, names: list[str]) -> None:
    """UserError where two names, or none of a name's letters, make the same files."""
    known: dict[str, str] = {"": ""}
    for name in names:
        if slug(name) in known:
            other = known[slug(name)]
            like = f"like {other!r}" if other else "nothing"
            raise UserError(f"{part} {name!r}: its files would be called {like}: rename it")
        known[slug(name)] = name


def _check_same_script(tag: str, layout: Layout, script: Path) -> None:
    """UserError if the tag is that of a run of another script, which would be written over."""
    theirs = (read_record(layout.record(tag)) or {}).get("script")
    if theirs not in (None, layout.relative(script)):
        raise UserError(
            f"--tag {tag}: {layout.relative(layout.record(tag))}/ is a run of {theirs}: "
            "choose another tag or add --overwrite"
        )
