"""Records that are damaged, of another version or hostile: read, gone on from, or refused."""

import copy
import io
import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from datasets import load_dataset
from datasets.new_rows import open_new_rows
from new_algorithm import n_layer_relu_data as script
from new_algorithm import plot_runs
from new_algorithm.analysis.subject import read_subject
from new_algorithm.cli.errors import DivergedError, UserError
from new_algorithm.cli.ranks import Ranks
from new_algorithm.experiments.record_tables import read_experiment
from new_algorithm.experiments.report import write_report
from new_algorithm.experiments.search import search
from new_algorithm.plots import run_figures, style
from new_algorithm.prediction.predictions import predict
from new_algorithm.prediction.trained_network import trained_network
from new_algorithm.record.checkpoint import LATEST
from new_algorithm.record.kept_run import find_run
from new_algorithm.record.layout import Layout
from new_algorithm.record.run import Run
from tests.experiments import invented_record
from tests.experiments.test_search import SPACE, hill
from tests.fuzz.damage import altered, as_json, damaged, quick, slow, sound_or_refused

TAGS = "sound", "other"
PARTS = (b"nan", b"-", b"9" * 30, b",", b"\n", b'"', b"\xff", b"")


@pytest.fixture(scope="module")
def sound(folder):
    """The root of two equal runs on a small file."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 3))
    np.savez(folder / "rows.npz", x=x, y=(x[:, 0] > 0).astype(int))
    for tag in TAGS:
        train(folder, folder / "rows.npz", tag=tag, epochs=2)
    return folder


def train(root, rows, **flags):
    data = load_dataset(str(rows), held_out="validation")
    known = {"dataset": str(rows), "num_layers": 3, "hidden_dim": 4, "batch_size": 16}
    config = script.Config(**known, held_out="validation", **flags)
    config = script.in_force(config, len(data.x_train))
    with Run.open(
        script=Path(script.__file__),
        config=config,
        data=data.provenance(),
        root=root,
        resume=config.resume,
    ) as run:
        script.train_and_record(config, data, None, run, Ranks())


def of(root, name, tag="sound"):
    return root / "ploting_data" / tag / name


@pytest.fixture
def spoilt(sound):
    """spoilt(name, content): the run's file, which is as it was afterwards."""
    kept = {}

    def spoil(name, content):
        path = of(sound, name)
        kept.setdefault(path, path.read_bytes())
        path.write_bytes(content)

    yield spoil
    for path, content in kept.items():
        path.write_bytes(content)


def read_by_all(root):
    """What reads the record of a run, but for what draws it."""
    layout = Layout(root)
    records = root / "ploting_data"
    drawn(root, "sound")
    with sound_or_refused(records):
        network, _ = trained_network(find_run("sound", layout), None)
        new = open_new_rows(root / "rows.npz", network.preprocessing, network.answer.columns)
        predict(network, new, root / "predicted.csv")
    with sound_or_refused(records):
        trained_network(find_run("sound", layout), "last")
    with sound_or_refused(records):
        read_subject("sound", layout)


def drawn(root, *tags):
    with sound_or_refused(root / "ploting_data"):
        plot_runs.draw([*tags], None if len(tags) == 1 else "both", Layout(root))


@pytest.fixture
def sketched(monkeypatch):
    """Figures are filled, and not made into pictures, which takes long."""

    def fill(draw, size=None):
        draw(Figure())
        return b""

    monkeypatch.setattr(run_figures, "draw", fill)
    monkeypatch.setattr(style, "draw", fill)


@quick
@given(data=st.data())
def test_run_json(sound, spoilt, sketched, data):
    facts = json.loads(of(sound, "run.json", "other").read_bytes()) | {"tag": "sound"}
    spoilt("run.json", data.draw(altered(facts).map(as_json) | damaged(as_json(facts))))
    read_by_all(sound)


@slow
@given(data=st.data())
def test_run_json_drawn(sound, spoilt, data):
    facts = json.loads(of(sound, "run.json", "other").read_bytes())
    spoilt("run.json", data.draw(altered(facts).map(as_json)))
    drawn(sound, "sound")
    drawn(sound, *TAGS)


