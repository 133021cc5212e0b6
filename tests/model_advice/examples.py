"""For each rule what it warns of, and the same done right: arguments of `advise`."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from tests.model_advice.small_models import (
    BCE,
    CE,
    CLASSES,
    IMAGENET,
    IMAGES,
    MSE,
    NUMBERS,
    ROWS,
    Call,
    NormOfBranch,
    Recurrent,
    WithLayer,
    anchors,
    boxes,
    changed,
    classify,
    cnn,
    dice_and_cross_entropy,
    focal,
    frozen,
    images,
    masks,
    mlp,
    norm_and_dropout,
    pretrained,
    regress,
    scaled,
    segment,
    sgd,
    two_groups,
    with_optimizer,
)

BN, DROP = nn.BatchNorm2d, nn.Dropout
EXAMPLES = {  # name: rule, wrong, right
    "NLL of logits": (
        "loss_wants_other_input",
        lambda: classify(mlp(), nn.NLLLoss()),
        lambda: classify(mlp(nn.LogSoftmax(dim=1)), nn.NLLLoss()),
    ),
    "BCE of logits": (
        "loss_wants_other_input",
        lambda: classify(mlp(outputs=1), nn.BCELoss(), y=(NUMBERS > 0).float()),
        lambda: classify(mlp(nn.Sigmoid(), outputs=1), nn.BCELoss(), y=(NUMBERS > 0).float()),
    ),
    "cross-entropy of one column": (
        "loss_wants_other_input",
        lambda: (
            classify(
                WithLayer(lambda main, other, x: main(x)[:, :1] + other(x)[:, :1]), y=0 * CLASSES
            )
            | {"loss": lambda output, y: F.cross_entropy(output, y) + output.square().mean()}
        ),
        lambda: classify(mlp(outputs=2), y=CLASSES % 2),
    ),
    "squared error of class indices": (
        "loss_fits_task",
        lambda: classify(mlp(), lambda output, y: F.mse_loss(output.argmax(1) + output[:, 0], y)),
        lambda: classify(mlp()),
    ),
    "columns against rows": (
        "targets_are_broadcast",
        lambda: regress(mlp(outputs=1), y=NUMBERS[:, 0]),
        lambda: regress(mlp(nn.Flatten(0), outputs=1), y=NUMBERS[:, 0]),
    ),
    "softmax before cross-entropy": (
        "activation_before_loss",
        lambda: classify(mlp(nn.Softmax(dim=1))),
        lambda: classify(mlp()),
    ),
    "functional softmax before cross-entropy": (
        "activation_before_loss",
        lambda: classify(mlp(Call(lambda x: F.softmax(x, dim=1).view(-1, 4)))),
        lambda: classify(mlp(Call(lambda x: x.view(-1, 4)))),
    ),
    "log-softmax before cross-entropy": (
        "activation_before_loss",
        lambda: classify(mlp(nn.LogSoftmax(dim=1))),
        lambda: classify(mlp(nn.LogSoftmax(dim=1)), F.nll_loss),
    ),
    "softmax inside of one's own loss": (
        "activation_before_loss",
        lambda: classify(mlp(), lambda output, y: F.cross_entropy(output.softmax(1), y)),
        lambda: classify(mlp(), lambda output, y: F.cross_entropy(output, y)),
    ),
    "sigmoid before BCE with logits": (
        "activation_before_loss",
        lambda: classify(mlp(nn.Sigmoid(), outputs=1), BCE, y=(NUMBERS > 0).float()),
        lambda: classify(mlp(outputs=1), BCE, y=(NUMBERS > 0).float()),
    ),
    "layer left out": (
        "gradient_missing",
        lambda: classify(WithLayer(lambda main, other, x: main(x))),
        lambda: classify(WithLayer(lambda main, other, x: main(x) + other(x))),
    ),
    "layer detached": (
        "gradient_missing",
        lambda: classify(WithLayer(lambda main, other, x: main(x) + other(x).detach())),
        lambda: classify(
            changed(
                WithLayer(lambda main, other, x: main(x) + other(x).detach()),
                frozen("other.weight", "other.bias"),
            )
        ),
    ),
    "dead ReLU": (
        "gradient_missing",
        lambda: classify(WithLayer(lambda main, other, x: main(x) + (other(x) - 99).relu())),
        lambda: classify(WithLayer(lambda main, other, x: main(x) + other(x).relu())),
    ),
    "bias that a pair takes away": (
        "gradient_missing",
        lambda: classify(
            WithLayer(lambda main, other, x: main(x) + (other(x) - other(0 * x) - 99).relu())
        ),
        lambda: classify(WithLayer(lambda main, other, x: main(x) + other(x) - other(0 * x))),
    ),
    "head that begins at zero": (
        "gradient_missing",
        lambda: classify(WithLayer(lambda main, other, x: main(x) + 0 * other(x))),
        lambda: classify(changed(mlp(), lambda m: nn.init.zeros_(m[2].weight))),
    ),
    "layer not in the optimizer": (
        "left_out_of_training",
        lambda: with_optimizer(mlp(), lambda m: torch.optim.SGD(m[2].parameters(), 0.1)),
        lambda: with_optimizer(mlp(), sgd()),
    ),
    "optimizer of another model": (
        "left_out_of_training",
        lambda: with_optimizer(mlp(), lambda m: torch.optim.SGD(mlp().parameters(), 0.1)),
        lambda: with_optimizer(mlp(), sgd(momentum=0.9)),
    ),
    "half a layer frozen": (
        "left_out_of_training",
        lambda: classify(changed(mlp(), frozen("0.weight"))),
        lambda: classify(changed(mlp(), frozen("0.weight", "0.bias"))),
    ),
    "squared error of classes": (
        "loss_fits_task",
        lambda: classify(mlp(), MSE, y=F.one_hot(CLASSES, 4).float()),
        lambda: classify(mlp(), y=F.one_hot(CLASSES, 4).float()),
    ),
    "cross-entropy of numbers": (
        "loss_fits_task",
        lambda: regress(mlp(outputs=1), BCE),
        lambda: regress(mlp(outputs=1), nn.SmoothL1Loss()),
    ),
    "cross-entropy of classes that the loss makes of numbers": (
        "loss_fits_task",
        lambda: (
            regress(mlp(), lambda output, y: F.cross_entropy(output, y.softmax(1)))
            | {"y": ROWS[:, :4]}
        ),
        lambda: (
            regress(mlp(), lambda output, y: F.cross_entropy(output, y.argmax(1)))
            | {"y": ROWS[:, :4]}
        ),
    ),
    "cross-entropy of grey pixels": (
        "loss_fits_task",
        lambda: regress(mlp(), BCE, y=ROWS[:, :4]),
        lambda: regress(mlp(), BCE, y=ROWS[:, :4].sigmoid()),
    ),
    "cross-entropy of rare pixels": (
        "loss_fits_task",
        lambda: segment(CE, masks(0.03)),
        lambda: segment(CE, masks(0.3)),
    ),
    "rare among the pixels that count": (
        "loss_fits_task",
        lambda: segment(CE, masks(0.03)),
        lambda: segment(CE, torch.where(torch.arange(64).view(8, 8) < 5, masks(0.4), -100)),
    ),
    "rare pixels with Dice": (
        "loss_fits_task",
        lambda: segment(CE, masks(0.02)),
        lambda: segment(dice_and_cross_entropy, masks(0.02)),
    ),
    "squared error of boxes": (
        "loss_fits_task",
        lambda: boxes(MSE),
        lambda: boxes(nn.SmoothL1Loss()),
    ),
    "rare boxes": ("loss_fits_task", lambda: anchors(BCE), lambda: anchors(focal)),
    "dropout asleep in training": (
        "mode_does_not_fit",
        lambda: classify(mlp(DROP(0.1)).eval()),
        lambda: classify(mlp(DROP(0.1)).train()),
    ),
    "norm asleep in training": (
        "mode_does_not_fit",
        lambda: images(cnn(BN(5).eval())),
        lambda: images(changed(cnn(BN(5).eval()), frozen("1.weight", "1.bias"))),
    ),
    "batch normalisation awake in evaluation": (
        "mode_does_not_fit",
        lambda: images(cnn(BN(5)).train(), training=False),
        lambda: images(cnn(BN(5)).eval(), training=False),
    ),
    "functional dropout": (
        "mode_does_not_fit",
        lambda: classify(mlp(Call(lambda x: F.dropout(x, 0.1)))),
        lambda: classify(mlp(Call(lambda x: F.dropout(x, 0.1, training=False)))),
    ),
    "frozen norm that still counts": (
        "mode_does_not_fit",
        lambda: images(changed(cnn(BN(5)), frozen("1.weight", "1.bias"))),
        lambda: images(cnn(BN(5))),
    ),
    "batch of one": (
        "batch_of_one",
        lambda: images(cnn(BN(5))) | {"x": IMAGES[:1], "y": CLASSES[:1]},
        lambda: images(cnn(nn.GroupNorm(1, 5))) | {"x": IMAGES[:1], "y": CLASSES[:1]},
    ),
    "pretrained on other constants": (
        "normalisation_misfits_weights",
        lambda: pretrained(([0.5] * 3, [0.5] * 3)),
        lambda: pretrained(IMAGENET),
    ),
    "pretrained on normalised images": (
        "normalisation_misfits_weights",
        lambda: pretrained(None, IMAGES.clamp(min=0)),
        lambda: pretrained(None),
    ),
    "images of bytes": (
        "normalisation_misfits_data",
        lambda: images(cnn(nn.Tanh()), clip_norm=1.0) | {"x": (IMAGES.sigmoid() * 255).round()},
        lambda: images(cnn(nn.Tanh()), clip_norm=1.0),
    ),
    "constants of other data": (
        "normalisation_misfits_data",
        lambda: images(cnn(nn.Tanh()), normalisation=IMAGENET) | {"x": IMAGES + 1},
        lambda: images(cnn(nn.Tanh()), normalisation=IMAGENET),
    ),
    "inputs far from 0": ("normalisation_misfits_data", lambda: scaled(1, 5), lambda: scaled(1)),
    "inputs of a tiny scale": (
        "normalisation_misfits_data",
        lambda: scaled(1e-3),
        lambda: classify(nn.Sequential(nn.BatchNorm1d(6), mlp()), x=ROWS * 0.3),
    ),
    "columns of many scales": (
        "normalisation_misfits_data",
        lambda: classify(
            mlp(inputs=60), x=torch.cat([ROWS.repeat(1, 10)[:, :59] * 0.01, NUMBERS * 8], 1)
        ),
        lambda: classify(nn.Sequential(nn.BatchNorm1d(60), mlp(inputs=60)), x=ROWS.repeat(1, 10)),
    ),
    "ReLU on the output": (
        "relu_on_output",
        lambda: regress(mlp(nn.ReLU(), outputs=1)),
        lambda: regress(mlp(nn.Softplus(), outputs=1)),
    ),
    "ReLU on the output of what may be an encoder": (
        "relu_on_output",
        lambda: regress(mlp(nn.ReLU(), outputs=1)),
        lambda: {"model": mlp(nn.ReLU()), "x": ROWS},
    ),
    "functional ReLU on the output": (
        "relu_on_output",
        lambda: regress(mlp(Call(lambda x: F.relu(x).reshape(-1, 1)), outputs=1)),
        lambda: regress(mlp(nn.ReLU(), nn.Linear(1, 1), outputs=1)),
    ),
    "batch normalisation behind dropout": (
        "batch_norm_after_dropout",
        lambda: norm_and_dropout(DROP(0.2), nn.ReLU(), BN(5)),
        lambda: norm_and_dropout(BN(5), nn.ReLU(), DROP(0.2)),
    ),
    "batch normalisation behind dropout and a layer": (
        "batch_norm_after_dropout",
        lambda: norm_and_dropout(DROP(0.2), nn.Conv2d(5, 5, 1, bias=False), BN(5)),
        lambda: norm_and_dropout(DROP(0.2), nn.Conv2d(5, 5, 1), nn.GroupNorm(1, 5)),
    ),
    "dropout that drops nothing": (
        "batch_norm_after_dropout",
        lambda: norm_and_dropout(nn.Dropout2d(0.5), nn.Tanh(), BN(5)),
        lambda: norm_and_dropout(nn.Dropout2d(0.0), nn.Tanh(), BN(5)),
    ),
    "recurrent": (
        "no_clipping",
        lambda: classify(Recurrent()),
        lambda: classify(Recurrent(), clip_norm=1.0),
    ),
    "large norms": (
        "no_clipping",
        lambda: regress(mlp(outputs=1), y=NUMBERS * 3000),
        lambda: regress(mlp(outputs=1)),
    ),
    "one steep part of the batch": (
        "no_clipping",
        lambda: regress(mlp(outputs=1), y=torch.cat([NUMBERS[:31], NUMBERS[31:] * 0 + 60])),
        lambda: regress(
            mlp(outputs=1), nn.HuberLoss(), torch.cat([NUMBERS[:31], NUMBERS[31:] * 0 + 60])
        ),
    ),
    "layers of other scales": (
        "no_clipping",
        lambda: classify(changed(mlp(), lambda m: nn.init.normal_(m[2].weight, std=1e-5))),
        lambda: classify(changed(mlp(), lambda m: nn.init.normal_(m[2].weight, std=1e-1))),
    ),
    "decay of biases": (
        "decay_of_norms_and_biases",
        lambda: with_optimizer(mlp(), sgd(weight_decay=1e-4)),
        lambda: with_optimizer(mlp(), lambda m: two_groups(m, 0.1)),
    ),
    "decay of norms": (
        "decay_of_norms_and_biases",
        lambda: images(model := cnn(BN(5))) | {"optimizer": torch.optim.AdamW(model.parameters())},
        lambda: images(model := cnn(BN(5))) | {"optimizer": two_groups(model, 0.01)},
    ),
    "bias that also goes around the norm": (
        "bias_before_batch_norm",
        lambda: images(NormOfBranch(lambda norm, h: norm(h).relu())),
        lambda: images(NormOfBranch(lambda norm, h: norm(h).relu() + h)),
    ),
    "bias before batch normalisation": (
        "bias_before_batch_norm",
        lambda: images(cnn(BN(5), bias=True)),
        lambda: images(cnn(nn.Tanh(), BN(5), bias=True)),
    ),
}
