"""Many networks of one architecture as one batched model, and an optimizer with numbers for each."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from minigrok._support import keep_freed_memory
from minigrok.models import PairMLP, Square
from minigrok.training._pairs import Bags, Product, RowSums, add_gradients, bags_of_pairs, chunks_of


class Ensemble(nn.Module):
    """Many networks of one architecture (say, many seeds) as one batched module.

    The tensors of the S networks are stacked, and one batched product takes the place of S small ones. What
    the networks compute is unchanged up to rounding. The sum of their losses has for each network the
    gradient of its own loss alone, so with an optimizer that works number by number (SGD, Adam, AdamW) each
    trains as it would alone; one that takes norms over a tensor would mix them.

    Args:
        models: the networks, alike in all but their numbers; they are copied.
        sample_dims: number of dimensions of one sample: 1 for vectors, 3 for images. It tells a batch for all
            networks from one batch for each.

    `ensemble(x)` takes x (N, ...) for all, or (S, N, ...) with a batch for each, to (S, N, n_out).
    `len(ensemble)` is S; `ensemble[s]` is a plain copy of the s-th network, which `regions.partition` takes.

    Sequences of linear layers and activations go through `baddbmm`, `models.PairMLP` through bags of rows
    (x is then (N, 2) or (S, N, 2) pairs), all else through `torch.func.vmap`; bench/bench_training.py and
    bench/bench_grokking.py have what each saves.

    Example:
        >>> from minigrok import models
        >>> seeds = [torch.Generator().manual_seed(seed) for seed in range(5)]
        >>> ensemble = Ensemble([models.mlp([2, 16, 16, 3], generator=generator) for generator in seeds])
        >>> ensemble(torch.zeros(10, 2)).shape, ensemble[4](torch.zeros(10, 2)).shape
        (torch.Size([5, 10, 3]), torch.Size([10, 3]))

    Used in most lessons.
    """

    def __init__(self, models: Sequence[nn.Module], *, sample_dims: int = 1):
        super().__init__()
        models = list(models)
        _check_alike(models)
        tensors = [_named_tensors(model) for model in models]
        self.size, self.sample_dims = len(models), sample_dims
        # A copy of the first network in which every tensor has the seeds as a new first axis.
        self.stacked = _rebuilt(models[0], lambda name, _: torch.stack([named[name] for named in tensors]))
        self._layered = sample_dims == 1 and _is_layered(self.stacked)
        self._paired = (
            type(self.stacked) is PairMLP and _is_product(self.stacked.body) and not _has_hooks(self.stacked)
        )
        self._last: tuple[list[tuple[Tensor, int]], Any] = [], None  # see _kept
        keep_freed_memory()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, s: int) -> nn.Module:
        if not -self.size <= s < self.size:
            raise IndexError(f"this ensemble has the networks 0 to {self.size - 1}, got {s}")
        return _rebuilt(self.stacked, lambda _, tensor: tensor[s].clone())

    def forward(self, x: Tensor) -> Tensor:
        each = self._check_batch(x)
        if self._paired:
            return self._by_pairs(x)
        return self._by_layers(x) if self._layered else self._by_vmap(x, 0 if each else None)

    def _check_batch(self, x: Tensor) -> bool:
        """Whether x has a batch for each network."""
        each = x.dim() == self.sample_dims + 2
        if not each and x.dim() != self.sample_dims + 1 or each and len(x) != self.size:
            raise ValueError(
                f"expected x (N, ...) with {self.sample_dims + 1} dimensions for all networks, or "
                f"({self.size}, N, ...) with a batch for each, got shape {tuple(x.shape)}"
            )
        return each

    def _by_pairs(self, x: Tensor) -> Tensor:
        left, right = self.stacked.left.weight, self.stacked.right.weight
        tables = left if left is right else torch.cat([left, right], dim=1)  # (S, rows, features)
        h = RowSums.apply(tables.flatten(0, 1), *self._bags_of(x))
        for layer in self.stacked.body:
            if isinstance(layer, nn.Linear):
                h = Product.apply(layer.weight, h.reshape(self.size, x.shape[-2], layer.in_features))
            elif type(layer) is nn.ReLU and layer is self.stacked.body[0]:
                h = h.relu_()  # nothing else needs the sums
            else:
                h = layer(h)
        return h

    def _bags_of(self, x: Tensor) -> tuple[Bags, Bags]:
        """Which rows of the tables each pair takes, and the reverse; kept while training on the same x."""
        if not torch.is_grad_enabled():  # just looking: the training set is the one to keep
            return (bags_of_pairs(x.expand(self.size, -1, -1), self.stacked),) * 2

        def both_ways() -> tuple[Bags, Bags]:
            bags = bags_of_pairs(x.expand(self.size, -1, -1), self.stacked)
            return bags, bags.reverse()

        return self._kept(both_ways, x)

    def _kept(self, make: Callable[[], Any], *tensors: Tensor) -> Any:
        """What `make` returns, made anew only where the tensors are others than last time, or changed."""
        last, made = self._last
        if [(id(t), t._version) for t in tensors] != [(id(t), version) for t, version in last]:
            made = make()
            self._last = [(t, t._version) for t in tensors], made
        return made

    def _has_formula(self) -> bool:
        """Whether `add_gradients` knows this kind of network: logits = U act(L[a] + R[b])."""
        return (
            self._paired
            and self.stacked.combine == "add"
            and [type(layer) for layer in self.stacked.body] in ([nn.ReLU, nn.Linear], [Square, nn.Linear])
            and all(weight.requires_grad for weight in self.parameters())
        )

    @torch.no_grad()
    def _add_gradients(self, x: Tensor, y: Tensor) -> None:
        """The gradient of the mean cross-entropies, a few networks at a time."""
        each = (self.size, *x.shape[-2:])
        self._check_batch(x)
        chunks = self._kept(lambda: chunks_of(x.expand(each), y.expand(each[:2]), self.stacked), x, y)
        for weight in self.parameters():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        for chunk in chunks:
            add_gradients(self.stacked, chunk)

    def _by_layers(self, x: Tensor) -> Tensor:
        # Features before samples: weight @ h needs no transposed copy on the way back.
        h = x.mT if x.dim() == 3 else x.T.expand(self.size, -1, -1)  # (S, features, N)
        if not isinstance(self.stacked[0], nn.Linear):
            h = h.clone()  # it may act in place, and the networks share x
        for layer in self.stacked:
            if not isinstance(layer, nn.Linear):
                h = layer(h)
            elif layer.bias is None:
                h = torch.bmm(layer.weight, h)
            else:
                h = torch.baddbmm(layer.bias[:, :, None], layer.weight, h)
        return h.mT

    def _by_vmap(self, x: Tensor, axis: int | None) -> Tensor:
        def one(tensors: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(self.stacked, tensors, (x,), tie_weights=False)

        # Every tensor of every module once: torch puts a module back wrongly that it finds under two names.
        tensors = {
            f"{path}.{name}" if path else name: tensor
            for path, module in self.stacked.named_modules()
            for name, tensor in (module._parameters | module._buffers).items()
            if tensor is not None
        }
        return vmap(one, in_dims=(0, axis), randomness="different")(tensors, x)


class EnsembleAdamW(torch.optim.AdamW):
    """AdamW with a learning rate and a weight decay of its own for each network of an `Ensemble`.

        m <- b1 m + (1 - b1) g ,   v <- b2 v + (1 - b2) g^2
        w <- w - lr weight_decay w - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    With the same numbers for all it is `torch.optim.AdamW`, up to rounding.

    Args:
        parameters: an ensemble's, (S, ...) each.
        lr, weight_decay: a number for all, or (S,) tensors.

    Raises:
        ValueError: a number that is negative, NaN or infinite; (S,) that fits no ensemble of these
            parameters.

    Source: Loshchilov & Hutter 2019 (arXiv 1711.05101), as PyTorch has it.

    Example:
        >>> w = nn.Parameter(torch.ones(2, 3))
        >>> w.grad = torch.ones(2, 3)
        >>> EnsembleAdamW([w], lr=torch.tensor([0.0, 0.1]), weight_decay=1.0).step()
        >>> w[:, 0].detach()  # the second: 1 - .1 - .1
        tensor([1.0000, 0.8000])

    Used in lessons 07, 14 and 16.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float | Tensor,
        weight_decay: float | Tensor,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
    ):
        super().__init__(parameters, lr=1.0, weight_decay=0.0, betas=betas, eps=eps, fused=True)
        for group in self.param_groups:
            group |= {"lr of each": lr, "weight_decay of each": weight_decay}
        self._check("lr", torch.as_tensor(lr))
        self._check("weight_decay", torch.as_tensor(weight_decay))

    def _check(self, name: str, value: Tensor) -> None:
        if not (value.isfinite() & (value >= 0)).all():
            raise ValueError(f"{name} must be finite and at least 0, got {value.tolist()}")
        sizes = {len(weight) if weight.dim() else 0 for g in self.param_groups for weight in g["params"]}
        if value.dim() and (value.dim() > 1 or sizes != {len(value)}):
            raise ValueError(
                f"{name} must be a number, or one for each network ({sorted(sizes)} by the first axis of the "
                f"parameters), got shape {tuple(value.shape)}"
            )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        moving = [(w, group) for group in self.param_groups for w in group["params"] if w.grad is not None]
        before = [weight.clone() for weight, _ in moving]
        for weight, _ in moving:
            weight.zero_()
        super().step()  # with a rate of 1 from 0: now the weights are the changes, for all networks at once
        for (weight, group), was in zip(moving, before, strict=True):
            lr, decay = (_for_each(group[f"{name} of each"], weight) for name in ("lr", "weight_decay"))
            weight.mul_(lr).add_(was.mul_(1 - lr * decay))


