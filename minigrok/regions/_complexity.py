"""Local complexity: how many units change their sign in a small neighbourhood, in any dimension.

The neighbourhood of x is spanned by the vertices x + r v_p and x - r v_p of a cross-polytope. The plain way
sends all 2P vertices of all points through the network. Four observations make it faster and exact:

- The frame is the same for all points, so the affine maps in front of the first units act on it once.
- As long as no unit has changed its sign among the vertices of x, the network so far is affine there, and
  f(x - r v) = 2 f(x) - f(x + r v) needs no row of its own.
- Rows go through the network in chunks that stay in the processor's cache, and nothing is kept of them but
  the smallest and the largest value of every unit. Of the last layer, only units near zero are computed.
- float32 decides nearly every sign. Those closer to zero than its rounding are computed again in float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigrok._support import check_tensor, keep_freed_memory, with_float64
from minigrok.networks import Network, Shape, _shape_of_sample, trace

# A chunk holds so many rows, and at most so many values of the widest layer: it stays in the cache.
_ROWS, _VALUES = 4000, 3_000_000
# A sign is taken from float32 only if the value is so many times its measured rounding error: the largest
# in a sample, which among 10,000 values or more (`_MANY`) lies so far out that half of it will do.
_SAFETY, _MANY = 8.0, 10_000
# How many points measure the rounding error, at most.
_SAMPLE = 64
# If more than this share of the last layer's units may change at some point, all of them are computed.
_OPEN = 0.12
# How much smaller float64's rounding is than float32's.
_FLOAT64 = torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps


@dataclass(frozen=True, eq=False, repr=False)
class LocalComplexity:
    """How many units of each layer change their sign among the vertices around each point.

    Attributes:
        per_layer: (N, L) int64, one column per layer of units (with the output, if asked for, as the last).
        ties: (N, L) int64, how many of these units have a value so close to zero at some vertex that
            rounding, even in float64, decides whether they count.
        frame: (P, d) float64, the orthonormal directions v_p that were used.
        radius: the distance r of every vertex from its point.
    """

    per_layer: Tensor
    ties: Tensor
    frame: Tensor
    radius: float

    def __repr__(self) -> str:
        n, layers = self.per_layer.shape
        return f"LocalComplexity({n} points, {layers} layers, r={self.radius:g}, P={len(self.frame)})"

    @property
    def total(self) -> Tensor:
        """The local complexity of every point, (N,) int64: the sum over the layers."""
        return self.per_layer.sum(1)


def local_complexity(
    model: nn.Module,
    x: Tensor,
    *,
    radius: float,
    n_directions: int | None = None,
    frame: Tensor | None = None,
    generator: torch.Generator | None = None,
    include_output: bool = False,
) -> LocalComplexity:
    """Count the units whose sign is not the same at all vertices around each point.

    The vertices are x + r v_p and x - r v_p for orthonormal v_1 .. v_P, the corners of a cross-polytope. A
    unit counts for the layer l if sign(z) of its pre-activation z, one of -1, 0, 1, differs between two of
    the 2P vertices. For small r the count grows linearly with r: it is a density of the network's bends.
    Counts are those of float64 arithmetic, whatever the precision of the model.

    Args:
        model: any network `networks.trace` understands.
        x: points (N, *input_shape); d is the size of one of them.
        radius: r > 0, an l2 distance in units of the input.
        n_directions: P, at most d; by default min(25, d). More of them see more units.
        frame: (P, d), orthonormal rows, instead of random ones. The same frame serves all points.
        generator: draws the frame (default: torch's own generator).
        include_output: count the sign changes of the output too, as the authors' code does for the MLP.

    Returns:
        A `LocalComplexity`, on the device of x.

    Raises:
        ValueError: radius <= 0, more directions than dimensions, a frame that is not orthonormal or does
            not fit, points of another shape, NaN, a network that is not piecewise linear.

    Source: Humayun, Balestriero & Baraniuk 2024, "Deep networks always grok and here is why", section 3.

    Example:
        >>> fold = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
        >>> _ = fold[0].weight.data.copy_(torch.tensor([[1.0, 0.0]])), fold[0].bias.data.zero_()
        >>> x = torch.tensor([[0.05, 0.5], [0.25, 0.5]])  # the only line is x1 = 0
        >>> local_complexity(fold, x, radius=0.1, frame=torch.eye(2)).total
        tensor([1, 0])

    Used in lessons 02, 03, 06, 08, 10, 11 and 14.
    """
    radius = _check_radius(radius)
    check_tensor(x, "a torch tensor of points")
    shape = _shape_of_sample(model, tuple(x.shape[1:]))
    exact = trace(with_float64(model), shape, dtype=torch.float64)
    fast = exact.to(torch.float32)
    fast.check_input(x)
    frame = _frame(frame, n_directions, generator, fast.input_shape)
    with torch.no_grad():
        counter = _Counter(fast, exact, x.detach(), frame, radius, include_output)
        counter.count()
    return LocalComplexity(counter.counts.to(x.device), counter.ties.to(x.device), frame.to(x.device), radius)


def _check_radius(radius: float) -> float:
    if not 0 < float(radius) < float("inf"):
        raise ValueError(f"expected radius > 0, a distance in units of the input, got {radius}.")
    return float(radius)


def _frame(frame: Tensor | None, n: int | None, generator: torch.Generator | None, shape: Shape) -> Tensor:
    d = torch.Size(shape).numel()
    if frame is not None:
        return _check_frame(frame, n, d)
    n = min(25, d) if n is None else n
    if not 1 <= n <= d:
        raise ValueError(f"expected n_directions from 1 to {d}, the dimension of the input, got {n}.")
    device = generator.device if generator is not None else "cpu"
    gaussian = torch.randn(d, n, dtype=torch.float64, device=device, generator=generator)
    return torch.linalg.qr(gaussian).Q.T.contiguous()


def _check_frame(frame: Tensor, n: int | None, d: int) -> Tensor:
    frame = torch.as_tensor(frame).detach().to(torch.float64, copy=True)
    if frame.dim() != 2 or frame.shape[1] != d or n not in (None, len(frame)):
        wanted = "P" if n is None else n
        raise ValueError(f"expected a frame of shape ({wanted}, {d}), got {tuple(frame.shape)}.")
    error = (frame @ frame.T - torch.eye(len(frame), dtype=torch.float64, device=frame.device)).abs()
    if not len(frame) or not error.max() < 1e-4:
        raise ValueError(
            "expected a frame with orthonormal rows. Take the rows of torch.linalg.qr(directions.T).Q.T."
        )
    return frame


def _pauses(network: Network, values: dict[int, Tensor], include_output: bool) -> Iterator[int]:
    """Walk, and yield the number of every value whose signs count. Stops before what no such value needs."""
    n_layers = len(network.layers)
    for step in islice(network.walk(values), None if include_output else n_layers):
        yield step.inputs[0]
    if include_output:
        yield network.output


def _split_last(network: Network, n_layers: int, include_output: bool) -> tuple[Network, nn.Linear | None]:
    """The network up to the linear map in front of the last layer that counts, and that map, if it is one."""
    if n_layers < 2:
        return network, None
    number = network.output if include_output else network.layers[-1].inputs[0]
    step = network.steps[number - 1]
    if not isinstance(step.apply, nn.Linear) or step.inputs != (number - 1,) or len(step.shape) != 1:
        return network, None
    return replace(network, steps=network.steps[: number - 1]), step.apply


def _channels_last(rows: Tensor) -> Tensor:
    """Rows of pictures laid out as convolutions take them without a copy; other rows as they are."""
    return rows.contiguous(memory_format=torch.channels_last) if rows.dim() == 4 else rows


def _empty_rows(n: int, like: Tensor) -> Tensor:
    layout = torch.channels_last if like.dim() == 4 else torch.contiguous_format
    shape = (n, *like.shape[1:])
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def _in_memory(rows: Tensor) -> Tensor:
    """The rows as (n, units), units in the order in which they lie in memory: no copy, and fast to reduce."""
    return (rows.permute(0, 2, 3, 1) if rows.dim() == 4 else rows).flatten(1)


def _as_flattened(unit: Tensor, shape: Shape) -> Tensor:
    """The numbers of units in the flattened value, from their places in memory."""
    if len(shape) != 3:
        return unit
    channels, height, width = shape
    row, column, channel = torch.unravel_index(unit, (height, width, channels))
    return (channel * height + row) * width + column


class _Rows:
    """The rows of a chunk of n points: all x + r v_p, then all x, then x - r v_p of the bent points alone.

    A point is bent when some unit so far has different signs at its vertices. For the others the values at
    x - r v_p are mirrored: 2 f(x) - f(x + r v_p). Directions come first: (P, n, *shape). In front of the
    first units there are only the rows x: the vertices' values differ from theirs by +-moves (P, *shape).
    Once all points are bent, nothing is mirrored, and the rows x go too unless `keep_centre` is set.
    """

    def __init__(self, n: int, moves: dict[int, Tensor], keep_centre: bool):
        self.n, self.moves, self.keep_centre = n, moves, keep_centre
        self.p, device = len(moves[min(moves)]), moves[min(moves)].device
        self.spread = False  # whether the vertices have rows
        self.at_once = False  # whether all points were bent in one go: then their rows stand in order
        self.bent = torch.empty(0, dtype=torch.int64, device=device)  # which points, as their rows stand
        self.place = torch.full((n,), -1, device=device)  # where in `bent` a point stands; -1: nowhere

    @property
    def all_bent(self) -> bool:
        return len(self.bent) == self.n

    def sizes(self) -> list[int]:
        """How many rows x + r v, x and x - r v there are."""
        n_centre = 0 if self.all_bent and not self.keep_centre else self.n
        return [self.p * self.n, n_centre, self.p * len(self.bent)]

    def parts(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The values at x + r v (P, n, *shape), at x (n, *shape), and at x - r v (P, bent, *shape)."""
        plus, centre, minus = rows.split(self.sizes())
        return plus.unflatten(0, (self.p, self.n)), centre, minus.unflatten(0, (self.p, len(self.bent)))

    def extremes(self, number: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and the largest value at each point's vertices, both (n, units), as in memory."""
        if not self.spread:
            centre, reach = _in_memory(rows), _in_memory(self.moves[number]).abs().amax(0)
            return centre - reach, centre + reach
        plus, centre, minus = self.parts(_in_memory(rows))
        return self.both_sides(plus.amin(0), plus.amax(0), centre, minus.amin(0), minus.amax(0))

    def both_sides(
        self, low: Tensor, high: Tensor, centre: Tensor, own_low: Tensor, own_high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Join the extremes at x + r v (n, units) with those at x - r v, mirrored or a bent point's own."""
        if self.all_bent:
            other_low, other_high = (own if self.at_once else own[self.place] for own in (own_low, own_high))
        else:
            other_low, other_high = 2 * centre - high, 2 * centre - low
            other_low[self.bent], other_high[self.bent] = own_low, own_high
        return torch.minimum(low, other_low), torch.maximum(high, other_high)

    def columns(self, number: int, rows: Tensor, point: Tensor, unit: Tensor) -> Tensor:
        """The values of some units of some points (k of each) at all their vertices, (k, 2P)."""
        if not self.spread:
            centre, move = _in_memory(rows)[point, unit], _in_memory(self.moves[number])[:, unit]
            return torch.cat([centre + move, centre - move]).T
        plus, centre, own = self.parts(_in_memory(rows))
        plus = plus[:, point, unit]
        if self.all_bent:
            return torch.cat([plus, own[:, self.place[point], unit]]).T
        minus = 2 * centre[point, unit] - plus
        bent = (self.place[point] >= 0).nonzero()[:, 0]
        minus[:, bent] = own[:, self.place[point[bent]], unit[bent]]
        return torch.cat([plus, minus]).T

    def bend(self, values: dict[int, Tensor], changed: Tensor) -> None:
        """Give points of which some unit has changed (n,) rows of their own at x - r v."""
        if 2 * int(changed.sum()) > self.n:
            changed = torch.ones_like(changed)  # sooner than copying all rows again for the next few
        fresh = (changed & (self.place < 0)).nonzero()[:, 0]
        if not len(fresh) and self.spread:
            return
        old = {i: self.parts(rows) if self.spread else rows for i, rows in values.items()}
        self.place[fresh] = len(self.bent) + torch.arange(len(fresh), device=fresh.device)
        self.at_once = len(fresh) == self.n
        self.bent = torch.cat([self.bent, fresh])
        for i, rows in values.items():
            values[i] = _empty_rows(sum(self.sizes()), rows)
            new = self.parts(values[i])
            if self.spread:
                self._extend(new, old[i], fresh)
            else:
                self._spread(new, old[i], fresh, self.moves[i][:, None])
        self.spread = True

    def _spread(self, new: tuple[Tensor, ...], rows: Tensor, fresh: Tensor, moves: Tensor) -> None:
        torch.add(rows, moves, out=new[0])
        new[1].copy_(rows[: len(new[1])])
        torch.sub(rows[fresh], moves, out=new[2])

    def _extend(self, new: tuple[Tensor, ...], old: tuple[Tensor, ...], fresh: Tensor) -> None:
        plus, centre, own = old
        new[0].copy_(plus)
        new[1].copy_(centre[: len(new[1])])
        new[2][:, : own.shape[1]] = own
        torch.sub(2 * centre[fresh], plus[:, fresh], out=new[2][:, own.shape[1] :])


class _LastLayer:
    """The last layer that counts, z = W v + b: nothing reads z, so only units that may change are computed.

    By Cauchy and Schwarz |z(vertex) - z(x)| <= |w| |v(vertex) - v(x)|. A unit whose |z(x)| is above that for
    all vertices keeps its sign, and z(x) stands for its values. Used in place of `_Rows`, from rows of v.
    """

    def __init__(self, rows: _Rows, linear: nn.Linear, rounding: float, scale: Tensor):
        self.rows, self.weight, self.rounding, self.scale = rows, linear.weight, rounding, scale
        self.bias = torch.zeros_like(self.weight[:, 0]) if linear.bias is None else linear.bias
        self.crowded = False  # whether so many units may change that all were computed

    def extremes(self, number: int, values: Tensor) -> tuple[Tensor, Tensor]:
        plus, centre, own = self.rows.parts(values)
        z = F.linear(centre, self.weight, self.bias)
        distance, bent = (plus - centre).norm(dim=2).amax(0), self.rows.bent
        distance[bent] = torch.maximum(distance[bent], (own - centre[bent]).norm(dim=2).amax(0))
        reach = 1.001 * distance[:, None] * self.weight.norm(dim=1)
        error = self.rounding * torch.maximum(self.scale, (z.abs() + reach).amax(1))
        spare = z.abs() - reach - 2 * error[:, None]
        n_open = int((spare <= 0).sum(1).max())
        self.crowded = n_open > _OPEN * len(self.weight)
        if self.crowded:
            return self.rows.extremes(number, F.linear(values, self.weight, self.bias))
        unit = spare.topk(n_open, largest=False).indices
        weight, bias = self.weight[unit], self.bias[unit]
        ends = _extremes_of_products(plus, weight), _extremes_of_products(own, weight[bent])
        low, high = self.rows.both_sides(*ends[0], z.gather(1, unit) - bias, *ends[1])
        return z.scatter(1, unit, low + bias), z.scatter(1, unit, high + bias)

    def columns(self, number: int, values: Tensor, point: Tensor, unit: Tensor) -> Tensor:
        d = values.shape[1]
        every = torch.arange(d, device=unit.device).repeat(len(point))
        v = self.rows.columns(number, values, point.repeat_interleave(d), every).unflatten(0, (-1, d))
        return torch.einsum("kdv,kd->kv", v, self.weight[unit]) + self.bias[unit, None]


def _extremes_of_products(side: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest and largest of weight (n, k, d) times side (P, n, d) over the directions: both (n, k)."""
    z = weight @ side.permute(1, 2, 0)
    return z.amin(2), z.amax(2)


@dataclass
class _Doubts:
    """Units whose sign float32 cannot tell at some vertices of a point: K of them."""

    layer: Tensor
    point: Tensor
    unit: Tensor
    near: Tensor  # (K, 2P): at which vertices
    up: Tensor  # whether the sign is surely + at another vertex
    down: Tensor  # or surely -
    error: Tensor  # the rounding error of float32


class _Counter:
    """Counts chunk by chunk in float32, and settles what that leaves in doubt in float64."""

    def __init__(
        self, fast: Network, exact: Network, x: Tensor, frame: Tensor, radius: float, include_output: bool
    ):
        self.fast, self.exact, self.x, self.radius = fast, exact, x, radius
        self.include_output = include_output
        step = (radius * frame).to(exact.device).unflatten(1, exact.input_shape)
        self.vertices = torch.cat([step, -step])  # relative to the point
        self.p = len(step)
        self.shapes = [step.shape for step in (*fast.layers, *fast.steps[-1:] * include_output)]
        self.n_layers = len(fast.layers) + include_output
        self.counts = torch.zeros(len(x), self.n_layers, dtype=torch.int64, device=exact.device)
        self.ties = torch.zeros_like(self.counts)
        self.doubts: list[_Doubts] = []
        self.body, self.last = _split_last(fast, self.n_layers, include_output)
        widest = max(*fast.units, fast.n_out, 1)
        self.rows = max(1, min(_ROWS, _VALUES // widest))

    def count(self) -> None:
        if not len(self.x) or not self.n_layers:
            return
        self.moves, self.rounding = self._moves(), self._rounding()
        keep_freed_memory()  # without it a fifth of the time goes into fresh pages for each chunk
        size = max(1, self.rows // (2 * self.p + 1))
        for first in range(0, len(self.x), size):
            self._count_chunk(first, self.x[first : first + size])
            if sum(len(doubts.unit) for doubts in self.doubts) > 10 * _ROWS:
                self._settle()
        self._settle()

    def _moves(self) -> dict[int, Tensor]:
        """How the values in front of the first units change along the frame. (Affine: the same for all x.)"""
        ahead, zero = {0: self.vertices[: self.p]}, {0: torch.zeros_like(self.vertices[:1])}
        for values in (ahead, zero):
            next(_pauses(self.exact, values, self.include_output))
        return {i: _channels_last((ahead[i] - zero[i]).to(self.fast.dtype)) for i in ahead}

    def _rows_in_float64(self, point: Tensor, vertex: Tensor) -> Tensor:
        return self.x[point.to(self.x.device)].to(self.exact.device, torch.float64) + self.vertices[vertex]

    def _rounding(self) -> list[float]:
        """From which value on float32's sign is sure, in units of the largest value of the point so far."""
        n = min(_SAMPLE, len(self.x), max(4, self.rows // 32))  # wide layers have many units to sample
        point = torch.linspace(0, len(self.x) - 1, n).long().to(self.exact.device)
        rows = self._rows_in_float64(point, torch.arange(len(point), device=point.device) % (2 * self.p))
        scale, errors = rows.flatten(1).abs().amax(1), []
        fast, exact = {0: _channels_last(rows.to(self.fast.dtype))}, {0: rows}
        pauses = (_pauses(net, v, self.include_output) for net, v in ((self.fast, fast), (self.exact, exact)))
        for number, _ in zip(*pauses, strict=True):
            z = exact[number].flatten(1)
            scale = torch.maximum(scale, z.abs().amax(1))
            error = (fast[number].flatten(1).double() - z).abs().amax(1)
            at_least = torch.finfo(self.fast.dtype).eps * z.abs().amax(1)
            safety = _SAFETY / 2 if z.numel() >= _MANY else _SAFETY
            errors.append(safety * float((torch.maximum(error, at_least) / scale.clamp_min(1e-300)).max()))
        return errors

    def _count_chunk(self, first: int, x: Tensor) -> None:
        values = {0: _channels_last(x.to(self.fast.device, self.fast.dtype))}
        scale, rows = values[0].flatten(1).abs().amax(1), _Rows(len(x), self.moves, self.last is not None)
        for layer, number in enumerate(
            _pauses(self.body, values, self.include_output or self.last is not None)
        ):
            rounding, at = self.rounding[layer], rows
            if self.last and layer + 1 == self.n_layers:
                at = _LastLayer(rows, self.last, rounding, scale)
            low, high = at.extremes(number, values[number])
            below = low.neg_()  # how far each unit goes below zero, and how far above: a change is both
            scale = torch.maximum(scale, torch.maximum(below, high).amax(1))
            both = torch.minimum(below, high)
            error = (rounding * scale)[:, None]
            self.counts[first : first + len(x), layer] = (both > error).sum(1)
            clear = both.abs() > error
            if not clear.all():
                # Zero to the last bit at all vertices: nothing feeds it (unless rounding swallows r).
                point, unit = (~clear).nonzero().T
                flat = (below[point, unit] == 0) & (high[point, unit] == 0)
                fed = ~(flat & (self.radius > 1e-4 * scale)[point])
                point, unit = point[fed], unit[fed]
                z = at.columns(number, values[number], point, unit)
                unit = _as_flattened(unit, self.shapes[layer])
                self._note(layer, point + first, unit, z, error[point])
            if layer + 1 < self.n_layers and not rows.all_bent:
                rows.bend(values, (both > 0).any(1))
        if isinstance(at, _LastLayer) and at.crowded:
            self.body, self.last = self.fast, None  # nor will it be worth while for the next points

    def _note(self, layer: int, point: Tensor, unit: Tensor, z: Tensor, error: Tensor) -> None:
        up, down = z > error, z < -error
        self.doubts.append(
            _Doubts(
                torch.full_like(unit, layer),
                point,
                unit,
                ~(up | down),
                up.any(1),
                down.any(1),
                error[:, 0].double(),
            )
        )

    def _settle(self) -> None:
        """Compute in float64 what was in doubt: only the vertices that need it, no deeper than need be."""
        if self.doubts:
            columns = zip(*map(_columns, self.doubts), strict=True)
            self._decide(_Doubts(*map(torch.cat, columns)))
        self.doubts = []

    def _values_in_float64(self, doubts: _Doubts, which: Tensor, vertex: Tensor) -> tuple[Tensor, Tensor]:
        """The values in doubt, and whether their vertex is silent: exactly zero in all units of the layer."""
        layer, unit = doubts.layer[which], doubts.unit[which]
        rows, row = torch.unique(doubts.point[which] * 2 * self.p + vertex, return_inverse=True)
        depth = torch.zeros_like(rows).scatter_reduce(0, row, layer, "amax")
        order = depth.argsort(descending=True)  # those that go deepest first: the others drop off the end
        rows, depth, row = rows[order], depth[order], order.argsort()[row]
        z = torch.empty(len(row), dtype=torch.float64, device=row.device)
        silent = torch.empty_like(z, dtype=torch.bool)
        for begin in range(0, len(rows), self.rows):
            part, end = rows[begin : begin + self.rows], begin + self.rows
            values = {0: self._rows_in_float64(part // (2 * self.p), part % (2 * self.p))}
            for k, number in enumerate(_pauses(self.exact, values, self.include_output)):
                here = ((row >= begin) & (row < end) & (layer == k)).nonzero()[:, 0]
                value = values[number].flatten(1)
                z[here] = value[row[here] - begin, unit[here]]
                silent[here] = (value == 0).all(1)[row[here] - begin]
                n_left = int((depth[begin:end] > k).sum())
                if not n_left:
                    break
                for i in values:
                    values[i] = values[i][:n_left]
        return z, silent

    def _decide(self, doubts: _Doubts) -> None:
        which, vertex = doubts.near.nonzero().T
        z, silent = self._values_in_float64(doubts, which, vertex)

        def any_of(hit: Tensor) -> Tensor:
            return torch.zeros_like(doubts.up).index_fill_(0, which[hit], True)

        changes = (doubts.up | any_of(z > 0)).int() + (doubts.down | any_of(z < 0)) + any_of(z == 0) > 1
        error = (doubts.error * _FLOAT64)[which]
        sure = (doubts.up | any_of(z > error)) & (doubts.down | any_of(z < -error))
        ties = ~sure & any_of((z.abs() <= error) & ~silent)
        for table, hit in ((self.counts, changes), (self.ties, ties)):
            table.index_put_((doubts.point, doubts.layer), hit.long(), accumulate=True)


def _columns(doubts: _Doubts) -> tuple[Tensor, ...]:
    return doubts.layer, doubts.point, doubts.unit, doubts.near, doubts.up, doubts.down, doubts.error
