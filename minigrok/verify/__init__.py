"""Prove what a ReLU network does on a region, or find the input that refutes it.

    certify            the label wins everywhere on a box, a ball, a pattern, or their cut
    certify_disjoint   no input follows two patterns
    largest_eps        the largest ball around an input on which the label is proved
    unit_bounds        between which numbers every unit's pre-activation stays on a box or ball

A cascade answers: linear bounds, a walk over linear regions, linear programs, and a mixed-integer program,
all in HiGHS (`pip install highspy`, or the extra `verify`). Marabou, where it is installed, gives a second
opinion.
"""

from minigrok.verify._certify import (
    Certificate,
    LargestEps,
    certify,
    certify_disjoint,
    largest_eps,
    unit_bounds,
)

__all__ = ["Certificate", "LargestEps", "certify", "certify_disjoint", "largest_eps", "unit_bounds"]
