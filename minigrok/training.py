"""One small training loop around the reader's own `step(state, batch)`, and many seeds as one model.

The loop looks at the run on a logarithmic clock, can be stopped at any moment without losing anything, and
goes on from a checkpoint as if it had never stopped. `Ensemble` trains many seeds of one architecture as
one batched model.
"""

import copy
import functools
import io
import math
import operator
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from minigrok.models import PairMLP, Square
from minigrok.recordings import check_zip, data_hash, to_array, write_whole

FORMAT = "minigrok checkpoint 1"
Batch = tuple[Tensor, Tensor]


@dataclass
class State:
    """All that a run needs to go on: what `train` changes, and what a checkpoint holds.

    Attributes:
        model: the network, or an `Ensemble` of networks.
        optimizer: over the model's parameters. `torch.optim.AdamW(..., fused=True)` is the fastest for the
            small networks of the lessons.
        generator: where the reader's `step` draws its noise from, if it draws any.
        step: number of updates made.
        records: what was observed so far: dicts of numbers and NumPy arrays with the key "step".
        seconds: time spent training and observing so far, over all calls of `train`.

    Used in most lessons.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator | None = None
    step: int = 0
    records: list[dict[str, Any]] = field(default_factory=list, repr=False)
    seconds: float = 0.0


@dataclass
class Run:
    """What `train` returns: `run["name"]` is an observed quantity as one array, first axis `run.steps`.

    `run.records` is the same as a list of dicts; `run.state` can be handed to `train` again, to go on;
    `run.interrupted` says whether Ctrl-C or the stop button ended the run early.
    """

    state: State
    records: list[dict[str, Any]] = field(repr=False)
    interrupted: bool = False

    @property
    def steps(self) -> np.ndarray:
        """The steps of the observations, (T,) int64."""
        return np.array([record["step"] for record in self.records], dtype=np.int64)

    def __getitem__(self, name: str) -> np.ndarray:
        """One observed quantity as an array (T, ...): (T,) for numbers, (T, S) for one number a seed."""
        known = sorted({key for record in self.records for key in record})
        if name not in known:
            raise KeyError(
                f"nothing called {name!r} was observed, only {', '.join(map(repr, known)) or 'nothing'}"
            )
        return np.stack([record[name] for record in self.records])


class Diverged(ValueError):
    """The weights became NaN or infinite. `error.run` is the run up to the last observation before."""

    def __init__(self, message: str, run: Run):
        super().__init__(message)
        self.run = run


def train(
    step: Callable[[State, Any], Any],
    state: State,
    *,
    steps: int,
    batches: Callable[[int], Any] | None = None,
    observe: Callable[[State], dict[str, Any]] | None = None,
    at: Iterable[int] | None = None,
    checkpoint: str | os.PathLike | None = None,
    every: int = 1000,
    progress: bool = False,
) -> Run:
    """Make updates until `state.step` is `steps`, and observe the run on the way.

    Args:
        step: `step(state, batch)` makes one update: loss, backward, `state.optimizer.step()`. It is the
            reader's own; `classification_step` makes the usual one.
        state: where to begin; it is changed in place. Handing in the state of an earlier run goes on there.
        steps: the number of updates at which to stop, counted from the very beginning.
        batches: `batches(t)` is the batch of update t (`minibatches` makes one); without it batch is None.
        observe: `observe(state)` returns a dict of numbers, arrays or tensors. It runs with the model in
            evaluation mode and without gradients. Afterwards every module's mode, `state.generator` and
            torch's own generator are as before, so a run does not depend on when it is looked at.
        at: the steps at which to observe, default `log_spaced(steps, 30)`. Those beyond `steps` wait for
            a longer run.
        checkpoint: a file, written every `every` updates, at the end and when interrupted. If it exists,
            the run goes on from it: on the same processor, versions and number of threads the result is
            bit for bit that of a run that never stopped. The file has the model, the optimizer, the state
            of `state.generator` and of torch's own CPU generator (both are set again on resuming), and all
            of `State`. What `step` keeps elsewhere is not in it, nor whether `step` or the data changed.
        progress: show a progress bar.

    Returns:
        The run. Ctrl-C and Jupyter's stop button end it early: an update under way is finished first (a
        second Ctrl-C cuts it), an observation under way is dropped, and the run so far is returned with
        `interrupted=True`.

    Raises:
        Diverged: the weights are NaN or infinite at an observation, at a checkpoint or at the end. Of an
            `Ensemble` the other seeds go on: a warning names those lost, their `accuracy` is NaN from then
            on, and `Diverged` is raised when none is left. The checkpoint stays the last one before.
        ValueError: the checkpoint is of another run (other shapes, optimizer, initial weights, generator or
            observations), or is already beyond `steps`.

    A file at `checkpoint` that is broken, cut short or something else is renamed to `*.broken`, a warning
    names it, and the run starts anew.

    Example:
        >>> from minigrok import data, models
        >>> x, y = data.disc_and_ring(200)
        >>> model = models.mlp([2, 16, 16, 2], generator=torch.Generator().manual_seed(0))
        >>> state = State(model, torch.optim.AdamW(model.parameters(), lr=1e-2))
        >>> run = train(
        ...     classification_step(), state, steps=300, at=[0, 100, 300],
        ...     batches=lambda t: (x, y),
        ...     observe=lambda state: {"accuracy": accuracy(state.model, x, y)},
        ... )
        >>> run.steps, run["accuracy"][-1] > 0.95
        (array([  0, 100, 300]), np.True_)

    Used in most lessons.
    """
    due = _schedule(at, steps, observe)
    lost: set[int] = set()  # networks of an ensemble that have diverged
    with _Interrupts() as interrupts:
        file = None if checkpoint is None else _Checkpoint.of(Path(checkpoint), state, due)
        _check_steps(state.step, steps, every)
        clock = time.perf_counter() - state.seconds
        with _bar(progress, state.step, steps) as bar:
            while not interrupts.count:
                if state.step in due:
                    _take_stock(state, clock, lost)
                    _observe(observe, state, interrupts)
                if file is not None and state.step % every == 0 and state.step < steps:
                    _take_stock(state, clock, lost)
                    file.save(state)
                if interrupts.count or state.step == steps:
                    break
                _update(step, state, batches, interrupts)
                if bar is not None:
                    bar.update()
        _take_stock(state, clock, lost)
        if file is not None and not interrupts.cut:
            file.save(state)
        return _finished(state, steps, interrupts)


def log_spaced(steps: int, n: int) -> list[int]:
    """At most n whole numbers from 0 to steps, each as many times the one before as can be.

    Every number is at least one more than the last, so the first ones stand closer than a logarithm would
    put them. There are n of them, or steps + 1 where that is less.

    Example:
        >>> log_spaced(1000, 8)
        [0, 1, 3, 10, 32, 101, 318, 1000]
        >>> log_spaced(3, 8)
        [0, 1, 2, 3]

    Used in lessons 02, 06, 10 and 11, and in the recording of lesson 09.
    """
    if steps < 0 or n < 2:
        raise ValueError(
            f"expected steps of at least 0 and n of at least 2 (first and last), got {steps} and {n}"
        )
    if steps < 2 or n == 2:
        return sorted({0, steps})
    times = [0, 1]
    while times[-1] < steps:
        ratio = (steps / times[-1]) ** (1 / max(1, n - len(times)))
        times.append(max(times[-1] + 1, round(times[-1] * ratio)))
    return times


def minibatches(x: Tensor, y: Tensor, size: int, *, seed: int | Sequence[int]) -> Callable[[int], Batch]:
    """Batches without memory: `batches(t)` depends on t and the seed alone, so a resumed run sees the same.

    Every epoch goes through all samples once, in an order drawn from (seed, epoch). Where `size` does not
    divide their number the last batch of an epoch is shorter; nothing is left out.

    Args:
        x, y: the samples, (n, ...) and (n,).
        size: samples in a batch, 1 to n.
        seed: one seed, or S seeds, one order for each network of an `Ensemble`.

    Returns:
        `batches(t)` -> (x (size, ...), y (size,)), with S seeds (x (S, size, ...), y (S, size)).

    Example:
        >>> batches = minibatches(torch.arange(5.0)[:, None], torch.arange(5), 2, seed=0)
        >>> [len(batches(t)[1]) for t in range(6)]
        [2, 2, 1, 2, 2, 1]
        >>> minibatches(torch.zeros(5, 1), torch.arange(5), 2, seed=[0, 1, 2])(0)[0].shape
        torch.Size([3, 2, 1])

    Used in lessons 03, 08, 10, 11, 12 and 13, and in the recordings of lessons 09 and 14.
    """
    n = len(x)
    if len(y) != n or not 1 <= size <= n:
        raise ValueError(
            f"expected as many labels as samples and a size from 1 to {n}, got {len(y)} and {size}"
        )
    per_epoch = math.ceil(n / size)
    seeds = [seed] if isinstance(seed, int) else list(seed)

    @functools.lru_cache(maxsize=1)
    def order(epoch: int) -> Tensor:
        orders = torch.stack([_order(n, s, epoch) for s in seeds]).to(x.device)
        return orders[0] if isinstance(seed, int) else orders

    def batches(t: int) -> Batch:
        epoch, k = divmod(t, per_epoch)
        chosen = order(epoch)[..., k * size : (k + 1) * size]
        return x[chosen], y[chosen]

    return batches


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
        self._paired = type(self.stacked) is PairMLP and _is_product(self.stacked.body)
        self._last: tuple[list[tuple[Tensor, int]], Any] = [], None  # see _kept
        _keep_freed_memory()

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
        h = _RowSums.apply(tables.flatten(0, 1), *self._bags_of(x))
        for layer in self.stacked.body:
            if isinstance(layer, nn.Linear):
                h = _Product.apply(layer.weight, h.reshape(self.size, x.shape[-2], -1))
            elif type(layer) is nn.ReLU and layer is self.stacked.body[0]:
                h = h.relu_()  # nothing else needs the sums
            else:
                h = layer(h)
        return h

    def _bags_of(self, x: Tensor) -> tuple["_Bags", "_Bags"]:
        """Which rows of the tables each pair takes, and the reverse; kept while training on the same x."""
        if not torch.is_grad_enabled():  # just looking: the training set is the one to keep
            return (_bags_of_pairs(x.expand(self.size, -1, -1), self.stacked),) * 2

        def both_ways() -> tuple[_Bags, _Bags]:
            bags = _bags_of_pairs(x.expand(self.size, -1, -1), self.stacked)
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
        """Whether `_add_gradients` knows this kind of network: logits = U act(L[a] + R[b])."""
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
        chunks = self._kept(lambda: _chunks(x.expand(each), y.expand(each[:2]), self.stacked), x, y)
        for weight in self.parameters():
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        for chunk in chunks:
            _add_gradients(self.stacked, chunk)

    def _by_layers(self, x: Tensor) -> Tensor:
        # Features before samples: weight @ h needs no transposed copy on the way back.
        h = x.mT if x.dim() == 3 else x.T.expand(self.size, -1, -1)  # (S, features, N)
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


def classification_loss(logits: Tensor, y: Tensor, loss: str = "cross_entropy") -> Tensor:
    """The loss of a classifier, one number for each network.

        cross_entropy:  mean over samples of  -log softmax(logits)[y]
        squared_error:  mean over samples *and* classes of  (logits - onehot(y))^2
        stablemax:      mean over samples of  -log stablemax(logits)[y]

    The squared error is that of `nn.MSELoss` on one-hot labels, as in the code of Omnigrok (Liu et al. 2022)
    and of Humayun et al. 2024; summed over 10 classes it would be ten times as large.

    Args:
        logits: (N, C), or (S, N, C) of an `Ensemble`.
        y: (N,) int64 for all networks, or (S, N). Samples of label -1 are left out, the mean is over the
            rest: they fill up the sets of an ensemble whose networks train on different numbers (`padded`).

    Returns:
        () or (S,), differentiable.

    Example:
        >>> classification_loss(torch.zeros(5, 4), torch.arange(5) % 4)  # log(4)
        tensor(1.3863)
        >>> classification_loss(torch.zeros(3, 5, 4), torch.arange(5) % 4, "squared_error")
        tensor([0.2500, 0.2500, 0.2500])

    Used in lessons 02, 04, 07, 09 and 16, and in the recording of lesson 14.
    """
    _check_loss(loss)
    if loss == "cross_entropy" and logits.dim() == 2:
        return F.cross_entropy(logits, y, ignore_index=-1)
    y = y.expand(logits.shape[:-1])
    counts, y = (y >= 0).to(logits.dtype), y.clamp(min=0)
    if loss == "squared_error":
        each = (logits - F.one_hot(y, logits.shape[-1])).square().mean(dim=-1)
    elif loss == "stablemax":
        s = _stable(logits)
        each = s.sum(dim=-1).log() - s.take_along_dim(y[..., None], dim=-1)[..., 0].log()
    else:  # Classes first, as an Ensemble lays them out, the softmax takes many samples at once.
        each = -logits.mT.log_softmax(dim=-2).gather(-2, y[:, None])[:, 0]
    return (each * counts).sum(dim=-1) / counts.sum(dim=-1)


def classification_step(loss: str = "cross_entropy") -> Callable[[State, Batch], None]:
    """The usual `step` for `train`: one update of a classifier, or of an `Ensemble`, on a batch (x, y).

    The losses of an ensemble's networks (`classification_loss`) are summed, so none changes another's update.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> state = State(model, torch.optim.SGD(model.parameters(), lr=0.1))
        >>> step = classification_step("squared_error")
        >>> step(state, (torch.zeros(5, 2), torch.arange(5) % 3))

    Used in most lessons.
    """
    _check_loss(loss)

    def step(state: State, batch: Batch) -> None:
        if batch is None:
            raise ValueError("classification_step needs a batch: hand batches=lambda t: (x, y) to train")
        # Where the arithmetic is this fast, fresh memory for the gradients would take a tenth of the time.
        state.optimizer.zero_grad(set_to_none=not _by_formula(state.model, loss))
        classification_gradients(state.model, *batch, loss)
        state.optimizer.step()

    return step


def classification_gradients(model: nn.Module, x: Tensor, y: Tensor, loss: str = "cross_entropy") -> None:
    """Add the gradient of the (summed) `classification_loss` to every parameter's `.grad`.

    It is `classification_loss(model(x), y, loss).sum().backward()`. An `Ensemble` of adding `models.pair_mlp`
    with ReLU or Square and cross-entropy gets it from its own formula instead, a few networks at a time, so
    that what they compute stays in the processor's cache (bench/bench_grokking.py).

    Example:
        >>> model = nn.Linear(2, 3)
        >>> classification_gradients(model, torch.ones(5, 2), torch.arange(5) % 3)
        >>> model.weight.grad.shape
        torch.Size([3, 2])

    Used in lesson 07, and in the recording of lesson 14.
    """
    if _by_formula(model, loss):
        model._add_gradients(x, y)
    else:
        classification_loss(model(x), y, loss).sum().backward()


def _by_formula(model: nn.Module, loss: str) -> bool:
    return isinstance(model, Ensemble) and loss == "cross_entropy" and model._has_formula()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The share of samples whose largest output is that of their label, one number for each network.

    Returns:
        () for a model, (S,) for an `Ensemble`; NaN where any output is NaN or infinite. Samples of label -1
        are left out, as in `classification_loss`.

    Example:
        >>> accuracy(nn.Identity(), torch.eye(4), torch.tensor([0, 1, 2, 0]))
        tensor(0.7500)

    Used in most lessons.
    """
    logits = model(x)
    right = logits.max(dim=-1).indices == y  # the index alone, argmax, takes several times as long
    share = right.sum(dim=-1).to(logits.dtype) / (y >= 0).sum(dim=-1)
    return share.where((logits * 0).sum(dim=(-2, -1)) == 0, torch.nan)  # 0 times NaN or infinity is NaN


