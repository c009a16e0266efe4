"""What the weights tell: their size, how sharp the loss is in them, how far answers hang on each."""

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from minigrok._support import to_float64, unsettled
from minigrok.training import Ensemble


@torch.no_grad()
def weight_norm(model: nn.Module) -> Tensor:
    """The length of a network's weights, taken together as one long vector.

        ||theta||_2 = sqrt(sum of the squares of all parameters), biases included

    A tensor that a network uses in two places counts once.

    Returns:
        (), or (S,) for an `Ensemble`; NaN for a network with NaN among its weights.

    Example:
        >>> layer = nn.Linear(1, 2)
        >>> _ = layer.weight.data.fill_(1.0), layer.bias.data.copy_(torch.tensor([1.0, 1.0]))
        >>> weight_norm(layer)
        tensor(2.)

    Used in lessons 07, 09, 10, 14 and 16, and in the recording of lesson 11.
    """
    squares = sum(p.square().reshape(_count(model), -1).sum(dim=1) for p in _parameters(model))
    return _one_or_each(squares.sqrt(), model)


@torch.no_grad()
def weight_entropy(model: nn.Module) -> Tensor:
    """Absolute weight entropy: how large a network's weights are, and over how many of them the size spreads.

        H = -sum of |w| log |w| over all parameters, biases included ,      0 log 0 = 0
          = L (E - log L)        with L = sum of |w|, E the entropy of the shares |w| / L

    The second line says what is measured. The |w| do not add up to 1, so H is no entropy of a distribution:
    it is the entropy of their shares times their total, and a change of scale alone moves it,
    H(c w) = c H(w) - c L log c. A weight adds most at |w| = 1/e = 0.37, nothing at 0 and at 1, and takes away
    above 1: for weights below 0.37, H falls with the weights as `weight_norm` does, and for large ones it
    rises as they fall.

    The paper writes W for the weights and says nothing of biases; here every parameter counts, as in
    `weight_norm`, and a tensor that a network uses in two places counts once.

    Returns:
        (), or (S,) for an `Ensemble`, natural logarithm; NaN for a network with NaN among its weights.

    Raises:
        TypeError: not a module.
        ValueError: no parameters.

    Source: Golechha 2024 (arXiv 2405.12755), "absolute weight entropy".

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.5, -0.5], [0.0, 1.0]]))
        >>> weight_entropy(layer)  # twice (log 2)/2
        tensor(0.6931)

    Used in lesson 16.
    """
    sizes = [p.abs().reshape(_count(model), -1) for p in _parameters(model)]
    return _one_or_each(-sum(torch.xlogy(size, size).sum(dim=1) for size in sizes), model)


