"""The walk over a network against the model itself, against autograd, and against its own promises."""

import copy
import re
import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from minigrok.models import cnn, mlp, resnet18
from minigrok.networks import Network, _shape_of_sample, trace
from minigrok.regions import Plane, on_segment, partition
from minigrok.training import Ensemble


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def with_seed(build, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def seeded(*layers_of):
    """nn.Sequential of layers made with torch's generator at a fixed state, which is put back."""
    return with_seed(lambda: nn.Sequential(*[make() for make in layers_of])).eval()


class Residual(nn.Module):
    """Modules and functionals, sums in place and not, a second use of one module, reshapes, constants."""

    def __init__(self, channels=4):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, channels, 3, padding=1), nn.BatchNorm2d(channels)
        self.inner, self.down = nn.Conv2d(channels, channels, 3, padding=1), nn.AvgPool2d(2)
        self.relu, self.drop = nn.ReLU(), nn.Dropout(0.5)
        self.head = nn.Linear(channels * 4, 5)
        self.register_buffer("shift", torch.linspace(-1, 1, 5))

    def forward(self, x):
        h = self.relu(self.norm(self.stem(x)))
        out = self.inner(self.drop(h))
        out += h
        out = F.avg_pool2d(self.down(self.relu(out)), 2)
        return 2 * self.head(out.view(x.size(0), -1)) / 3 + self.shift


class Function(nn.Module):
    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x):
        return self.function(self, x)


