"""The record of an experiment that never ran: two tasks, six methods, ten seeds, all invented."""

import json
from dataclasses import asdict, replace

import numpy as np

from new_algorithm.experiments.experiment import Experiment, Task, Variation
from new_algorithm.record.files import save_csv

TAG = "invented"
MNIST = Task("MNIST, 2 × 64", "mnist", (64, 64), ("accuracy",), cpu_seconds=2.0)
HIGGS = Task("HIGGS <sample>", "higgs", (256,), ("auc", "accuracy"), epochs=5)
# name: score on MNIST and on HIGGS, its sd over seeds, epochs, CPU seconds
METHODS = {
    "back projection": (0.978, 0.752, 0.0008, 8, 1.9),
    "Adam": (0.9775, 0.753, 0.0009, 6, 2.0),
    "SGD + momentum": (0.975, 0.731, 0.001, 6, 1.7),
    "L-BFGS": (0.968, 0.748, 0.004, 40, 2.4),  # above the budget; three runs diverge
    "gradient boosting": (0.9722, 0.7998, 0.0, 10, 0.5),  # deterministic
    "block coordinate descent": (0.41, 0.64, 0.03, 4, 1.8),  # far below the others
}
EXPERIMENT = Experiment(
    name="invented",
    hypothesis="At equal CPU time back projection is more accurate than Adam & <others>.",
    baseline="back projection",
    tasks=(MNIST, HIGGS),
    variations=tuple(Variation(name, name.lower().replace(" ", "_")) for name in METHODS),
    seeds=tuple(range(10)),
    trials=4,
)
DIVERGED = (2, 5, 7)  # seeds
ENVIRONMENT = {
    "git": {"commit": "0123456789abcdef", "dirty": True},
    "packages": {"numpy": "2.4.6", "torch": "2.13.0"},
    "thread_pools": [{"internal_api": "openblas", "num_threads": 1}],
    "host": {
        "cpu": "Invented CPU",
        "cores": 2,
        "cores_usable": 2,
        "memory_bytes": 2**33,
        "os": "Linux",
        "python": "3.11.7",
    },
}


def invent(experiment=EXPERIMENT):
    """Return the rows of runs, curves and trials; on MNIST L-BFGS diverges with DIVERGED.

    More than two tasks have the scores of the first two in turn.
    """
    rng = np.random.default_rng(7)
    runs, curves, trials = [], [], []
    for at, task in enumerate(experiment.tasks):
        for variation in experiment.variations:
            known = METHODS.get(variation.name) or METHODS["Adam"]
            for seed in experiment.seeds:
                diverged = variation.name == "L-BFGS" and task is MNIST and seed in DIVERGED
                about = {"task": task.name, "variation": variation.name, "seed": seed}
                epochs = 2 if diverged else known[3]
                own = _curve(rng, about, known[at % 2], known[2], epochs, known[4] / known[3])
                runs.append(_run(rng, about, own[-1], diverged, "auc" in task.metrics))
                curves += own
            trials += _trials(rng, task, variation, experiment.trials, known[at % 2])
    return runs, curves, trials


def _curve(rng, about, score, sd, epochs, seconds):
    shift = rng.normal(0.0, sd)
    rows = []
    for epoch in range(1, epochs + 1):
        left = np.exp(-3.0 * epoch / epochs)
        rows.append(
            about
            | {
                "epoch": epoch,
                "samples": 50_000 * epoch,
                "train_cpu_seconds": seconds * epoch * (1 + (rng.normal(0.0, 0.02) if sd else 0)),
                "train_loss": 2.0 * (1 - score) * (1 + 8 * left) * np.exp(20 * shift),
                "validation_accuracy": score + shift - 0.1 * left,
                "validation_auc": score + shift - 0.1 * left,
                "validation_loss": 3.0 * (1 - score) * (1 + 8 * left) * np.exp(20 * shift),
            }
        )
    return rows


def _run(rng, about, last, diverged, with_auc):
    name, score = about["variation"], last["validation_accuracy"]
    return {
        "tag": f"{TAG}/{about['task'][:5]}_{name}_{about['seed']}".lower().replace(" ", "_"),
        **about,
        "status": "diverged" if diverged else "completed",
        "epochs": last["epoch"],
        "settings": "lr=0.1, batch_size=128",
        "test_accuracy": score if not with_auc else score - 0.06,
        "test_auc": score if with_auc and name != "block coordinate descent" else "",
        "test_loss": last["validation_loss"],
        "validation_accuracy": score,
        "validation_auc": score if with_auc else "",
        "validation_loss": last["validation_loss"],
        "train_accuracy": min(1.0, score + 0.01),
        "train_loss": last["train_loss"],
        "train_cpu_seconds": last["train_cpu_seconds"],
        "train_wall_seconds": 1.1 * last["train_cpu_seconds"],
        "peak_memory_mb": 120.0 + len(name) + rng.normal(0.0, 1.0),
        "error": "epoch 3: the loss is nan" if diverged else "",
    }


def _trials(rng, task, variation, count, score):
    return [
        {
            "task": task.name,
            "variation": variation.name,
            "trial": trial,
            "value": "" if (failed := trial == 3) else score + rng.normal(0.0, 0.01),
            "state": "diverged" if failed else "complete",
            "cpu_seconds": 2.0,
            "epochs": 5,
            "settings": json.dumps({"lr": 0.1 * (trial + 1)}),
        }
        for trial in range(count)
    ]


def write_record(layout, experiment=EXPERIMENT, change=lambda runs: None, tag=TAG):
    """Write the record below `layout`, its runs as `change` leaves them, and return those."""
    folder = layout.record(tag)
    folder.mkdir(parents=True, exist_ok=True)
    runs, curves, trials = invent(experiment)
    change(runs)
    save_csv(folder / "runs.csv", runs)
    save_csv(folder / "curves.csv", curves)
    if trials:
        save_csv(folder / "trials.csv", trials)
    facts = {
        "experiment": asdict(experiment),
        "commands": ["python new_algorithm/compare_methods.py invented"],
        "environment": ENVIRONMENT,
        "methods": {
            variation.method: {
                "name": variation.name,
                "source": "Someone (2019), equation 3",
                "space": {"lr": "log 0.1 to 30", "batch_size": "one of 64, 128, 256"},
            }
            for variation in experiment.variations
        },
    }
    (folder / "experiment.json").write_text(json.dumps(facts), encoding="utf-8")
    return runs


def ablation():
    """The same tasks, all variations of one method."""
    variations = tuple(Variation(name, "back_projection") for name in METHODS)
    return replace(EXPERIMENT, variations=variations, trials=0)
