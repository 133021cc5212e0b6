"""The part as a whole: rows for every block, in agreement with each other, and sentences."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from new_algorithm.analysis.curvature import analyse
from new_algorithm.analysis.findings import Settings
from tests.analysis.subjects import relu_subject

SETTINGS = Settings(rows=40, seed=0)


def tables(found):
    return {table.name: table.rows for table in found.tables}


@pytest.mark.parametrize("name", ["synthetic", "spirals", "regression"])
def test_blocks_add_up_and_lie_below_the_whole_and_sentences_tell_of_them(name):
    found = analyse(relu_subject(name, widths=(4, 3)), SETTINGS)
    rows = tables(found)["curvature"]
    whole = [row for row in rows if row["block"] == "all"]
    blocks = [row for row in rows if row["block"] != "all"]
    assert [row["block"] for row in blocks] == ["layer 1", "layer 2", "layer 3"]
    known = sum(row["trace"] for row in blocks)  # exact, as all of so few parameters are
    bars = [max(6 * row["trace_error"], 1e-9 * known) for row in whole]
    for row, bar in zip(whole, bars, strict=True):
        assert row["trace"] == pytest.approx(known, abs=bar)
    # Cauchy: eigenvalues of a block lie between the whole's
    assert max(row["largest"] for row in blocks) <= whole[0]["largest"] * (1 + 1e-9)
    assert len(found.sentences) >= 5
    steps = tables(found)["decreases"]
    assert {row["layers"] for row in steps} == {"all", "layer 1", "layer 2", "layer 3"}
    small = steps[0]
    assert small["actual"] == pytest.approx(small["slope"], rel=0.02)
    for row in tables(found)["beliefs"]:
        assert 0 <= row["overlap"] <= 1 + 1e-9


def test_findings_are_the_same_again_and_leave_torchs_generator_alone():
    subject = relu_subject("spirals", widths=(3,))
    torch.manual_seed(5)
    first = analyse(subject, SETTINGS)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.rand(1) == drawn
    assert tables(analyse(subject, SETTINGS))["density"] == tables(first)["density"]


class Attention(nn.Module):
    """Channels (n, c, d) attend to each other: torch's fast kernels have no derivative forwards."""

    def forward(self, x):
        heads = x[:, None]
        return x + nn.functional.scaled_dot_product_attention(heads, heads, heads)[:, 0]


def test_of_another_network_each_layer_has_both_blocks_and_there_is_no_belief():
    subject = relu_subject()
    torch.manual_seed(0)
    below = nn.Unflatten(1, (1, 20)), nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), Attention()
    network = nn.Sequential(*below, nn.ReLU(), nn.Flatten(), nn.Linear(36, 4)).double().eval()
    found = analyse(replace(subject, network=network), SETTINGS)
    rows = tables(found)["curvature"]
    named = [(row["block"], row["matrix"]) for row in rows]
    assert named[2:] == [(n, m) for n in ("1", "6") for m in ("Gauss–Newton", "Hessian")]
    assert "beliefs" not in tables(found)
    assert "On 2 train rows" in found.sentences[0]  # a twentieth
    assert all(math.isfinite(row["trace"]) for row in rows)