def padded(sets: Sequence[Batch]) -> Batch:
    """Training sets of different sizes as one batch for an `Ensemble`, the shorter ones filled up.

    Args:
        sets: (x (n, ...), y (n,)) of each network.

    Returns:
        x (S, N, ...) and y (S, N) with N the longest set's size; what is filled up is zeros with label -1,
        which `classification_loss` and `accuracy` leave out.

    Example:
        >>> x, y = padded([(torch.ones(1, 2), torch.tensor([4])), (torch.ones(2, 2), torch.tensor([1, 3]))])
        >>> x.shape, y
        (torch.Size([2, 2, 2]), tensor([[ 4, -1],
                [ 1,  3]]))

    Used in lessons 14 and 16.
    """
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad([x for x, _ in sets], batch_first=True),
        pad([y for _, y in sets], batch_first=True, padding_value=-1),
    )


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


def noise_level(
    train_accuracy: float | Tensor, first: float | Tensor, last: float | Tensor
) -> float | Tensor:
    """How strong the noise of perturbation training is: it weakens as the training set is learnt.

        sigma = max(first (1 - train_accuracy), last)

    Args:
        train_accuracy: a number in [0, 1], or (S,) of an `Ensemble` as `accuracy` returns it; NaN stays NaN.
        first: the paper's lambda_1, sigma at accuracy 0; a number, or (S,), one for each network.
        last: its lambda_2, below which sigma does not fall. Both are in units of what the noise is added to.

    Returns:
        A float if all three are numbers, else a tensor.

    Raises:
        ValueError: an accuracy outside [0, 1]; first or last negative, NaN or infinite.

    Source: Tan & Huang 2023 (arXiv 2311.06597), section 4, with 0.06 and 0.03 for the pixels of MNIST, 0.5
    and 0.4 for the embeddings of modular addition.

    Example:
        >>> noise_level(0.5, 0.5, 0.25), noise_level(torch.tensor([0.0, 1.0]), 0.5, 0.25)
        (0.25, tensor([0.5000, 0.2500]))

    Used in lesson 09.
    """
    all_numbers = not any(isinstance(value, Tensor) for value in (train_accuracy, first, last))
    share, first, last = (torch.as_tensor(value) for value in (train_accuracy, first, last))
    if (share < 0).any() or (share > 1).any():
        raise ValueError(f"the accuracy is a share of the training set, in [0, 1], got {share.tolist()}")
    if not all((level >= 0).all() and level.isfinite().all() for level in (first, last)):
        raise ValueError(
            "first and last are standard deviations, finite and at least 0, "
            f"got {first.tolist()} and {last.tolist()}"
        )
    sigma = torch.maximum(first * (1 - share), last)
    return sigma.item() if all_numbers else sigma