def _for_each(value: float | Tensor, weight: Tensor) -> float | Tensor:
    """One number for each network, in a shape that multiplies its slice of a parameter."""
    if not isinstance(value, Tensor) or not value.dim():
        return value
    return value.to(weight).view(-1, *[1] * (weight.dim() - 1))


# Activations that treat every number alike, so that the order of the axes does not matter to them.
_ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Identity)
_ELEMENTWISE += (Square,)


def _is_layered(model: nn.Module) -> bool:
    return (
        type(model) is nn.Sequential
        and len(model) > 0
        and all(type(layer) is nn.Linear or type(layer) in _ELEMENTWISE for layer in model)
        and not _has_hooks(model)
    )


def _has_hooks(model: nn.Module) -> bool:
    """Whether something acts besides `forward`: pruning, the older weight norm, a hook of the reader's."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def _is_product(model: nn.Module) -> bool:
    return _is_layered(model) and all(getattr(layer, "bias", None) is None for layer in model)


def _named_tensors(model: nn.Module) -> dict[str, Tensor]:
    parameters, buffers = (
        model.named_parameters(remove_duplicate=False),
        model.named_buffers(remove_duplicate=False),
    )
    return {name: tensor.detach() for name, tensor in [*parameters, *buffers]}


def _rebuilt(model: nn.Module, change: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """A copy of a model with every parameter and buffer replaced; what was shared stays shared."""
    model = copy.deepcopy(model)
    new: dict[Tensor, Tensor] = {}
    for path, part in model.named_modules():
        for store in (part._parameters, part._buffers):
            for name, old in store.items():
                if old is None:
                    continue
                if old not in new:
                    changed = change(f"{path}.{name}" if path else name, old.detach())
                    is_parameter = isinstance(old, nn.Parameter)
                    new[old] = nn.Parameter(changed, old.requires_grad) if is_parameter else changed
                store[name] = new[old]
    return model


def _check_alike(models: Sequence[nn.Module]) -> None:
    if not models:
        raise ValueError("an Ensemble needs at least one network, got none")
    kinds = [{name: (t.shape, t.dtype) for name, t in _named_tensors(model).items()} for model in models]
    for s, model in enumerate(models):
        if str(model) != str(models[0]) or kinds[s] != kinds[0]:
            raise ValueError(
                f"the networks of an Ensemble differ in their numbers alone, but network {s} is\n{model}\n"
                f"{kinds[s]}\nand network 0 is\n{models[0]}\n{kinds[0]}"
            )
