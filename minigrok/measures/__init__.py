"""Progress measures: one number for a network at one moment, to be followed through a run.

    size and sharpness     weight_norm, weight_entropy, hessian_trace
    robustness             gradient_bound, circuit_complexity
    waves on Z_p           fourier_power, inverse_participation, key_frequencies, restricted, excluded
    symmetry               commutativity
    spread of features     gram, matrix_entropy, mutual_information, perturbation_measures, sparsity
    when it happened       first_reached, turn

A measure looks and changes nothing: neither weights, nor gradients, nor the model's mode. Where a function
takes a model or its outputs, it takes a `training.Ensemble` of S networks too and then returns (S,) numbers.
"""

from minigrok.measures._features import (
    PerturbationMeasures,
    commutativity,
    gram,
    matrix_entropy,
    mutual_information,
    perturbation_measures,
    sparsity,
)
from minigrok.measures._lemma import GradientBound, gradient_bound
from minigrok.measures._moments import first_reached, turn
from minigrok.measures._waves import (
    excluded,
    fourier_power,
    inverse_participation,
    key_frequencies,
    restricted,
)
from minigrok.measures._weights import circuit_complexity, hessian_trace, weight_entropy, weight_norm

__all__ = [
    "GradientBound",
    "PerturbationMeasures",
    "circuit_complexity",
    "commutativity",
    "excluded",
    "first_reached",
    "fourier_power",
    "gradient_bound",
    "gram",
    "hessian_trace",
    "inverse_participation",
    "key_frequencies",
    "matrix_entropy",
    "mutual_information",
    "perturbation_measures",
    "restricted",
    "sparsity",
    "turn",
    "weight_entropy",
    "weight_norm",
]
