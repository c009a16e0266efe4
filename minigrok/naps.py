"""Neural activation patterns: what the units of a network do alike on most samples of a class.

A unit is active at x if its pre-activation is > 0, strictly, else inactive. A pattern (NAP) names units that
must be active and units that must be inactive; an input follows it if all of them are. Where every unit is
named that is one linear region of the network; every unit left open joins regions to a larger one.

Units are numbered `(layer, unit)` as `networks.trace` numbers them, for any network it can read. Patterns
live on the CPU, wherever the model is. States are those of float64 arithmetic, whatever the precision of the
model: float32 decides nearly all, and a row with a unit closer to zero than its rounding is computed again.
So a sample has the same pattern alone and in any batch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, e, exp
from numbers import Integral

import numpy as np
import torch
from torch import Tensor, nn

from minigrok._support import check_tensor, keep_freed_memory, with_float64
from minigrok.networks import Network, _shape_of_sample, trace

Masks = tuple[Tensor, ...]
Model = nn.Module | Network  # a network that was traced before saves the few ms of reading it again

# A chunk of rows holds at most so many values of the widest layer: pictures come fewer at a time.
_VALUES = 3_000_000
# How many rows measure float32's rounding error, at most; so few samples go through float64 alone.
_SAMPLE = 64
# A state is taken from float32 only where |z| is above so many times the largest error of the sample.
_SAFETY = 4.0


@dataclass(frozen=True, eq=False, repr=False)
class NAP:
    """A neural activation pattern: units that must be active, units that must be inactive, the rest open.

    Attributes:
        active: one bool tensor (units,) for each layer, True where the unit must be active.
        inactive: the same for the units that must be inactive. No unit is in both.

    Raises:
        ValueError: masks of different shapes, or a unit that is asked to be both.

    Source: Geng et al. 2023 (arXiv 2210.16114), section 3.

    Example:
        >>> nap = NAP((torch.tensor([True, False, False]),), (torch.tensor([False, True, False]),))
        >>> nap
        NAP(2 of 3 fixed, by layer: +1 -1)
        >>> nap.without(0, 1).coarser_than(nap)
        True

    Used in lesson 13, and in the recording of lesson 12.
    """

    active: Masks
    inactive: Masks

    def __post_init__(self) -> None:
        for name in ("active", "inactive"):
            object.__setattr__(self, name, _masks(name, getattr(self, name)))
        if self.units != tuple(len(mask) for mask in self.inactive):
            inactive = tuple(len(mask) for mask in self.inactive)
            raise ValueError(
                "expected masks of the same layers, "
                f"got active of {self.units} and inactive of {inactive} units."
            )
        both = _first(tuple(a & i for a, i in zip(self.active, self.inactive, strict=True)))
        if both is not None:
            raise ValueError(f"unit {both[1]} of layer {both[0]} is asked to be both active and inactive.")

    def __repr__(self) -> str:
        layers = ", ".join(f"+{a} -{i}" for a, i in self.counts)
        return f"NAP({self.size} of {sum(self.units)} fixed, by layer: {layers})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NAP):
            return NotImplemented
        return self.units == other.units and self.coarser_than(other) and other.coarser_than(self)

    __hash__ = None

    @property
    def units(self) -> tuple[int, ...]:
        """The number of units of each layer, fixed or not."""
        return tuple(len(mask) for mask in self.active)

    @property
    def fixed(self) -> Masks:
        """The units that are fixed, either way: one bool tensor (units,) for each layer."""
        return tuple(a | i for a, i in zip(self.active, self.inactive, strict=True))

    @property
    def size(self) -> int:
        """The number of fixed units, |A| + |D|."""
        return sum(a + i for a, i in self.counts)

    @property
    def counts(self) -> tuple[tuple[int, int], ...]:
        """For each layer how many units must be active and how many inactive."""
        return tuple((int(a.sum()), int(i.sum())) for a, i in zip(self.active, self.inactive, strict=True))

    def follows(self, model: Model, x: Tensor) -> Tensor:
        """Which inputs (N, *input_shape) follow the pattern: (N,) bool."""
        return self.violations(model, x) == 0

    def violations(self, model: Model, x: Tensor) -> Tensor:
        """How many of the fixed units are the other way at each input (N, *input_shape): (N,) int64."""
        return _violations([self], model, x)[:, 0]

    def only(self, layers: int | Iterable[int]) -> "NAP":
        """The pattern with the units of these layers alone, all others open."""
        kept = _layers(layers, self.units)
        return self.keep(tuple(torch.full((n,), k in kept) for k, n in enumerate(self.units)))

    def without(self, layer: int, unit: int) -> "NAP":
        """The pattern with this unit open."""
        (layer,) = _layers(layer, self.units)
        if not 0 <= unit < self.units[layer]:
            raise ValueError(f"layer {layer} has units 0 to {self.units[layer] - 1}, got unit {unit}.")
        masks = tuple(torch.ones(n, dtype=torch.bool) for n in self.units)
        masks[layer][unit] = False
        return self.keep(masks)

    def keep(self, masks: Sequence[Tensor]) -> "NAP":
        """The pattern with all units open but those where `masks`, bool (units,) for each layer, is True."""
        masks = _masks("masks", masks)
        if tuple(len(mask) for mask in masks) != self.units:
            sizes = tuple(len(mask) for mask in masks)
            raise ValueError(f"expected one mask for each layer, of {self.units} units, got {sizes}.")
        active = tuple(a & mask for a, mask in zip(self.active, masks, strict=True))
        return NAP(active, tuple(i & mask for i, mask in zip(self.inactive, masks, strict=True)))

    def coarser_than(self, other: "NAP") -> bool:
        """Whether all that this pattern asks for, the other asks for too (equal patterns: True).

        Then whatever follows the other follows this one, and what is proved of this one holds for the other.
        """
        _check_alike(self, other)
        mine, its = (*self.active, *self.inactive), (*other.active, *other.inactive)
        return not any((a & ~b).any() for a, b in zip(mine, its, strict=True))

    def __and__(self, other: "NAP") -> "NAP":
        """The pattern that asks for what both ask for: an input follows it if it follows both."""
        if not isinstance(other, NAP):
            return NotImplemented
        n = clashes(self, other)
        if n:
            layer, unit = _first(_clashing(self, other))
            raise ValueError(
                f"no input follows both patterns: they contradict each other at {n} units, "
                f"the first of them unit {unit} of layer {layer}."
            )
        active = tuple(a | b for a, b in zip(self.active, other.active, strict=True))
        return NAP(active, tuple(a | b for a, b in zip(self.inactive, other.inactive, strict=True)))


@dataclass(frozen=True, eq=False, repr=False)
class Coverage:
    """How far the patterns of the classes cover labelled samples, and how far they overlap.

    Attributes:
        labels: (K,) int64, the classes, in the order of the patterns.
        recall: (K,) float64, the share of each class's samples that follow the pattern of their class.
        others: (K,) int64, how many samples of other classes follow each pattern.
        total: the share of all samples that follow the pattern of their own class.
        ambiguous: the share of all samples that follow two patterns or more.
        none: the share of all samples that follow no pattern.
        n: the number of samples.
    """

    labels: Tensor
    recall: Tensor
    others: Tensor
    total: float
    ambiguous: float
    none: float
    n: int

    def __repr__(self) -> str:
        return (
            f"Coverage({self.n} samples: {self.total:.1%} follow their own class, {int(self.others.sum())} "
            f"another's, {self.ambiguous:.1%} two or more, {self.none:.1%} none)"
        )


def states(model: Model, x: Tensor) -> Masks:
    """Whether each unit is active (pre-activation > 0) at each input: one (N, units) bool for each layer.

    Args:
        model: any network `networks.trace` understands, or what it made of one.
        x: inputs (N, *input_shape).

    Raises:
        ValueError: NaN or infinity in x; what `networks.trace` refuses.

    Example:
        >>> fold = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
        >>> _ = fold[0].weight.data.copy_(torch.tensor([[1.0], [-1.0]])), fold[0].bias.data.zero_()
        >>> states(fold, torch.tensor([[0.5], [0.0], [-0.5]]))[0].int()
        tensor([[1, 0],
                [0, 0],
                [0, 1]], dtype=torch.int32)

    Used in lessons 12 and 14, and in the recording of lesson 13.
    """
    network = _network(model, x)
    found = tuple(torch.empty(len(x), n, dtype=torch.bool, device=x.device) for n in network.units)
    for rows, active, _ in _chunks(network, x, range(len(network.units))):
        for layer, state in active.items():
            found[layer][rows] = state.to(x.device, torch.bool)
    return found


def of(model: Model, x: Tensor) -> NAP:
    """The full pattern of one input: every unit fixed to its state there.

    Args:
        model: any network `networks.trace` understands.
        x: one input, of shape input_shape or (1, *input_shape).

    Raises:
        ValueError: more than one input, or what `states` refuses.

    Example:
        >>> fold = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
        >>> _ = fold[0].weight.data.copy_(torch.tensor([[1.0], [-1.0]])), fold[0].bias.data.zero_()
        >>> of(fold, torch.tensor([0.5])).counts
        ((1, 1),)

    Used in lessons 12 and 13.
    """
    network, x = _network_at_one(model, x)
    ((_, found, _),) = _chunks(network, x, range(len(network.units)))
    active = tuple(state[0].bool() for state in found.values())
    return NAP(active, tuple(~state for state in active))


def mine(
    model: Model,
    x: Tensor,
    y: Tensor,
    *,
    delta: float,
    layers: int | Iterable[int] | None = None,
    labels: Iterable[int] | None = None,
    batch: int = 1000,
) -> dict[int, NAP]:
    """The pattern of every class: the units that do the same on at least a share delta of its samples.

    With c_j the number of the n samples of a class at which unit j is active,

        active = {j : c_j >= delta n}      inactive = {j : n - c_j >= delta n}

    delta = 1 keeps the units that never change on the class, and all its samples follow. A smaller delta
    fixes more units, and fewer samples follow: each unit alone does for a share delta of the samples, all
    together for less. The samples go through the network once, in chunks of which only counts are kept.

    Args:
        model: any network `networks.trace` understands.
        x: samples (N, *input_shape), on any device.
        y: (N,) integers, their classes.
        delta: a share in (0.5, 1]. The decimal number as it is written counts: 19 of 20 do for 0.95.
        layers: the layers whose units may be fixed; by default all.
        labels: the classes to mine; by default those that occur in y.
        batch: at most so many samples at a time; fewer where a layer is wide.

    Returns:
        A dict from class to `NAP`, in the order of `labels` (by default ascending).

    Raises:
        ValueError: delta outside (0.5, 1]; x and y of different lengths; no samples at all or none of a
            class in `labels`; a layer that does not exist; what `networks.trace` refuses.

    Source: Geng et al. 2023 (arXiv 2210.16114), algorithm 1.

    Example:
        >>> fold = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
        >>> _ = fold[0].weight.data.copy_(torch.tensor([[1.0], [-1.0]])), fold[0].bias.data.zero_()
        >>> x, y = torch.tensor([[1.0], [2.0], [-1.0], [-2.0], [3.0]]), torch.tensor([0, 0, 1, 1, 1])
        >>> naps = mine(fold, x, y, delta=1.0)
        >>> naps[0], naps[1]  # of class 1, each unit does the same on 2 of 3 samples
        (NAP(2 of 2 fixed, by layer: +1 -1), NAP(0 of 2 fixed, by layer: +0 -0))

    Used in lessons 12 to 14.
    """
    share = _share(delta)
    labels, index = _classes(x, y, labels)
    network = _network(model, x)
    chosen = set(range(len(network.units))) if layers is None else _layers(layers, network.units)
    counts = [torch.zeros(len(labels), n, dtype=torch.int64) for n in network.units]
    classes = torch.arange(len(labels))[:, None]
    for rows, active, sure in _chunks(network, x, chosen, batch):
        one_hot = (index[rows] == classes).to(network.device, torch.float32) * sure
        for layer, state in active.items():
            counts[layer] += (one_hot @ state).long().cpu()  # sums of 0 and 1: float32 is exact
    found = {}
    for k, label in enumerate(labels):
        n = int((index == k).sum())
        least = ceil(share * n)
        active, inactive = [], []
        for layer, count in enumerate(counts):
            active.append((count[k] >= least) & (layer in chosen))
            inactive.append((n - count[k] >= least) & (layer in chosen))
        found[label] = NAP(tuple(active), tuple(inactive))
    return found


def followers(naps: Mapping[int, NAP], model: Model, x: Tensor) -> Tensor:
    """Which inputs follow which patterns: (N, K) bool, a column for each pattern, in the dict's order.

    One pass through the network for all patterns.

    Args:
        naps: patterns by name or class.
        model: the network they are of.
        x: inputs (N, *input_shape).

    Raises:
        ValueError: a pattern of another network, or what `states` refuses.

    Example:
        >>> fold = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
        >>> _ = fold[0].weight.data.copy_(torch.tensor([[1.0], [-1.0]])), fold[0].bias.data.zero_()
        >>> naps = {0: of(fold, torch.tensor([1.0])), 1: of(fold, torch.tensor([-1.0]))}
        >>> followers(naps, fold, torch.tensor([[2.0], [-3.0]]))
        tensor([[ True, False],
                [False,  True]])

    Used in lessons 12 and 13.
    """
    return _violations(list(naps.values()), model, x) == 0


def coverage(naps: Mapping[int, NAP], model: Model, x: Tensor, y: Tensor) -> Coverage:
    """How many samples of each class follow its pattern, and how many follow another's, several or none.

    Args:
        naps: the patterns by class, from `mine`.
        model: the network they were mined in.
        x: samples (N, *input_shape).
        y: (N,) integers, their classes. A sample of a class without a pattern counts as one of the others.

    Raises:
        ValueError: a class that has a pattern and no sample in y; x and y of different lengths; patterns
            that do not fit the model.

    Source: Geng et al. 2023 (arXiv 2210.16114), section 4.

    Example:
        >>> fold = nn.Sequential(nn.Linear(1, 2), nn.ReLU())
        >>> _ = fold[0].weight.data.copy_(torch.tensor([[1.0], [-1.0]])), fold[0].bias.data.zero_()
        >>> x, y = torch.tensor([[1.0], [2.0], [-1.0], [3.0]]), torch.tensor([0, 0, 1, 1])
        >>> found = coverage({0: of(fold, x[0]), 1: of(fold, x[2])}, fold, x, y)
        >>> found.recall.tolist(), found.others.tolist()
        ([1.0, 0.5], [1, 0])

    Used in lesson 12, and in the recording of lesson 13.
    """
    labels, index = _classes(x, y, naps)
    follow = followers(naps, model, x).cpu()
    own = index[:, None] == torch.arange(len(labels))
    many = follow.sum(1)
    return Coverage(
        labels=torch.tensor(labels),
        recall=(follow & own).sum(0).double() / own.sum(0),
        others=(follow & ~own).sum(0),
        total=float((follow & own).any(1).double().mean()),
        ambiguous=float((many >= 2).double().mean()),
        none=float((many == 0).double().mean()),
        n=len(x),
    )


def clashes(a: NAP, b: NAP) -> int:
    """How many units one pattern wants active and the other inactive. If any, no input follows both.

    Args:
        a, b: patterns of one network.

    Raises:
        ValueError: patterns of different networks.

    Example:
        >>> a = NAP((torch.tensor([True, True]),), (torch.tensor([False, False]),))
        >>> b = NAP((torch.tensor([False, False]),), (torch.tensor([True, False]),))
        >>> clashes(a, b)
        1

    Used in lessons 12 and 13.
    """
    _check_alike(a, b)
    return sum(int(mask.sum()) for mask in _clashing(a, b))


# --- minimal patterns ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Minimal:
    """A pattern with few units fixed that is still sufficient, as `minimal` found it.

    Attributes:
        nap: the pattern. `sufficient` said True of this very pattern.
        calls: how often `sufficient` was asked, the first question (about the whole pattern) included.
        minimal: whether no unit of it can be spared: each was tried, and `sufficient` said False.
        tried: the units that were tried so, a NAP coarser than `nap` (or equal to it, where `minimal`).
        estimate: for "optimistic" the pattern that the adversarial examples suggest, else None. Where it
            differs from `nap` it was not sufficient, and units were added until it was.
    """

    nap: NAP
    calls: int
    minimal: bool
    tried: NAP
    estimate: NAP | None = None

    def __repr__(self) -> str:
        minimal = "minimal" if self.minimal else "not known to be minimal"
        return f"Minimal({self.nap.size} units, {minimal}, {self.calls} calls)"


def minimal(
    nap: NAP,
    sufficient: Callable[[NAP], bool],
    *,
    method: str = "conservative",
    max_calls: int | None = None,
    generator: torch.Generator | None = None,
    block: int = 1,
    model: Model | None = None,
    x_adv: Tensor | None = None,
) -> Minimal:
    """Open as many units of a pattern as can be, so that what is proved for it stays proved.

    "conservative" asks for one unit after the other whether it can be spared. What is left is minimal: no
    unit of it can be opened, though another minimal pattern may be smaller. It takes a call for each unit
    of `nap`. With `block=k` the first question is about k units together, which are halved if they cannot
    all be spared: the same result, in fewer calls where most can be.

    "statistical" keeps every unit with a chance theta, drawn at random, and goes on from the sample if that
    is sufficient. A sample that is lowers theta and one that is not raises it, by so much that about one in
    e succeeds: that costs O(s log n) calls for a minimal pattern of s units out of n. When theta is so high
    that units go one at a time, what is left turns out to be minimal.

    "optimistic" looks at adversarial examples first, and keeps the units that one of them at least has the
    other way than the pattern. One call tells whether this estimate is sufficient. If it is not, it is no
    result: other units are added, each time as many as there are already, until it is.

    All three take it that a finer pattern than a sufficient one is sufficient. For proofs that is so. Where
    a proof may also run out of time, `nap` is still proved, and only `minimal` depends on the time limit.

    Args:
        nap: a pattern that is sufficient.
        sufficient: asked of a pattern, answers True or False; usually whether `verify.certify` has proved
            something of the inputs that follow it.
        method: "conservative", "statistical" or "optimistic".
        max_calls: when to stop asking; then the best pattern so far is returned.
        generator: "statistical" draws from it (default: torch's own generator). The others go through the
            units in a random order with it, and without it in their order, the first layer first.
        block: "conservative" asks about so many units together at first.
        model, x_adv: "optimistic" looks at the states of this network at these inputs (M, *input_shape).

    Returns:
        A `Minimal`.

    Raises:
        ValueError: a pattern that is not sufficient to begin with; another method; "optimistic" without
            model and x_adv, or another method with them; max_calls or block < 1.
        TypeError: `sufficient` answers something other than True or False.

    Source: Geng et al. 2024, "Learning minimal neural specifications" (arXiv 2404.04662), where they are
    called Coarsen, StochCoarsen and OptAdvPrune. The chance of one in e: Liang, Tripp & Naik 2011,
    "Learning minimal abstractions", where it is derived for program analyses.

    Example:
        >>> whole = NAP((torch.ones(6, dtype=torch.bool),), (torch.zeros(6, dtype=torch.bool),))
        >>> found = minimal(whole, lambda nap: bool(nap.active[0][2] and nap.active[0][4]))
        >>> found, found.nap.active[0].int()
        (Minimal(2 units, minimal, 7 calls), tensor([0, 0, 1, 0, 1, 0], dtype=torch.int32))

    Used in lesson 13.
    """
    if method not in _METHODS:
        raise ValueError(f"expected method to be one of {', '.join(_METHODS)}, got {method!r}.")
    if (method == "optimistic") != (model is not None and x_adv is not None):
        raise ValueError(
            'method="optimistic" needs a model and adversarial examples x_adv, and the other methods neither.'
        )
    for name, value in (("max_calls", max_calls), ("block", block)):
        if value is not None and value < 1:
            raise ValueError(f"expected {name} >= 1, got {value}.")
    search = _Search(nap, sufficient, max_calls)
    if not search.accepts(nap):
        raise ValueError(
            "the pattern is not sufficient to begin with, and then no coarser one is. "
            "Start from one that fixes more units: a smaller delta, or `of` one input."
        )
    estimate = None
    if method == "conservative":
        for units in search.in_order(generator).split(block):
            _drop(search, units)
    elif method == "statistical":
        _sample(search, generator)
    else:
        estimate = _flipped(nap, model, x_adv)
        _grow(search, estimate, generator)
    left = search.pattern(search.kept)
    tried = search.pattern(search.kept & search.needed)
    return Minimal(left, search.calls, left.size == tried.size, tried, estimate)


_METHODS = ("conservative", "statistical", "optimistic")


class _Search:
    """The smallest sufficient pattern so far, as a mask over all units of all layers in a row."""

    def __init__(self, nap: NAP, sufficient: Callable[[NAP], bool], max_calls: int | None):
        self.nap, self.sufficient, self.max_calls, self.calls = nap, sufficient, max_calls, 0
        self.kept = torch.cat([*nap.fixed, torch.zeros(0, dtype=torch.bool)])
        self.needed = torch.zeros_like(self.kept)

    @property
    def spent(self) -> bool:
        return self.max_calls is not None and self.calls >= self.max_calls

    def pattern(self, kept: Tensor) -> NAP:
        return self.nap.keep(kept.split(list(self.nap.units)))

    def in_order(self, generator: torch.Generator | None) -> Tensor:
        units = self.kept.nonzero()[:, 0]
        return units if generator is None else units[torch.randperm(len(units), generator=generator)]

    def accepts(self, nap: NAP) -> bool:
        self.calls += 1
        answer = self.sufficient(nap)
        if not isinstance(answer, bool | np.bool_):
            raise TypeError(
                f"expected `sufficient` to answer True or False, got {type(answer).__name__}. "
                'Of a certificate, for example, return certificate.status == "verified".'
            )
        return bool(answer)

    def tries(self, kept: Tensor) -> bool:
        """Go on from these units if they are sufficient. If they are not and lack one unit, it is needed."""
        missing = (self.kept & ~kept).nonzero()[:, 0]
        if self.accepts(self.pattern(kept)):
            self.kept = kept
            return True
        if len(missing) == 1:
            self.needed[missing] = True
        return False

    def drops(self, units: Tensor) -> bool:
        return self.tries(self.kept.index_fill(0, units, False))


def _drop(search: _Search, units: Tensor, hopeless: bool = False) -> bool:
    """Drop all of these units that can be. `hopeless`: it is known that not all can be at once."""
    if not hopeless:
        if search.spent:
            return False
        if search.drops(units):
            return True
    if len(units) == 1:
        search.needed[units] = True
        return False
    left, right = units.tensor_split(2)
    dropped = _drop(search, left)
    _drop(search, right, hopeless=dropped)  # without the left half, dropping the right one was just refused
    return False


def _sample(search: _Search, generator: torch.Generator | None) -> None:
    """Draw samples of the units until each that is left is known to be needed."""
    guess = 1.0  # of how many units of those left are needed: all of them stay with a chance of theta^guess
    while not search.spent:
        units = (search.kept & ~search.needed).nonzero()[:, 0]
        if not len(units):
            return
        theta = exp(-1 / guess)  # then theta^guess = 1/e
        out = units[torch.rand(len(units), generator=generator) >= theta]
        if not len(out):
            out = units[torch.randint(len(units), (1,), generator=generator)]
        # Where one sample in e succeeds, these two steps cancel on average.
        step = 1 / 2 if search.drops(out) else 2 ** (1 / (e - 1))
        guess = min(max(guess * step, 0.1), len(units))


def _flipped(nap: NAP, model: Model, x_adv: Tensor) -> NAP:
    """The units of the pattern that are the other way at one of the inputs at least."""
    _check_fits(nap, _network(model, x_adv))
    if not len(x_adv):
        raise ValueError("expected at least one adversarial example in x_adv, got none.")
    found = states(model, x_adv)
    triples = zip(nap.active, nap.inactive, found, strict=True)
    return nap.keep([a & ~s.cpu().all(0) | i & s.cpu().any(0) for a, i, s in triples])


def _grow(search: _Search, estimate: NAP, generator: torch.Generator | None) -> None:
    """Ask about the estimate, then about twice as many units, until they are sufficient."""
    rest = search.in_order(generator)
    kept = torch.cat([*estimate.fixed, torch.zeros(0, dtype=torch.bool)])
    rest = rest[~kept[rest]]
    while len(rest) and not search.spent and not search.tries(kept):
        n = max(1, int(kept.sum()))
        kept, rest = kept.index_fill(0, rest[:n], True), rest[n:]


# --- one pass through the network ---------------------------------------------------------------------------


def _network(model: Model, x: Tensor) -> Network:
    """The model as it is read, in float64."""
    check_tensor(x, "a torch tensor of inputs")
    if isinstance(model, Network):
        network = model.to(torch.float64)
    else:
        network = trace(with_float64(model), _shape_of_sample(model, tuple(x.shape[1:])), dtype=torch.float64)
    if not network.units:
        raise ValueError("the network has no ReLU or other unit that switches: there is no pattern to it.")
    network.check_input(x[:0])
    return network


def _network_at_one(model: Model, x: Tensor) -> tuple[Network, Tensor]:
    """The model as it is read, and its one input as a batch."""
    check_tensor(x, "a torch tensor, one input")
    if x.dim() > 1:
        try:
            network = _network(model, x)
        except ValueError:
            pass  # then it is no batch
        else:
            if len(x) != 1:
                raise ValueError(f"expected one input, got {len(x)}. Take one of them, x[i].")
            return network, x
    return _network(model, x[None]), x[None]


def _chunks(
    network: Network, x: Tensor, layers: Iterable[int], batch: int = 1000
) -> Iterator[tuple[slice | Tensor, dict[int, Tensor], Tensor]]:
    """Chunk by chunk: which rows, their states in these layers, and which of these are sure.

    States are (rows, units) float32, 1 active and 0 not. Rows that are not sure come once more, later.
    """
    if batch < 1:
        raise ValueError(f"expected batch >= 1, the number of samples at a time, got {batch}.")
    layers, x = sorted(layers), x.detach() if x.is_floating_point() else x.to(torch.float64)
    size = max(1, min(batch, _VALUES // max(network.units)))
    fast = network.to(torch.float32) if len(x) > _SAMPLE else None
    rounding = _rounding(fast, network, x, layers, size) if fast else {}
    keep_freed_memory()
    waiting = []  # rows for float64
    for first in range(0, len(x), size):
        part = x[first : first + size].to(network.device)
        scale = torch.maximum(part.flatten(1).amax(1), part.flatten(1).amin(1).neg())
        if not torch.isfinite(scale).all():
            network.check_input(part)  # which refuses it in words, but takes its time to look
        doubtful = torch.ones_like(scale, dtype=torch.bool)
        if fast:
            active, doubtful = _look(fast, part, layers, rounding, scale.to(fast.dtype))
            yield slice(first, first + len(part)), active, ~doubtful
        waiting.append(doubtful.nonzero()[:, 0].cpu() + first)
        if sum(map(len, waiting)) >= size or first + size >= len(x):
            rows, waiting = torch.cat(waiting), []
            part = x[rows].to(network.device)
            active = {layer: _state(z) for layer, z in _pre_activations(network, part, layers)}
            yield rows, active, torch.ones(len(rows), device=network.device)


def _look(
    fast: Network, x: Tensor, layers: list[int], rounding: dict[int, float], scale: Tensor
) -> tuple[dict[int, Tensor], Tensor]:
    """The states in float32, and in which rows it leaves one of them in doubt."""
    active, doubtful = {}, torch.zeros_like(scale, dtype=torch.bool)
    for layer, z in _pre_activations(fast, x, layers):
        distance = z.abs()
        scale = torch.maximum(scale, distance.amax(1))
        doubtful |= ~(distance.amin(1) > rounding[layer] * scale)  # NaN, where float32 overflows, is in doubt
        active[layer] = _state(z)
    return active, doubtful


def _rounding(fast: Network, exact: Network, x: Tensor, layers: list[int], size: int) -> dict[int, float]:
    """From which |z| on float32's sign is sure, by layer, in units of the largest value of the row so far."""
    sample = x[torch.linspace(0, len(x) - 1, min(_SAMPLE, size), device=x.device).long()].to(exact.device)
    found, scale = {}, _largest(sample.to(exact.dtype))
    both = (_pre_activations(network, sample, layers) for network in (fast, exact))
    for (layer, z), (_, precise) in zip(*both, strict=True):
        scale = torch.maximum(scale, _largest(precise))
        error = torch.maximum(_largest(z - precise), torch.finfo(fast.dtype).eps * _largest(precise))
        found[layer] = _SAFETY * float((error / scale.clamp_min(1e-300)).max())
    return found


@torch.no_grad()
def _pre_activations(network: Network, x: Tensor, layers: list[int]) -> Iterator[tuple[int, Tensor]]:
    """The pre-activations (N, units) of these layers in turn. What comes after the last is not computed."""
    if not layers:
        return
    values = {0: x.to(network.dtype)}
    for step in network.walk(values):
        if step.layer in layers:
            yield step.layer, values[step.inputs[0]].flatten(1)
        if step.layer == layers[-1]:
            return


def _state(z: Tensor) -> Tensor:
    # As numbers, ready for a matrix product: four times as fast as a mask that is made into numbers.
    return torch.gt(z, 0, out=torch.empty_like(z, dtype=torch.float32))


def _largest(rows: Tensor) -> Tensor:
    return rows.flatten(1).abs().amax(1)


def _violations(naps: list[NAP], model: Model, x: Tensor) -> Tensor:
    network = _network(model, x)
    for nap in naps:
        _check_fits(nap, network)
    n_active = torch.tensor([sum(a for a, _ in nap.counts) for nap in naps], dtype=torch.int64)
    found = n_active.to(x.device).repeat(len(x), 1)
    if not naps:
        return found
    # With s = 1 for an active unit: sum of (1 - s) over the active + sum of s over the inactive.
    wanted = [
        torch.stack([nap.inactive[k].float() - nap.active[k].float() for nap in naps], 1).to(network.device)
        for k in range(len(network.units))
    ]
    asked = [k for k, weights in enumerate(wanted) if weights.any()]
    for rows, active, _ in _chunks(network, x, asked):
        if active:
            changed = sum(state @ wanted[layer] for layer, state in active.items())
            found[rows] = (changed.long().cpu() + n_active).to(x.device)
    return found


# --- what is refused ----------------------------------------------------------------------------------------


def _masks(name: str, masks: Sequence[Tensor]) -> Masks:
    masks = tuple(masks)
    for layer, mask in enumerate(masks):
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.dim() != 1:
            kind = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(
                f"expected {name}[{layer}] to be a bool tensor with one entry for each unit, got {kind}."
            )
    return tuple(mask.detach().to("cpu", copy=True) for mask in masks)


def _first(masks: Masks) -> tuple[int, int] | None:
    """The first (layer, unit) at which a mask is True."""
    for layer, mask in enumerate(masks):
        if mask.any():
            return layer, int(mask.nonzero()[0])
    return None


def _clashing(a: NAP, b: NAP) -> Masks:
    columns = zip(a.active, a.inactive, b.active, b.inactive, strict=True)
    return tuple(a1 & b0 | a0 & b1 for a1, a0, b1, b0 in columns)


def _check_nap(nap: object) -> None:
    if not isinstance(nap, NAP):
        hint = " Take the pattern of one class, naps[label]." if isinstance(nap, Mapping) else ""
        raise TypeError(f"expected a pattern, a naps.NAP, got {type(nap).__name__}.{hint}")


def _check_alike(a: NAP, b: NAP) -> None:
    for nap in (a, b):
        _check_nap(nap)
    if a.units != b.units:
        raise ValueError(
            f"the patterns are of different networks: layers of {a.units} and of {b.units} units."
        )


def _check_fits(nap: NAP, network: Network) -> None:
    _check_nap(nap)
    if nap.units != network.units:
        raise ValueError(
            f"the pattern is of layers of {nap.units} units, the model's layers have {network.units}. "
            "Is it the network the pattern was mined in?"
        )


def _layers(layers: int | Iterable[int], units: tuple[int, ...]) -> set[int]:
    chosen = {layers} if isinstance(layers, Integral) else set(layers)
    unknown = chosen - set(range(len(units)))
    if unknown:
        raise ValueError(f"the layers of units are 0 to {len(units) - 1}, got {sorted(unknown)}.")
    return chosen


def _share(delta: float) -> Fraction:
    if not 0.5 < delta <= 1:
        raise ValueError(f"expected delta in (0.5, 1], the share of a class's samples, got {delta}.")
    return Fraction(repr(float(delta)))  # the decimal number that was written, not its nearest binary one


def _classes(x: Tensor, y: Tensor, labels: Iterable[int] | None) -> tuple[list[int], Tensor]:
    """The classes, and for each sample the place of its class among them (-1: not among them)."""
    if not isinstance(y, Tensor) or y.is_floating_point() or y.is_complex() or y.dim() != 1:
        kind = f"{y.dtype} of shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"expected y to be a tensor (N,) of integers, the classes, got {kind}.")
    if len(x) != len(y):
        raise ValueError(f"expected one class for each sample, got {len(x)} samples and {len(y)} classes.")
    if not len(y):
        raise ValueError("expected at least one sample, got none.")
    y = y.detach().cpu().long()
    labels = y.unique().tolist() if labels is None else [*dict.fromkeys(int(label) for label in labels)]
    index = torch.full_like(y, -1)
    for k, label in enumerate(labels):
        index[y == label] = k
        if not (y == label).any():
            raise ValueError(f"class {label} has no samples: y holds {y.unique().tolist()}.")
    return labels, index
