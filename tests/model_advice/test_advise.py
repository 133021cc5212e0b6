"""What advice leaves untouched, what it cannot see, and models in which nothing is wrong."""

import copy
import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

from new_algorithm.model_advice import Note, Suggestion, advise
from new_algorithm.model_advice.recommendations import PARTS, recommendations_text, recommended
from new_algorithm.model_advice.targets import TASKS, draw_targets, inferred_task
from tests.model_advice.small_models import CE, CLASSES, IMAGES, ROWS, Call, mlp


class Unsteady(nn.Module):
    """Changes its input in place, draws from all generators, and counts its batches."""

    def __init__(self):
        super().__init__()
        self.norm, self.layer, self.drop = nn.BatchNorm1d(6), nn.Linear(6, 4), nn.Dropout(0.5)
        self.seen = 0

    def forward(self, x):
        self.seen += 1
        x += random.random() + np.random.rand()
        return self.drop(self.layer(self.norm(x)))


def bits(model):
    return {name: one.clone() for name, one in model.state_dict().items()}


@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_changed(training):
    torch.manual_seed(0)
    model, calls = Unsteady().train(training), []
    model.layer.register_forward_hook(lambda *_: calls.append(1))
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    CE(model(ROWS.clone()), CLASSES).backward()
    x, y = ROWS.clone().requires_grad_(), CLASSES.clone()
    gradients = [one.grad.clone() for one in model.parameters()]
    before, modes, settings = (
        bits(model),
        [m.training for m in model.modules()],
        copy.deepcopy(optimizer.state_dict()),
    )
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    calls.clear()

    def loss(output, target):  # holds the model itself, not the copy that runs
        return CE(output, target) + 1e-3 * sum(p.square().sum() for p in model.parameters())

    assert advise(model, x, y, loss=loss, optimizer=optimizer)

    assert all(torch.equal(one, before[name]) for name, one in bits(model).items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert [m.training for m in model.modules()] == modes
    assert optimizer.state_dict() == settings
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert random.getstate() == generators[1]
    assert np.random.get_state()[1].tolist() == generators[2]
    assert torch.equal(x.detach(), ROWS)
    assert torch.equal(y, CLASSES)
    assert x.grad is None
    assert model.seen == 1
    assert calls == []
    assert len(model.layer._forward_hooks) == 1
    assert not model.norm._forward_hooks


class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)

    def forward(self, x):
        raise ValueError("not today")


class Locked(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.lock = nn.Linear(6, 4), threading.Lock()

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize(
    ("model", "loss", "words"),
    [
        (Failing(), CE, "The forward pass fails, so that little was seen: ValueError: not today"),
        (Locked(), CE, "The model cannot be copied"),
        (mlp(), lambda output, y: output, "The loss is no single number"),
        (mlp(), lambda output, y: CE(output, y[:3]), "The loss fails on this batch"),
        (mlp(Call(lambda x: {"logits": x})), CE, "this batch; it must take a dict: TypeError"),
        (mlp(), lambda output, y: output.detach().sum(), "depends on no parameter"),
    ],
)
def test_what_cannot_be_seen_is_told_and_settings_are_looked_at_all_the_same(model, loss, words):
    optimizer = torch.optim.SGD(model.parameters(), 0.1, weight_decay=0.1)
    advice = advise(model, ROWS, CLASSES, loss=loss, optimizer=optimizer)
    assert "decay_of_norms_and_biases" in [getattr(one, "rule", "") for one in advice]
    assert any(words in " ".join(str(one).split()) for one in advice if isinstance(one, Note))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_model_is_looked_into_and_a_scripted_one_is_said_not_to_be():
    wrong = mlp(nn.Softmax(dim=1))
    (one,) = advise(torch.compile(wrong), ROWS, CLASSES, loss=CE)
    assert one.rule == "activation_before_loss"
    (one,) = advise(torch.jit.trace(wrong, ROWS), ROWS, CLASSES, loss=CE)
    assert one == Note("What torch.jit has compiled cannot be looked into.")


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x, mask):
            return {"logits": self.layer(x * mask), "mask": mask}

    torch.manual_seed(0)
    inputs = ROWS, torch.ones_like(ROWS)
    assert advise(Two(), inputs, CLASSES, loss=lambda out, y: CE(out["logits"], y)) == []


