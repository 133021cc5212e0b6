"""Every learner by the name under which commands and records know it."""

from new_algorithm.gallery.meta_learning.implicit import ImplicitMaml
from new_algorithm.gallery.meta_learning.learners import LayerProblem, Learner, Maml, Reptile
from new_algorithm.gallery.meta_learning.models import Model


def learner_of(
    name: str, model: Model, rate: float, steps: int, proximity: float | None = None
) -> Learner:
    """rate and steps: of a task. proximity: λ of implicit; 10 by default, of classes 50."""
    if name == "implicit":
        return ImplicitMaml(model, proximity or (50.0 if model.classes else 10.0), rate, steps)
    if name == "reptile":
        return Reptile(model, rate, steps)
    if name.endswith("maml"):
        return Maml(model, rate, steps, second_order=name == "maml")
    return LayerProblem(model, rate, warm=steps - 1)
