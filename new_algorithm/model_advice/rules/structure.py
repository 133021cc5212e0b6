"""Rules on the order of layers."""

from collections.abc import Iterator

from new_algorithm.model_advice.examined import Examined
from new_algorithm.model_advice.kinds import NORMS
from new_algorithm.model_advice.suggestion import Suggestion, some


def batch_norm_after_dropout(seen: Examined) -> Iterator[Suggestion]:
    """A dropout whose result reaches a batch normalisation with no other norm in between.

    Dropout of rate p scales what it keeps by 1/(1 − p): an input of mean 0 and variance v has
    variance v/(1 − p) in training, and v in evaluation.
    """
    trace = seen.trace
    pairs = [
        (trace.operations[start].name, trace.operations[end].name)
        for start in trace.of_kind("dropout")
        for end in trace.first_downstream(start, NORMS)
        if trace.operations[end].kind == "batch_norm"
    ]
    if pairs:
        yield Suggestion(
            where=some(sorted({norm for _, norm in pairs})),
            seen="batch normalisation behind dropout: "
            + some([f"{norm} behind {dropout}" for dropout, norm in pairs]),
            why="dropout raises the variance in training alone, by up to 1/(1 − p); the running "
            "variance keeps that, and is wrong in evaluation, where nothing is dropped",
            instead="drop only behind the last batch normalisation, or take layer normalisation, "
            "which keeps no statistics",
            source="Li et al. 2019, Understanding the disharmony between dropout and batch "
            "normalization by variance shift",
        )


def bias_before_batch_norm(seen: Examined) -> Iterator[Suggestion]:
    """Biases that a batch normalisation subtracts again; where nothing else takes the result."""
    trace, found = seen.trace, {}
    for index in trace.of_kind("weighted"):
        layer, next_ones = trace.operations[index], trace.consumers(index)
        norms = [trace.operations[i] for i in next_ones if trace.operations[i].kind == "batch_norm"]
        has_bias = getattr(layer.module, "bias", None) is not None
        if has_bias and norms and len(norms) == len(next_ones) and index not in trace.outputs:
            found[f"{layer.name}.bias" if layer.name else "bias"] = norms[0].name
    if found:
        yield Suggestion(
            where=some(list(found)),
            seen="a bias directly before batch normalisation: "
            + some([f"{bias} before {norm}" for bias, norm in found.items()]),
            why="the normalisation subtracts the mean, the bias included: it has no effect and no "
            "gradient but rounding, and costs memory",
            instead="bias=False in these layers; the normalisation has a shift of its own",
            source="Ioffe & Szegedy 2015, Batch normalization, section 3.2",
        )


def relu_on_output(seen: Examined) -> Iterator[Suggestion]:
    if seen.settings.loss is None and seen.task is None:
        return  # the outputs may be features for another model
    for index in seen.trace.outputs:
        last = seen.trace.source(index)
        if last is not None and last.kind == "relu":
            yield Suggestion(
                where=last.place,
                seen="a ReLU makes the output",
                why="outputs cannot be negative, and where the ReLU is closed there is no gradient "
                "to open it: such a unit may stay at 0 for ever",
                instead="end with a linear layer; softplus or exp where targets are positive",
                source="Goodfellow, Bengio & Courville 2016, Deep learning, section 6.2.2: "
                "output units",
            )
