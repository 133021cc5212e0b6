"""An experiment from its definition to its report, under one tag."""

from dataclasses import replace
from pathlib import Path

from datasets.load import check_name
from new_algorithm.evidence.collect import collect
from new_algorithm.evidence.conduct import Means, conduct
from new_algorithm.evidence.experiment import Experiment
from new_algorithm.evidence.report import write_report
from new_algorithm.lab.environment import fix_threads
from new_algorithm.lab.flags import ExperimentFlags
from new_algorithm.lab.layout import REPOSITORY, Layout
from new_algorithm.lab.record_json import read_record
from new_algorithm.lab.reservation import check_tag
from new_algorithm.lab.run_record import Run


def run_experiment(
    experiment: Experiment, config: ExperimentFlags, script: Path, root: Path = REPOSITORY
) -> None:
    """Carry it out or go on with it, gather its record and write its report."""
    experiment = replace(
        experiment,
        seeds=experiment.seeds[: config.runs],
        trials=experiment.trials if config.trials is None else config.trials,
    )
    config = replace(config, tag=config.tag or experiment.name)
    layout = Layout(root)
    check_tag(config.tag, overwrite=True, layout=layout)
    for task in experiment.tasks:
        check_name(task.dataset)
    fix_threads(config.threads)
    data = {"name": ", ".join(dict.fromkeys(task.dataset for task in experiment.tasks))}
    with Run(script=script, config=config, data=data, root=root, keep=True) as run:
        members = Layout(root, group=run.tag)
        means = Means(members, script, config.threads, config.workers)
        chosen = conduct(experiment, means)
        description = read_record(run.folder) or {}
        collect(experiment, chosen, members, run.folder, description)
    for path in write_report(config.tag, layout):
        print(f"Wrote {layout.relative(path)}", flush=True)
