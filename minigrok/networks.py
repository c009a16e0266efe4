"""The one walk over a network: every affine map and every piecewise-linear unit, in order.

Regions, local complexity, activation patterns and proofs all need the same thing: the values in front of
each layer of units, whatever the network looks like (MLP, convolutions, residual sums). `trace` reads the
network once with `torch.fx` and returns a `Network`: a list of steps, each either an affine map or a layer
of units that are linear on both sides of zero. What is neither is refused by name.

Units are numbered `(layer, unit)`: layers in the order in which they act, units in the order of the
flattened pre-activation.
"""

import copy
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.parametrize import type_before_parametrizations

from minigrok._support import check_tensor, unsettled
from minigrok.training import Ensemble

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One step of a network: value `number` is `apply` of the values `inputs`.

    A step with `layer=None` is affine in its inputs. Otherwise it is a layer of units
    u(z) = z for z > 0 and slope * z for z <= 0: slope 0 is ReLU, 0.01 leaky ReLU, -1 the absolute value.
    """

    number: int
    name: str
    inputs: tuple[int, ...]
    apply: Callable[..., Tensor] = field(repr=False)
    shape: Shape  # of one sample's value
    layer: int | None = None
    slope: Tensor | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Network:
    """A network as `trace` found it: steps in order, with the layers of units numbered.

    Value 0 is the input (N, *input_shape); value k is the result of step k. `units[l]` is the number of
    units of layer l, `n_out` the size of the flattened output.

    Example:
        >>> network = trace(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)))
        >>> network.units, network.n_out
        ((5,), 3)
        >>> network(torch.zeros(4, 2)).shape
        torch.Size([4, 3])
    """

    input_shape: Shape
    steps: tuple[Step, ...]
    dtype: torch.dtype
    device: torch.device

    @property
    def layers(self) -> tuple[Step, ...]:
        """The layers of units, in the order in which they act."""
        return tuple(step for step in self.steps if step.layer is not None)

    @property
    def units(self) -> tuple[int, ...]:
        """The number of units of each layer."""
        return tuple(_size(step.shape) for step in self.layers)

    @property
    def n_out(self) -> int:
        """The size of one sample's flattened output."""
        return _size(self.steps[-1].shape) if self.steps else _size(self.input_shape)

    @property
    def output(self) -> int:
        """The number of the value that is the network's output."""
        return len(self.steps)

    def walk(self, values: dict[int, Tensor], begin: int = 0) -> Iterator[Step]:
        """Compute all values in place, and pause in front of every layer of units.

        `values` maps value numbers to tensors (N, *shape): {0: x} at the start of the network, or all live
        values in front of step `begin` + 1. At each pause `values` holds what later steps still read, and
        z = values[step.inputs[0]] is the layer's pre-activation. The caller may replace all of them (by
        more rows, say) before going on. When the walk ends, `values` holds the output alone, under
        `network.output`. Values may be overwritten as the walk goes on: copy what you keep.

        Example:
            >>> values = {0: torch.zeros(4, 2)}
            >>> network = trace(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)))
            >>> [(step.layer, tuple(values[step.inputs[0]].shape)) for step in network.walk(values)]
            [(0, (4, 5))]
            >>> values[network.output].shape
            torch.Size([4, 3])
        """
        given = {value.untyped_storage().data_ptr() for value in values.values()} if begin == 0 else set()
        for step in self.steps[begin:]:
            if step.layer is not None:
                yield step
            inputs = [values[i] for i in step.inputs]
            for i in set(step.inputs):
                if self._last_use[i] == step.number:
                    del values[i]
            if step.layer is None:
                values[step.number] = step.apply(*inputs)
            else:
                kept = given | {value.untyped_storage().data_ptr() for value in values.values()}
                free = inputs[0].untyped_storage().data_ptr() not in kept
                values[step.number] = step.apply(inputs[0], inplace=free)

    def __call__(self, x: Tensor) -> Tensor:
        """The output (N, n_out) at the inputs x (N, *input_shape)."""
        values = {0: self.check_input(x)}
        for _ in self.walk(values):
            pass
        return values[self.output].flatten(1)

    def pre_activations(self, x: Tensor) -> list[Tensor]:
        """The pre-activations z of every layer, each (N, units of the layer), at x (N, *input_shape).

        Example:
            >>> network = trace(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 3)))
            >>> [tuple(z.shape) for z in network.pre_activations(torch.zeros(4, 2))]
            [(4, 5)]
        """
        values = {0: self.check_input(x)}
        return [values[step.inputs[0]].flatten(1).clone() for step in self.walk(values)]

    def linearise(self, x: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """The output (N, n_out) at x (N, *input_shape), and its change along directions (k, *input_shape).

        Inside a linear region f(x + t d) = f(x) + t J d; the second tensor holds J d for every direction,
        (N, n_out, k). A unit exactly at zero counts as inactive, as everywhere in minigrok.
        """
        x, directions = self.check_input(x), self.check_input(directions)
        k = len(directions)
        values: dict[int, Tensor] = {0: x}
        moves: dict[int, Tensor] = {0: directions.repeat(len(x), *[1] * len(self.input_shape))}
        for step in self.steps:
            inputs = [values[i] for i in step.inputs]
            if step.layer is None:
                values[step.number] = step.apply(*inputs)
                zero = step.apply(*[torch.zeros_like(value[:1]) for value in inputs])
                moves[step.number] = step.apply(*[moves[i] for i in step.inputs]) - zero
            else:
                values[step.number] = step.apply(inputs[0])
                factor = torch.where(inputs[0] > 0, torch.ones_like(step.slope), step.slope)
                moves[step.number] = moves[step.inputs[0]] * factor.repeat_interleave(k, dim=0)
            for i in set(step.inputs):
                if self._last_use[i] == step.number:
                    del values[i], moves[i]
        jacobian = moves[self.output].reshape(len(x), k, self.n_out).transpose(1, 2)
        return values[self.output].flatten(1), jacobian

    def to(self, dtype: torch.dtype) -> "Network":
        """The same network in another precision (much cheaper than tracing the model again).

        Example:
            >>> network = trace(nn.Sequential(nn.Linear(2, 5), nn.ReLU()), dtype=torch.float64)
            >>> network.to(torch.float32)(torch.zeros(1, 2)).dtype
            torch.float32
        """
        return replace(self, steps=tuple(_in_dtype(step, dtype) for step in self.steps), dtype=dtype)

    def check_input(self, x: Tensor) -> Tensor:
        """Return x in the network's dtype and on its device, or refuse it: expected (N, *input_shape)."""
        check_tensor(x, "a torch tensor of inputs")
        if tuple(x.shape[1:]) != self.input_shape or x.dim() != len(self.input_shape) + 1:
            wanted = ", ".join(["N", *map(str, self.input_shape)])
            hint = " Did you forget the batch axis, x[None]?" if tuple(x.shape) == self.input_shape else ""
            raise ValueError(f"expected inputs of shape ({wanted}), got {tuple(x.shape)}.{hint}")
        if x.is_complex():
            raise ValueError(f"expected real inputs, got {x.dtype}. Give real and imaginary parts as inputs.")
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise ValueError(
                "expected finite inputs, got NaN or infinity. Check the data before the network."
            )
        return x.to(self.device, self.dtype)

    @property
    def _last_use(self) -> dict[int, int]:
        if "_uses" not in self.__dict__:  # computed once; the dataclass is frozen
            uses = {i: step.number for step in self.steps for i in step.inputs}
            object.__setattr__(self, "_uses", uses | {self.output: len(self.steps) + 1})
        return self.__dict__["_uses"]


def trace(model: nn.Module, input_shape: Shape | None = None, *, dtype: torch.dtype | None = None) -> Network:
    """Read a network into affine maps and layers of piecewise-linear units.

    Understood are linear, convolution and average-pooling layers, batch norm in eval mode, dropout in eval
    mode, flattening and reshaping, reordering, sums, constant factors, concatenation, ReLU, leaky ReLU, PReLU
    and abs, as modules or as functions. All else (GELU, max pooling, softmax, a product of two values) is
    refused by name, because counts and proofs would silently be wrong.

    Args:
        model: the network; it is copied and never changed.
        input_shape: the shape of one sample; by default (in_features,) of a network that starts with a
            linear layer.
        dtype: the precision to compute in; by default that of the model.

    Returns:
        The `Network`. It has been compared with the model on random inputs.

    Raises:
        ValueError: an operation that is not piecewise linear, a model in training mode with dropout or
            batch norm, weights with NaN or infinity, or a shape that cannot be inferred.

    Source: the affine-spline view of Balestriero & Baraniuk 2018, "A spline theory of deep networks", sec. 3.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> network = trace(model)
        >>> [(step.name, step.layer, step.shape) for step in network.layers]
        [('1', 0, (8,)), ('3', 1, (8,))]

    Used in lesson 13, and in the recording of lesson 11.
    """
    _check_model(model)
    weights = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    dtype = weights.dtype if dtype is None else dtype
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"expected dtype to be one of torch's floats, such as torch.float64, got {dtype!r}.")
    frozen = _frozen(model, dtype)
    shape = _infer_shape(model) if input_shape is None else _check_shape(input_shape)
    graph = _symbolic_trace(frozen)
    frozen.eval()  # what is left of training mode (spectral norm) would change the weights at every call
    reader = _Reader(
        graph,
        frozen,
        torch.randn(3, *shape, dtype=dtype, device=weights.device, generator=_fixed(weights.device)),
    )
    network = Network(shape, tuple(reader.read()), dtype, weights.device)
    _compare(network, frozen, reader.example)
    return network


