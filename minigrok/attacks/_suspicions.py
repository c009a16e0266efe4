"""Is the attack to blame? Attacks that fail for different reasons, side by side."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from minigrok._support import with_float64
from minigrok.attacks._attacks import pgd, square
from minigrok.attacks._checks import Bounds, range_of
from minigrok.attacks._net import borrowed, device_of
from minigrok.attacks._robustness import right_at


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found: accuracies under attacks that fail for different reasons.

    Attributes:
        eps: the radius of all attacks but `huge_eps`.
        clean: accuracy without attack.
        plain_float32: accuracy under PGD with cross-entropy as commonly written, in the precision of x.
        plain_float64: the same in float64, from the same starts.
        cross_entropy: accuracy under PGD with the cross-entropy's exact slope at the logits.
        margin: accuracy under PGD with the margin loss.
        random_search: accuracy under `square`, which uses no gradient.
        transfer: accuracy on adversarial examples made for another network; None without one.
        together: the share of samples that are right and survive every attack above.
        huge_eps: accuracy under PGD with the margin loss and eps the whole range, where every image is
            within reach: of another class too. It should be about 0.
        zero_gradients: share of samples at which the input gradient of the cross-entropy is exactly 0.
        largest_logit: max |logit| over samples and classes.
        suspicions: sentences on what does not fit; an empty list proves nothing.
    """

    eps: float
    clean: float
    plain_float32: float
    plain_float64: float
    cross_entropy: float
    margin: float
    random_search: float
    transfer: float | None
    together: float
    huge_eps: float
    zero_gradients: float
    largest_logit: float
    suspicions: list[str] = field(default_factory=list)


