"""What an attack refuses, before it begins."""

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from minigrok._support import check_tensor, unsettled
from minigrok.training import Ensemble

Bounds = tuple[float, float]

LOSSES = ("margin", "cross_entropy", "dlr", "plain_cross_entropy")


def parts_of(model: Callable) -> Iterator[nn.Module]:
    return model.modules() if isinstance(model, nn.Module) else iter(())


def check_model(model: Callable) -> None:
    if isinstance(model, Ensemble):
        raise TypeError(
            "an Ensemble is many networks, and an attack is on one: loop over ensemble[s] for s in "
            f"range({len(model)})"
        )
    if not callable(model):
        raise TypeError(f"expected a model, x -> logits, got {type(model).__name__}")
    for _, part in unsettled(model):
        raise ValueError(
            f"the model is in training mode and has {type(part).__name__}: its output depends on chance, "
            "on the rest of the batch or on earlier calls. Call model.eval() first."
        )
    for part in parts_of(model):
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ValueError(
                f"{type(part).__name__} without running statistics mixes the samples of a batch in "
                "evaluation mode too: make it with track_running_stats=True"
            )


def check_points(model: Callable, x: Tensor, bounds: Bounds) -> None:
    check_tensor(x, "a torch tensor of inputs")
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"x must be float32 or float64, got {x.dtype}: steps of an attack are too small for less. "
            "Convert x and the model with .float(), pixels of 0 to 255 with x.float() / 255."
        )
    if x.dim() < 2 or not x.numel():
        raise ValueError(f"expected x (N, ...) with at least one sample, got shape {tuple(x.shape)}")
    low, high = bounds
    if not low < high:
        raise ValueError(f"bounds must be (smallest, largest) value of an input, got {bounds}")
    smallest, largest = x.min().item(), x.max().item()
    if not (low <= smallest and largest <= high):
        raise ValueError(
            f"x goes from {smallest:.9g} to {largest:.9g}, outside bounds={bounds}. Bounds and eps are in "
            "units of the input: give the bounds of your data, or attack it before it is normalised."
        )
    weight = next((w for part in parts_of(model) for w in part.parameters() if w.is_floating_point()), None)
    if weight is not None and (weight.dtype != x.dtype or weight.device != x.device):
        raise ValueError(
            f"the model is {weight.dtype} on {weight.device}, and x is {x.dtype} on {x.device}: convert "
            "one of them"
        )


def check_labels(x: Tensor, y: Tensor) -> None:
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        got = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"labels y must be an int64 tensor (N,), got {got}")
    if y.shape != x.shape[:1]:
        raise ValueError(f"expected one label for each of {len(x)} samples, got shape {tuple(y.shape)}")
    if y.device != x.device:
        raise ValueError(f"labels are on {y.device}, and x is on {x.device}: convert one of them")


def check_classes(logits: Tensor, y: Tensor, losses: Sequence[str]) -> None:
    if logits.dim() != 2 or logits.shape[1] < 2:
        raise ValueError(
            f"expected the model to give logits (N, C) of at least two classes, got {tuple(logits.shape)} "
            "for one sample"
        )
    classes = logits.shape[1]
    smallest, largest = y.min().item(), y.max().item()
    if smallest < 0 or largest >= classes:
        raise ValueError(
            f"labels go from {smallest} to {largest}, but the model knows the classes 0 to {classes - 1}"
        )
    if "dlr" in losses and classes < 3:
        raise ValueError("the loss 'dlr' compares three logits, and this model has two: use loss='margin'")


def radii_of(eps: float | Tensor, x: Tensor, norm: str, bounds: Bounds) -> Tensor:
    """One radius for each sample, (N,)."""
    radii = torch.as_tensor(eps, dtype=x.dtype, device=x.device)
    if radii.dim() and radii.shape != x.shape[:1]:
        raise ValueError(
            f"eps must be a number, or one for each of {len(x)} samples, got shape {tuple(radii.shape)}"
        )
    smallest, largest, most = radii.min().item(), radii.max().item(), range_of(x, norm, bounds)
    if not 0 <= smallest <= largest < math.inf:
        raise ValueError(f"eps must be at least 0 and finite, got {eps}")
    if largest > most * (1 + 1e-6):
        raise ValueError(
            f"eps={largest:.4g} is more than the whole range of the input, {most:.4g} for bounds={bounds} "
            f"and norm {norm!r}. eps is in units of the input: 8/255 rather than 8 for pixels in [0, 1]."
        )
    return radii.expand(len(x))


def range_of(x: Tensor, norm: str, bounds: Bounds) -> float:
    """The largest distance two inputs can have."""
    if norm not in ("linf", "l2"):
        raise ValueError(f"norm must be 'linf' or 'l2', got {norm!r}")
    return float(bounds[1] - bounds[0]) * (1.0 if norm == "linf" else math.prod(x.shape[1:]) ** 0.5)


def losses_of(loss: str | Sequence[str]) -> list[str]:
    losses = [loss] if isinstance(loss, str) else list(loss)
    if not losses or not set(losses) <= set(LOSSES):
        raise ValueError(f"loss must be one of {', '.join(map(repr, LOSSES))}, or several; got {loss!r}")
    return losses


def check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if not isinstance(count, Integral) or count < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {count!r}")


def check_step_size(step_size: float | None) -> None:
    if step_size is not None and not 0 < float(step_size) < math.inf:
        raise ValueError(f"step_size must be above 0 and finite, got {step_size}")