def hessian_trace(
    loss: Callable[[nn.Module], Tensor],
    model: nn.Module,
    *,
    samples: int | None = 100,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Sharpness: the trace of the loss's matrix of second derivatives in the weights.

        tr H = sum_j d^2 loss / d theta_j^2 ,   estimated by   mean over v of  v^T H v ,   v_j = +1 or -1

    Every v is drawn by tossing a coin for each weight. Then v^T H v is tr H on average, and H itself is never
    needed: its product with v is the gradient of (gradient . v). The estimate's variance is 2/samples times
    the sum of the squares of H off the diagonal, so a diagonal H is found without error.

    The second derivative of a ReLU network leaves out what happens as a unit changes sides: its slope jumps
    there, and the trace sees only the smooth part on either side.

    Args:
        loss: `loss(model)` is the loss to differentiate, () or (S,) for an `Ensemble`, such as
            `lambda model: classification_loss(model(x), y)`.
        model: its parameters that require a gradient are theta.
        samples: number of vectors v. None is the exact trace from one unit vector after another, which
            takes as many products as there are weights: for small networks.
        generator: where the coins come from; None is torch's own generator.

    Returns:
        (), or (S,) for an `Ensemble`, whose networks share no coin.

    Raises:
        ValueError: samples below 1, a loss of another shape, or one that does not depend on the parameters.

    Source: Hutchinson 1990. As the sharpness of Tan & Huang 2023 (arXiv 2311.06597), section 3.

    Example:
        >>> point = nn.Linear(2, 1, bias=False)
        >>> valley = lambda model: (model.weight**2 * torch.tensor([[3.0, 0.5]])).sum()
        >>> hessian_trace(valley, point, samples=1), hessian_trace(valley, point, samples=None)
        (tensor(7.), tensor(7.))

    Used in lesson 09, and in the recording of lesson 14.
    """
    if samples is not None and samples < 1:
        raise ValueError(f"samples must be at least 1, or None for the exact trace; got {samples}")
    weights = [p for p in _parameters(model) if p.requires_grad]
    with torch.enable_grad():  # an observation runs without
        value = loss(model)
        _check_loss_value(value, model)
        gradient = torch.autograd.grad(value.sum(), weights, create_graph=True, materialize_grads=True)
        if samples is None:
            products = [
                _curvature(gradient, weights, v, _count(model)) for v in _unit_vectors(weights, model)
            ]
            return _one_or_each(torch.stack(products).sum(dim=0), model)
        coins = ([_coins(w, generator) for w in weights] for _ in range(samples))
        products = [_curvature(gradient, weights, v, _count(model)) for v in coins]
    return _one_or_each(torch.stack(products).mean(dim=0), model)


def _curvature(gradient: Sequence[Tensor], weights: list[Tensor], v: list[Tensor], count: int) -> Tensor:
    """v^T H v of each network, (S,)."""
    slope = sum((g * u).sum() for g, u in zip(gradient, v, strict=True))
    if not slope.requires_grad:  # the loss is linear in the weights
        return slope.new_zeros(count)
    products = torch.autograd.grad(slope, weights, retain_graph=True, materialize_grads=True)
    return sum((h * u).reshape(count, -1).sum(dim=1) for h, u in zip(products, v, strict=True))


def _unit_vectors(weights: list[Tensor], model: nn.Module) -> Iterator[list[Tensor]]:
    """Every weight once, at the same time in all networks: they do not touch each other's loss."""
    count = _count(model)
    for i, weight in enumerate(weights):
        for j in range(weight.numel() // count):
            v = [torch.zeros_like(w) for w in weights]
            v[i].view(count, -1)[:, j] = 1
            yield v


def _coins(weight: Tensor, generator: torch.Generator | None) -> Tensor:
    device = "cpu" if generator is None else generator.device
    return 2 * torch.randint(2, weight.shape, generator=generator, device=device).to(weight) - 1


def _check_loss_value(value: Tensor, model: nn.Module) -> None:
    expected = (len(model),) if isinstance(model, Ensemble) else ()
    if not isinstance(value, Tensor) or value.shape != expected:
        came = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"loss(model) must be one number for each network, a tensor of shape {expected}; got {came}. "
            "For a loss for each sample take the mean over the samples."
        )
    if not value.requires_grad:
        raise ValueError(
            "loss(model) does not depend on the model's parameters, or was computed without gradients: "
            "compute it from model(x), not under torch.no_grad and without .detach() or .item()"
        )


@torch.no_grad()
def circuit_complexity(
    model: nn.Module,
    x: Tensor,
    *,
    share: float = 0.1,
    draws: int = 10,
    scaled: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Approximate local circuit complexity: how far the answers move if a layer loses some of its weights.

        mean over layers l, draws and samples x of   KL(softmax f(x) || softmax f_cut(x))
        KL(p || q) = sum over classes of  p (log p - log q)

    f_cut is f with a random share of the weights of layer l set to zero, exactly round(share n) of its n
    weights and at least one, all others as they are. A layer is a parameter with two or more axes: the
    weights of a linear layer or a convolution, a table of embeddings. All layers count alike; biases and the
    scales of a normalisation are never cut.

    The thought behind it: answers that hang on many weights at once suffer from any cut, those of a small
    circuit only where it hits the circuit. One trap: large logits move far under any cut, so the number
    grows with the network's confidence, whatever its circuits are. Where the logits shrink as a run goes on,
    it falls for that reason alone. `scaled` takes this out: it divides f and f_cut by the spread of f,

        mean over samples of  the standard deviation of f(x) over the classes

    Args:
        model: x -> logits, of two classes or more; a module, which is left as it is.
        x: (N, ...), whatever the model takes.
        share: how much of a layer is cut, above 0 and at most 1.
        draws: number of random cuts of each layer. A draw is one run of the model on x.
        scaled: whether to measure at logits of spread 1; the paper does not.
        generator: where the cuts come from; None is torch's own generator.

    Returns:
        () float64, or (S,) for an `Ensemble`, whose networks share no cut; natural logarithm, not below 0 but
        for rounding. NaN for a network with NaN or infinite outputs.

    Raises:
        TypeError: not a module.
        ValueError: share or draws out of range, no layer, outputs that are not logits of several classes, no
            samples, dropout or batch norm in training mode.

    Source: Golechha 2024 (arXiv 2405.12755), "approximate local circuit complexity", with a share of 10 %.
    The mean over layers, draws and samples is ours where the paper leaves it open.

    Example:
        >>> import math
        >>> line = nn.Linear(1, 2, bias=False)  # logits (x log 3, 0): probabilities (3/4, 1/4) at x = 1
        >>> _ = line.weight.data.copy_(torch.tensor([[math.log(3)], [0.0]]))
        >>> circuit_complexity(line, torch.ones(1, 1), share=1)  # 3/4 log(3/2) + 1/4 log(1/2)
        tensor(0.1308, dtype=torch.float64)

    Used in lesson 16.
    """
    if not 0 < share <= 1 or draws < 1:
        raise ValueError(f"expected a share in (0, 1] and at least one draw, got {share} and {draws}")
    layers = _layers(model)
    logits = _logits(model, x)
    spread = logits.std(dim=-1, correction=0).mean(dim=-1)[:, None, None]
    spread = spread.where((spread != 0) & scaled, 1.0)
    log_p = (logits / spread).log_softmax(dim=-1)
    moved = torch.zeros_like(log_p[:, 0, 0])
    damaged = copy.deepcopy(model)
    for name, whole in layers.items():
        weight = damaged.get_parameter(name)
        for _ in range(draws):
            weight.copy_(_cut(whole, _count(model), share, generator))
            log_q = (_logits(damaged, x) / spread).log_softmax(dim=-1)
            moved += (log_p.exp() * (log_p - log_q)).sum(dim=-1).mean(dim=-1)
        weight.copy_(whole)
    return _one_or_each(moved / (len(layers) * draws), model)


def _layers(model: nn.Module) -> dict[str, Tensor]:
    """The parameters with two or more axes in each network, by name."""
    _parameters(model)
    for name, part in unsettled(model):
        raise ValueError(
            f"'{name}' ({type(part).__name__}) is in training mode: the answers move by chance or with "
            "the batch, not only by the cut. Call model.eval() first."
        )
    axes = 3 if isinstance(model, Ensemble) else 2
    layers = {name: weight for name, weight in model.named_parameters() if weight.dim() >= axes}
    if not layers:
        raise ValueError(
            f"{type(model).__name__} has no layer to cut: none of its parameters has two axes or more"
        )
    return layers


def _logits(model: nn.Module, x: Tensor) -> Tensor:
    """(S, N, classes) float64, with S = 1 for a single network."""
    logits = model(x)
    axes = 3 if isinstance(model, Ensemble) else 2
    if logits.dim() != axes or not logits.shape[-2] or logits.shape[-1] < 2:
        raise ValueError(
            "expected logits of at least one sample and two classes, (N, classes) or (S, N, classes) of an "
            f"Ensemble; the model returned shape {tuple(logits.shape)}"
        )
    logits = to_float64(logits)
    return logits if isinstance(model, Ensemble) else logits[None]


def _cut(weight: Tensor, count: int, share: float, generator: torch.Generator | None) -> Tensor:
    """A copy of a layer in which every network has lost its share of the weights."""
    rows = weight.reshape(count, -1)
    n = rows.shape[1]
    device = "cpu" if generator is None else generator.device
    chance = torch.rand(rows.shape, generator=generator, device=device)
    lost = chance.topk(max(1, round(share * n)), dim=1, largest=False, sorted=False).indices
    return rows.scatter(1, lost.to(weight.device), 0).view_as(weight)


def _parameters(model: nn.Module) -> list[Tensor]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch module with parameters, got {type(model).__name__}")
    parameters = list(model.parameters())
    if not parameters:
        raise ValueError(f"{type(model).__name__} has no parameters to measure")
    return parameters


def _count(model: nn.Module) -> int:
    return len(model) if isinstance(model, Ensemble) else 1


def _one_or_each(values: Tensor, model: nn.Module) -> Tensor:
    return values if isinstance(model, Ensemble) else values[0]
