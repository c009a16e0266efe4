"""The networks of the course, as plain `torch.nn` modules."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn


def mlp(
    widths: Sequence[int],
    *,
    activation: Callable[[], nn.Module] = nn.ReLU,
    bias: bool = True,
    generator: torch.Generator | None = None,
    scale: float = 1.0,
) -> nn.Sequential:
    """A multilayer perceptron: affine layers with an activation after each but the last.

        h_0 = x,   h_l = activation(W_l h_{l-1} + b_l),   output = W_L h_{L-1} + b_L

    Args:
        widths: [n_in, width of each hidden layer ..., n_out], at least two numbers.
        activation: makes the module after each hidden layer, such as `nn.ReLU` (without brackets).
        bias: False leaves every b_l out.
        generator: where the weights are drawn from; None is torch's own generator. With one given, torch's
            own is neither read nor moved.
        scale: multiplies every weight *and* every bias after the draw, as in the code of Omnigrok
            (Liu et al. 2022, arXiv 2210.01117), where "initialisation x 8" is `scale=8`. A ReLU network
            without biases and with L layers then has outputs scale^L times as large.

    Returns:
        `nn.Sequential` of `nn.Linear` and activations, (N, n_in) -> (N, n_out). The weights follow
        PyTorch's law: uniform between -1/sqrt(fan in) and 1/sqrt(fan in), biases too. A seed gives the
        same numbers here as `torch.manual_seed` gives to the same layers made by hand.

    Example:
        >>> mlp([2, 16, 16, 3], generator=torch.Generator().manual_seed(0))
        Sequential(
          (0): Linear(in_features=2, out_features=16, bias=True)
          (1): ReLU()
          (2): Linear(in_features=16, out_features=16, bias=True)
          (3): ReLU()
          (4): Linear(in_features=16, out_features=3, bias=True)
        )

    Used in lessons 01 to 03.
    """
    _check(widths, activation, scale)
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [_linear(n_in, n_out, bias, generator, scale), activation()]
    return nn.Sequential(*layers[:-1])


def _linear(n_in: int, n_out: int, bias: bool, generator: torch.Generator | None, scale: float) -> nn.Linear:
    # nn.Linear draws from torch's own generator as it is made: make it without, then draw by the same law.
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out, bias=bias)
    nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)  # the bound is 1/sqrt(n_in)
    if bias:
        nn.init.uniform_(layer.bias, -1 / math.sqrt(n_in), 1 / math.sqrt(n_in), generator=generator)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter *= scale
    return layer


def _check(widths: Sequence[int], activation: Callable[[], nn.Module], scale: float) -> None:
    if len(widths) < 2 or not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(
            f"widths must be at least two positive numbers, [n_in, hidden ..., n_out]; got {list(widths)}. "
            "For one hidden layer of 16 units from 2 inputs to 3 outputs write [2, 16, 3]."
        )
    if isinstance(activation, nn.Module):
        raise TypeError(
            f"activation must be a class or function that makes a module, got the module {activation}. "
            f"Write nn.{type(activation).__name__} without brackets, or lambda: {activation}."
        )
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be a finite number above 0 (1 is PyTorch's law), got {scale}")