def _shape_of_sample(model: nn.Module, given: Shape) -> Shape:
    """The shape to trace a model with, for data whose samples have the shape `given`.

    That of the data, unless the model is a sequence that starts with a linear layer and so says itself how
    many numbers it takes: then other data are refused by `Network.check_input`, in words about the data.
    """
    if len(given) > 1 or not isinstance(model, nn.Sequential | nn.Linear):
        return given
    try:
        return _infer_shape(model)
    except ValueError:
        return given


def _in_dtype(step: Step, dtype: torch.dtype) -> Step:
    apply = step.apply
    if isinstance(apply, nn.Module):
        return replace(step, apply=copy.deepcopy(apply).to(dtype))
    if isinstance(apply, _Call):
        return replace(step, apply=apply.to(dtype))
    if step.layer is None:  # a reshape
        return step
    slope = step.slope.to(dtype)
    return replace(step, apply=partial(_unit, slope=slope), slope=slope)


def _size(shape: Shape) -> int:
    return int(torch.Size(shape).numel())


def _fixed(device: torch.device) -> torch.Generator:
    # The inputs on which a traced network is compared with its model: own generator, global state untouched.
    return torch.Generator(device).manual_seed(0)


def _check_shape(shape: Shape) -> Shape:
    if isinstance(shape, int):
        raise TypeError(f"expected input_shape to be a tuple, such as ({shape},), got {shape}.")
    if min(shape, default=1) < 1:
        raise ValueError(f"expected the sizes of input_shape to be at least 1, got {tuple(shape)}.")
    return tuple(shape)


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}.")
    if isinstance(model, Ensemble):
        raise TypeError(
            f"expected one network, got an Ensemble of {len(model)}: call it with ensemble[s] for each s."
        )
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, Tensor):
            _check_weights(name, tensor)
    for name, module in unsettled(model):
        raise ValueError(
            f"'{name}' ({type(module).__name__}) is in training mode, where the output depends on "
            "chance, on the rest of the batch or on earlier calls. Call model.eval() first."
        )


