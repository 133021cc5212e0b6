"""Runs killed by SIGKILL at random moments and resumed: the uninterrupted run, byte for byte.

python -m pytest tests/test_killed_runs.py --kills 200
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from functools import partial

import pytest

from new_algorithm.record.layout import GROUP_VARIABLE
from tests.real_data import REPOSITORY

MODULE = "new_algorithm.n_layer_relu_data"
GROUP = "killed"  # runs of a group are not drawn, which would take most of the time
SMALL = {"dataset": "synthetic", "test-limit": 200, "num-layers": 3, "hidden-dim": 16}
SMALL |= {"checkpoint-minutes": 0.0008}  # within epochs as well
VARIANTS = {
    "minibatch": {"train-limit": 1200, "batch-size": 8, "epochs": 6},
    "full batch": {"train-limit": 600, "batch-size": "full", "epochs": 60},
    "streamed": {"train-limit": 2500, "batch-size": 20, "epochs": 5, "chunk-rows": 300},
    "two ranks": {"train-limit": 1200, "batch-size": 20, "epochs": 4, "rank-timeout": 60},
}
DONE = "run cut is completed"  # killed on its way out
NOTHING_YET = "there is no checkpoint", "there is no run cut"


@pytest.fixture(scope="module")
def run_job(work_tree):
    """run_job(**job) -> the exit statuses of the job's processes."""
    shutil.copytree(REPOSITORY / "tests", work_tree / "tests", dirs_exist_ok=True)
    zygotes = {}

    def answer(preloaded=(), **job):
        if preloaded not in zygotes:
            zygotes[preloaded] = subprocess.Popen(
                [sys.executable, "-m", "tests.zygote", MODULE, *preloaded],
                cwd=work_tree,
                env=os.environ | {GROUP_VARIABLE: GROUP},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        zygote = zygotes[preloaded]
        zygote.stdin.write(json.dumps(job) + "\n")
        zygote.stdin.flush()
        return json.loads(zygote.stdout.readline())

    yield answer
    for zygote in zygotes.values():
        zygote.stdin.close()
        zygote.wait()
        zygote.stdout.close()


@pytest.fixture
def run_variant(run_job, work_tree, tmp_path):
    """run_variant(name, tag, *flags, killed_after=None, victims=[0]) -> exit statuses, the end of
    the output."""

    def run(name, tag, *flags, killed_after=None, victims=(0,)):
        settings = {"tag": tag} | SMALL | VARIANTS[name]
        arguments = [f"--{flag}={value}" for flag, value in settings.items()]
        size, log = 2 if name == "two ranks" else 1, tmp_path / "log"
        log.unlink(missing_ok=True)
        statuses = run_job(
            preloaded=("torch.distributed",) if size > 1 else (),
            arguments=[*arguments, *flags],
            environments=[environment(rank, size) for rank in range(size)],
            log=str(log),
            killed_after=killed_after,
            victims=list(victims),
        )
        return statuses, log.read_text()[-3000:]

    port = free_port()

    def environment(rank, size):
        if size == 1:
            return {}
        return {
            **{"TORCHELASTIC_RUN_ID": "killed", "RANK": str(rank), "LOCAL_RANK": str(rank)},
            **{"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)},
            **{"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)},
        }

    return run


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def contents(folder):
    """The bytes of all that a run repeats under one seed."""
    files = [*folder.glob("*.npy"), folder / "metrics_log.csv", folder / "weights.npz"]
    return {path.name: path.read_bytes() for path in files if "seconds" not in path.name}


@pytest.mark.parametrize("name", VARIANTS)
def test_run_killed_at_a_random_moment_ends_as_if_it_never_was(name, run_variant, work_tree, kills):
    place, draw = work_tree / "ploting_data" / GROUP, random.Random(name)
    whole, cut = place / f"whole_{name[:3]}", place / "cut"
    ranks = [0, 1] if name == "two ranks" else [0]
    began = time.monotonic()
    statuses, said = run_variant(name, whole.name)
    seconds = time.monotonic() - began
    assert set(statuses) == {0}, said
    expected = contents(whole)
    assert len(expected) > 15
    run = partial(run_variant, name, "cut")
    share = len([kill for kill in range(kills) if list(VARIANTS)[kill % len(VARIANTS)] == name])
    killed = 0
    while killed < share:
        for folder in (cut, work_tree / "figures" / GROUP / "cut"):
            shutil.rmtree(folder, ignore_errors=True)
        victims = draw.choice([ranks, *([rank] for rank in ranks)])
        began = time.monotonic()
        statuses, _ = run(killed_after=draw.uniform(0, seconds), victims=victims)
        if 0 in statuses:  # it was over by then
            seconds = time.monotonic() - began
            continue
        seconds *= 1.05  # as the machine may be slower now
        statuses, said = run("--resume")
        if any(words in said for words in NOTHING_YET):
            statuses, said = run("--overwrite")
        assert set(statuses) == {0} or DONE in said, said
        killed += DONE not in said
        facts = json.loads((cut / "run.json").read_text())
        assert facts["status"] == "completed"
        assert contents(cut) == expected, f"after kill {killed}: {facts.get('resumed_after_epoch')}"
    print(f"{name}: {killed} of {share} killed runs are the uninterrupted one")
