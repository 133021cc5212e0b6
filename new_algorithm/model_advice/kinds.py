"""What a module or a function does, in the few words that rules ask for."""

from typing import Any

from torch import nn
from torch.nn.modules import batchnorm, conv, dropout, instancenorm, loss, rnn

CONVOLUTION = conv._ConvNd  # transposed ones as well
BATCH_NORM = batchnorm._BatchNorm
WEIGHTS_FIRST = ("weighted", "recurrent", "attention", "embedding")  # kinds that hold matrices
NORMS = ("batch_norm", "norm")

MODULES: tuple[tuple[str, tuple[type[nn.Module], ...]], ...] = (
    ("weighted", (nn.Linear, nn.Bilinear, CONVOLUTION)),
    ("recurrent", (rnn.RNNBase, rnn.RNNCellBase)),
    ("attention", (nn.MultiheadAttention,)),
    ("embedding", (nn.Embedding, nn.EmbeddingBag)),
    ("norm", (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, instancenorm._InstanceNorm)),
    ("batch_norm", (BATCH_NORM,)),
    ("dropout", (dropout._DropoutNd,)),
    ("softmax", (nn.Softmax, nn.Softmax2d)),
    ("log_softmax", (nn.LogSoftmax,)),
    ("sigmoid", (nn.Sigmoid,)),
    ("relu", (nn.ReLU, nn.ReLU6)),
    ("shape", (nn.Flatten, nn.Unflatten, nn.Identity)),
)

FUNCTIONS = {
    "weighted": "linear bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d "
    "conv_transpose3d matmul mm bmm addmm einsum",
    "attention": "scaled_dot_product_attention multi_head_attention_forward",
    "embedding": "embedding embedding_bag",
    "norm": "layer_norm group_norm rms_norm instance_norm",
    "batch_norm": "batch_norm",
    "dropout": "dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "sigmoid": "sigmoid",
    "relu": "relu relu6",
    "shape": "view reshape flatten unflatten permute transpose swapaxes movedim squeeze unsqueeze "
    "contiguous getitem get t expand clone to float double half long int bool type "
    "view_as reshape_as",
    "cross_entropy": "cross_entropy",
    "nll": "nll_loss",
    "bce": "binary_cross_entropy",
    "bce_logits": "binary_cross_entropy_with_logits",
    "distance": "mse_loss l1_loss smooth_l1_loss huber_loss",  # between numbers, not classes
}
_KIND_OF_FUNCTION = {name: kind for kind, names in FUNCTIONS.items() for name in names.split()}


def kind_of_module(module: nn.Module) -> str | None:
    """The kind of a module that is one operation, or None for one to look inside of."""
    for kind, classes in MODULES:
        if isinstance(module, classes):
            idle = isinstance(module, dropout._DropoutNd) and module.p == 0
            return "other" if idle else kind
    if isinstance(module, loss._Loss) or any(module.children()):
        return None
    return "other" if type(module).__module__.startswith("torch.nn.modules") else None


def kind_of_function(name: str, args: tuple, kwargs: dict[str, Any]) -> str:
    """The kind of a function of torch, `relu_` and `Tensor.relu` as `relu`.

    A dropout that drops nothing is of kind "other". All dropouts of torch.nn.functional take
    (input, p = 0.5, training = True, inplace).
    """
    kind = _KIND_OF_FUNCTION.get(name.strip("_"), "other")
    if kind == "dropout":
        rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
        training = kwargs.get("training", args[2] if len(args) > 2 else True)
        return kind if rate > 0 and training else "other"
    return kind
