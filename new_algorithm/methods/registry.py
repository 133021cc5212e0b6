"""Every method by the name under which definitions and commands know it."""

from new_algorithm.methods import (
    adam,
    back_projection,
    block_coordinate_descent,
    foof,
    lbfgs,
    momentum,
    muon,
    prox_prop,
    references,
    scalable_admm,
    sgd,
    soap,
)
from new_algorithm.methods.method import Method

METHODS: dict[str, Method] = {
    "back_projection": back_projection.METHOD,
    "back_projection_preset": back_projection.PRESET,
    "sgd": sgd.METHOD,
    "momentum": momentum.METHOD,
    "adam": adam.METHOD,
    "soap": soap.METHOD,
    "muon": muon.METHOD,
    "lbfgs": lbfgs.METHOD,
    "foof": foof.METHOD,
    "prox_prop": prox_prop.METHOD,
    "block_coordinate_descent": block_coordinate_descent.METHOD,
    "scalable_admm": scalable_admm.METHOD,
    "logistic_regression": references.LOGISTIC_REGRESSION,
    "gradient_boosting": references.GRADIENT_BOOSTING,
}
