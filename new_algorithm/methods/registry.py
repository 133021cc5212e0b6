"""Every method by the name of its file. A new one is imported and listed here, and no more."""

from new_algorithm.methods import (
    adam,
    back_projection,
    back_projection_preset,
    block_coordinate_descent,
    foof,
    lbfgs,
    momentum,
    muon,
    prox_prop,
    scalable_admm,
    sgd,
    soap,
)
from new_algorithm.methods.method import Method

METHODS: dict[str, Method] = {
    module.__name__.rpartition(".")[2]: module.METHOD
    for module in (
        back_projection,
        back_projection_preset,
        sgd,
        momentum,
        adam,
        soap,
        muon,
        lbfgs,
        foof,
        prox_prop,
        block_coordinate_descent,
        scalable_admm,
    )
}
