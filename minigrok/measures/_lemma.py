"""The gradient lemma: what a small gradient in the first weights says about the input."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from minigrok._support import check_tensor
from minigrok.networks import _check_model


@dataclass(frozen=True)
class GradientBound:
    """Both sides of the gradient lemma, and what the right one is made of.

    Attributes:
        left: mean over samples of ||df/dx||^2, how fast the output moves with the input.
        weight_gradient: mean over samples of ||df/dW1||^2, how fast it moves with the first layer.
        weight_norm: ||W1||_F.
        smallest_input: min over samples of ||x_i||.
    """

    left: float
    weight_gradient: float
    weight_norm: float
    smallest_input: float

    @property
    def right(self) -> float:
        """What the lemma says `left` cannot exceed."""
        return (self.weight_norm / self.smallest_input) ** 2 * self.weight_gradient


@torch.enable_grad()  # an observation runs without
def gradient_bound(
    model: Callable[[Tensor], Tensor], x: Tensor, *, layer: nn.Linear | None = None
) -> GradientBound:
    """Both sides of the gradient lemma: flat in the first weights is flat in the input, if they are small.

        mean_i ||df/dx (x_i)||^2  <=  ||W1||_F^2 / min_i ||x_i||^2  *  mean_i ||df/dW1 (x_i)||^2

    It holds for every f(x) = g(W1 x + b1), whatever g: with d = dg/dz one has df/dx = W1^T d and
    df/dW1 = d x^T, whose length is ||d|| ||x||. For f with several outputs all three lines hold for each
    output, and ||.||^2 is summed over them: the squared Frobenius norm of the Jacobian.

    Three steps lose something. The two sides are equal if all ||x_i|| are, W1 has rank one, and d lies
    along its left singular vector; so always for one hidden unit and inputs of one length. The bias is not
    part of W1: it moves where the gradients are taken and leaves the lemma as it is.

    df/dx and d come from automatic differentiation, one output at a time, and the length of df/dW1 from d
    and x: the matrix itself is never built.

    Args:
        model: f, a module or a function, x (N, ...) -> (N, ...).
        x: (N, ...), N samples of non-zero length. For a `pair_mlp` that concatenates: `model.embed(x)`,
            with `model.body` as the model. One that adds has no linear layer in front of its units.
        layer: the linear layer that reads x; default: the first `nn.Linear` of the module.

    Returns:
        A `GradientBound`, with .left and .right.

    Raises:
        TypeError: x holds whole numbers, or the model is an `Ensemble`.
        ValueError: the layer does not read x itself (flattened), or reads it more than once; something
            else reads x too; NaN; a sample of length 0; dropout or batch norm in training mode.

    Source: Lemma 3.1 of Tan & Huang 2023 (arXiv 2311.06597), after Ma & Ying 2021. If f fits its targets
    exactly, weight_gradient is at most half the trace of the Hessian of the loss mean_i ||f(x_i) - y_i||^2.

    Example:
        >>> one_unit = nn.Sequential(nn.Linear(2, 1), nn.Tanh(), nn.Linear(1, 1))
        >>> bound = gradient_bound(one_unit, torch.tensor([[0.6, 0.8], [1.0, 0.0]]))
        >>> abs(bound.left / bound.right - 1) < 1e-5  # one unit, inputs of length 1: no loss
        True

    Used in lesson 09.
    """
    if isinstance(model, nn.Module):
        _check_model(model)
    layer = _first_linear(model) if layer is None else layer
    lengths = _lengths(x)
    x = x.detach().requires_grad_()
    outputs, z = _outputs_and_z(model, x, layer)
    by_x = by_weight = 0.0
    for output in outputs.sum(dim=0):  # the sum over samples has for each sample its own gradient
        gradient, d = torch.autograd.grad(output, [x, z], retain_graph=True, materialize_grads=True)
        _check_path(gradient.flatten(1), d @ layer.weight.detach(), layer)
        by_x += gradient.square().sum().item() / len(x)
        by_weight += (d.norm(dim=1) * lengths).square().sum().item() / len(x)
    return GradientBound(by_x, by_weight, layer.weight.norm().item(), lengths.min().item())


def _first_linear(model: Callable) -> nn.Linear:
    parts = model.modules() if isinstance(model, nn.Module) else ()
    first = next((part for part in parts if isinstance(part, nn.Linear)), None)
    if first is None:
        raise ValueError(
            f"found no nn.Linear in {type(model).__name__}: name the layer that reads x, layer=..."
        )
    return first


def _lengths(x: Tensor) -> Tensor:
    check_tensor(x, "a torch tensor of inputs")
    if not x.is_floating_point():
        raise TypeError(f"only real vectors have gradients, got x of {x.dtype}: hand in model.embed(x)")
    lengths = x.detach().flatten(1).norm(dim=1) if x.dim() > 1 and len(x) else torch.zeros(1)
    if not (lengths.isfinite() & (lengths > 0)).all():
        raise ValueError(
            f"expected x (N, ...) with samples of finite length above 0, got shape {tuple(x.shape)} and "
            f"lengths from {lengths.min().item():g} to {lengths.max().item():g}"
        )
    return lengths


def _outputs_and_z(model: Callable, x: Tensor, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """The outputs (N, n_out), and z = W1 x + b1 on the way to them."""
    calls: list[tuple[Tensor, Tensor]] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], z: Tensor) -> Tensor:
        calls.append((inputs[0], z))
        return z.clone()  # a ReLU in place must not change the one that is kept

    hook = layer.register_forward_hook(keep)
    try:
        outputs = model(x)
    finally:
        hook.remove()
    if len(calls) != 1 or not torch.equal(calls[0][0], x.flatten(1)):
        raise ValueError(
            f"the lemma is about a first layer that reads x itself, once; for x {tuple(x.shape)} {layer} was "
            f"called {len(calls)} times, on shapes {[tuple(read.shape) for read, _ in calls[:3]]}. Hand in "
            "what the layer reads as x, the rest of the network as the model, or name another layer."
        )
    if not outputs.isfinite().all():
        raise ValueError("the outputs are NaN or infinite for some samples: no gradient there means anything")
    return outputs.flatten(1), calls[0][1]


def _check_path(gradient: Tensor, through_layer: Tensor, layer: nn.Linear) -> None:
    rounding = math.sqrt(torch.finfo(gradient.dtype).eps) * gradient.abs().max()
    if not torch.allclose(gradient, through_layer, atol=rounding.item()):
        raise ValueError(
            f"the output depends on x not only through {layer}: something else reads x too (a skip "
            "connection?), and the lemma does not hold for such a network"
        )