def _check_weights(name: str, tensor: Tensor) -> None:
    if tensor.is_meta:
        raise ValueError(f"'{name}' is on the meta device and holds no numbers. Load the weights first.")
    if tensor.is_complex():
        raise ValueError(f"'{name}' holds complex numbers. Give a network of real numbers.")
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise ValueError(
            f"'{name}' holds NaN or infinity: its regions have no meaning. Did training diverge?"
        )


def _frozen(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of the model to read and to compare with, in the precision to compute in."""
    if isinstance(model, torch.jit.ScriptModule) or hasattr(model, "_orig_mod"):
        raise ValueError(
            f"cannot read a compiled or scripted model ({type(model).__name__}). "
            "Give the module it was made from."
        )
    try:
        frozen = copy.deepcopy(model).to(dtype).requires_grad_(False)
    except RuntimeError as error:
        raise ValueError(
            f"cannot copy the model: {error}. Weights that a hook computes must be made permanent first: "
            "torch.nn.utils.prune.remove, or remove_weight_norm."
        ) from error
    for module in frozen.modules():
        for name, value in vars(module).items():  # `to` leaves tensors that are plain attributes
            if isinstance(value, Tensor) and value.is_floating_point():
                vars(module)[name] = value.to(dtype)
    return frozen


def _infer_shape(model: nn.Module) -> Shape:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            return (module.in_features,)
        if not isinstance(module, nn.Sequential) and next(module.parameters(recurse=False), None) is not None:
            break  # something else comes first
    raise ValueError(
        "cannot tell the shape of one input: the network does not start with a linear layer. "
        "Give it, for example input_shape=(3, 32, 32)."
    )


def _symbolic_trace(model: nn.Module) -> fx.Graph:
    try:
        return fx.Tracer().trace(model)  # not fx.symbolic_trace, which writes a program that nobody runs
    except Exception as error:  # fx raises many kinds; the cause is chained and its text shown
        raise ValueError(
            f"cannot read the forward pass of {type(model).__name__}: {error}. "
            "Its path must not depend on the data: no if or loop over values or shapes."
        ) from error


def _compare(network: Network, model: nn.Module, example: Tensor) -> None:
    try:
        with torch.no_grad():
            expected, alone = _rows(model(example)), _rows(model(example[:1]))
            read, read_alone = network(example), network(example[:1])
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(
            f"the model takes a batch of three inputs but not one alone ({error}). The first axis must be "
            "the batch, and tensors made on the way must follow its size."
        ) from error
    if not expected.numel():
        raise ValueError("the network has no outputs. Give its last layer at least one.")
    if not torch.isfinite(expected).all():
        raise ValueError(
            "the network's output is NaN or infinite at ordinary inputs. Look for NaN among its constants, "
            f"or for numbers too large for {network.dtype}."
        )
    tolerance = 1e-3 if network.dtype in (torch.float16, torch.bfloat16) else 1e-4
    close = partial(torch.allclose, rtol=tolerance, atol=tolerance * max(1.0, float(expected.abs().max())))
    if alone.shape != expected[:1].shape or not close(alone, expected[:1]):
        raise ValueError(
            "the output for one sample depends on the rest of the batch: it has no regions of its own."
        )
    if not (close(read, expected) and close(read_alone, alone)):
        raise ValueError(
            "the network as read differs from the model. Does forward, or a hook, change a value in place?"
        )


def _unit(z: Tensor, *, slope: Tensor, inplace: bool = False) -> Tensor:
    if not slope.any():
        return z.relu_() if inplace else z.relu()
    return torch.where(z > 0, z, slope * z)


def _rows(value: Tensor) -> Tensor:
    # flatten(1) that takes one number a sample, too
    return value.reshape(len(value), _size(value.shape[1:]))


def _reshape(value: Tensor, *, shape: Shape) -> Tensor:
    return value.reshape(len(value), *shape)


def _method(name: str, value: object, *args: object, **kwargs: object) -> object:
    return getattr(value, name)(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class _Call:
    """A function call of the forward pass: its arguments are the step's inputs (`where`) or `fixed`."""

    function: Callable[..., Tensor]
    node: fx.Node
    fixed: dict[fx.Node, object]
    where: dict[fx.Node, int]

    def __call__(self, *values: Tensor) -> Tensor:
        def lookup(n: fx.Node) -> object:
            return values[self.where[n]] if n in self.where else self.fixed[n]

        args, kwargs = fx.node.map_arg((self.node.args, self.node.kwargs), lookup)
        return self.function(*args, **kwargs)

    def to(self, dtype: torch.dtype) -> "_Call":
        def convert(value: object) -> object:
            return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

        return replace(self, fixed={n: convert(value) for n, value in self.fixed.items()})


_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_AFFINE_MODULES = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, *_BATCH_NORM,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d, nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d,
)  # fmt: skip
_RESHAPES = {
    nn.Flatten, nn.Unflatten, torch.flatten, torch.reshape, "flatten", "reshape", "view", "unflatten",
}  # fmt: skip
_SAME = {nn.Identity, *_DROPOUT, "contiguous", "clone"}
# What is affine in all its tensor arguments together.
_AFFINE = {
    operator.add, operator.sub, operator.neg, operator.getitem, torch.add, torch.sub, torch.neg, torch.cat,
    torch.stack, torch.mean, torch.sum, torch.permute, torch.transpose, torch.movedim, torch.flip, torch.roll,
    torch.squeeze, torch.unsqueeze, F.pad, F.avg_pool1d, F.avg_pool2d, F.adaptive_avg_pool1d,
    F.adaptive_avg_pool2d, "add", "sub", "neg", "mean", "sum", "permute", "transpose", "movedim", "flip",
    "roll", "squeeze", "unsqueeze", "__getitem__",
}  # fmt: skip
# What is affine when only its first tensor argument (for products: only one) depends on the input.
_AFFINE_IN_ONE = {
    operator.mul, operator.truediv, operator.matmul, torch.mul, torch.div, torch.matmul, torch.mm, "mul",
    "div", "matmul", F.linear, F.conv1d, F.conv2d, F.conv3d,
}  # fmt: skip
_DIVISIONS = {operator.truediv, torch.div, "div"}
# What changes a tensor in place is read as the function that does not: a value may have other readers.
_OUT_OF_PLACE = {
    operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul,
    operator.itruediv: operator.truediv, "add_": torch.add, "sub_": torch.sub, "mul_": torch.mul,
    "div_": torch.div,
}  # fmt: skip
_RELU = {nn.ReLU, F.relu, torch.relu, "relu", "relu_", F.relu_, torch.relu_}
_LEAKY = {nn.LeakyReLU, F.leaky_relu, F.leaky_relu_}
_PRELU = {F.prelu, torch.prelu, "prelu"}
_ABS = {torch.abs, operator.abs, "abs", "__abs__"}
# What is known to bend (gelu, log_softmax, ...), by its name without case and underscores.
_BENT = {name.lower() for name in nn.modules.activation.__all__} | {
    "exp", "log", "pow", "rsqrt", "sqrt", "square", "sin", "cos",
}  # fmt: skip