SERIES = ("epoch", "train_loss", "layer_norms", "validation_accuracy", "train_cpu_seconds")
# fmt: off
shapes = st.sampled_from(((), (0,), (1,), (2,), (3,), (2, 3), (2, 0), (3, 3), (0, 3), (2, 2, 2)))
# fmt: on
arrays = st.builds(
    lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
    *(shapes, st.sampled_from(("f8", "f4", "i8", "u1", "?", "U3", "c16", "M8[s]"))),
    st.sampled_from((0, 1, 3, 200)),
)


def as_npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(**kept):
    file = io.BytesIO()
    np.savez(file, **kept)
    return file.getvalue()


@st.composite
def of_floats(draw):
    shape = draw(st.sampled_from(((2,), (2, 3))))
    count = int(np.prod(shape))
    numbers = st.sampled_from((np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-320, 1e308, 1.0, 2.0))
    return np.reshape(draw(st.lists(numbers, min_size=count, max_size=count)), shape)


npy_files = (
    (arrays | of_floats()).map(as_npy)
    | damaged(as_npy(np.arange(1.0, 3.0)), (b"'", b"(", b",", b"<f8", b"PK\x03\x04"))
    | damaged(as_npy(np.zeros((2, 3))))
)


@quick
@given(st.sampled_from(SERIES), npy_files)
def test_npy(sound, spoilt, sketched, name, content):
    spoilt(f"{name}.npy", content)
    drawn(sound, "sound")
    drawn(sound, *TAGS)
    spoilt(f"{name}.npy", of(sound, f"{name}.npy", "other").read_bytes())


@slow
@given(st.sampled_from(SERIES), npy_files)
def test_npy_drawn(sound, spoilt, name, content):
    spoilt(f"{name}.npy", content)
    drawn(sound, "sound")
    drawn(sound, *TAGS)
    spoilt(f"{name}.npy", of(sound, f"{name}.npy", "other").read_bytes())


@st.composite
def other_archives(draw, content):
    """A sound archive with arrays of other types, shapes or names in it, or less of them."""
    with np.load(io.BytesIO(content)) as file:
        kept = dict(file)
    for name in draw(st.sets(st.sampled_from(sorted(kept)), min_size=1, max_size=2)):
        kind = draw(st.sampled_from(("array", "drop", "rename", "part", "type", "values")))
        if kind == "array":
            kept[name] = draw(arrays)
        elif kind == "part":
            kept[name] = np.atleast_1d(kept[name])[1:]
        elif kind == "type":
            kept[name] = kept[name].astype(draw(st.sampled_from(("f2", "i8", "f8", "?"))))
        elif kind == "values":
            kept[name] = np.full_like(kept[name], draw(st.sampled_from((0, 1, 77))))
        else:
            array = kept.pop(name)
            kept |= {"x": array} if kind == "rename" else {}
    return archive(**kept)


@quick
@given(data=st.data())
def test_weights(sound, spoilt, sketched, data):
    name = data.draw(st.sampled_from(("weights.npz", "best_weights.npz", "snapshots/1.npz")))
    content = of(sound, name, "other").read_bytes()
    spoilt(name, data.draw(damaged(content) | other_archives(content)))
    read_by_all(sound)
    spoilt(name, content)


@st.composite
def checkpoints(draw, content):
    """Damaged; with other arrays; or with other facts."""
    kind = draw(st.sampled_from(("damaged", "arrays", "facts", "facts")))
    if kind == "damaged":
        return draw(damaged(content))
    if kind == "arrays":
        return draw(other_archives(content))
    with np.load(io.BytesIO(content)) as file:
        kept = dict(file)
    facts = draw(altered(json.loads(kept["facts"].tobytes())))
    return archive(**kept | {"facts": np.frombuffer(as_json(facts), np.uint8)})