def diagnose(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    eps: float,
    *,
    norm: str = "linf",
    steps: int = 20,
    queries: int = 500,
    tolerance: float = 0.05,
    transfer_from: Callable[[Tensor], Tensor] | None = None,
    bounds: Bounds = (0.0, 1.0),
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Diagnosis:
    """Ask whether a network is robust, or only hard to attack: does its gradient lead anywhere?

    Logits of hundreds make the softmax exactly one-hot in float32, so that the cross-entropy has no gradient
    left; the margin loss, the exact slope or float64 still find a way. A network that is flat (rounded
    inputs, dead units) has no gradient under any loss; random search and examples from another network need
    none. Each comparison that says so becomes one sentence of `suspicions`.

    Args:
        model, x, y, eps, norm, bounds, batch_size: as for `pgd`.
        steps: of every gradient attack.
        queries: steps of the random search. For norm "l2" it searches the cube inside the ball, which is
            a small part of it.
        tolerance: differences of accuracy up to this size raise no suspicion.
        transfer_from: another network for the same task, such as one trained from another seed.
        generator: draws all starts (default: torch's own generator).

    Returns:
        A `Diagnosis`.

    Raises: as for `pgd`.

    Source: the checks of Athalye, Carlini & Wagner 2018 (arXiv 1802.00420), section 3.1, and of Carlini et
    al. 2019 (arXiv 1902.06705).

    Example:
        >>> from minigrok import models
        >>> model = models.mlp([4, 16, 3], generator=torch.Generator().manual_seed(0))
        >>> x = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
        >>> y = model(x).argmax(1)
        >>> for weight in model[2].parameters():
        ...     _ = weight.data.mul_(1e4)  # the same decisions, with logits of thousands
        >>> report = diagnose(model, x, y, 0.2, generator=torch.Generator().manual_seed(0))
        >>> report.zero_gradients > 0.8, report.plain_float32 > report.margin + 0.3
        (True, True)
        >>> print(report.suspicions[0])  # doctest: +ELLIPSIS
        The cross-entropy's gradient is exactly 0 at ... % of the samples: ...

    Used in lesson 08.
    """
    seed = int(torch.randint(2**62, (), generator=generator, device=device_of(generator)))
    options = {"norm": norm, "bounds": bounds, "batch_size": batch_size, "steps": steps}

    def survivors(network: Callable, points: Tensor, radius: float = eps, **more: Any) -> Tensor:
        draw = torch.Generator(points.device).manual_seed(seed)  # all from the same starts
        return ~pgd(
            network, points, y.to(points.device), radius, generator=draw, **options | more
        ).success.to(x.device)

    right = right_at(model, x, y, options)
    left = {
        "plain_float32": survivors(model, x, loss="plain_cross_entropy"),
        "plain_float64": survivors(*_in_float64(model, x), loss="plain_cross_entropy"),
        "cross_entropy": survivors(model, x, loss="cross_entropy"),
        "margin": survivors(model, x),
        "random_search": _survive_search(model, x, y, eps, queries, seed, options),
    }
    if transfer_from is not None:
        draw = torch.Generator(x.device).manual_seed(seed)
        made = pgd(transfer_from, x, y, eps, early_stop=False, generator=draw, **options)
        left["transfer"] = right & right_at(model, made.x_adv, y, options)
    shares = {name: survived.float().mean().item() for name, survived in left.items()}
    with borrowed(model, x, y, "margin", bounds, batch_size) as net:
        largest = net.logits(x).abs().max().item()
    found = Diagnosis(
        eps=eps,
        clean=right.float().mean().item(),
        **{"transfer": None} | shares,
        together=torch.stack(list(left.values())).all(0).float().mean().item(),
        huge_eps=survivors(model, x, range_of(x, norm, bounds)).float().mean().item(),
        zero_gradients=zero_gradient_share(model, x, y, batch_size=batch_size).item(),
        largest_logit=largest,
    )
    found.suspicions.extend(_suspicions(found, tolerance))
    return found


def zero_gradient_share(
    model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, *, batch_size: int | None = None
) -> Tensor:
    """The share of samples at which the input gradient of the cross-entropy is exactly 0, in every number.

    The cross-entropy is `F.cross_entropy`, in the precision of x. At these samples an attack that follows it
    stands still, however far from robust the network is.

    Args:
        model, x, y: as for `pgd`; x of any range.

    Returns:
        () float32.

    Example:
        >>> sure = nn.Linear(1, 2)
        >>> _ = sure.weight.data.copy_(torch.tensor([[1000.0], [0.0]])), sure.bias.data.zero_()
        >>> zero_gradient_share(sure, torch.tensor([[0.01], [0.5]]), torch.tensor([0, 0]))
        tensor(0.5000)

    Used in lesson 08, and in the recordings of lessons 10 and 11.
    """
    with borrowed(model, x, y, "plain_cross_entropy", (-math.inf, math.inf), batch_size) as net:
        gradient = net.gradient(x, y)[1]
        return (gradient == 0).flatten(1).all(1).float().mean()


def _in_float64(model: Callable, x: Tensor) -> tuple[Callable, Tensor]:
    model = with_float64(model)
    if not isinstance(model, nn.Module):
        return model, x.double()
    copied = copy.deepcopy(model).double()
    weight = next(copied.parameters(), None)
    return copied, x.to(x.device if weight is None else weight.device, torch.float64)


def _survive_search(
    model: Callable, x: Tensor, y: Tensor, eps: float, queries: int, seed: int, options: dict[str, Any]
) -> Tensor:
    radius = eps if options["norm"] == "linf" else eps / math.prod(x.shape[1:]) ** 0.5
    draw = torch.Generator(x.device).manual_seed(seed)
    known = {name: options[name] for name in ("bounds", "batch_size")}
    return ~square(model, x, y, radius, steps=queries, generator=draw, **known).success


def _suspicions(found: Diagnosis, tolerance: float) -> list[str]:
    def beaten(weak: float, strong: float | None) -> bool:
        return strong is not None and weak > strong + tolerance

    said = []
    if found.zero_gradients > tolerance:
        said.append(
            f"The cross-entropy's gradient is exactly 0 at {100 * found.zero_gradients:.1f} % of the "
            f"samples: attacks that follow it stand still there (largest logit: {found.largest_logit:.3g})."
        )
    if beaten(found.plain_float32, found.plain_float64):
        said.append(
            f"The same attack in float64 lowers the accuracy from {found.plain_float32:.3f} to "
            f"{found.plain_float64:.3f}: rounding protects the network, not robustness."
        )
    if beaten(found.plain_float32, min(found.margin, found.cross_entropy)):
        said.append(
            f"Plain cross-entropy leaves {found.plain_float32:.3f}, the margin loss {found.margin:.3f} and "
            f"the exact slope of cross-entropy {found.cross_entropy:.3f}: the usual attack is too weak here."
        )
    if beaten(min(found.margin, found.cross_entropy), found.random_search):
        said.append(
            f"Random search, which uses no gradient, leaves {found.random_search:.3f}, less than the "
            f"gradient attacks ({min(found.margin, found.cross_entropy):.3f}): the gradient misleads them."
        )
    if beaten(min(found.margin, found.cross_entropy), found.transfer):
        said.append(
            f"Examples made for another network leave {found.transfer:.3f}, less than those made for this "
            f"one ({min(found.margin, found.cross_entropy):.3f}): its own gradient misleads the attack."
        )
    if found.huge_eps > tolerance:
        said.append(
            f"With every image within reach the accuracy is still {found.huge_eps:.3f} instead of 0: the "
            "attack does not find what is surely there."
        )
    return said