def settled(model):
    """Give batch norms statistics of their own, and switch to eval mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.running_mean, module.weight.data, module.bias.data):
                tensor.uniform_(-1, 1, generator=generator(1))
            module.running_var.uniform_(0.5, 2, generator=generator(2))
    return model.eval()


def residual():
    return settled(with_seed(Residual))


def refused(text, model, shape=None, error=ValueError):
    with pytest.raises(error, match=re.escape(text)):
        trace(model, shape)


def agrees(model, shape, dtype=torch.float64):
    """The traced network computes what the model does, for any number of rows."""
    network = trace(model, shape, dtype=dtype)
    double = copy.deepcopy(model).to(dtype)
    for n in (1, 4):
        x = torch.randn(n, *shape, generator=generator(n), dtype=dtype)
        with torch.no_grad():
            torch.testing.assert_close(network(x), double(x).flatten(1))
    return network


# What is read, and how it is numbered


def test_layers_units_and_shapes_of_an_mlp():
    network = trace(mlp([3, 7, 5, 2]))
    assert isinstance(network, Network)
    assert network.input_shape == (3,) and network.units == (7, 5) and network.n_out == 2
    assert [(step.name, step.layer, step.shape) for step in network.layers] == [
        ("1", 0, (7,)),
        ("3", 1, (5,)),
    ]
    assert [step.number for step in network.steps] == [1, 2, 3, 4, 5] and network.output == 5
    assert network.dtype == torch.float32 and network.device.type == "cpu"


def test_units_of_a_cnn_are_numbered_in_the_order_of_the_flattened_values():
    model = seeded(lambda: nn.Conv2d(1, 2, 2), nn.ReLU, nn.Flatten, lambda: nn.Linear(8, 3))
    network = agrees(model, (1, 3, 3))
    assert network.layers[0].shape == (2, 2, 2) and network.units == (8,)
    x = torch.randn(5, 1, 3, 3, generator=generator())
    assert torch.equal(trace(model, (1, 3, 3)).pre_activations(x)[0], model[0](x).flatten(1))


def test_a_residual_network_of_modules_and_functions():
    network = agrees(residual(), (2, 8, 8))
    assert network.units == (256, 256) and network.n_out == 5


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        (nn.ReLU(), 0.0),
        (nn.ReLU(inplace=True), 0.0),
        (nn.LeakyReLU(0.2), 0.2),
        (nn.PReLU(), 0.25),
        (Function(lambda m, x: F.relu(x)), 0.0),
        (Function(lambda m, x: torch.relu(x)), 0.0),
        (Function(lambda m, x: x.relu()), 0.0),
        (Function(lambda m, x: F.leaky_relu(x)), 0.01),
        (Function(lambda m, x: F.leaky_relu(x, 0.3)), 0.3),
        (Function(lambda m, x: F.leaky_relu(x, negative_slope=0.4)), 0.4),
        (Function(lambda m, x: x.abs()), -1.0),
        (Function(lambda m, x: torch.abs(x)), -1.0),
        (Function(lambda m, x: abs(x)), -1.0),
    ],
)
def test_units_are_linear_on_both_sides_of_zero(activation, slope):
    model = nn.Sequential(seeded(lambda: nn.Linear(4, 6)), activation, seeded(lambda: nn.Linear(6, 2)))
    network = agrees(model, (4,))
    assert network.units == (6,)
    assert network.layers[0].slope.item() == pytest.approx(slope)


def test_prelu_may_have_a_slope_for_every_channel():
    prelu = nn.PReLU(3)
    prelu.weight.data = torch.tensor([0.1, -0.5, 2.0])
    network = agrees(nn.Sequential(seeded(lambda: nn.Conv2d(1, 3, 2)), prelu), (1, 4, 4))
    assert network.layers[0].slope.shape == (3, 1, 1)
    agrees(nn.Sequential(seeded(lambda: nn.Linear(2, 3)), prelu), (2,))


class PReLUFunction(nn.Module):
    def __init__(self, function, slopes):
        super().__init__()
        self.weight, self.function = nn.Parameter(torch.tensor(slopes)), function

    def forward(self, x):
        return self.function(x, self.weight)


@pytest.mark.parametrize("slopes", [[0.25], [0.1, -0.5, 2.0]])
@pytest.mark.parametrize(
    "function", [F.prelu, lambda x, w: x.prelu(w), lambda x, w: torch.prelu(x, weight=w)], ids=[*"fmk"]
)
def test_prelu_may_be_a_function(function, slopes):
    network = agrees(PReLUFunction(function, slopes), (3, 2, 2))
    assert network.layers[0].slope.flatten().tolist() == pytest.approx(slopes)
    agrees(PReLUFunction(function, slopes), (3,))


def test_a_slope_that_depends_on_the_input_is_refused():
    own = Function(lambda m, x: F.prelu(x, x.abs()))
    refused("(a slope that depends on the input)", own, (3,))


weight = torch.linspace(-1, 1, 12).reshape(3, 4)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x + 1 - x * 3,
        lambda m, x: 2 - x,
        lambda m, x: torch.sub(x, x[:, :1], alpha=3),
        lambda m, x: -x / 4,
        lambda m, x: x @ m.w + torch.matmul(x, m.w),
        lambda m, x: F.linear(x, m.w.T, bias=m.w[0]),
        lambda m, x: torch.cat([x, 2 * x, x], dim=1),
        lambda m, x: torch.flatten(x.unflatten(1, (3, 1)).permute(0, 2, 1).contiguous(), 1),
        lambda m, x: x.reshape(x.shape[0], 1, 3).transpose(1, 2).squeeze(2),
        lambda m, x: x.unsqueeze(1).mean(1) + x.sum(dim=1, keepdim=True),
        lambda m, x: F.pad(x, (1, 2)),
        lambda m, x: F.dropout(x, 0.5, training=False) + F.dropout(x, p=0.0),
        lambda m, x: F.batch_norm(x, m.w[:, 0], m.w[:, 3] + 2, m.w[:, 1], m.w[:, 2]),
        lambda m, x: x.clone()[:, [2, 0]],
        lambda m, x: torch.flip(x, [1]) - x.roll(1, dims=1),
        lambda m, x: torch.stack([x, 2 * x], dim=2).movedim(2, 1).flatten(1),
    ],
)
def test_affine_functions_are_read(function):
    model = Function(function)
    model.register_buffer("w", weight)
    network = agrees(model, (3,))
    assert network.layers == ()
    relu = Function(lambda m, x: function(m, x).relu())
    relu.register_buffer("w", weight)
    assert agrees(relu, (3,)).units == (network.n_out,)


def test_what_changes_a_value_in_place_is_read_without_changing_it():
    def forward(m, x):
        out = m.one(x)
        out += x
        out *= 2
        out -= 1
        out /= 3
        return out.add_(x).relu_()

    network = agrees(Function(forward, one=seeded(lambda: nn.Linear(3, 3))), (3,))
    x = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    before = x.clone()
    network(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Conv1d(2, 3, 3, stride=2),
        lambda: nn.ConvTranspose1d(2, 3, 3),
        lambda: nn.AvgPool1d(2),
        lambda: nn.AdaptiveAvgPool1d(1),
        lambda: nn.BatchNorm1d(2),
        lambda: nn.ConstantPad1d(1, 0.5),
    ],
)
def test_affine_modules_are_read(layer):
    agrees(settled(seeded(lambda: nn.Identity(), layer, nn.ReLU, nn.Flatten)), (2, 6))


def test_one_number_for_each_sample_is_one_unit_or_one_output():
    network = trace(Function(lambda m, x: (x.relu().sum(1) - 1).relu()), (3,))
    assert network.units == (3, 1) and network.n_out == 1
    assert network(torch.ones(2, 3)).tolist() == [[2.0], [2.0]]


def test_weights_that_are_computed_on_the_way_are_constants():
    class Positive(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, generator=generator()))

        def forward(self, x):
            return F.relu(F.linear(x, torch.abs(self.weight).mul(2)) - 0.5)

    model = Positive()
    agrees(model, (3,))
    assert trace(model, (3,)).units == (4,)  # the absolute value of a weight is no layer of units


def test_a_default_argument_of_forward_keeps_its_default():
    class Scaled(nn.Module):
        def forward(self, x, factor=3.0):
            return torch.relu(x * factor)

    agrees(Scaled(), (2,))


def test_a_network_may_end_in_a_layer_it_has_already_passed():
    def forward(m, x):
        h = x.relu()
        m.one(h)  # nothing reads it
        return h

    network = agrees(Function(forward, one=nn.Linear(3, 3)), (3,))
    assert network.units == (3,)
    agrees(nn.Sequential(nn.ReLU(), nn.Identity()), (3,))
    agrees(nn.Identity(), (3,))


# The walk


def paused(network, x):
    """The walk's pauses: (layer, pre-activation) with values copied."""
    values = {0: x}
    return [(step.layer, values[step.inputs[0]].clone()) for step in network.walk(values)], values


