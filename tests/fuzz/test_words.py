"""What a user types: tags, flags, what a search varies, definitions of experiments."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from new_algorithm import n_layer_relu_data
from new_algorithm.experiments.definition import FOLDER, experiment_from, load_experiment
from new_algorithm.experiments.flag_space import parse_space
from new_algorithm.record.layout import Layout
from new_algorithm.record.reservation import check_tag
from tests.fuzz.damage import altered, damaged, quick, sound_or_refused

DEFINITION = b"""hypothesis = "h"
baseline = "Adam"
methods = ["adam", "sgd"]
trials = 2
seeds = 3
[tasks."MNIST, 2 x 64"]
dataset = "mnist"
widths = "2 x 64"
metrics = ["accuracy", "auc"]
cpu_seconds = 2.0
[variations."slow"]
method = "adam"
settings = { lr = 1e-3, batch_size = 128 }
searched = false
"""
ENTRIES = {
    "hypothesis": "h",
    "baseline": "Adam",
    "methods": ["adam", "sgd"],
    "components_of": "back_projection",
    "trials": 2,
    "seeds": [0, 1],
    "lambda_map": "map",
    "caveats": ["c"],
    "paper": {"citation": "c", "source": "s", "value": 0.5, "tolerance": 0.1, "deviations": ["d"]},
    "tasks": {
        "a": {"dataset": "mnist", "widths": [4], "metrics": ["auc"], "epochs": 1, "train_limit": 9},
        "b": {"dataset": "higgs", "widths": "2 × 8", "cpu_seconds": 1.5},
        "c": {"model": "cnn", "epochs": 3, "parts": 4},
    },
    "variations": {"x": {"method": "adam", "settings": {"lr": 0.1}, "searched": False}},
}
OF_SCRIPTS = {
    "hypothesis": "h",
    "baseline": "m",
    "ablation": True,
    "seeds": 2,
    "tasks": {
        "t": {"script": "new_algorithm/attention.py", "flags": ["--a", "b"], "metrics": ["loss"]}
    },
    "variations": {"m": {"flags": ["--x"]}, "n": {"flags": [], "vary": ["inner-rate=1e-3..1e-1"]}},
}
WORDS = (
    b"[",
    b"]",
    b"=",
    b'"',
    b"[tasks]",
    b"nan",
    b"1e400",
    b"-",
    b"0x9",
    b"\xff",
    b"99999999999999",
)


@quick
@given(damaged(DEFINITION, WORDS))
def test_definition_file(folder, content):
    path = folder / "own.toml"
    path.write_bytes(content)
    with sound_or_refused(folder):
        load_experiment(str(path))


@quick
@given(altered(ENTRIES) | altered(OF_SCRIPTS))
def test_definition_entries(entries):
    with sound_or_refused():
        experiment_from("own", entries)


@quick
@given(st.text(max_size=60))
def test_definition_name(name):
    with sound_or_refused(FOLDER):
        load_experiment(name)


@quick
@given(st.text(max_size=120) | st.text("aZ0_.-/ \0é", max_size=8))
def test_tag(folder, tag):
    layout = Layout(folder)
    (folder / "ploting_data" / "taken").mkdir(parents=True, exist_ok=True)
    (folder / "ploting_data" / "taken" / "run.json").write_text("{}")
    for overwrite in (False, True):
        with sound_or_refused(folder):
            check_tag(tag, overwrite, layout)
            assert (folder / "ploting_data" / tag).resolve().parent == folder / "ploting_data"


ODD_WORDS = st.sampled_from(
    ("", "-1", "0", "1", "2", "1e999", "nan", "inf", "1_0", "\uff11", "full", "None", "True", "-",
     "--", "1.5", "9" * 30, "=", "a=b", "é", "\0", "synthetic", "deep", "0.5", "1,2", "validation")
)  # fmt: skip
FLAGS = (
    "--seed", "--threads", "--tag", "--overwrite", "--dataset", "--target", "--task", "--missing",
    "--drop", "--preset", "--widths", "--num-layers", "--hidden-dim", "--epochs", "--batch-size",
    "--train-limit", "--lambda-w-layers", "--lambda-h-layers", "--step-size", "--momentum",
    "--solver", "--chunk-rows", "--held-out", "--resume", "--check", "--verbose", "--data-dir",
    "--checkpoint-minutes", "--track", "--unknown",
)  # fmt: skip


@quick
@given(st.lists(st.sampled_from(FLAGS) | ODD_WORDS | st.text(max_size=4), max_size=7))
def test_flags(folder, given_words):
    with pytest.MonkeyPatch.context() as monkeypatch, sound_or_refused(folder):
        monkeypatch.setattr(sys, "argv", ["n_layer_relu_data.py", *given_words])
        status = 0
        try:
            n_layer_relu_data.read_config()
        except SystemExit as end:
            status = end.code
        assert status in (0, 2)


pieces = st.lists(
    st.sampled_from(
        ("lr", "=", "1e-3", "..", ",", "on", "off", "0", "nan", "inf", "1e999", " ", "-", "9" * 400)
    ),
    max_size=6,
)


@quick
@given(st.lists(pieces.map("".join) | st.text(max_size=12), max_size=3))
def test_what_a_search_varies(texts):
    with sound_or_refused():
        parse_space(texts)