class _Reader:
    """Turns the nodes of an fx graph into steps, carrying an example of three inputs along for the shapes."""

    def __init__(self, graph: fx.Graph, model: nn.Module, example: Tensor):
        self.graph, self.model, self.example = graph, model, example
        self.steps: list[Step] = []
        self.numbers: dict[fx.Node, int] = {}  # nodes that depend on the input, and their value's number
        self.constants: dict[fx.Node, object] = {}
        self.shapes: dict[fx.Node, object] = {}  # plumbing: sizes read from a value
        self.examples: dict[int, Tensor] = {}

    def read(self) -> list[Step]:
        for node in self.graph.nodes:
            getattr(self, f"_{node.op}")(node)
        return self.steps

    def _placeholder(self, node: fx.Node) -> None:
        if self.numbers:
            if node.args:  # an optional argument keeps its default
                self.constants[node] = node.args[0]
                return
            raise ValueError(f"expected a network of one input, got a second one: '{node.target}'.")
        self.numbers[node], self.examples[0] = 0, self.example

    def _get_attr(self, node: fx.Node) -> None:
        value = operator.attrgetter(node.target)(self.model)
        floating = isinstance(value, Tensor) and value.is_floating_point()
        self.constants[node] = value.detach().to(self.example.dtype) if floating else value

    def _call_module(self, node: fx.Node) -> None:
        module = self.model.get_submodule(node.target)
        kind = type_before_parametrizations(module)
        if kind in _RELU:
            self._add_units(node, 0.0)
        elif kind in _LEAKY:
            self._add_units(node, module.negative_slope)
        elif kind is nn.PReLU:
            self._add_prelu(node, module.weight.detach())
        elif kind in _RESHAPES:
            self._add_reshape(node, module)
        elif kind in _SAME:
            self._alias(node)
        elif kind in _AFFINE_MODULES:
            if kind in _BATCH_NORM and module.running_mean is None:
                raise ValueError(
                    f"'{node.target}' ({kind.__name__}) keeps no running mean: it mixes the batch's samples."
                )
            self._add(node, module)
        else:
            self._refuse(node, kind.__name__)

    def _call_function(self, node: fx.Node) -> None:
        function = _OUT_OF_PLACE.get(node.target, node.target)
        self._call(node, function, function)

    def _call_method(self, node: fx.Node) -> None:
        if node.target in _OUT_OF_PLACE:
            self._call_function(node)
        else:
            self._call(node, node.target, partial(_method, node.target))

    def _call(self, node: fx.Node, kind: object, function: Callable[..., object]) -> None:
        inputs = self._inputs(node)
        if self._is_plumbing(node):
            self.shapes[node] = function(*self._bound(node.args), **self._bound(node.kwargs))
        elif not inputs:
            self.constants[node] = function(*self._bound(node.args), **self._bound(node.kwargs))
        elif kind in _RELU:
            self._add_units(node, 0.0)
        elif kind in _LEAKY:
            self._add_units(node, (*node.args[1:2], node.kwargs.get("negative_slope", 0.01))[0])
        elif kind in _PRELU:
            (weight,) = (*node.args[1:], *(n for k, n in node.kwargs.items() if k == "weight"))
            if weight in self.numbers:
                self._refuse(node, "a slope that depends on the input")
            self._add_prelu(node, self.constants[weight])
        elif kind in _ABS:
            self._add_units(node, -1.0)
        elif kind in _RESHAPES:
            self._add_reshape(node, function)
        elif kind in _SAME or kind is F.dropout and not self._dropout_is_on(node):
            self._alias(node)
        elif (
            kind in _AFFINE
            or self._is_affine_in_one(node, kind)
            or kind is F.batch_norm
            and self._batch_norm_is_fixed(node)
        ):
            self._add(node, function)
        else:
            self._refuse(node, getattr(kind, "__name__", str(kind)))

    def _output(self, node: fx.Node) -> None:
        result = node.args[0]
        if result not in self.numbers:
            raise ValueError(f"expected a network with one tensor as its output, got {result}.")
        number = self.numbers[result]
        shape = tuple(self.examples[number].shape[1:])
        if number != len(self.steps) or not shape:  # an alias, later steps that nothing reads, or no axis
            self._reshaped(result, number, shape or (1,))

    def _reshaped(self, node: fx.Node, number: int, shape: Shape) -> int:
        value = self.examples[number]
        value = value.reshape(len(value), *shape)
        self._append(node, node.name, (number,), partial(_reshape, shape=shape), value)
        return self.numbers[node]

    def _inputs(self, node: fx.Node) -> tuple[int, ...]:
        return tuple(dict.fromkeys(self.numbers[n] for n in node.all_input_nodes if n in self.numbers))

    def _bound(self, arguments: object) -> object:
        """The arguments with every node that is not a step's value replaced by what it stands for."""

        def lookup(node: fx.Node) -> object:
            if node in self.numbers:
                return self.examples[self.numbers[node]]
            return self.constants.get(node, self.shapes.get(node))

        return fx.node.map_arg(arguments, lookup)

    def _is_plumbing(self, node: fx.Node) -> bool:
        if any(n in self.shapes for n in node.all_input_nodes) and not self._inputs(node):
            return True
        return (
            node.target == "size"
            or node.target is getattr
            and node.args[1] in ("shape", "device", "dtype", "ndim")
        )

    def _is_affine_in_one(self, node: fx.Node, kind: object) -> bool:
        if kind not in _AFFINE_IN_ONE:
            return False
        varying = [n for n in node.all_input_nodes if n in self.numbers]
        places = [
            a for a in (*node.args, *node.kwargs.values()) if isinstance(a, fx.Node) and a in self.numbers
        ]
        if kind in _DIVISIONS and node.kwargs.get("rounding_mode") is not None:
            self._refuse(node, "a division that rounds")
        if len(varying) != 1 or len(places) != 1:
            self._refuse(node, "a product of two values that both depend on the input")
        first = places[0] is (node.args[0] if node.args else node.kwargs.get("input"))
        if not first and (kind in _DIVISIONS or kind in (F.linear, F.conv1d, F.conv2d, F.conv3d)):
            what = "a division by a value" if kind in _DIVISIONS else "a weight"
            self._refuse(node, f"{what} that depends on the input")
        return True

    def _dropout_is_on(self, node: fx.Node) -> bool:
        arguments = dict(zip(("input", "p", "training"), node.args, strict=False)) | node.kwargs
        if arguments.get("training", True) and arguments.get("p", 0.5) > 0:
            raise ValueError(
                f"'{node.name}' (dropout) is switched on: the output is random. Call model.eval() first."
            )
        return False

    def _batch_norm_is_fixed(self, node: fx.Node) -> bool:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training")
        if (dict(zip(names, node.args, strict=False)) | node.kwargs).get("training", False):
            raise ValueError(
                f"'{node.name}' (batch_norm) uses the batch's own statistics. Call model.eval() first."
            )
        return True

    def _alias(self, node: fx.Node) -> None:
        self.numbers[node] = self._inputs(node)[0]

    def _add(
        self,
        node: fx.Node,
        function: Callable[..., Tensor],
        inputs: tuple[int, ...] | None = None,
        **unit: object,
    ) -> None:
        """Append the step that a node stands for, once its function has taken the example."""
        inputs = self._inputs(node) if inputs is None else inputs
        apply = function if unit or node.op == "call_module" else self._closure(node, function, inputs)
        name = str(node.target) if node.op == "call_module" else node.name
        try:
            with torch.no_grad():
                value = apply(*[self.examples[i] for i in inputs])
        except RuntimeError as error:
            taken = " and ".join(str(tuple(self.examples[i].shape[1:])) for i in inputs)
            raise ValueError(
                f"'{name}' does not take inputs of shape {taken}: {error}. "
                "Give the shape of one sample, or a plane through the network's input space (regions.Plane)."
            ) from error
        self._append(node, name, inputs, apply, value, **unit)

    def _append(
        self,
        node: fx.Node,
        name: str,
        inputs: tuple[int, ...],
        apply: Callable,
        value: Tensor,
        **unit: object,
    ) -> None:
        if value.dim() < 1 or len(value) != len(self.example):
            self._refuse(node, f"{node.name}, which mixes the samples of a batch")
        number = len(self.steps) + 1
        self.steps.append(Step(number, name, inputs, apply, tuple(value.shape[1:]), **unit))
        self.numbers[node], self.examples[number] = number, value

    def _closure(self, node: fx.Node, function: Callable[..., Tensor], inputs: tuple[int, ...]) -> "_Call":
        fixed = {
            n: self.constants.get(n, self.shapes.get(n))
            for n in node.all_input_nodes
            if n not in self.numbers
        }
        where = {n: inputs.index(self.numbers[n]) for n in node.all_input_nodes if n in self.numbers}
        return _Call(function, node, fixed, where)

    def _add_units(self, node: fx.Node, slope: float | Tensor) -> None:
        before = len([step for step in self.steps if step.layer is not None])
        slope = torch.as_tensor(slope, dtype=self.example.dtype, device=self.example.device)
        (source,) = self._inputs(node)
        alone = self.examples[source].dim() == 1  # one number a sample: a layer of one unit, with an axis
        if alone:
            source = self._reshaped(node, source, (1,))
        self._add(node, partial(_unit, slope=slope), (source,), layer=before, slope=slope)
        if alone:
            self._reshaped(node, self.numbers[node], ())

    def _add_prelu(self, node: fx.Node, weight: Tensor) -> None:
        """Units with one slope for all, or one for each channel, which is the first axis of a sample."""
        inner = self.examples[self._inputs(node)[0]].dim() - 2
        shape = (-1, *[1] * max(inner, 0)) if weight.numel() > 1 else ()
        self._add_units(node, weight.reshape(shape))

    def _add_reshape(self, node: fx.Node, function: Callable[..., Tensor]) -> None:
        # Told by the shape a sample gets, so that the number of rows may change on the way.
        arguments = (
            (self.examples[self._inputs(node)[0]],) if node.op == "call_module" else self._bound(node.args)
        )
        value = function(*arguments, **self._bound(node.kwargs))
        apply = partial(_reshape, shape=tuple(value.shape[1:]))
        self._append(node, node.name, self._inputs(node)[:1], apply, value)

    def _refuse(self, node: fx.Node, what: str) -> None:
        name = what.lower().replace("_", "")
        if "max" in name and "pool" in name:
            advice = (
                "Use average pooling or a strided convolution (max pooling is not a layer of two-sided units)"
            )
        elif "depend" in what or "mixes" in what:
            advice = "minigrok reads networks whose output is piecewise affine in each sample"
        elif "norm" in name:
            advice = "Use batch norm in evaluation mode, whose scale does not depend on the sample"
        elif name in _BENT:
            advice = (
                "Use ReLU, leaky ReLU, PReLU or abs, or look at it on a grid with regions.bending_on_grid"
            )
        else:
            advice = (
                "minigrok does not know whether it is affine. If it is, write it with what networks.trace "
                "understands; if not, look at it on a grid with regions.bending_on_grid"
            )
        raise ValueError(
            f"cannot read '{node.target if isinstance(node.target, str) else node.name}' ({what}): {advice}."
        )
