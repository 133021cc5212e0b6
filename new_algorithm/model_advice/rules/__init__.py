"""Each rule is a function of an `Examined` that yields suggestions; RULES has the worst first."""

from collections.abc import Callable, Iterator

from new_algorithm.model_advice.examined import Examined
from new_algorithm.model_advice.rules import inputs, losses, structure, training
from new_algorithm.model_advice.suggestion import Suggestion

RULES: tuple[Callable[[Examined], Iterator[Suggestion]], ...] = (
    losses.loss_wants_other_input,
    losses.targets_are_broadcast,
    losses.activation_before_loss,
    training.gradient_missing,
    training.left_out_of_training,
    losses.loss_fits_task,
    training.mode_does_not_fit,
    training.batch_of_one,
    inputs.normalisation_misfits_weights,
    inputs.normalisation_misfits_data,
    structure.relu_on_output,
    structure.batch_norm_after_dropout,
    training.no_clipping,
    training.decay_of_norms_and_biases,
    structure.bias_before_batch_norm,
)
