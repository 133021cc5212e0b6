"""Search the flags of a script for the settings that do best on the validation rows.

    python new_algorithm/search_settings.py bench_mnist.py --tag my_search --trials 20 \\
        --vary lr=1e-3..1 batch-size=64,128,256 -- --optimizer momentum --one-cycle --epochs 2
    python new_algorithm/search_settings.py new_algorithm/n_layer_relu_data.py --trials 12 \\
        --vary step-bounds="1e-3 2e-2,1e-2 0.1" -- --dataset mnist --epochs 2

What varies is written FLAG=LOW..HIGH, any number between, evenly in its logarithm, a whole one of a
flag that takes no other, or FLAG=VALUE,VALUE, one of these; a space parts the values of a flag that
takes several, and on,off sets a switch or leaves it out. Flags after -- are the same in every
trial. A trial is a run of the script with --held-out validation, recorded as TAG_trial_1,
TAG_trial_2 and so on; the test rows stay unseen. A third of the trials are drawn at random, the
others by Optuna's TPE. A trial that diverges counts; one that fails for another reason ends the
search. The same command with the same --tag goes on where it was cut short, and a larger --trials
adds to what is there.

Writes ploting_data/TAG/ (search.json, search_trials.csv), figures/TAG/ (what mattered) and _logs/.
"""

import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # search the repository root, not this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import tyro

from new_algorithm.cli.console import run_main
from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import PositiveInt, RunFlags, default_as, parse
from new_algorithm.cli.progress import progress
from new_algorithm.experiments.flag_space import fitted, parse_space, shown
from new_algorithm.experiments.script import Script
from new_algorithm.experiments.script_trials import ScriptTrials
from new_algorithm.experiments.search import (
    COMPLETE,
    DIVERGED,
    TrialResult,
    best,
    importances,
    search,
)
from new_algorithm.experiments.search_figure import SEARCH_FILE, draw_search
from new_algorithm.methods.method import Settings
from new_algorithm.record.files import Row, plain, read_record, save_csv
from new_algorithm.record.layout import Layout
from new_algorithm.record.reservation import check_tag
from new_algorithm.record.run import Run

TRIALS_FILE = "search.json"
MAY_DIFFER = ("tag", "overwrite", "trials")  # between a search and its continuation


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    script: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SCRIPT")]
    """A script of this repository that leaves a record."""
    vary: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FLAG=VALUES ...")]
    """What varies; see above."""
    trials: PositiveInt = 20
    """Runs in all, those of an earlier command with the same tag included."""
    metric: Annotated[
        str | None, default_as("validation_accuracy, else _auc, else _loss", metavar="NAME")
    ] = None
    """What decides, a final metric of a run; less is better of losses, errors, bits, seconds."""
    fixed: tyro.conf.Suppress[tuple[str, ...]] = ()


def main() -> None:
    args = sys.argv[1:]
    at = args.index("--") if "--" in args else len(args)
    own, fixed = args[:at], args[at + 1 :]  # after `--` are the script's
    config = replace(parse(Config, __doc__, own), fixed=tuple(fixed))
    given, layout = parse_space(config.vary), Layout()
    script = Script(config.script, layout)
    space = fitted(given, script.kinds)
    trials = ScriptTrials(script, fixed, space, config.metric, config.threads, layout)
    goes_on = check_place(config, trials, layout)
    data = {"name": f"of {config.script.name}", "held_out": trials.held_out}
    tables = {SEARCH_FILE: (draw_search, None)}
    with Run.open(
        script=Path(__file__), config=config, data=data, keep=goes_on, kind="search", tables=tables
    ) as run:
        rows: list[Row] = []

        def objective(settings: Settings) -> TrialResult:
            return trials.run(trial_tag(run.tag, len(rows) + 1), settings, config.overwrite)

        made = search(run.folder / TRIALS_FILE, space, config.trials, config.seed, objective)
        for row in progress(made, "trials", config.trials):
            rows.append(row)
            save_csv(run.folder / SEARCH_FILE, rows)
            run.supersede()
            found = DIVERGED
            if row["state"] == COMPLETE:
                found = trials.describe(trial_tag(run.tag, row["trial"]))
            settings, cost = shown(json.loads(row["settings"])), f"{row['cpu_seconds']:.1f} CPU s"
            print(f"Trial {row['trial']}: {settings}: {found} ({cost})", flush=True)
        report(rows, trials, run)


def check_place(config: Config, trials: ScriptTrials, layout: Layout) -> bool:
    """Whether a search of that tag goes on.

    UserError if it was another search, or if other runs have the tags of its trials.
    """
    if config.tag is None:
        return False
    folder = layout.record(config.tag)
    goes_on = (folder / TRIALS_FILE).exists() and not config.overwrite
    check_tag(config.tag, config.overwrite, layout, resume=goes_on)
    if goes_on:
        earlier = (read_record(folder) or {}).get("config", {})
        now = {name: value for name, value in vars(config).items() if name not in MAY_DIFFER}
        now["script"] = layout.relative(config.script)
        different = [name for name, value in now.items() if plain(value) != earlier.get(name)]
        if different:
            raise UserError(
                f"--tag {config.tag} is a search with another {', '.join(different)}: choose "
                "another tag or add --overwrite"
            )
    for number in range(1, config.trials + 1):
        tag = trial_tag(config.tag, number)
        check_tag(tag, config.overwrite or trials.made(tag), layout)
    return goes_on


def report(rows: list[Row], trials: ScriptTrials, run: Run) -> None:
    """Print and record what was found; UserError if nothing was."""
    diverged = sum(row["state"] == DIVERGED for row in rows)
    run.result(trials=len(rows), diverged_trials=diverged)
    found = best(rows)
    if found is None:
        raise UserError(f"all {len(rows)} trials diverged: vary lower rates")
    run.result(best_trial=found["trial"], best_value=found["value"])
    shares = importances([json.loads(row["settings"]) for row in rows], [r["value"] for r in rows])
    if shares:
        print("What mattered:", ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    command = shlex.join(trials.command(json.loads(found["settings"])))
    score = trials.describe(trial_tag(run.tag, found["trial"]))
    print(f"Best: trial {found['trial']}, {score}; train with it:\n    {command}", flush=True)


def trial_tag(tag: str, number: int) -> str:
    return f"{tag}_trial_{number}"


if __name__ == "__main__":
    run_main(main)
