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

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from minigrok.networks import _BATCH_NORM, _DROPOUT, _check_model
from minigrok.training import Ensemble

# --- size and sharpness -------------------------------------------------------------------------------------


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


# --- the gradient lemma -------------------------------------------------------------------------------------


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
    if isinstance(model, Ensemble):
        raise TypeError("gradient_bound takes one network: call it with ensemble[s] for each s")
    parts = model.modules() if isinstance(model, nn.Module) else ()
    first = next((part for part in parts if isinstance(part, nn.Linear)), None)
    if first is None:
        raise ValueError(
            f"found no nn.Linear in {type(model).__name__}: name the layer that reads x, layer=..."
        )
    return first


def _lengths(x: Tensor) -> Tensor:
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


# --- lost weights -------------------------------------------------------------------------------------------


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
    for name, part in model.named_modules():
        if part.training and isinstance(part, (*_DROPOUT, *_BATCH_NORM)):
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
    logits = _to_float64(logits)
    return logits if isinstance(model, Ensemble) else logits[None]


def _cut(weight: Tensor, count: int, share: float, generator: torch.Generator | None) -> Tensor:
    """A copy of a layer in which every network has lost its share of the weights."""
    rows = weight.reshape(count, -1)
    n = rows.shape[1]
    device = "cpu" if generator is None else generator.device
    order = torch.rand(rows.shape, generator=generator, device=device).argsort(dim=1)
    lost = order[:, : max(1, round(share * n))].to(weight.device)
    return rows.scatter(1, lost, 0).view_as(weight)


# --- waves on Z_p -------------------------------------------------------------------------------------------


@torch.no_grad()
def fourier_power(table: Tensor, dim: int = 0, *, per_column: bool = False) -> Tensor:
    """How much of a table over Z_p = {0 .. p-1} is a wave of each frequency, as a share of the whole.

        share_k = P_k / sum_k P_k ,   P_k = |F_k|^2 + |F_{-k}|^2 ,   F_k = sum_a table[a] exp(-2 pi i k a / p)

    A real wave cos(2 pi k a / p + phase) has F_k and F_{-k} alike, and no phase is told from another here. So
    the two are one frequency, and k runs from 0 (the constant) to p // 2.

    Args:
        table: real numbers, with an axis for a = 0 .. p-1: an embedding (p, d), say.
        dim: which axis that is.
        per_column: shares within every column by itself, rather than of all columns together.

    Returns:
        (p // 2 + 1,), adding up to 1; with per_column (p // 2 + 1, *other axes). NaN where all is zero.

    Raises:
        ValueError: NaN in the table, fewer than 3 rows.

    Source: the spectra of Nanda et al. 2023 (arXiv 2301.05217), section 4.

    Example:
        >>> a = torch.arange(7)
        >>> wave = torch.cos(2 * torch.pi * 3 * a / 7 + 0.4)
        >>> fourier_power(torch.stack([wave, 5 * wave], dim=1)).round(decimals=3)
        tensor([0., 0., 0., 1.])

    Used in lessons 04, 06, 09 and 14.
    """
    power = _power(table, dim)
    power = power if per_column else _total(power)
    return power / power.sum(dim=0)


@torch.no_grad()
def inverse_participation(table: Tensor, order: float = 2, *, dim: int = 0) -> Tensor:
    """Inverse participation ratio: is a column one wave (1), or a mixture of K equal ones (1/K for order 2)?

        IPR_r = sum_k share_k^r = sum_k P_k^r / (sum_k P_k)^r        r = order

    with the power P_k of `fourier_power`, where k and -k are one frequency. K equal ones give K^(1-r). Taken
    over k and -k apart, as |F_k|^(2r), a pure wave would have 2^(1-r).

    Args:
        table: real numbers, with an axis for a = 0 .. p-1.
        order: r > 1.
        dim: which axis that is.

    Returns:
        One number for each column: the shape of `table` without the axis `dim`. NaN for a column of zeros.
        A constant column is one "wave", of frequency 0.

    Raises:
        ValueError: NaN in the table, fewer than 3 rows, an order of 1 or less.

    Source: Gromov 2023 (arXiv 2301.02679).

    Example:
        >>> angle = 2 * torch.pi * torch.arange(7) / 7
        >>> one, two = torch.cos(angle + 1), torch.cos(angle) + torch.sin(2 * angle)
        >>> inverse_participation(torch.stack([one, two], dim=1))
        tensor([1.0000, 0.5000])

    Used in lesson 04.
    """
    if not order > 1:
        raise ValueError(f"the order must be above 1 (the shares themselves always add up to 1), got {order}")
    return fourier_power(table, dim, per_column=True).pow(order).sum(dim=0)