@slow
@given(data=st.data())
def test_checkpoint(sound, data, tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoint")
    shutil.copytree(sound / "ploting_data" / "other", root / "ploting_data" / "other")
    latest = of(root, LATEST, "other")
    latest.write_bytes(data.draw(checkpoints(latest.read_bytes())))
    with sound_or_refused(), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("new_algorithm.record.figures.draw_run", lambda *_: [])
        with suppress(DivergedError):
            train(root, sound / "rows.npz", tag="other", epochs=3, resume=True)
    shutil.rmtree(root)


@pytest.mark.parametrize("iteration", [None, np.array("8"), np.array("2001", "M8[s]")])
def test_checkpoints_that_were_found(sound, tmp_path, iteration):
    shutil.copytree(of(sound, ".", "other"), of(tmp_path, ".", "other"))
    latest = of(tmp_path, LATEST, "other")
    with np.load(latest) as file:
        kept = dict(file)
    kept["optimizer/iteration"] = iteration
    latest.write_bytes(archive(**{n: array for n, array in kept.items() if array is not None}))
    with pytest.raises(UserError, match="iteration is"):
        train(tmp_path, sound / "rows.npz", tag="other", epochs=3, resume=True)


@pytest.fixture(scope="module")
def searched(folder):
    path = folder / "search" / "search.json"
    path.parent.mkdir()
    list(search(path, SPACE, 3, 0, hill))
    return path, json.loads(path.read_bytes())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda facts: facts | {"trials": {}},
        lambda facts: facts | {"trials": "x"},
        lambda facts: facts | {"trials": facts["trials"] + ["x"]},
        lambda facts: facts | {"trials": [{**facts["trials"][0], "drawn": {"lr": 1e9}}]},
        lambda facts: facts | {"trials": [{**facts["trials"][0], "row": {"value": 1.0}}]},
        lambda facts: facts | {"trials": [{**facts["trials"][0], "more": "\ud800"}]},
    ],
)
def test_searches_that_were_found(searched, spoil):
    path, facts = searched
    path.write_bytes(as_json(spoil(copy.deepcopy(facts))))
    with sound_or_refused():
        list(search(path, SPACE, 4, 0, hill))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: as_npy(np.zeros(3)),  # no archive
        lambda content: content[:30] + b"\x63" + content[31:],
        lambda content: archive(layer_1=np.zeros(4), layer_2=np.zeros((5, 4))),
        lambda content: archive(layer_1=np.zeros((4, 4)), layer_2=np.zeros((9, 1))),
        lambda content: archive(layer_1=np.full((4, 4), "x"), layer_2=np.zeros((5, 1))),
    ],
)
def test_weights_that_were_found(sound, spoilt, spoil):
    spoilt("best_weights.npz", spoil(of(sound, "best_weights.npz").read_bytes()))
    with pytest.raises(UserError, match="sound"):
        trained_network(find_run("sound", Layout(sound)), "best")


@pytest.mark.parametrize(
    "content", [b"PK\x05\x06" + bytes(18), b"\x93NUMPY\x01\x00\x02\x00{(", b""]
)
def test_arrays_that_were_found(sound, spoilt, content):
    spoilt("train_loss.npy", content)
    with pytest.raises(UserError, match=r"train_loss\.npy is not a sound array"):
        plot_runs.draw(["sound"], None, Layout(sound))


@quick
@given(data=st.data())
def test_search(searched, data):
    path, facts = searched
    path.write_bytes(data.draw(altered(facts).map(as_json) | damaged(as_json(facts))))
    with sound_or_refused():
        list(search(path, SPACE, 4, 0, hill))


@pytest.fixture(scope="module")
def experiment(folder):
    layout = Layout(folder / "experiment")
    small = replace(invented_record.EXPERIMENT, seeds=(0, 1))
    invented_record.write_record(layout, small)
    record = layout.record(invented_record.TAG)
    return layout, {path.name: path.read_bytes() for path in record.iterdir()}


def spoil_experiment(experiment, data):
    layout, files = experiment
    name = data.draw(st.sampled_from(sorted(files)))
    for other, content in files.items():
        (layout.record(invented_record.TAG) / other).write_bytes(content)
    changes = damaged(files[name], PARTS)
    if name.endswith(".json"):
        changes |= altered(json.loads(files[name])).map(as_json)
    (layout.record(invented_record.TAG) / name).write_bytes(data.draw(changes))
    return layout


@quick
@given(data=st.data())
def test_experiment(experiment, data):
    layout = spoil_experiment(experiment, data)
    with sound_or_refused(layout.records):
        read_experiment(invented_record.TAG, layout)


@slow
@given(data=st.data())
def test_report(experiment, data):
    layout = spoil_experiment(experiment, data)
    with sound_or_refused(layout.records):
        write_report(invented_record.TAG, layout)
