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

from minigrok.measures._features import PerturbationMeasures as PerturbationMeasures
from minigrok.measures._features import commutativity as commutativity
from minigrok.measures._features import gram as gram
from minigrok.measures._features import matrix_entropy as matrix_entropy
from minigrok.measures._features import mutual_information as mutual_information
from minigrok.measures._features import perturbation_measures as perturbation_measures
from minigrok.measures._features import sparsity as sparsity
from minigrok.measures._lemma import GradientBound as GradientBound
from minigrok.measures._lemma import gradient_bound as gradient_bound
from minigrok.measures._moments import first_reached as first_reached
from minigrok.measures._moments import turn as turn
from minigrok.measures._waves import excluded as excluded
from minigrok.measures._waves import fourier_power as fourier_power
from minigrok.measures._waves import inverse_participation as inverse_participation
from minigrok.measures._waves import key_frequencies as key_frequencies
from minigrok.measures._waves import restricted as restricted
from minigrok.measures._weights import circuit_complexity as circuit_complexity
from minigrok.measures._weights import hessian_trace as hessian_trace
from minigrok.measures._weights import weight_entropy as weight_entropy
from minigrok.measures._weights import weight_norm as weight_norm