def swap_loss(model: nn.Module, x: Tensor) -> Tensor:
    """How far a network is from giving (a, b) and (b, a) the same outputs.

        swap_loss = mean over pairs and outputs of  (f(a, b) - f(b, a))^2

    Added to the loss with a weight (the paper: 100) it is a regulariser that asks for commutativity. It shows
    the network the mirror of every training pair, so its fair rival is training on those mirrors too.

    Args:
        model: pairs (N, 2) -> (N, outputs), or an `Ensemble`.
        x: (N, 2) int64, or (S, N, 2) for an `Ensemble`.

    Returns:
        () or (S,), differentiable.

    Raises:
        ValueError: x that does not hold pairs.

    Source: the abelian regulariser of Tan & Huang 2023 (arXiv 2311.06597), section 4.

    Example:
        >>> first = lambda x: x[:, :1].float()  # answers a
        >>> swap_loss(first, torch.tensor([[1, 4], [2, 2]]))  # (3^2 + 0^2) / 2
        tensor(4.5000)
    """
    if x.dim() < 2 or x.shape[-1] != 2 or not x.shape[-2]:
        raise ValueError(f"expected pairs x (N, 2) with at least one pair, got shape {tuple(x.shape)}")
    return (model(x) - model(x.flip(-1))).square().mean(dim=(-2, -1))


