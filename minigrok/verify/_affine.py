"""A ReLU network as what a program needs: one affine map in front of every layer of units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from minigrok._support import with_float64
from minigrok.networks import Network, Step, trace

INPUT = -1  # the number of the network's input among the sources of a map
_USUAL = 1e-3, 1e3  # the sum of a unit's |weights| and |bias|; within these a unit is left as it is


@dataclass(frozen=True)
class Affine:
    """z = bias + sum over sources s of parts[s] @ (value of s).

    Source -1 is the flattened input, source l the output of the ReLU layer l. Only a network with skip
    connections has more than one source.
    """

    bias: np.ndarray  # (n,)
    parts: dict[int, np.ndarray]  # source: (n, size of the source)

    def __call__(self, values: dict[int, np.ndarray]) -> np.ndarray:
        """z where the sources have these values."""
        return self.bias + sum(part @ values[source] for source, part in self.parts.items())

    @property
    def size(self) -> int:
        return len(self.bias)


def network_of(model: nn.Module | Network, input_shape: tuple[int, ...] | None = None) -> Network:
    """The network in its own precision; a network that was traced before is taken as it is."""
    return model if isinstance(model, Network) else trace(with_float64(model), input_shape)


def read(model: nn.Module | Network, input_shape: tuple[int, ...] | None = None) -> list[Affine]:
    """The affine maps of a ReLU network in float64: one for each layer of units, and one for the output.

    Every affine step is pushed through its sources' unit vectors, so convolutions, pooling and sums need no
    code of their own. Units that are not ReLUs are refused by name.
    """
    network = network_of(model, input_shape)
    if "_affine_maps" not in network.__dict__:  # a network is frozen: read once, kept with it
        object.__setattr__(network, "_affine_maps", _read(network.to(torch.float64)))
    return network.__dict__["_affine_maps"]


def balanced(maps: Sequence[Affine]) -> list[Affine]:
    """The same network with very small or large units brought to about 1, each by a power of two: exactly.

    relu(c z) / c = relu(z) for c > 0, so what goes in is divided by the size that what goes out is multiplied
    by. A program needs it: HiGHS takes coefficients below 1e-9 for 0 and refuses those above 1e15.
    """
    sizes: dict[int, np.ndarray] = {}
    found = []
    for layer, target in enumerate(maps):
        parts = {s: part * sizes[s] if s in sizes else part for s, part in target.parts.items()}
        found.append(Affine(target.bias, parts))
        if layer == len(maps) - 1:  # the outputs stay what they are
            break
        size = np.abs(target.bias) + sum(np.abs(part).sum(1) for part in parts.values())
        extreme = (size > 0) & ((size < _USUAL[0]) | (size > _USUAL[1]))
        if extreme.any():
            size = np.where(extreme, np.exp2(np.round(np.log2(np.where(extreme, size, 1)))), 1.0)
            sizes[layer] = size
            parts = {s: part / size[:, None] for s, part in parts.items()}
            found[-1] = Affine(target.bias / size, parts)
    return found


def pre_activations(maps: Sequence[Affine], x: np.ndarray) -> list[np.ndarray]:
    """z of every layer of units at one input (d,)."""
    values, found = {INPUT: x}, []
    for layer, target in enumerate(maps[:-1]):
        found.append(target(values))
        values[layer] = np.maximum(found[-1], 0)
    return found


def _read(network: Network) -> list[Affine]:
    size = int(np.prod(network.input_shape))
    origin = torch.zeros(1, *network.input_shape, dtype=torch.float64, device=network.device)
    constants = {0: origin}
    columns = {0: {INPUT: _unit_vectors(size, network.input_shape, origin)}}
    maps = []
    for step in network.steps:
        if step.layer is None:
            constants[step.number], columns[step.number] = _push(step, constants, columns)
            continue
        if bool((step.slope != 0).any()):
            raise ValueError(
                f"'{step.name}' is no ReLU: its slope below zero is {float(step.slope.min()):g}, not 0. "
                "Proofs here are for ReLU networks; replace the layer by nn.ReLU and train again."
            )
        source = step.inputs[0]
        maps.append(_affine(constants[source], columns[source]))
        n = maps[-1].size
        constants[step.number] = origin.new_zeros(1, *step.shape)
        columns[step.number] = {step.layer: _unit_vectors(n, step.shape, origin)}
    return [*maps, _affine(constants[network.output], columns[network.output])]


def _push(
    step: Step, constants: dict[int, Tensor], columns: dict[int, dict[int, Tensor]]
) -> tuple[Tensor, dict[int, Tensor]]:
    """The constant part of an affine step, and its columns for every source that reaches it."""
    zeros = [torch.zeros_like(constants[i]) for i in step.inputs]
    nothing = step.apply(*zeros)
    pushed = {}
    for source in dict.fromkeys(s for i in step.inputs for s in columns[i]):
        n = next(len(columns[i][source]) for i in step.inputs if source in columns[i])
        values = [
            columns[i].get(source, constants[i].new_zeros(n, *constants[i].shape[1:])) for i in step.inputs
        ]
        pushed[source] = step.apply(*values) - nothing
    return step.apply(*[constants[i] for i in step.inputs]), pushed


def _unit_vectors(n: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.eye(n, dtype=like.dtype, device=like.device).reshape(n, *shape)


def _affine(constant: Tensor, columns: dict[int, Tensor]) -> Affine:
    parts = {s: np.ascontiguousarray(c.flatten(1).T.cpu().numpy()) for s, c in columns.items()}
    return Affine(constant.flatten().cpu().numpy().copy(), parts)