@pytest.mark.parametrize("first", [nn.Identity, lambda: nn.Dropout(0.5), nn.Flatten])
def test_an_alias_before_a_relu_with_a_skip_keeps_its_value(first):
    """The alias, the input and the skip share memory: a ReLU in place would change all three."""
    layer = first().eval()
    model = Function(lambda m, x: F.relu(m.first(x)) - x, first=layer)
    network = agrees(model, (4,))
    x = torch.randn(6, 4, generator=generator())
    before = x.clone()
    single = trace(model, (4,))
    assert torch.equal(single(x), before.relu() - before)
    assert torch.equal(x, before), "the caller's tensor is never written to"
    assert network.units == (4,)


def test_a_value_with_two_readers_survives_the_first():
    def forward(m, x):
        z = m.one(x)
        return z.relu() + m.two(z.view(x.size(0), 2, 2).flatten(1)).relu() + z

    parts = {name: seeded(lambda: nn.Linear(4, 4)) for name in ("one", "two")}
    agrees(Function(forward, **parts), (4,))


def test_at_a_pause_the_values_are_those_that_are_still_read():
    network = trace(residual(), (2, 8, 8), dtype=torch.float64)
    values = {0: torch.randn(3, 2, 8, 8, generator=generator(), dtype=torch.float64)}
    for step in network.walk(values):
        later = {i for other in network.steps[step.number - 1 :] for i in other.inputs}
        assert set(values) == {i for i in later if i < step.number}
    assert set(values) == {network.output}


def test_rows_may_be_added_at_a_pause():
    network = trace(residual(), (2, 8, 8), dtype=torch.float64)
    x = torch.randn(3, 2, 8, 8, generator=generator(), dtype=torch.float64)
    values = {0: x}
    for _ in network.walk(values):
        values.update({i: torch.cat([value, value[:2]]) for i, value in values.items()})
    expected = network(x)[[0, 1, 2, 0, 1, 0, 1]]
    torch.testing.assert_close(values[network.output], expected)


def test_the_walk_can_go_on_from_any_pause():
    network = trace(residual(), (2, 8, 8), dtype=torch.float64)
    x = torch.randn(3, 2, 8, 8, generator=generator(), dtype=torch.float64)
    expected, _ = paused(network, x)
    for layer, stopped in enumerate(network.layers):
        values = {0: x}
        for step in network.walk(values):
            if step is stopped:
                break
        rest = {i: value.clone() for i, value in values.items()}
        seen = []
        for step in network.walk(rest, begin=stopped.number - 1):
            seen.append((step.layer, rest[step.inputs[0]].clone()))
        assert [k for k, _ in seen] == [k for k, _ in expected[layer:]]
        for (_, found), (_, wanted) in zip(seen, expected[layer:], strict=True):
            torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(rest[network.output], network(x))