def _check_loss(loss: str) -> None:
    if loss not in ("cross_entropy", "squared_error", "stablemax"):
        raise ValueError(f"loss must be 'cross_entropy', 'squared_error' or 'stablemax', got {loss!r}")


# --- three ways said to bring grokking forward --------------------------------------------------------------


def stablemax(logits: Tensor) -> Tensor:
    """Probabilities like softmax's, but with a slope in place of the exponential.

        stablemax(z)_i = s(z_i) / sum_j s(z_j) ,    s(z) = z + 1 where z >= 0,  1 / (1 - z) where z < 0

    In float32 a softmax is exactly 1 once the right logit is about 17 above all others: the loss of that
    sample and its gradient are then exactly 0 (Softmax Collapse). Here the share of the others falls like
    one over the logit instead, and no gradient is rounded away.

    Args:
        logits: (..., C), of a real dtype.

    Returns:
        (..., C), none below 0, adding up to 1 over the last axis. Differentiable.

    Source: Prieto et al. 2025 (arXiv 2501.04697). As a loss: `classification_loss(logits, y, "stablemax")`.

    Example:
        >>> stablemax(torch.tensor([3.0, 0.0, -1.0]))  # 4, 1 and 1/2 as shares of 5.5
        tensor([0.7273, 0.1818, 0.0909])
    """
    s = _stable(logits)
    return s / s.sum(dim=-1, keepdim=True)