@torch.no_grad()
def key_frequencies(table: Tensor, n: int | None = None, *, share: float = 0.9, dim: int = 0) -> list[int]:
    """The frequencies that carry a table over Z_p: the n strongest, or the fewest with enough of the power.

    The constant (frequency 0) is left aside, and `share` is a share of the rest.

    Args:
        table: real numbers, with an axis for a = 0 .. p-1.
        n: how many frequencies, 1 to p // 2. None: as many as `share` takes.
        share: in (0, 1], the least share of the power they have together.
        dim: which axis of the table is a.

    Returns:
        Frequencies from 1 to p // 2, in ascending order.

    Raises:
        ValueError: NaN, a table without waves (all rows the same), n or share out of range.

    Example:
        >>> angle = 2 * torch.pi * torch.arange(11) / 11
        >>> table = 3 * torch.cos(5 * angle) + 2 * torch.cos(2 * angle) + 0.1 * torch.sin(angle) + 7
        >>> key_frequencies(table, share=0.99), key_frequencies(table, 1)
        ([2, 5], [5])

    Used in lessons 06, 09 and 16.
    """
    power = _total(_power(table, dim))
    waves = power[1:]
    if n is not None and not 1 <= n <= len(waves) or not 0 < share <= 1:
        raise ValueError(
            f"expected n from 1 to {len(waves)} (half of p, rounded down) or a share above 0 and at most 1, "
            f"got n={n}, share={share}"
        )
    rounding = (table.shape[dim] * torch.finfo(power.dtype).eps) ** 2
    if not waves.sum() > rounding * power.sum():
        raise ValueError("this table has no waves: its rows are all the same, up to rounding")
    strongest = waves.argsort(descending=True, stable=True)
    if n is None:
        before = waves[strongest].cumsum(dim=0)[:-1]
        n = 1 + int((before < share * waves.sum()).sum())
    return sorted((strongest[:n] + 1).tolist())


def restricted(logits: Tensor, frequencies: Iterable[int]) -> Tensor:
    """The logits with nothing left of them but waves of a + b at the key frequencies, and their mean.

        restricted = mean + projection of the logits onto   cos(w_k (a+b)), sin(w_k (a+b)),   w_k = 2 pi k / p

    for every output by itself, over the whole table of pairs (a, b). What is left depends on a + b (mod p)
    alone. A low loss of these logits says that the frequencies are *enough* for what the network does.

    Args:
        logits: (..., p*p, c) over the whole table, in the order a * p + b.
        frequencies: whole numbers from 1 to p // 2.

    Returns:
        The shape of the logits. Together with `excluded`: restricted + excluded = logits + mean.

    Raises:
        ValueError: a number of rows that is no square, a frequency out of range.

    Source: Nanda et al. 2023 (arXiv 2301.05217), section 5.1.

    Example:
        >>> a, b = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
        >>> clock = torch.cos(2 * torch.pi * 2 * (a + b) / 5)[:, None]
        >>> table = clock + torch.cos(2 * torch.pi * 2 * a / 5)[:, None] + 3
        >>> torch.allclose(restricted(table, [2]), clock + 3, atol=1e-5)
        True

    Used in lesson 06.
    """
    return _waves_of_the_sum(logits, [0, *_check_frequencies(frequencies, _check_logits(logits))])


def excluded(logits: Tensor, frequencies: Iterable[int]) -> Tensor:
    """The logits without their waves of a + b at the key frequencies, and with everything else.

        excluded = logits - projection onto   cos(w_k (a+b)), sin(w_k (a+b)),   w_k = 2 pi k / p

    A high loss of these logits says that the network *needs* the frequencies. On the training pairs it
    rises as the waves take over from what was learnt by heart; so the paper takes it there.

    Args, errors and source as in `restricted`.

    Returns:
        The shape of the logits, with the mean over all pairs unchanged.

    Example:
        >>> a, b = torch.cartesian_prod(torch.arange(5), torch.arange(5)).T
        >>> clock = torch.cos(2 * torch.pi * 2 * (a + b) / 5)[:, None]
        >>> torch.allclose(excluded(clock + 3, [2]), torch.tensor(3.0), atol=1e-5)
        True

    Used in lesson 06.
    """
    return logits - _waves_of_the_sum(logits, _check_frequencies(frequencies, _check_logits(logits)))