def test_pre_activations_are_kept_apart_from_what_the_walk_overwrites():
    model = mlp([3, 6, 6, 2], generator=generator())
    x = torch.randn(4, 3, generator=generator(1))
    z = trace(model).pre_activations(x)
    with torch.no_grad():
        first = model[0](x)
        torch.testing.assert_close(z, [first, model[2](first.relu())])


def test_the_model_is_copied_and_left_alone():
    model, before = residual(), torch.get_rng_state()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network, x = trace(model, (2, 8, 8)), torch.randn(4, 2, 8, 8, generator=generator())
    value = network(x).clone()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert model.head.weight.requires_grad and not value.requires_grad
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        model.head.weight.zero_()
    assert torch.equal(network(x), value), "the network does not follow the model's later training"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_is_the_models_or_the_one_asked_for(dtype):
    model = mlp([3, 6, 2], generator=generator()).to(dtype)
    assert trace(model).dtype == dtype and trace(model)(torch.zeros(2, 3)).dtype == dtype
    double = trace(model, dtype=torch.float64)
    assert double(torch.zeros(2, 3)).dtype == torch.float64 and double.layers[0].slope.dtype == torch.float64


def test_another_precision_without_a_new_trace():
    model = residual()
    x = torch.randn(3, 2, 8, 8, generator=generator())
    converted = trace(model, (2, 8, 8), dtype=torch.float64).to(torch.float32)
    assert converted.dtype == torch.float32
    torch.testing.assert_close(converted(x), trace(model, (2, 8, 8))(x))
    for network in (trace(model, (2, 8, 8)).to(torch.float64), trace(model, (2, 8, 8), dtype=torch.float64)):
        assert network(x).dtype == torch.float64
        torch.testing.assert_close(network(x), copy.deepcopy(model).double()(x.double()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_model_on_a_device_is_walked_there():
    model = residual().cuda()
    network = trace(model, (2, 8, 8))
    x = torch.randn(3, 2, 8, 8, generator=generator())
    assert network.device.type == "cuda" and network(x).device.type == "cuda"
    torch.testing.assert_close(network(x), model(x.cuda()))


# Linearised


def jacobian_by_autograd(model, x, directions):
    """J d for every sample and direction, (N, n_out, k), from the model's own gradients."""
    x = x.clone().requires_grad_()
    rows = [torch.autograd.grad(out.sum(), x, retain_graph=True)[0] for out in model(x).flatten(1).T]
    return torch.einsum("oni,ki->nok", torch.stack(rows).flatten(2), directions.flatten(1))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.PReLU])
def test_linearise_agrees_with_autograd_on_an_mlp(activation):
    model = mlp([4, 9, 9, 3], activation=activation, generator=generator()).double()
    x, directions = (torch.randn(n, 4, generator=generator(n), dtype=torch.float64) for n in (6, 2))
    value, jacobian = trace(model).linearise(x, directions)
    torch.testing.assert_close(value, model(x).detach())
    torch.testing.assert_close(jacobian, jacobian_by_autograd(model, x, directions))


def test_linearise_agrees_with_autograd_on_a_residual_cnn():
    model = residual().double()
    x, directions = (torch.randn(n, 2, 8, 8, generator=generator(n), dtype=torch.float64) for n in (4, 3))
    value, jacobian = trace(model, (2, 8, 8)).linearise(x, directions)
    assert jacobian.shape == (4, 5, 3)
    torch.testing.assert_close(value, model(x).detach())
    torch.testing.assert_close(jacobian, jacobian_by_autograd(model, x, directions))


def test_a_unit_at_zero_counts_as_inactive():
    network = trace(nn.Sequential(nn.LeakyReLU(0.5)), (2,), dtype=torch.float64)
    _, jacobian = network.linearise(torch.zeros(1, 2), torch.eye(2, dtype=torch.float64))
    assert torch.equal(jacobian[0], 0.5 * torch.eye(2, dtype=torch.float64))


# Random networks


@settings(max_examples=40)
@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    activation=st.sampled_from([nn.ReLU, nn.LeakyReLU, nn.PReLU]),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_random_mlps(widths, activation, bias, seed):
    model = mlp(widths, activation=activation, bias=bias, generator=generator(seed))
    network = agrees(model, tuple(widths[:1]))
    assert network.units == tuple(widths[1:-1]) and network.n_out == widths[-1]
    x, directions = (torch.randn(n, widths[0], generator=generator(n), dtype=torch.float64) for n in (3, 2))
    _, jacobian = network.linearise(x, directions)
    torch.testing.assert_close(jacobian, jacobian_by_autograd(copy.deepcopy(model).double(), x, directions))


