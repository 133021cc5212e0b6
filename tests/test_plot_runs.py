import signal
import sys
import time

import pytest
from matplotlib.figure import Figure

from new_algorithm.cli.errors import UserError
from new_algorithm.cli.flags import validate_tag
from new_algorithm.plot_runs import _joined, draw
from new_algorithm.record.files import RECORD_FILE, read_record, save_json
from new_algorithm.record.history import History
from new_algorithm.record.layout import Layout
from tests.processes import starting


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Figures are filled, but neither laid out nor rasterised, which takes seconds."""
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **_: file.write(b"drawn"))


@pytest.fixture
def layout(tmp_path):
    """Two runs with epochs, on different held-out sets, one without, and two of an experiment."""
    layout = Layout(tmp_path)
    for tag, held_out in (
        *(("adam", "test"), ("back_projection", "validation"), ("empty", None)),
        *(("leaderboard", None), ("leaderboard/mnist.Adam.0", "test")),
        ("leaderboard/mnist.SGD.0", "test"),
    ):
        layout.record(tag).mkdir(parents=True, exist_ok=True)
        save_json(layout.record(tag) / RECORD_FILE, {"tag": tag, "loss_unit": "nats"})
        history = History(layout.record(tag), "nats")
        for epoch in (1, 2, 3) if held_out else ():
            losses = {"train_loss": 1 / epoch, f"{held_out}_loss": 2 / epoch}
            times = {"train_cpu_seconds": 0.5 * epoch, "train_wall_seconds": 0.6 * epoch}
            norms = {"layer_norms": [1.0, 2.0]}
            history.append(
                {"epoch": epoch, f"{held_out}_accuracy": 0.9, **losses, **times, **norms}
            )
    return layout


def test_one_tag_draws_its_figures_anew_without_training(layout):
    paths = draw(["adam"], None, layout)
    assert layout.figures("adam") / "loss.png" in paths
    assert all(path.exists() for path in paths)


def test_the_note_is_written_again_with_the_figures(layout):
    paths = draw(["adam"], None, layout)
    note = (layout.figures("adam") / "README.md").read_text(encoding="utf-8")
    assert layout.figures("adam") / "README.md" in paths
    assert "![loss](loss.png)" in note
    assert note.count("## Findings") == 1


def test_what_a_run_that_was_killed_at_its_end_has_not_drawn_is_drawn(work_tree, run_script):
    layout = Layout(work_tree)
    script = work_tree / "new_algorithm" / "n_layer_relu_data.py"
    flags = ["--dataset", "synthetic", "--train-limit", "300", "--num-layers", "3"]
    flags += ["--hidden-dim", "8", "--epochs", "1", "--tag", "killed_at_its_end"]
    with starting() as start:
        process = start([sys.executable, str(script), *flags])
        while (read_record(layout.record(flags[-1])) or {}).get("status") != "completed":
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    note = layout.figures(flags[-1]) / "README.md"
    assert not note.exists(), "the figures, which are drawn before it, take longer than this"
    finished = run_script("new_algorithm/plot_runs.py", flags[-1])
    assert finished.returncode == 0, finished.stderr
    assert note.exists()
    assert (note.parent / "loss.png").stat().st_size > 5000
    assert f"[{flags[-1]}]" in (work_tree / "figures" / "local_runs.md").read_text()


def test_an_experiment_is_left_to_its_report(layout):
    save_json(layout.record("leaderboard") / "experiment.json", {})
    with pytest.raises(UserError, match=r"write_report\.py leaderboard"):
        draw(["leaderboard"], None, layout)


def test_several_tags_are_compared_under_a_name_of_their_own(layout):
    assert draw(["adam", "back_projection"], None, layout) == [
        layout.root / "figures" / "adam-back_projection" / "comparison.png"
    ]
    named = draw(["adam", "back_projection"], "both", layout)
    assert named == [layout.root / "figures" / "both" / "comparison.png"]
    assert named[0].exists()


def test_run_of_an_experiment_is_drawn_below_the_experiments_folder(layout):
    paths = draw(["leaderboard/mnist.Adam.0"], None, layout)
    folder = layout.root / "figures" / "leaderboard" / "mnist.Adam.0"
    drawn = {"loss.png", "accuracy.png", "layer_norms.png"}
    assert {path.name for path in paths} == drawn | {"README.md"}
    assert all(path.parent == folder and path.exists() for path in paths)


def test_runs_of_an_experiment_are_overlaid_among_themselves_and_with_others(layout):
    members = ["leaderboard/mnist.Adam.0", "leaderboard/mnist.SGD.0"]
    (path,) = draw([*members, "adam"], None, layout)
    name = "leaderboard_mnist.Adam.0-leaderboard_mnist.SGD.0-adam"
    assert path == layout.root / "figures" / name / "comparison.png"
    assert path.exists()
    (path,) = draw(members, "both", layout)
    assert path == layout.root / "figures" / "both" / "comparison.png"


def test_long_joined_names_of_members_are_safe_and_differ(layout):
    member = "leaderboard/mnist.Adam.0"
    joined = [_joined([member, f"{'x' * 60}.{seed}"]) for seed in (0, 1)]
    assert joined[0] != joined[1]
    for name in joined:
        validate_tag(name)


def test_runs_of_experiments_are_never_listed_as_newest(layout):
    for seed in range(30):
        folder = layout.record(f"leaderboard/mnist.Muon.{seed}")
        folder.mkdir()
        save_json(folder / RECORD_FILE, {})
    for tags in (["zzz"], ["zzz/zzz"], []):
        with pytest.raises(UserError, match="the newest are") as refusal:
            draw(tags, None, layout)
        newest = str(refusal.value).partition("the newest are ")[2].split(", ")
        assert sorted(newest) == ["adam", "back_projection", "empty", "leaderboard"]


def test_without_other_runs_those_of_experiments_are_listed_and_few_of_them(layout):
    for path in layout.records.glob("*/run.json"):
        path.unlink()
    with pytest.raises(UserError, match=r"the newest are leaderboard/mnist\.\w+\.0, leader"):
        draw(["zzz"], None, layout)


@pytest.mark.parametrize(
    ("tags", "name", "message"),
    [
        (["leaderboard/mnist.Adm.0"], None, "did you mean leaderboard/mnist.Adam.0"),
        (["leaderboard/../adam"], None, "holds no run 'leaderboard/../adam'"),
        (["../ploting_data/adam"], None, "holds no run"),
        (["leaderboard"], None, "run leaderboard has recorded no epoch"),
        (["adam"], "leaderboard", "is the tag of a run"),
        (["adm"], None, "holds no run 'adm': did you mean adam"),
        (["zzz"], None, "holds no run 'zzz': the newest are"),
        ([], None, "name at least one run"),
        (["empty"], None, "recorded no epoch"),
        (["adam", "empty"], None, "run empty has recorded no epoch"),
        (["adam"], "back_projection", "is the tag of a run"),
        (["adam"], "../x", "--output-name"),
    ],
)
def test_mistakes_are_named(layout, tags, name, message):
    with pytest.raises(UserError, match=message):
        draw(tags, name, layout)


def test_without_any_record_it_says_so(tmp_path):
    with pytest.raises(UserError, match="holds no run: run one of the training scripts"):
        draw(["x"], None, Layout(tmp_path))


def test_a_link_in_the_place_of_the_figures_is_left_alone(layout, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    layout.figures("x").parent.mkdir(exist_ok=True)
    layout.figures("x").symlink_to(elsewhere)
    with pytest.raises(UserError, match="figures/x is a symbolic link"):
        draw(["adam", "back_projection"], "x", layout)
    assert not list(elsewhere.iterdir())