class Block(nn.Module):
    """He et al. 2016, figure 2, whose last norm begins at 0 (Goyal et al. 2017, section 5.1)."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x):
        return (x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))).relu()


def residual_network():
    return nn.Sequential(
        *[nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), Block(8), Block(8)],
        *[nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 4)],
    )


def transformer():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    patches = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Flatten(2))
    return nn.Sequential(
        patches, nn.Linear(4, 8), nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(64, 4)
    )


@pytest.mark.parametrize("make", [residual_network, transformer])
def test_sound_networks_draw_nothing(make):
    torch.manual_seed(0)
    assert advise(make(), IMAGES, CLASSES[:16], loss=CE) == []


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_networks_of_torchvision_draw_what_is_true_of_them_alone(name):
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another torch
        pytest.skip(f"torchvision does not import: {error}")
    torch.manual_seed(0)
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32, "num_classes": 4}
    model = (
        models.resnet18(num_classes=4)
        if name == "resnet18"
        else models.VisionTransformer(32, 8, **sizes)
    )
    x = torch.randn(8, 3, 32, 32)
    assert advise(model, x, CLASSES[:8], loss=CE) == []
    decayed = torch.optim.AdamW(model.parameters())
    (one,) = advise(model, x, CLASSES[:8], loss=CE, optimizer=decayed)
    assert one.rule == "decay_of_norms_and_biases"


PIXELS, COLUMN = torch.zeros(2, 5, 4, 4), torch.zeros(3, 1)


@pytest.mark.parametrize(
    ("task", "y", "output"),
    [
        ("classification", torch.tensor([0, 4, 2]), torch.zeros(3, 5)),
        ("classification", torch.eye(3), torch.zeros(3, 3)),
        ("classification", torch.tensor([[0.0], [1], [1]]), COLUMN),
        ("classification", torch.tensor([0, 1, 1]), COLUMN),
        ("regression", torch.tensor([17, 4, 56]), COLUMN),
        ("regression", torch.tensor([[0.5], [-1], [2]]), COLUMN),
        ("segmentation", torch.zeros(2, 4, 4, dtype=torch.long), PIXELS),
        ("segmentation", torch.ones(2, 1, 4, 4), PIXELS[:, :1]),
        ("detection", [{"boxes": torch.zeros(0, 4)}], None),
        (None, torch.tensor([[1.0, 1, 0], [0, 0, 0]]), torch.zeros(2, 3)),
        (None, None, COLUMN),
    ],
)
def test_targets_tell_the_task(task, y, output):
    assert inferred_task(y, output) == task


@pytest.mark.parametrize("loss", [CE, nn.BCEWithLogitsLoss(), nn.MSELoss(), nn.functional.nll_loss])
@pytest.mark.parametrize("shape", [(3, 5), (2, 5, 4, 4)])
def test_drawn_targets_are_such_as_the_loss_takes(loss, shape):
    torch.manual_seed(0)
    output = torch.randn(shape)
    assert torch.isfinite(loss(output, draw_targets(output, None, loss)))


def test_every_task_has_recommendations_with_sources():
    for task in TASKS:
        for part in PARTS:
            for one in recommended(task, part):
                assert one.name
                assert one.when
                assert any(year.strip("();,").isdigit() for year in one.source.split()), one
        assert recommended(task, "losses")[0].source in " ".join(recommendations_text(task).split())


def test_printed_advice_stays_within_the_page():
    for one in advise(mlp(nn.Softmax(dim=1)), ROWS, CLASSES, loss=CE):
        assert isinstance(one, Suggestion)
        assert max(map(len, str(one).splitlines())) <= 100