def _stable(z: Tensor) -> Tensor:
    # Without torch.where, whose unused side would bring NaN into the gradient at z = 1. At z = 0 clamp's
    # slope is 1 and relu's 0: together the 1 that s has there.
    return z.clamp(min=0) + 1 / (1 + F.relu(-z))


@torch.no_grad()
def grokfast(
    parameters: Iterable[Tensor], memory: dict[Tensor, Tensor], *, alpha: float = 0.98, lamb: float = 2.0
) -> None:
    """Grokfast: strengthen the slow part of the gradient. Call it after backward, before the optimizer.

        m <- alpha m + (1 - alpha) g ,    g <- g + lamb m ,      m of the first call: g itself

    Args:
        parameters: their gradients g are changed in place; one without a gradient is passed over. It works
            number by number, so an `Ensemble` needs nothing special.
        memory: holds m from one call to the next. Begin with {}; one dict a run. It is not in a checkpoint.
        alpha: how slow the memory is, 0 to 1: it forgets over about 1 / (1 - alpha) updates.
        lamb: how much of it is added, 0 or more. A gradient that stays the same becomes 1 + lamb times as
            long; AdamW divides that factor out again, unless gradients point elsewhere from time to time.

    Source: Lee et al. 2024 (arXiv 2405.20233), Grokfast-EMA, with their numbers for addition.

    Example:
        >>> w, memory = nn.Parameter(torch.zeros(2)), {}
        >>> for g in ([1.0, 0.0], [0.0, 1.0]):
        ...     w.grad = torch.tensor(g)
        ...     grokfast([w], memory, alpha=0.5, lamb=2.0)
        ...     print(w.grad)
        tensor([3., 0.])
        tensor([1., 2.])

    Used in lesson 07.
    """
    if not (0 <= alpha < 1 and 0 <= lamb < math.inf):
        raise ValueError(f"alpha must be at least 0 and below 1, lamb at least 0; got {alpha} and {lamb}")
    for weight in parameters:
        if weight.grad is None:
            continue
        if weight not in memory:
            memory[weight] = weight.grad.clone()
        slow = memory[weight].lerp_(weight.grad, 1 - alpha)
        weight.grad.add_(slow, alpha=lamb)


@torch.no_grad()
def perp_grad(parameters: Iterable[Tensor], *, stacked: bool = False) -> None:
    """PerpGrad: take away the part of each gradient that only rescales. Call it between backward and step.

        g <- g - (w.g / w.w) w ,   then rescaled to the length g had before; one tensor w at a time

    Where a network has fitted all, larger logits lower the loss for ever, and that is the direction w itself.
    What is left turns the weights without changing their length, to first order; a finite step at right
    angles still lengthens them.

    Args:
        parameters: their gradients are changed in place; one without a gradient is passed over. Where w is
            zero, g stays; where nothing but rescaling was in g, it becomes zero.
        stacked: True for the parameters of an `Ensemble`, whose first axis is that of the networks: each
            network's slice is then a tensor of its own.

    Source: Prieto et al. 2025 (arXiv 2501.04697); one tensor at a time and the length as in their code.

    Example:
        >>> w = nn.Parameter(torch.tensor([2.0, 0.0]))
        >>> w.grad = torch.tensor([3.0, 4.0])
        >>> perp_grad([w])
        >>> w.grad
        tensor([0., 5.])

    Used in lesson 07.
    """
    for weight in parameters:
        if weight.grad is None:
            continue
        rows = len(weight) if stacked else 1
        w, g = weight.reshape(rows, -1), weight.grad.reshape(rows, -1)
        w = F.normalize(w, dim=1)  # of length 1; zero (and what is shorter than 1e-12) stays
        across = g - (w * g).sum(dim=1, keepdim=True) * w
        before, after = g.norm(dim=1, keepdim=True), across.norm(dim=1, keepdim=True)
        # What rounding leaves of a parallel gradient has no direction and must not be blown up.
        noise = after <= 8 * torch.finfo(g.dtype).eps * before
        weight.grad.copy_((across * torch.where(noise, 0, before / after)).view_as(weight))


# --- the loop's parts ---------------------------------------------------------------------------------------


def _schedule(at: Iterable[int] | None, steps: int, observe: Callable | None) -> set[int]:
    if observe is None:
        if at is not None:
            raise ValueError(
                "at says when to observe, but there is no observe: pass observe=..., or leave at out"
            )
        return set()
    due = {operator.index(t) for t in (log_spaced(steps, 30) if at is None else at)}
    if due and min(due) < 0:
        raise ValueError(f"at must hold steps of at least 0, got {min(due)}")
    return due


def _check_steps(made: int, steps: int, every: int) -> None:
    if steps != int(steps):
        raise ValueError(f"steps must be a whole number of updates, got {steps}")
    if made > steps:
        raise ValueError(
            f"the run has made {made} updates already, more than steps={steps}: ask for more steps"
        )
    if every < 1:
        raise ValueError(f"every must be at least 1 update, got {every}")


def _update(step: Callable, state: State, batches: Callable | None, interrupts: "_Interrupts") -> None:
    interrupts.patience = 1  # the first Ctrl-C waits for the end of the update, a second one cuts it
    try:
        step(state, None if batches is None else batches(state.step))
    except KeyboardInterrupt:
        interrupts.stop(cut=True)
        return
    finally:
        interrupts.patience = math.inf
    state.step += 1


