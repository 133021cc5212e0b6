"""What the part on the landscape finds on a small subject."""

import dataclasses

import numpy as np
import pytest

from new_algorithm.analysis import landscape
from new_algorithm.analysis.findings import Settings
from new_algorithm.analysis.subject import outputs_of
from tests.analysis.subjects import relu_subject
from tests.analysis.test_matching import shuffled, with_parameters


@pytest.fixture(scope="module")
def found():
    """Beside a copy with its hidden units in another order."""
    landscape_of, other = relu_subject(epochs=3), relu_subject(epochs=3)
    with_parameters(other.network, shuffled(other.network, 0)[0])
    other = dataclasses.replace(other, tag="copy")
    return landscape_of, landscape.analyse(landscape_of, Settings(40, 0, other))


def rows(findings, name):
    return next(one.rows for one in findings.tables if one.name == name)


def test_planes_go_through_the_end_and_around_the_path(found):
    subject, findings = found
    x, y = subject.rows("train", 40, 0)
    end = float(subject.objective(outputs_of(subject.network, x), y))
    plane = {(row["a"], row["b"]): row for row in rows(findings, "landscape_random")}
    assert len(plane) == landscape.SIDE**2
    assert plane[0.0, 0.0]["train_loss"] == pytest.approx(end)
    path, around = rows(findings, "path"), rows(findings, "landscape_path")
    assert [row["epoch"] for row in path] == [0, 1, 2, 3]
    assert path[-1]["train_loss"] == pytest.approx(end)
    assert path[-1]["off_plane"] == 0
    for name in "ab":
        values = [row[name] for row in path]
        assert min(row[name] for row in around) < min(values)
        assert max(row[name] for row in around) > max(values)
    for row, (_, network) in zip(path, subject.over_time(), strict=True):
        square = sum(
            float((p - q).detach().square().sum())
            for p, q in zip(network.parameters(), subject.network.parameters(), strict=True)
        )
        assert row["a"] ** 2 + row["b"] ** 2 + row["off_plane"] ** 2 == pytest.approx(square)


def test_a_copy_in_another_order_is_the_same_network_once_it_is_matched(found):
    _, findings = found
    losses = {"to copy": [], "to copy, units matched": []}
    for row in rows(findings, "slices"):
        losses.setdefault(row["line"], []).append(row["train_loss"])
    assert list(losses) == ["to copy", "to copy, units matched", "start to end"]
    plain, same = losses["to copy"], losses["to copy, units matched"]
    assert plain[-1] == pytest.approx(plain[0])
    assert np.ptp(plain) > 1e-3
    np.testing.assert_allclose(same, plain[0])
    assert rows(findings, "barriers")[-1]["train_loss"] == pytest.approx(0, abs=1e-12)
    assert findings.sentences[-1] == (
        "On the line to copy, units matched the train loss has no barrier."
    )


def test_what_cannot_be_drawn_is_told():
    subject = relu_subject(epochs=2)
    short = dataclasses.replace(subject, snapshots={2: subject.snapshots[2]})
    other = dataclasses.replace(relu_subject(widths=(6,)), tag="wider")
    findings = landscape.analyse(short, Settings(20, 0, other))
    assert [one.name for one in findings.tables] == ["landscape_random"]
    assert "The path has 1 of the 3 snapshots that a plane needs: it is not drawn." in (
        findings.sentences
    )
    assert findings.sentences[-1] == "drawn and wider have different layers: no line joins them."