class Stack(nn.Module):
    """A convolutional network of random blocks: each has a skip, a norm, an alias, or none of them."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = blocks
        self.convs = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in blocks)
        self.norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in blocks)
        self.acts = nn.ModuleList(nn.ReLU() if i % 2 else nn.LeakyReLU(0.1) for i, _ in enumerate(blocks))
        self.same, self.head = nn.Dropout(0.3), nn.Linear(2, 3)

    def forward(self, x):
        for block, conv, norm, act in zip(self.blocks, self.convs, self.norms, self.acts, strict=True):
            h = conv(x)
            if block == "skip":
                h = h + x
            elif block == "skip in place":
                h += self.same(x)
            elif block == "norm":
                h = norm(h)
            elif block == "pre-activation":
                h = x + conv(F.relu(self.same(x)))
            x = act(h)
        return self.head(x.mean(dim=(2, 3)))


@settings(max_examples=30)
@given(
    blocks=st.lists(
        st.sampled_from(["plain", "skip", "skip in place", "norm", "pre-activation"]), min_size=1, max_size=4
    ),
    seed=st.integers(0, 1000),
)
def test_random_convolutional_and_residual_networks(blocks, seed):
    model = settled(with_seed(lambda: Stack(blocks), seed))
    network = agrees(model, (2, 4, 4))
    assert network.units == (32,) * (len(blocks) + blocks.count("pre-activation"))
    x = torch.randn(3, 2, 4, 4, generator=generator(seed), dtype=torch.float64)
    before = x.clone()
    _, jacobian = network.linearise(x, x[:2])
    wanted = jacobian_by_autograd(copy.deepcopy(model).double(), x, x[:2])
    torch.testing.assert_close(jacobian, wanted)
    assert torch.equal(x, before)


# What is refused, and what the error says to do

USE = "Use ReLU, leaky ReLU, PReLU or abs, or look at it on a grid with regions.bending_on_grid."


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (nn.GELU(), "GELU"),
        (nn.Sigmoid(), "Sigmoid"),
        (nn.Softmax(1), "Softmax"),
        (nn.LogSoftmax(1), "LogSoftmax"),
    ],
)
def test_modules_that_are_not_piecewise_linear_are_refused_by_name(layer, what):
    refused(f"cannot read '1' ({what}): {USE}", nn.Sequential(nn.Linear(2, 3), layer))


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (lambda m, x: F.gelu(x), "cannot read 'gelu' (gelu): " + USE),
        (lambda m, x: x.tanh(), "cannot read 'tanh' (tanh): " + USE),
        (lambda m, x: x.softmax(1), "cannot read 'softmax' (softmax): " + USE),
        (lambda m, x: x**2, "cannot read 'pow_1' (pow): " + USE),
    ],
)
def test_functions_that_are_not_piecewise_linear_are_refused_by_name(function, what):
    refused(what, Function(function), (3,))


def test_what_is_not_known_to_bend_is_not_said_to():
    unknown = "minigrok does not know whether it is affine. If it is, write it with what networks.trace"
    refused(f"cannot read 'cumsum' (cumsum): {unknown}", Function(lambda m, x: x.cumsum(1)), (3,))
    turned = Function(lambda m, x: torch.rot90(x, 1, [1, 2]))
    refused(f"cannot read 'rot90' (rot90): {unknown}", turned, (2, 2))
    refused(f"cannot read '0' (PixelShuffle): {unknown}", nn.Sequential(nn.PixelShuffle(2)), (4, 2, 2))


def test_a_normalisation_by_the_sample_is_refused_with_its_own_advice():
    advice = "Use batch norm in evaluation mode, whose scale does not depend on the sample."
    refused(f"cannot read '1' (LayerNorm): {advice}", nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)))
    scaled = Function(lambda m, x: F.layer_norm(x, (3,)))
    refused(f"cannot read 'layer_norm' (layer_norm): {advice}", scaled, (3,))


def test_a_batch_that_is_turned_round_is_refused():
    refused("depends on the rest of the batch", Function(lambda m, x: x.flip(0)), (3,))


def test_max_pooling_is_refused_with_its_own_advice():
    advice = "Use average pooling or a strided convolution (max pooling is not a layer of two-sided units)."
    refused(f"cannot read '1' (MaxPool2d): {advice}", nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), (1, 4, 4))
    refused(advice, Function(lambda m, x: F.max_pool2d(x, 2)), (1, 4, 4))
    refused(advice, nn.AdaptiveMaxPool2d(1), (1, 4, 4))


def test_products_of_two_values_are_refused():
    reason = "minigrok reads networks whose output is piecewise affine in each sample."
    refused(
        f"cannot read 'mul' (a product of two values that both depend on the input): {reason}",
        Function(lambda m, x: x * x.relu()),
        (3,),
    )
    refused("a product of two values", Function(lambda m, x: x @ x.transpose(1, 2)), (3, 3))
    refused("a division by a value that depends on the input", Function(lambda m, x: 1 / x), (3,))
    refused(
        "(a weight that depends on the input)", Function(lambda m, x: F.linear(torch.ones(2, 3), x)), (3,)
    )


def test_divisions_that_round_are_refused():
    refused("(a division that rounds)", Function(lambda m, x: torch.div(x, 3, rounding_mode="floor")), (3,))
    refused("(a division that rounds)", Function(lambda m, x: x.div(3, rounding_mode="trunc")), (3,))


def test_networks_that_mix_the_samples_are_refused():
    refused("mixes the samples of a batch", Function(lambda m, x: x - x.mean(0)), (4,))
    refused("mixes the samples of a batch", Function(lambda m, x: x.view(-1)), (4,))
    refused("keeps no running mean", nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)).eval(), (3,))
    refused(
        "the output for one sample depends on the rest of the batch: it has no regions of its own.",
        Function(lambda m, x: F.avg_pool1d(x.permute(1, 0), 3, 1, 1).permute(1, 0)),
        (3,),
    )


def test_tensors_of_one_batch_size_are_refused():
    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.ones(1, 2))

        def forward(self, x):
            return torch.cat([x, self.token.expand(x.size(0), 2)], 1).relu()

    text = "The first axis must be the batch, and tensors made on the way must follow its size."
    refused(text, Token(), (3,))
    refused(text, nn.Sequential(nn.Conv2d(3, 3, 3, padding=1)), (4, 4))  # three images without channels


def test_a_path_that_depends_on_the_data_is_refused():
    refused(
        "Its path must not depend on the data: no if or loop over values or shapes.",
        Function(lambda m, x: x if x.sum() > 0 else -x),
        (3,),
    )


def test_operations_in_place_with_other_readers_are_refused():
    def forward(m, x):
        h = x - 1
        h.relu_()
        return h + x

    refused("Does forward, or a hook, change a value in place?", Function(forward), (3,))


def test_training_mode_is_refused_where_it_matters():
    for layer in (nn.Dropout(0.1), nn.BatchNorm1d(3)):
        kind = type(layer).__name__
        refused(
            f"'1' ({kind}) is in training mode, where the output depends on chance, on the rest of the "
            "batch or on earlier calls. Call model.eval() first.",
            nn.Sequential(nn.Linear(2, 3), layer),
        )
    refused("(_SpectralNorm) is in training mode", spectral_norm(nn.Linear(2, 3)))
    refused("Call model.eval() first", Function(lambda m, x: F.dropout(x)), (3,))
    refused(
        "uses the batch's own statistics. Call model.eval() first.",
        Function(lambda m, x: F.batch_norm(x, torch.zeros(3), torch.ones(3), training=True)),
        (3,),
    )
    trace(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Dropout(0.0)).train())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(value):
    model = mlp([2, 3, 1], generator=generator())
    with torch.no_grad():
        model[2].weight[0, 0] = value
    refused("'2.weight' holds NaN or infinity: its regions have no meaning. Did training diverge?", model)


def test_what_is_no_network_is_refused():
    refused("expected a torch.nn.Module, got function.", lambda x: x, error=TypeError)
    refused("expected a network with one tensor as its output", Function(lambda m, x: (x, x)), (3,))
    refused("expected a network of one input, got a second one: 'y'.", TwoInputs(), (3,))


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


def test_models_that_cannot_be_copied_or_read_are_refused():
    model = mlp([2, 3, 1], generator=generator())
    meta, text = copy.deepcopy(model).to("meta"), "Give the module it was made from."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit says that it grows old
        warnings.simplefilter("ignore", UserWarning)
        scripted, compiled = torch.jit.script(model), torch.compile(model)
    refused(f"cannot read a compiled or scripted model (RecursiveScriptModule). {text}", scripted)
    refused("cannot read a compiled or scripted model (OptimizedModule)", compiled)
    refused("'0.weight' is on the meta device and holds no numbers. Load the weights first.", meta)
    refused("'0' holds complex numbers.", nn.ParameterList([torch.ones(2, dtype=torch.complex64)]))
    pruned = mlp([2, 3, 1], generator=generator())
    prune.l1_unstructured(pruned[0], "weight", 0.5)
    refused("must be made permanent first: torch.nn.utils.prune.remove", pruned)
    prune.remove(pruned[0], "weight")
    agrees(pruned, (2,))


def test_outputs_that_say_nothing_are_refused():
    refused(
        "the network's output is NaN or infinite at ordinary inputs.",
        Function(lambda m, x: x * float("inf")),
        (3,),
    )
    refused(
        "the network has no outputs. Give its last layer at least one.", Function(lambda m, x: x[:, :0]), (3,)
    )


# Shapes


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: (x - 1).relu().sum(1),
        lambda m, x: (x.sum(1) - 1).relu(),
        lambda m, x: x.sum(1, keepdim=True).squeeze(-1).abs() + x.relu().mean(-1),
    ],
)
def test_one_number_a_sample_needs_no_axis_of_its_own(function):
    network = trace(Function(function), (3,), dtype=torch.float64)
    x = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    assert network.n_out == 1
    torch.testing.assert_close(network(x), function(None, x)[:, None])
    assert [z.shape for z in network.pre_activations(x)] == [(5, n) for n in network.units]
    torch.testing.assert_close(
        network.linearise(x, x[:2])[1], jacobian_by_autograd(lambda x: function(None, x)[:, None], x, x[:2])
    )


@pytest.mark.parametrize("made", [orthogonal, weight_norm, spectral_norm])
def test_parametrised_layers_are_read_as_what_they_are(made):
    model = seeded(lambda: made(nn.Linear(2, 3)), nn.ReLU, lambda: nn.Linear(3, 1))
    assert agrees(model, (2,)).units == (3,)


def test_tensors_that_are_plain_attributes_follow_the_precision():
    model = Function(lambda m, x: (x @ m.mixing).relu())
    model.mixing = torch.randn(3, 2, generator=generator())
    network = trace(model, (3,), dtype=torch.float64)
    x = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(network(x), (x @ model.mixing.double()).relu())
    assert model.mixing.dtype == torch.float32


def test_the_shape_of_the_input():
    refused("expected input_shape to be a tuple, such as (2,), got 2.", mlp([2, 3, 1]), 2, error=TypeError)
    text = "cannot tell the shape of one input: the network does not start with a linear layer. Give it,"
    refused(text, nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)))
    refused(text, nn.ReLU())
    refused("'0' does not take inputs of shape (5,): ", mlp([4, 3, 1]), (5,))
    assert trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 1))).input_shape == (4,)
    assert trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)), (2, 2)).input_shape == (2, 2)


def test_the_shape_for_given_data():
    assert _shape_of_sample(mlp([4, 3, 1]), (7,)) == (4,), "the data will be refused by their shape"
    assert _shape_of_sample(nn.Sequential(nn.Flatten(), nn.Linear(4, 1)), (2, 2)) == (2, 2)
    assert _shape_of_sample(Function(lambda m, x: x), (7,)) == (7,)
    assert _shape_of_sample(nn.Sequential(nn.ReLU()), (7,)) == (7,)


def test_inputs_of_another_shape_are_refused():
    network = trace(mlp([4, 3, 1]))

    def refused_input(text, x, error=ValueError):
        with pytest.raises(error, match=re.escape(text)):
            network(x)

    refused_input("expected inputs of shape (N, 4), got (2, 3).", torch.zeros(2, 3))
    refused_input(
        "expected inputs of shape (N, 4), got (4,). Did you forget the batch axis, x[None]?", torch.zeros(4)
    )
    refused_input("expected finite inputs, got NaN or infinity.", torch.full((1, 4), float("inf")))
    refused_input("expected a torch tensor of inputs, got list. Use torch.as_tensor(x).", [0.0], TypeError)
    refused_input("expected real inputs, got torch.complex64.", torch.ones(2, 4) + 1j)
    assert network(torch.zeros(0, 4)).shape == (0, 1)
    assert network(torch.ones(2, 4, dtype=torch.int64)).dtype == torch.float32


def test_directions_are_taken_in_any_precision_and_refused_like_inputs():
    model, x = mlp([4, 3, 2]), torch.rand(5, 4)
    network = trace(model)
    expected = torch.func.vmap(torch.func.jacrev(model))(x)
    for dtype in (torch.float32, torch.float64, torch.int64):
        torch.testing.assert_close(network.linearise(x, torch.eye(4, dtype=dtype))[1], expected)
    with pytest.raises(ValueError, match=r"expected inputs of shape \(N, 4\), got \(3, 3\)"):
        network.linearise(x, torch.eye(3))


@pytest.mark.parametrize("dtype", ["float64", torch.int64, torch.complex64])
def test_a_precision_that_is_none_is_refused(dtype):
    with pytest.raises(TypeError, match="expected dtype to be one of torch's floats, such as torch.float64"):
        trace(mlp([4, 3, 1]), dtype=dtype)


def test_shapes_without_numbers_and_many_networks_at_once_are_refused():
    with pytest.raises(ValueError, match=r"sizes of input_shape to be at least 1, got \(-4,\)"):
        trace(mlp([4, 3, 1]), (-4,))
    many = Ensemble([mlp([4, 3, 1]), mlp([4, 3, 1])])
    with pytest.raises(TypeError, match=r"got an Ensemble of 2: call it with ensemble\[s\] for each s"):
        trace(many)


# The course's convolutional networks: read, cut by a plane, and walked along a segment


@pytest.fixture(params=[(cnn, False), (cnn, True), (resnet18, False), (resnet18, True)], ids=str)
def pictures(request):
    """A network of width 2 with three pictures it takes."""
    make, batch_norm = request.param
    model, size = make(2, batch_norm=batch_norm, generator=generator()), 32 if make is cnn else 16
    with torch.no_grad():
        model.train()(torch.rand(8, 3, size, size, generator=generator(5)))  # batch norms see some data
    return model.eval(), torch.rand(3, 3, size, size, generator=generator(3), dtype=torch.float64)


def pattern_of(model, x):
    """The signs (N, all units) in front of every ReLU of the model itself, module or function."""
    seen, relu = [], torch.relu
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "relu", lambda z: seen.append(z.flatten(1) > 0) or relu(z))
        copy.deepcopy(model).double()(x)
    return torch.cat(seen, dim=1)


def test_the_courses_picture_networks_are_read(pictures):
    model, x = pictures
    network = agrees(model, x.shape[1:])
    signs = torch.cat([z > 0 for z in network.pre_activations(x)], dim=1)
    assert torch.equal(signs, pattern_of(model, x)) and len(network.layers) in (6, 17)


def test_a_plane_through_pictures_has_the_regions_that_dense_sampling_finds(pictures):
    model, x = pictures
    plane = Plane.through(*x)
    cut = partition(model, ((-0.1, 0.1), (-0.1, 0.1)), plane=plane)
    points = 0.2 * torch.rand(2000, 2, generator=generator(4), dtype=torch.float64) - 0.1
    sampled = {tuple(p.nonzero()[:, 0].tolist()) for p in pattern_of(model, plane.lift(points))}
    inside = pattern_of(model, plane.lift(torch.from_numpy(cut.interior_points)))
    ours = [tuple(p.nonzero()[:, 0].tolist()) for p in inside]
    assert cut.euler == 1 and cut.n_regions == len(set(ours)) > 2
    assert sampled <= set(ours)
    missed = [area for area, p in zip(cut.areas, ours, strict=True) if p not in sampled]
    assert all(area < 0.04 / 100 for area in missed)  # 1 % of the window does not escape


def test_a_segment_between_pictures_has_the_regions_that_dense_sampling_finds(pictures):
    model, x = pictures
    segment = on_segment(model, x[0], x[1])
    middles = pattern_of(model, segment.lift(torch.from_numpy(segment.middles)))
    changes = (middles[1:] != middles[:-1]).any(1)
    assert segment.n_regions == len(middles) > 50 and changes.all()
    dense = pattern_of(model, segment.lift(torch.linspace(0, 1, 3001, dtype=torch.float64)))
    found = {p.numpy().tobytes() for p in dense}
    assert found <= {p.numpy().tobytes() for p in middles}
    length = torch.from_numpy(segment.breakpoints).diff()
    wide = (length > 1 / 1000).nonzero()[:, 0] + 1  # the region after the k-th breakpoint
    assert len(wide) and all(middles[k].numpy().tobytes() in found for k in wide)
