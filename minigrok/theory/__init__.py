"""Closed forms: what a few models do, worked out on paper, to be held against a simulation.

    linear estimators    marchenko_pastur, marchenko_pastur_edges, linear_losses, linear_accuracy,
                         linear_delay, linear_delay_limit
    a constant label     separable_probability, constant_accuracy, constant_margin, two_point_flow,
                         two_point_limit, two_point_bias
    a local rule         rule_threshold, rule_error, grokking_probability, grokking_time, ball_error,
                         critical_exponent
    ridge regression     effective_rank, ridge_risk, smallest_ridge, best_ridge, ridge_bounds
    random features      features_risk, relu_spectrum
    self-training        selftraining_error, selftraining_cosine, selftraining_limit, selftraining_threshold,
                         mean_selftraining_error, selftraining_gap, gaussian_error
    transport            wasserstein, transport_cost, transport_bound, lipschitz
    against simulation   simultaneous_band

Here are no networks and no training: NumPy arrays and plain numbers go in, float64 comes out. Nothing is
drawn at random. Each docstring derives its formula in a few lines, and says where it holds; a setting for
which there is no answer is refused, with the reason.
"""

from minigrok.theory._bands import Band, simultaneous_band
from minigrok.theory._features import ReluSpectrum, features_risk, relu_spectrum
from minigrok.theory._linear import (
    LinearDelay,
    LinearLosses,
    linear_accuracy,
    linear_delay,
    linear_delay_limit,
    linear_losses,
    marchenko_pastur,
    marchenko_pastur_edges,
)
from minigrok.theory._ridge import (
    RidgeBounds,
    RidgeRisk,
    best_ridge,
    effective_rank,
    ridge_bounds,
    ridge_risk,
    smallest_ridge,
)
from minigrok.theory._rules import (
    RuleTimes,
    ball_error,
    critical_exponent,
    grokking_probability,
    grokking_time,
    rule_error,
    rule_threshold,
)
from minigrok.theory._selftraining import (
    SelfTraining,
    gaussian_error,
    mean_selftraining_error,
    selftraining_cosine,
    selftraining_error,
    selftraining_gap,
    selftraining_limit,
    selftraining_threshold,
)
from minigrok.theory._separability import (
    TwoPoint,
    constant_accuracy,
    constant_margin,
    separable_probability,
    two_point_bias,
    two_point_flow,
    two_point_limit,
)
from minigrok.theory._transport import lipschitz, transport_bound, transport_cost, wasserstein

__all__ = [
    "Band",
    "LinearDelay",
    "LinearLosses",
    "ReluSpectrum",
    "RidgeBounds",
    "RidgeRisk",
    "RuleTimes",
    "SelfTraining",
    "TwoPoint",
    "ball_error",
    "best_ridge",
    "constant_accuracy",
    "constant_margin",
    "critical_exponent",
    "effective_rank",
    "features_risk",
    "gaussian_error",
    "grokking_probability",
    "grokking_time",
    "linear_accuracy",
    "linear_delay",
    "linear_delay_limit",
    "linear_losses",
    "lipschitz",
    "marchenko_pastur",
    "marchenko_pastur_edges",
    "mean_selftraining_error",
    "relu_spectrum",
    "ridge_bounds",
    "ridge_risk",
    "rule_error",
    "rule_threshold",
    "selftraining_cosine",
    "selftraining_error",
    "selftraining_gap",
    "selftraining_limit",
    "selftraining_threshold",
    "separable_probability",
    "simultaneous_band",
    "smallest_ridge",
    "transport_bound",
    "transport_cost",
    "two_point_bias",
    "two_point_flow",
    "two_point_limit",
    "wasserstein",
]
