"""Every method by the name under which definitions and commands know it."""

from new_algorithm.methods import (
    adam,
    adaptive_momentum,
    back_projection,
    block_coordinate_descent,
    foof,
    gradient_descent,
    kfac,
    lbfgs,
    predictive_coding,
    prox_prop,
    scalable_admm,
    scikit_learn,
)
from new_algorithm.methods.method import Method

METHODS: dict[str, Method] = {
    "back_projection": back_projection.METHOD,
    "back_projection_preset": back_projection.PRESET,
    "sgd": gradient_descent.SGD,
    "momentum": gradient_descent.MOMENTUM,
    "adam": gradient_descent.ADAM,
    "numpy_adam": adam.METHOD,
    "adaptive_momentum": adaptive_momentum.METHOD,
    "adaptive_momentum_sketch": adaptive_momentum.SKETCH,
    "soap": gradient_descent.SOAP,
    "shampoo": gradient_descent.SHAMPOO,
    "muon": gradient_descent.MUON,
    "adamw": gradient_descent.ADAMW,
    "back_projection_torch": gradient_descent.BACK_PROJECTION,
    "lbfgs": lbfgs.METHOD,
    "foof": foof.METHOD,
    "kfac": kfac.METHOD,
    "predictive_coding": predictive_coding.METHOD,
    "prox_prop": prox_prop.METHOD,
    "block_coordinate_descent": block_coordinate_descent.METHOD,
    "scalable_admm": scalable_admm.METHOD,
    "logistic_regression": scikit_learn.LOGISTIC_REGRESSION,
    "gradient_boosting": scikit_learn.GRADIENT_BOOSTING,
}
