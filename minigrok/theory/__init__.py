"""Closed forms: what a few models do, worked out on paper, to be held against a simulation.

    linear estimators    marchenko_pastur, marchenko_pastur_edges, linear_losses, linear_accuracy,
                         linear_delay, linear_delay_limit
    a constant label     separable_probability, constant_accuracy, two_point_flow, two_point_limit,
                         two_point_bias
    a local rule         rule_threshold, rule_error, grokking_probability, grokking_time, ball_error,
                         critical_exponent
    against simulation   simultaneous_band

Here are no networks and no training: NumPy arrays and plain numbers go in, float64 comes out. Nothing is
drawn at random. Each docstring derives its formula in a few lines, and says where it holds; a setting for
which there is no answer is refused, with the reason.
"""

from minigrok.theory._bands import Band, simultaneous_band
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
from minigrok.theory._rules import (
    RuleTimes,
    ball_error,
    critical_exponent,
    grokking_probability,
    grokking_time,
    rule_error,
    rule_threshold,
)
from minigrok.theory._separability import (
    TwoPoint,
    constant_accuracy,
    separable_probability,
    two_point_bias,
    two_point_flow,
    two_point_limit,
)

__all__ = [
    "Band",
    "LinearDelay",
    "LinearLosses",
    "RuleTimes",
    "TwoPoint",
    "ball_error",
    "constant_accuracy",
    "critical_exponent",
    "grokking_probability",
    "grokking_time",
    "linear_accuracy",
    "linear_delay",
    "linear_delay_limit",
    "linear_losses",
    "marchenko_pastur",
    "marchenko_pastur_edges",
    "rule_error",
    "rule_threshold",
    "separable_probability",
    "simultaneous_band",
    "two_point_bias",
    "two_point_flow",
    "two_point_limit",
]
