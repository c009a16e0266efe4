"""The model as an attack sees it: logits, and which way a loss grows at the input."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigrok.attacks._checks import (
    Bounds,
    check_classes,
    check_counts,
    check_labels,
    check_model,
    check_points,
    losses_of,
    parts_of,
)

# So many samples are attacked at once; their starts, gradients and points are what an attack keeps in memory.
BLOCK = 1024


# So many images go through a convolutional network at once on a CPU (bench/bench_attacks.py).
_CACHED = 32


class Net:
    """The model as the attacks see it: logits, and the slope of a loss at the input."""

    def __init__(
        self, model: Callable[[Tensor], Tensor], losses: Sequence[str], batch_size: int, channels_last: bool
    ):
        self.model, self.losses, self.loss = model, losses, losses[0]
        self.batch_size, self.channels_last = batch_size, channels_last

    def laid_out(self, x: Tensor) -> Tensor:
        """x with channels last in memory, where convolutions like it better."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last else x

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        return _joined([_finite(self.model(self.laid_out(part))) for part in x.split(self.batch_size)])

    def wrong(self, x: Tensor, y: Tensor) -> Tensor:
        return self.logits(x).max(1).indices != y

    def gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The logits at x, and the loss's gradient there up to a positive factor for each sample."""
        parts = [
            self._gradient(*part)
            for part in zip(x.split(self.batch_size), y.split(self.batch_size), strict=True)
        ]
        logits, gradients = zip(*parts, strict=True)
        return _joined(logits), _joined(gradients)

    def _gradient(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = self.laid_out(x).detach().requires_grad_()
            logits = self.model(x)
        if not logits.requires_grad:
            raise ValueError(
                "no gradient comes through the model to x (detach, inference_mode, or an operation without "
                "derivative such as argmax). Attack it with square, which needs none."
            )
        slope = _slope(_finite(logits.detach()), y, self.loss)
        (gradient,) = torch.autograd.grad(logits, x, slope)
        # The sum is one number to look at; where finite numbers add up to infinity, look at each.
        if not gradient.sum().isfinite() and not gradient.isfinite().all():
            raise ValueError(
                "the model's gradient at the input is NaN or infinite, though its logits are not"
            )
        return logits.detach(), gradient

    def value(self, logits: Tensor, y: Tensor) -> Tensor:
        """The loss of each sample, (N,). It orders points as cross-entropy does, and does not underflow."""
        wrong = logits.masked_fill(F.one_hot(y, logits.shape[1]).bool(), -math.inf)
        right = logits.gather(1, y[:, None])[:, 0]
        if self.loss in ("cross_entropy", "plain_cross_entropy"):
            return wrong.logsumexp(1) - right
        margin = wrong.amax(1) - right
        return margin if self.loss == "margin" else margin / _spread_of_three(logits)


def _slope(logits: Tensor, y: Tensor, loss: str) -> Tensor:
    """The gradient of each sample's loss at its logits, times a positive number, (N, C)."""
    right = F.one_hot(y, logits.shape[1]).to(logits.dtype)
    if loss == "plain_cross_entropy":
        return logits.softmax(1) - right
    wrong = logits.masked_fill(right.bool(), -math.inf)
    if loss == "cross_entropy":  # without the factor 1 - p_y, which float32 rounds to 0
        return wrong.softmax(1) - right
    strongest = wrong.max(1).indices
    margin_slope = F.one_hot(strongest, logits.shape[1]) - right
    if loss == "margin":
        return margin_slope
    # (z_w - z_y) / (z_(1) - z_(3)), times its denominator
    margin = (margin_slope * logits).sum(1)
    first, _, third = logits.topk(3).indices.T
    spread_slope = F.one_hot(first, logits.shape[1]) - F.one_hot(third, logits.shape[1])
    return margin_slope - (margin / _spread_of_three(logits))[:, None] * spread_slope


def _spread_of_three(logits: Tensor) -> Tensor:
    first, _, third = logits.topk(3).values.T
    return (first - third).clamp(min=torch.finfo(logits.dtype).tiny)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _finite(logits: Tensor) -> Tensor:
    if not logits.isfinite().all():
        raise ValueError(
            "the model's logits are NaN or infinite: of such a network nothing can be said. "
            "Did its training diverge?"
        )
    return logits


@contextmanager
def borrowed(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    loss: str | Sequence[str],
    bounds: Bounds,
    batch_size: int | None,
) -> Iterator[Net]:
    """Check all that comes in, and lend the model out with its weights' gradients switched off."""
    losses = losses_of(loss)
    check_counts(batch_size=1 if batch_size is None else batch_size)
    check_model(model)
    check_points(model, x, bounds)
    check_labels(x, y)
    weights = [w for w in model.parameters() if w.requires_grad] if isinstance(model, nn.Module) else []
    try:
        for weight in weights:
            weight.requires_grad_(False)
        convolutions = x.dim() == 4 and any(
            isinstance(part, nn.modules.conv._ConvNd) for part in parts_of(model)
        )
        if batch_size is None:
            batch_size = _CACHED if convolutions and x.device.type == "cpu" else BLOCK
        net = Net(model, losses, batch_size, convolutions)
        check_classes(net.logits(x[:1]), y, losses)
        yield net
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def device_of(generator: torch.Generator | None) -> torch.device | str:
    return "cpu" if generator is None else generator.device