def _waves_of_the_sum(logits: Tensor, frequencies: list[int]) -> Tensor:
    """The projection of logits (..., p*p, c) onto waves of a + b: the mean for each sum, then filtered."""
    p = math.isqrt(logits.shape[-2])
    numbers = torch.arange(p, device=logits.device)
    total = (numbers[:, None] + numbers).flatten() % p
    by_sum = torch.zeros_like(logits[..., :p, :]).index_add(-2, total, logits) / p  # every sum has p pairs
    keep = logits.new_zeros(p // 2 + 1, 1)
    keep[frequencies] = 1
    waves = torch.fft.irfft(torch.fft.rfft(by_sum, dim=-2) * keep, n=p, dim=-2)
    return waves.index_select(-2, total)


def _power(table: Tensor, dim: int) -> Tensor:
    """The power P_k, (p // 2 + 1, *other axes)."""
    if not isinstance(table, Tensor) or not table.is_floating_point():
        kind = table.dtype if isinstance(table, Tensor) else type(table).__name__
        raise TypeError(f"expected a table of real numbers, a torch tensor of floats, got {kind}")
    if not -table.dim() <= dim < table.dim() or table.shape[dim] < 3:
        raise ValueError(
            f"expected a table with an axis dim={dim} for the numbers 0 .. p-1 and p of at least 3, "
            f"got shape {tuple(table.shape)}"
        )
    if not table.isfinite().all():
        raise ValueError("the table has NaN or infinite entries: it has no Fourier spectrum")
    p = table.shape[dim]
    power = torch.fft.rfft(table.movedim(dim, 0), dim=0).abs().square()
    power[1 : (p + 1) // 2] *= 2  # k and -k; only k = 0, and k = p / 2 for even p, are their own mirror
    return power


def _total(power: Tensor) -> Tensor:
    return power.reshape(len(power), -1).sum(dim=1)


def _check_logits(logits: Tensor) -> int:
    rows = logits.shape[-2] if logits.dim() > 1 else 0
    p = math.isqrt(rows)
    if p < 3 or p * p != rows:
        raise ValueError(
            "expected logits (..., p*p, outputs) on the whole table of pairs in the order a * p + b, got "
            f"shape {tuple(logits.shape)}, and {rows} is not the square of a number from 3. Make a table "
            "(p, p, outputs) flat with logits.flatten(0, 1); logits of the training pairs are not enough."
        )
    return p


def _check_frequencies(frequencies: Iterable[int], p: int) -> list[int]:
    frequencies = list(frequencies)
    wrong = [k for k in frequencies if k not in range(1, p // 2 + 1)]
    if wrong:
        raise ValueError(
            f"frequencies on Z_{p} are whole numbers from 1 to {p // 2} (p - k is the same wave as k, and 0 "
            f"the mean), got {wrong}"
        )
    return [int(k) for k in frequencies]


# --- symmetry -----------------------------------------------------------------------------------------------


@torch.no_grad()
def commutativity(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The share of pairs for which a network gives the same answer to (a, b) and to (b, a).

        mean over pairs of   [ argmax f(a, b) = argmax f(b, a) ]

    Whether the answer is right plays no part. Two traps: on training pairs whose mirror is trained too it
    is 1 as soon as all is learnt by heart; and where one shared table is added up, f(a, b) = f(b, a)
    whatever was learnt. So measure on pairs whose mirror is in neither (`data.without_mirror`), with separate
    tables. Pairs (a, a) agree always.

    Args:
        model: x (N, 2) -> (N, outputs), or an `Ensemble`.
        x: (N, 2) int64, the pairs.

    Returns:
        (), or (S,) for an `Ensemble`; NaN where any output is NaN or infinite.

    Source: the abelian test of Tan & Huang 2023 (arXiv 2311.06597), section 4.

    Example:
        >>> left = lambda x: nn.functional.one_hot(x[:, 0], 3).float()  # answers a, never mind b
        >>> commutativity(left, torch.tensor([[0, 1], [2, 2], [1, 0], [2, 1]]))
        tensor(0.2500)
    """
    if x.dim() < 2 or x.shape[-1] != 2 or not x.shape[-2]:
        raise ValueError(f"expected pairs x (N, 2) with at least one pair, got shape {tuple(x.shape)}")
    there, back = model(x), model(x.flip(-1))
    share = (there.argmax(dim=-1) == back.argmax(dim=-1)).to(there.dtype).mean(dim=-1)
    finite = (there.isfinite() & back.isfinite()).all(dim=-1).all(dim=-1)
    return share.where(finite, torch.nan)


# --- spread of features -------------------------------------------------------------------------------------


@torch.no_grad()
def gram(features: Tensor) -> Tensor:
    """The Gram matrix of a batch of features: the cosine between the features of every two samples.

        R = Z Z^T ,   with the rows of Z scaled to length 1

    Args:
        features: (N, d), or (S, N, d) of an `Ensemble`.

    Returns:
        (N, N) or (S, N, N), float64: symmetric, ones on the diagonal, no eigenvalue below 0.

    Raises:
        ValueError: fewer than 2 samples, NaN, or a sample whose features are all zero: it has no direction.

    Source: Tan & Huang 2023 (arXiv 2311.06597), section 5.

    Example:
        >>> gram(torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]])).round(decimals=3)
        tensor([[1.0000, 0.0000, 0.7070],
                [0.0000, 1.0000, 0.7070],
                [0.7070, 0.7070, 1.0000]], dtype=torch.float64)

    Used in the recording of lesson 14.
    """
    _check_features(features)
    z = _to_float64(features)
    lengths = z.norm(dim=-1, keepdim=True)
    if (lengths == 0).any():
        silent = (lengths[..., 0] == 0).nonzero().tolist()
        raise ValueError(
            f"the features of {len(silent)} samples are all zero (the first at {silent[0]}): they have no "
            "direction. Leave these samples out, or take the values before the ReLU."
        )
    z = z / lengths
    return z @ z.mT


@torch.no_grad()
def matrix_entropy(R: Tensor, alpha: float = 1.0) -> Tensor:
    """Matrix entropy: in how many directions a batch of features spreads, as a logarithm.

        H_alpha(R) = log tr((R/n)^alpha) / (1 - alpha) ,      H_1(R) = -tr((R/n) log(R/n))

    It is the entropy of the eigenvalues of R/n, which are shares: none is negative, and they add up to 1. It
    is 0 if all samples have one direction, and log n if all are orthogonal, so the batch must have the same
    n wherever two values are compared. H_1 is von Neumann's entropy, and H_2 = 2 log n - 2 log ||R||_F.

    Args:
        R: (..., n, n) from `gram`.
        alpha: above 0. 1 is the limit of the first formula; larger ones look more at the large eigenvalues.

    Returns:
        (...), float64, natural logarithm.

    Raises:
        ValueError: not a Gram matrix of unit vectors (not symmetric, diagonal not 1, a negative eigenvalue),
            NaN, alpha not above 0.

    Source: Tan & Huang 2023 (arXiv 2311.06597), section 5, after Sanchez Giraldo, Rao & Principe 2014.

    Example:
        >>> matrix_entropy(torch.eye(4)), matrix_entropy(torch.ones(4, 4)).abs() < 1e-12
        (tensor(1.3863, dtype=torch.float64), tensor(True))

    Used in the recording of lesson 14.
    """
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha must be a finite number above 0 (1 is von Neumann's entropy), got {alpha}")
    _check_gram(R)
    n = R.shape[-1]
    shares = torch.linalg.eigvalsh(_to_float64(R)) / n
    if shares.min() < -_tolerance(R):
        raise ValueError(
            f"R has a negative eigenvalue ({shares.min() * n:.3g}), so it is not the Gram matrix of any "
            "features: make it with gram(features)"
        )
    # What is zero but for rounding is zero: small alphas would see it.
    shares = shares.where(shares > n * torch.finfo(torch.float64).eps, 0)
    if alpha == 1:
        return -torch.xlogy(shares, shares).sum(dim=-1)
    return shares.pow(alpha).sum(dim=-1).log() / (1 - alpha)


def mutual_information(R1: Tensor, R2: Tensor, alpha: float = 1.0) -> Tensor:
    """Matrix mutual information: what two sets of features of the same samples have in common.

        I(R1; R2) = H(R1) + H(R2) - H(R1 o R2) ,      o: entry by entry

    R1 o R2 is the Gram matrix of the pairs (products z1_i z2_i^T of the two features). For alpha = 1,
    0 <= I <= min(H(R1), H(R2)): it is the quantum mutual information of the mixture of these pairs. Of a
    thing with itself it is at most H(R), and equal to it where all features are either parallel or
    orthogonal.

    Args:
        R1, R2: (..., n, n) from `gram`, of the same samples in the same order.
        alpha: as in `matrix_entropy`.

    Returns:
        (...), float64, natural logarithm.

    Raises:
        ValueError: two shapes, and all that `matrix_entropy` refuses.

    Source: the definition of Tan & Huang 2023 (arXiv 2311.06597), section 5.

    Example:
        >>> mutual_information(torch.eye(4), torch.eye(4))
        tensor(1.3863, dtype=torch.float64)

    Used in the recording of lesson 14.
    """
    for R in (R1, R2):
        _check_gram(R)
    if R1.shape != R2.shape:
        raise ValueError(
            "expected two Gram matrices of the same samples, got shapes "
            f"{tuple(R1.shape)} and {tuple(R2.shape)}"
        )
    return matrix_entropy(R1, alpha) + matrix_entropy(R2, alpha) - matrix_entropy(R1 * R2, alpha)


@dataclass(frozen=True)
class PerturbationMeasures:
    """Entropy and mutual information of features under noise, and how far the noise has moved them.

    Each is () or, for an `Ensemble`, (S,), float64, natural logarithm.

    Attributes:
        pe: perturbed entropy, H of the later features of perturbed inputs.
        pmi: perturbed mutual information, I of first and later features of perturbed inputs.
        entropy, information: the same two of the inputs as they are.
    """

    pe: Tensor
    pmi: Tensor
    entropy: Tensor
    information: Tensor

    @property
    def ed(self) -> Tensor:
        """Entropy difference, |pe - entropy|. The signed one may pass through 0 while this one touches it."""
        return (self.pe - self.entropy).abs()

    @property
    def mid(self) -> Tensor:
        """Mutual information difference, |pmi - information|."""
        return (self.pmi - self.information).abs()


@torch.no_grad()
def perturbation_measures(
    first: Callable[[Tensor], Tensor],
    later: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    sigma: float,
    generator: torch.Generator | None = None,
    alpha: float = 1.0,
) -> PerturbationMeasures:
    """PE, PMI, ED and MID: what noise on the inputs does to the spread of a network's features.

        x' = x + noise ,  noise ~ N(0, sigma^2) for every number ,   z1 = first(.), z2 = later(.)
        PE  = H(R2')            ED  = |H(R2') - H(R2)|
        PMI = I(R1'; R2')       MID = |I(R1'; R2') - I(R1; R2)|

    R is the Gram matrix of the features, of x' where primed. z1 stands for the input, z2 for what the network
    makes of it. The paper gives no sign to the two differences; here they are absolute, and the signed ones
    are `pe - entropy` and `pmi - information`.

    Args:
        first: x -> features (N, d1) of the first layer. An `Ensemble`'s may be (S, N, d1).
        later: x -> features (N, d2) of a later layer.
        x: real vectors (N, ...): pixels; or the embeddings `model.embed(x)`, with `first` and `later`
            acting on these.
        sigma: standard deviation of the noise in units of x (the paper: 0.1 for pixels, 0.4 for embeddings).
        generator: where the noise comes from; None is torch's own generator.
        alpha: as in `matrix_entropy`.

    Returns:
        A `PerturbationMeasures`. One draw of noise and one batch: average over several. Values depend on
        N through log N, so compare at the same N.

    Raises:
        TypeError: x holds whole numbers. Noise on the number of a token means nothing.
        ValueError: sigma negative or NaN, and all that `gram` refuses.

    Source: Tan & Huang 2023 (arXiv 2311.06597), section 5.

    Example:
        >>> first, later = nn.Linear(3, 8), nn.Sequential(nn.Linear(3, 8), nn.Tanh())
        >>> still = perturbation_measures(first, later, torch.randn(20, 3), sigma=0.0)
        >>> still.ed, still.mid
        (tensor(0., dtype=torch.float64), tensor(0., dtype=torch.float64))

    Used in lessons 09 and 14.
    """
    if not x.is_floating_point():
        raise TypeError(
            f"noise needs real vectors, got x of {x.dtype}. For pairs of numbers hand in model.embed(x), and "
            "functions that act on embeddings."
        )
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma must be a finite number, 0 or more, in units of x; got {sigma}")
    device = "cpu" if generator is None else generator.device
    noise = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
    entropy, information = _entropy_and_information(first, later, x, alpha)
    pe, pmi = _entropy_and_information(first, later, x + sigma * noise, alpha)
    return PerturbationMeasures(pe, pmi, entropy, information)


def _entropy_and_information(
    first: Callable, later: Callable, x: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    R1, R2 = gram(first(x)), gram(later(x))
    return matrix_entropy(R2, alpha), mutual_information(R1, R2, alpha)


@torch.no_grad()
def sparsity(features: Tensor, *, tau: float = 0.0) -> Tensor:
    """The share of a batch's features that are silent: zero, as a ReLU makes them, or nearly so.

        mean over samples and features of   [ |z| <= tau ]

    Args:
        features: (N, d), or (S, N, d) of an `Ensemble`: the outputs of a layer of units.
        tau: up to where a feature counts as silent, in units of the features; 0 counts exact zeros alone.

    Returns:
        () or (S,), in the dtype of the features. 1 is a network whose units are all silent.

    Raises:
        ValueError: NaN, fewer than 2 samples, tau negative or NaN.

    Source: the activation sparsity of Golechha 2024 (arXiv 2405.12755), the share below a threshold tau that
    is not given there; the features of its ReLU networks are not negative.

    Example:
        >>> sparsity(torch.tensor([[0.0, 2.0], [0.0, 0.0]])), sparsity(torch.tensor([[0.1], [2.0]]), tau=0.5)
        (tensor(0.7500), tensor(0.5000))

    Used in lesson 16.
    """
    _check_features(features)
    if not tau >= 0:
        raise ValueError(f"tau must be 0 or more, in units of the features; got {tau}")
    return (features.abs() <= tau).to(features.dtype).mean(dim=(-2, -1))


def _to_float64(t: Tensor) -> Tensor:
    return (t.cpu() if t.device.type == "mps" else t).to(torch.float64)  # Apple's devices have none


def _tolerance(R: Tensor) -> float:
    return math.sqrt(torch.finfo(R.dtype).eps)


def _check_features(features: Tensor) -> None:
    if features.dim() < 2 or features.shape[-2] < 2 or not features.shape[-1]:
        raise ValueError(
            "expected features (N, d) of at least 2 samples (what is measured lies between samples), got "
            f"shape {tuple(features.shape)}; flatten images with .flatten(1)"
        )
    if not features.isfinite().all():
        raise ValueError("the features are NaN or infinite for some samples: the network has diverged")


def _check_gram(R: Tensor) -> None:
    if R.dim() < 2 or R.shape[-1] != R.shape[-2] or R.shape[-1] < 2 or not R.is_floating_point():
        raise ValueError(
            f"expected a Gram matrix (n, n) of floats with n of at least 2, got {R.dtype} {tuple(R.shape)}: "
            "make it with gram(features)"
        )
    off = (R.diagonal(dim1=-2, dim2=-1) - 1).abs().max()
    crooked = (R - R.mT).abs().max()
    if not (off <= _tolerance(R) and crooked <= _tolerance(R)):  # NaN is refused too
        raise ValueError(
            f"expected a symmetric matrix with ones on the diagonal, got a diagonal that is off by {off:.3g} "
            f"and a difference of {crooked:.3g} from the transpose: make it with gram(features)"
        )


# --- when it happened ---------------------------------------------------------------------------------------


def first_reached(
    steps: Sequence[int] | np.ndarray, values: Sequence | np.ndarray | Tensor, level: float
) -> np.ndarray | float:
    """The first *observed* step at which a quantity was at its level or above; NaN if not by the end.

        first_reached = min { steps[t] : values[t] >= level }

    The run was looked at only now and then: the level was reached at some step after the observation before
    and no later than this one. NaN does not say "never", it says "not by step steps[-1]"; count these runs
    instead of leaving them out of a median. A level reached and lost again counts from the first time.

    Args:
        steps: (T,), ascending: `run.steps`.
        values: (T,), or (T, S) for S networks: `run["test accuracy"]`. NaN reaches no level.
        level: the level. For a quantity that falls, hand in -values and -level.

    Returns:
        A float for (T,), float64 (S,) for (T, S).

    Raises:
        ValueError: no observations, other lengths, steps that do not ascend, a level that is NaN.

    Example:
        >>> first_reached([0, 10, 100], [[0.1, 0.2], [0.5, 0.3], [1.0, 0.4]], 0.5)
        array([10., nan])
        >>> first_reached([0, 10, 100], [0.1, 0.5, 1.0], 0.95)
        100.0

    Used in lessons 04, 06, 07, 09, 10, 14 and 16.
    """
    steps, values = _curves(steps, values)
    if math.isnan(level):
        raise ValueError("the level is NaN, which nothing reaches")
    reached = values >= level
    when = np.where(reached.any(axis=0), steps[reached.argmax(axis=0)], np.nan)
    return when if when.ndim else float(when)


def turn(
    steps: Sequence[int] | np.ndarray,
    values: Sequence | np.ndarray | Tensor,
    plateau: tuple[float, float],
    *,
    least: float,
    relative: bool = False,
    level: float = 0.5,
) -> np.ndarray:
    """When a quantity turns: between which two looks it has made half of its change, from early to end.

        early = median of the values on the plateau ,   end = median of the last three
        turn  = (t_{k-1}, t_k] ,   t_k the first look after the plateau with
                                   (v - early) / (end - early) >= 1/2

    It has no level that must be chosen for each quantity, as `first_reached` has, and so puts quantities
    with different units on one axis. What must be chosen, before the runs, is the plateau and the least
    change that counts. A quantity that goes and comes back has not turned: only early and end are compared.

    We look only now and then, so a turn is an interval: after the first of the two steps, not after the
    second. Where the change is too small there is none *by the last step T*, and the interval is (T, inf).

    Args:
        steps: (T,), ascending: `run.steps`.
        values: (T,), or (T, S) for S networks.
        plateau: first and last step of the plateau, both included.
        least: the least change from early to end that counts, in units of the values.
        relative: `least` is a share of the larger of |early| and |end| instead.
        level: the share of the change that is asked for, instead of a half.

    Returns:
        (2,) or (2, S) float64: the last look before, and the first look with it. NaN on the plateau or at
        the end is no turn.

    Raises:
        ValueError: what `first_reached` refuses; no look on the plateau, least negative or NaN, level
            outside (0, 1].

    Example:
        >>> steps = [0, 10, 20, 40, 80, 160]
        >>> turn(steps, [0.1, 0.1, 0.1, 0.7, 0.9, 0.9], (0, 20), least=0.1)  # half of the way is at 0.5
        array([20., 40.])
        >>> turn(steps, [0.1, 0.1, 0.1, 0.9, 0.1, 0.1], (0, 20), least=0.1)
        array([160.,  inf])

    Used in lesson 16, and in the recording of lesson 14.
    """
    steps, values = _curves(steps, values)
    on_plateau = (steps >= plateau[0]) & (steps <= plateau[1])
    if not on_plateau.any() or not least >= 0 or not 0 < level <= 1:
        raise ValueError(
            "expected a plateau with a look on it, least of 0 or more and level in (0, 1]; got plateau "
            f"{tuple(plateau)} for steps {steps[0]} to {steps[-1]}, least {least}, level {level}"
        )
    early, end = np.median(values[on_plateau], axis=0), np.median(values[-3:], axis=0)
    change = end - early
    size = np.maximum(np.abs(early), np.abs(end)) if relative else 1.0
    made = (values - ((1 - level) * early + level * end)) * np.sign(change) >= 0
    made[: on_plateau.nonzero()[0][-1] + 1] = False
    turned = (np.abs(change) >= least * size) & (change != 0) & made.any(axis=0)
    k = made.argmax(axis=0)
    never = np.array([steps[-1], np.inf]).reshape(2, *[1] * turned.ndim)
    return np.where(turned, np.array([steps[k - 1], steps[k]], dtype=np.float64), never)


def _curves(
    steps: Sequence[int] | np.ndarray, values: Sequence | np.ndarray | Tensor
) -> tuple[np.ndarray, np.ndarray]:
    steps, values = np.asarray(steps), np.asarray(values)
    if steps.ndim != 1 or not len(steps) or values.shape[:1] != steps.shape or (np.diff(steps) <= 0).any():
        raise ValueError(
            "expected steps (T,) in ascending order, at least one, and as many values, (T,) or (T, S); got "
            f"steps of shape {steps.shape} and values of shape {values.shape}"
        )
    return steps, values