def _observe(observe: Callable, state: State, interrupts: "_Interrupts") -> None:
    """Append a record, and leave modes and random generators as they were: looking changes nothing."""
    if state.records and state.records[-1]["step"] >= state.step:
        return  # seen before the run was stopped here
    modes = {part: part.training for part in state.model.modules()}
    random = _random_states(state)
    interrupts.patience = 0
    try:
        state.model.eval()
        with torch.no_grad():
            record = _record(state.step, observe(state))
    except KeyboardInterrupt:
        interrupts.stop()
        return
    finally:
        interrupts.patience = math.inf
        _set_random_states(state, random)
        for part, training in modes.items():
            part.training = training
    state.records.append(record)


def _record(step: int, seen: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(seen, dict) or "step" in seen:
        raise TypeError(
            f"observe must return a dict of numbers or arrays without the key 'step', got {seen!r:.200}"
        )
    arrays = {name: to_array(name, value) for name, value in seen.items()}
    return {"step": step} | {name: array if array.ndim else array.item() for name, array in arrays.items()}


def _take_stock(state: State, clock: float, lost: set[int]) -> None:
    """Note the time, raise `Diverged` if no network has finite weights, warn of those newly `lost`."""
    state.seconds = time.perf_counter() - clock
    size = len(state.model) if isinstance(state.model, Ensemble) else 1
    finite = [weight.detach().isfinite().reshape(size, -1).all(dim=1) for weight in state.model.parameters()]
    diverged = set((~torch.stack(finite).all(dim=0)).nonzero().flatten().tolist())
    where = f"at step {state.step}" + (
        f" (last observed at step {state.records[-1]['step']})" if state.records else ""
    )
    if len(diverged) == size:
        raise Diverged(
            f"the weights are NaN or infinite {where}. A lower learning rate or smaller inputs may help; "
            "the run up to the last observation is in this error's .run",
            Run(state, list(state.records)),
        )
    if diverged - lost:
        warnings.warn(
            f"networks {sorted(diverged - lost)} of the ensemble have NaN or infinite weights {where}",
            stacklevel=3,
        )
    lost |= diverged


def _finished(state: State, steps: int, interrupts: "_Interrupts") -> Run:
    if interrupts.count:
        cut = " The last update was cut: the weights may be half-updated." if interrupts.cut else ""
        print(f"Stopped after {state.step} of {steps} updates.{cut} To go on: train(..., state=run.state)")
    return Run(state, list(state.records), interrupted=interrupts.count > 0)


def _bar(progress: bool, done: int, total: int, unit: str = "step") -> Any:
    if not progress:
        return nullcontext()
    try:
        from tqdm import tqdm  # not tqdm.auto: as a widget it would load megabytes into a page of the book
    except ImportError as missing:
        raise ImportError("the progress bar needs tqdm: pip install 'minigrok[course]'") from missing
    return tqdm(initial=done, total=total, unit=unit, leave=False, mininterval=0.5)


class _Interrupts:
    """While open, Ctrl-C and Jupyter's stop button (both send SIGINT) are counted instead of breaking in.

    KeyboardInterrupt is raised on the spot only when more came than there is `patience` for. Outside the
    main thread, where Python delivers no signals, nothing is done.
    """

    def __init__(self) -> None:
        self.count = 0
        self.cut = False  # an update was broken off half-way
        self.patience = math.inf

    def __enter__(self) -> "_Interrupts":
        self.before = signal.getsignal(signal.SIGINT)
        # A handler that is not a function means that the process ignores Ctrl-C or dies of it: let it.
        self.active = callable(self.before) and threading.current_thread() is threading.main_thread()
        if self.active:
            signal.signal(signal.SIGINT, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        if self.active:
            signal.signal(signal.SIGINT, self.before)

    def _receive(self, *_: object) -> None:
        self.count += 1
        if self.count > self.patience:
            raise KeyboardInterrupt

    def stop(self, cut: bool = False) -> None:
        self.patience, self.count, self.cut = math.inf, max(1, self.count), cut


# --- checkpoints --------------------------------------------------------------------------------------------


_PARTS = {"origin", "step", "seconds", "records", "model", "optimizer", "random"}


@dataclass
class _Checkpoint:
    path: Path
    origin: dict[str, str]  # what the run began with, to tell it from another

    @classmethod
    def of(cls, path: Path, state: State, due: set[int]) -> "_Checkpoint":
        """Bring `state` to where the file is, if that is ahead; ValueError if the file is of another run."""
        saved, origin = _read(path), _origin(state)
        if saved is None:
            return cls(path, origin)
        differences = _differences(saved, origin, state.step, due)
        if differences:
            raise ValueError(
                f"the checkpoint {path} is of another run: {'; '.join(differences[:4])}. "
                "Give this run a file of its own, or delete that one to start anew."
            )
        if saved["step"] > state.step:
            _restore(state, saved)
        return cls(path, saved["origin"])

    def save(self, state: State) -> None:
        content = {"format": FORMAT, "origin": self.origin, "step": state.step, "seconds": state.seconds}
        content["records"] = [{name: _packed(value) for name, value in r.items()} for r in state.records]
        content |= {"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()}
        content["random"] = _random_states(state)
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_whole(self.path, buffer.getvalue())


def _restore(state: State, saved: dict[str, Any]) -> None:
    state.model.load_state_dict(saved["model"])
    state.optimizer.load_state_dict(saved["optimizer"])
    _set_random_states(state, saved["random"])
    state.records = [{name: _unpacked(value) for name, value in r.items()} for r in saved["records"]]
    state.step, state.seconds = saved["step"], saved["seconds"]


def _origin(state: State) -> dict[str, str]:
    """What tells a run from another, as text by name."""
    begun = [state.model.state_dict()] + ([] if state.generator is None else [state.generator.get_state()])
    shapes = {f"shape of {name}": str(tuple(t.shape)) for name, t in state.model.state_dict().items()}
    options = {
        f"optimizer's {name} (parameter group {i})": repr(value)
        for i, group in enumerate(state.optimizer.param_groups)
        for name, value in group.items()
        if name != "params"
    }
    kind = {"optimizer": type(state.optimizer).__name__}
    return shapes | kind | options | {"hash of the first weights and generator": data_hash(begun)[:12]}


def _differences(saved: dict[str, Any], origin: dict[str, str], step: int, due: set[int]) -> list[str]:
    was = saved["origin"]
    # A run under way may have new options on purpose; one that begins must begin as the file's did.
    names = [name for name in was | origin if step == 0 or name.startswith("shape of")]
    differ = [name for name in names if was.get(name) != origin.get(name)]
    reasons = [f"{name} was {was.get(name, 'absent')}, now {origin.get(name, 'absent')}" for name in differ]
    seen = [record["step"] for record in saved["records"] if record["step"] < saved["step"]]
    expected = sorted(t for t in due if t < saved["step"])
    if seen != expected:
        hint = "pass the same `at`, whose default depends on `steps`"
        reasons.append(f"it was observed at {_short(seen)}, now due at {_short(expected)} ({hint})")
    return reasons


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a checkpoint; None without a file, or with one that is broken: that is set aside."""
    try:
        content = io.BytesIO(path.read_bytes())
    except FileNotFoundError:
        return None
    try:
        check_zip(content)  # torch.load does not look at the checksums
        saved = torch.load(content, map_location="cpu", weights_only=True)
        missing = _PARTS - saved.keys()
        if saved["format"] == FORMAT and not missing:
            return saved
        reason = f"its format is {saved['format']!r}, and it lacks {sorted(missing) or 'nothing'}"
    except Exception as error:  # zip, pickle and torch each have their own ways of saying "broken"
        reason = f"{type(error).__name__}: {error}"
    aside = _set_aside(path)
    warnings.warn(
        f"{path} is not a whole minigrok checkpoint ({reason:.200}). It was renamed to {aside.name}; "
        "the run starts anew.",
        stacklevel=4,
    )
    return None


def _set_aside(path: Path) -> Path:
    names = (path.with_name(f"{path.name}{k}.broken") for k in ["", *(f".{k}" for k in range(2, 1000))])
    aside = next(name for name in names if not name.exists())
    return path.rename(aside)


def _random_states(state: State) -> dict[str, Tensor]:
    states = {"torch": torch.get_rng_state()}
    return states if state.generator is None else states | {"generator": state.generator.get_state()}


def _set_random_states(state: State, states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["torch"])
    if state.generator is not None:
        state.generator.set_state(states["generator"])


def _packed(value: Any) -> Any:  # torch.load with weights_only reads tensors, but no NumPy arrays
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _unpacked(value: Any) -> Any:
    return value.numpy() if isinstance(value, Tensor) else value


def _short(steps: list[int]) -> str:
    return f"{len(steps)} steps {str(steps[:4])[:-1]}{', ...' if len(steps) > 4 else ''}]"


# --- ensembles and batches ----------------------------------------------------------------------------------

# Activations that treat every number alike, so that the order of the axes does not matter to them.
_ELEMENTWISE = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Identity)
_ELEMENTWISE += (Square,)


def _is_layered(model: nn.Module) -> bool:
    return type(model) is nn.Sequential and all(
        type(layer) is nn.Linear or type(layer) in _ELEMENTWISE for layer in model
    )


def _keep_freed_memory() -> None:
    """Ask the C library, without words, to keep what is freed for the next update.

    glibc gives freed memory back to the system above a limit, and then every update pays for fresh pages, in
    an ensemble as much as for the arithmetic. Freeing one block of just below 32 MB, untouched and so for
    nothing, raises that limit to 64 MB (mallopt(3), M_MMAP_THRESHOLD). Other C libraries take no notice.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _is_product(model: nn.Module) -> bool:
    return _is_layered(model) and all(getattr(layer, "bias", None) is None for layer in model)


@dataclass
class _Bags:
    """Which rows of a matrix are added up (`rows`, bag after bag), and where each bag begins."""

    rows: Tensor
    begins: Tensor
    n_rows: int  # of the matrix

    def reverse(self) -> "_Bags":
        """For each row of the matrix the bags it is in: what the gradient of the sums adds up."""
        sizes = self.begins.diff(append=self.begins.new_tensor([len(self.rows)]))
        bag = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
        counts = torch.bincount(self.rows, minlength=self.n_rows)
        return _Bags(bag[self.rows.argsort(stable=True)], counts.cumsum(0) - counts, len(sizes))


def _bags_of_pairs(x: Tensor, model: PairMLP) -> _Bags:
    """x (S, N, 2) -> the rows that each pair takes from all networks' tables laid end to end."""
    (seeds, n, two), p = x.shape, model.left.num_embeddings
    if two != 2:
        raise ValueError(f"expected pairs (N, 2), or (S, N, 2), got shape {tuple(x.shape[1:])}")
    if x.is_floating_point() or n and (x.min() < 0 or x.max() >= p):
        raise ValueError(
            f"expected pairs of whole numbers from 0 to {p - 1}, got {x.dtype}"
            + (f" from {x.min().item()} to {x.max().item()}" if n else "")
        )
    tables = 1 if model.left is model.right else 2
    first = torch.arange(seeds, device=x.device)[:, None, None] * (tables * p)
    rows = (x + first + torch.tensor([0, (tables - 1) * p], device=x.device)).flatten()
    each = 2 if model.combine == "add" else 1  # two bags of one row each, side by side, are concatenated
    return _Bags(rows, torch.arange(0, len(rows), each, device=x.device), seeds * tables * p)


@dataclass
class _Chunk:
    """Some networks of an ensemble and their batches, for `_add_gradients`."""

    networks: slice
    bags: _Bags
    reverse: _Bags
    y: Tensor  # (k, 1, N)
    weights: Tensor  # (k, 1, N), of each sample in the mean; 0 where it only fills up
    slope: Tensor | None = None  # (k, N, width), room that all chunks share: fresh memory costs time


def _chunks(x: Tensor, y: Tensor, model: PairMLP) -> list[_Chunk]:
    """As many networks at a time as have two megabytes of hidden units, about what a cache holds."""
    width, counts, begin = model.left.embedding_dim, y >= 0, 0
    weights = counts.to(model.left.weight.dtype) / counts.sum(dim=1, keepdim=True)
    sizes = (counts * torch.arange(1, y.shape[1] + 1, device=y.device)).amax(dim=1).tolist()
    most = 2**19 if x.device.type == "cpu" else math.inf
    chunks = []
    while begin < len(x):
        end = begin + 1
        while end < len(x) and (end + 1 - begin) * max(sizes[begin : end + 1]) * width <= most:
            end += 1
        networks, n = slice(begin, end), max(sizes[begin:end])  # what only fills up is left out, if all do
        bags = _bags_of_pairs(x[networks, :n], model)
        labels = y[networks, None, :n].clamp(min=0)
        chunks.append(_Chunk(networks, bags, bags.reverse(), labels, weights[networks, None, :n]))
        begin = end
    room = model.left.weight.new_empty(max(chunk.y.numel() for chunk in chunks) * width)
    for chunk in chunks:
        chunk.slope = room[: chunk.y.numel() * width].view(*chunk.y.shape[::2], width)
    return chunks


def _add_gradients(model: PairMLP, chunk: _Chunk) -> None:
    """Gradients of the mean cross-entropy of  U act(L[a] + R[b]), one formula after the other.

    With p = softmax(logits) and the mean's weights: d logits = weights (p - onehot), d U = d logits . hidden,
    d hidden = U . d logits, times the slope of act, added up over the pairs that have the row.
    """
    tables = [model.left.weight] if model.left is model.right else [model.left.weight, model.right.weight]
    readout, relu = model.body[-1].weight, type(model.body[0]) is nn.ReLU
    u = readout[chunk.networks]
    rows = torch.cat([table[chunk.networks] for table in tables], dim=1)
    before = _sums_of_rows(rows.flatten(0, 1), chunk.bags).view(len(u), -1, u.shape[2])
    hidden = before.relu_() if relu else before.square()
    # exp2 is several times as fast as exp; the logits are (k, p, N), so that it runs along the samples.
    logits = torch.bmm(u * math.log2(math.e), hidden.mT)
    wrong = logits.sub_(logits.amax(dim=1, keepdim=True)).exp2_()
    wrong.mul_(chunk.weights / wrong.sum(dim=1, keepdim=True)).scatter_add_(1, chunk.y, -chunk.weights)
    readout.grad[chunk.networks] += torch.bmm(wrong, hidden)
    slope = torch.bmm(wrong.mT, u, out=chunk.slope)
    if relu:
        torch.ops.aten.threshold_backward(slope, hidden, 0, grad_input=slope)
    else:
        slope.mul_(before).mul_(2)
    sums = _sums_of_rows(slope.flatten(0, 1), chunk.reverse).view(rows.shape)
    for table, grad in zip(tables, sums.split(model.left.num_embeddings, dim=1), strict=True):
        table.grad[chunk.networks] += grad


def _sums_of_rows(matrix: Tensor, bags: _Bags) -> Tensor:
    return torch.embedding_bag(matrix, bags.rows, bags.begins, False, 0)[0]


class _RowSums(torch.autograd.Function):
    """Sums of rows of a matrix. The gradient is such sums again: PyTorch's own adds up row by row."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, bags: _Bags, reverse: _Bags) -> Tensor:
        ctx.bags = bags, reverse
        return _sums_of_rows(matrix, bags)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        bags, reverse = ctx.bags
        return _RowSums.apply(grad.contiguous(), reverse, bags), None, None


class _Product(torch.autograd.Function):
    """weight (S, out, in) and h (S, N, in) -> (S, N, out), each tensor laid out as the next step reads it.

    The output lies features before samples, so that a softmax runs along the samples, many at once; the
    gradient of h lies samples before features, so that its rows can be added up.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, h: Tensor) -> Tensor:
        ctx.save_for_backward(weight, h)
        return torch.bmm(weight, h.mT).mT

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        weight, h = ctx.saved_tensors
        return torch.bmm(grad.mT, h), torch.bmm(grad, weight)


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


def _order(n: int, seed: int, epoch: int) -> Tensor:
    # SeedSequence mixes the two numbers: neighbouring seeds and epochs give unrelated orders.
    mixed = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    return torch.randperm(n, generator=torch.Generator().manual_seed(int(mixed[0])))
