"""Local complexity against plain float64 code, and against networks whose counts are known."""

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minigrok.models import cnn, mlp, resnet18
from minigrok.regions import LocalComplexity, _complexity, local_complexity

RADII = (0.005, 0.05, 0.5, 5.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_frame(p, d, seed=0):
    return torch.linalg.qr(torch.randn(d, p, dtype=torch.float64, generator=generator(seed))).Q.T


def random_mlp(widths, *, seed=0, **options):
    return mlp(widths, generator=generator(seed), **options)


def with_seed(build, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


class Residual(nn.Module):
    def __init__(self, d=6, width=12):
        super().__init__()
        self.enter, self.out = nn.Linear(d, width), nn.Linear(width, 3)
        self.one, self.two = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        x = self.enter(x)
        x = x + self.two(F.relu(self.one(F.relu(x))))
        return self.out(F.leaky_relu(x, 0.1))


class SmallCNN(nn.Module):
    def __init__(self, channels=5):
        super().__init__()
        self.first = nn.Conv2d(2, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.pool, self.head = nn.AvgPool2d(2), nn.Linear(channels * 16, 4)

    def forward(self, x):
        h = F.relu(self.first(x))
        h = F.relu(self.pool(h + self.second(h)))
        return self.head(torch.flatten(h, 1))


def plain(model, x, frame, radius, include_output=False):
    """The definition, in float64: all vertices through the model, signs compared with the first vertex's."""
    model, x = copy.deepcopy(model).double(), x.double()
    moves = radius * torch.as_tensor(frame).double().unflatten(1, x.shape[1:])
    vertices = (x[:, None] + torch.cat([moves, -moves])).flatten(0, 1)
    seen, relu, leaky, absolute = [], torch.relu, F.leaky_relu, torch.abs

    def watch(function):
        def watched(z, *args, **kwargs):
            seen.append(z.clone())
            return function(z, *args, **kwargs)

        return watched

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "relu", watch(relu))  # F.relu and nn.ReLU call it
        patch.setattr(F, "leaky_relu", watch(leaky))
        patch.setattr(torch, "abs", watch(absolute))
        output = model(vertices)
    counts = []
    for z in seen + [output] * include_output:
        sign = z.reshape(len(x), 2 * len(frame), -1).sign()
        counts.append((sign != sign[:, :1]).any(1).sum(1))
    return torch.stack(counts, 1)


# What counts


def test_one_line_is_seen_from_as_far_as_the_radius():
    fold = nn.Sequential(nn.Linear(2, 1), nn.ReLU()).requires_grad_(False)
    fold[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
    fold[0].bias.zero_()
    x = torch.tensor([[0.4, 3.0], [0.6, 3.0], [-0.4, 0.0], [-0.6, 0.0]])
    found = local_complexity(fold, x, radius=0.5, frame=torch.eye(2))
    assert found.total.tolist() == [1, 0, 1, 0]
    assert found.per_layer.dtype == torch.int64 and found.per_layer.shape == (4, 1)


def test_a_frame_along_the_line_sees_nothing():
    fold = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU()).requires_grad_(False)
    fold[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
    x = torch.tensor([[0.1, 0.0]])
    assert local_complexity(fold, x, radius=1.0, frame=torch.tensor([[0.0, 1.0]])).total.item() == 0
    assert local_complexity(fold, x, radius=1.0, frame=torch.tensor([[1.0, 0.0]])).total.item() == 1


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mlp_counts_equal_plain_float64(radius, dtype):
    model = random_mlp([784, 60, 60, 60, 10]).to(dtype)
    x = torch.rand(120, 784, generator=generator(1)).to(dtype)
    frame = random_frame(25, 784)
    found = local_complexity(model, x, radius=radius, frame=frame)
    assert torch.equal(found.per_layer, plain(model, x, frame, radius))
    assert not found.ties.any()


@pytest.mark.parametrize("radius", RADII)
@pytest.mark.parametrize("model", [with_seed(Residual), with_seed(SmallCNN)], ids=["residual", "cnn"])
def test_other_networks_equal_plain_float64(radius, model):
    shape = (6,) if isinstance(model, Residual) else (2, 8, 8)
    x = torch.randn(60, *shape, generator=generator(1))
    frame = random_frame(5, x[0].numel())
    found = local_complexity(model, x, radius=radius, frame=frame)
    wrong = (found.per_layer - plain(model, x, frame, radius)).abs()
    assert (wrong <= found.ties).all()
    assert (wrong > 0).sum() < found.per_layer.numel() / 500


def picture_network(make, batch_norm):
    """A small network of the course; its batch norms have seen some data, as in training."""
    model = make(3, batch_norm=batch_norm, generator=generator(4))
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.running_mean.uniform_(-0.2, 0.2, generator=generator(5))
        norm.running_var.uniform_(0.1, 0.5, generator=generator(6))
    return model.eval()


@pytest.mark.parametrize("make", [cnn, resnet18])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("radius", [0.005, 0.05, 1.0])
def test_the_courses_picture_networks_equal_plain_float64(make, batch_norm, radius):
    model, size = picture_network(make, batch_norm), 32 if make is cnn else 12
    x = torch.rand(12, 3, size, size, generator=generator(7))
    frame = random_frame(4, x[0].numel())
    for include_output in (False, True):
        found = local_complexity(model, x, radius=radius, frame=frame, include_output=include_output)
        wrong = (found.per_layer - plain(model, x, frame, radius, include_output)).abs()
        assert (wrong <= found.ties).all() and (wrong > 0).sum() <= 1
        assert found.total.sum() > 0


@pytest.mark.parametrize("values", [1, 20_000, 10**9])
@pytest.mark.parametrize("radius", [0.001, 0.05])
def test_pictures_in_chunks_of_any_size_and_in_any_layout(monkeypatch, values, radius):
    model = with_seed(SmallCNN, 3)
    x, frame = torch.rand(30, 2, 8, 8, generator=generator(8)), random_frame(5, 128)
    expected = plain(model, x, frame, radius)
    monkeypatch.setattr(_complexity, "_VALUES", values)
    assert torch.equal(local_complexity(model, x, radius=radius, frame=frame).per_layer, expected)
    turned = x.contiguous(memory_format=torch.channels_last)
    model = model.to(memory_format=torch.channels_last)
    assert torch.equal(local_complexity(model, turned, radius=radius, frame=frame).per_layer, expected)


@pytest.mark.parametrize("rows", [_complexity._ROWS, 1])
def test_doubts_about_pictures_are_settled_unit_by_unit(monkeypatch, rows):
    """With an absurd safety all signs are in doubt: float64 must be asked about the right units."""
    monkeypatch.setattr(_complexity, "_ROWS", rows)  # with few the doubts are settled on the way
    model = picture_network(resnet18, True)
    x, frame = torch.rand(3, 3, 8, 10, generator=generator(9)), random_frame(3, 240)
    monkeypatch.setattr(_complexity, "_SAFETY", 1e4)
    found = local_complexity(model, x, radius=0.01, frame=frame)
    assert torch.equal(found.per_layer, plain(model, x, frame, 0.01))
    assert repr(found) == f"LocalComplexity(3 points, {found.per_layer.shape[1]} layers, r=0.01, P=3)"


@settings(max_examples=60)
@given(
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    d=st.integers(1, 5),
    activation=st.sampled_from([nn.ReLU, nn.LeakyReLU]),
    bias=st.booleans(),
    whole=st.booleans(),
    radius=st.sampled_from([1e-9, 1e-3, 0.5, 1.0, 30.0]),
    include_output=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_random_networks_equal_plain_float64(
    widths, d, activation, bias, whole, radius, include_output, seed
):
    """Also on a grid of weights, where many values are exactly zero: there differences must be ties."""
    model = random_mlp([d, *widths, 2], activation=activation, bias=bias, seed=seed)
    x = torch.randn(30, d, generator=generator(seed))
    frame = random_frame(d, d, seed)
    if whole:
        x, frame = x.round(), torch.eye(d, dtype=torch.float64)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_((2 * p).round())
    found = local_complexity(model, x, radius=radius, frame=frame, include_output=include_output)
    difference = (found.per_layer - plain(model, x, frame, radius, include_output)).abs()
    assert (difference <= found.ties).all()
    assert whole or not difference.any()


def test_all_planes_of_a_linear_network_without_biases_meet_in_the_origin():
    """Appendix A of the paper: width 400, depth 50; every unit is counted for every radius and every P."""
    model = random_mlp([400] * 51, activation=lambda: nn.LeakyReLU(1.0), bias=False)
    for radius, p in ((1e-4, 2), (1.0, 25), (10.0, 200)):
        found = local_complexity(
            model, torch.zeros(1, 400), radius=radius, n_directions=p, generator=generator()
        )
        assert found.per_layer.tolist() == [[400] * 49]
        assert not found.ties.any()


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_counts_do_not_change_with_the_scale_of_everything(scale):
    model = random_mlp([4, 30, 30, 1])
    x, frame = torch.randn(50, 4, generator=generator(2)), random_frame(4, 4)
    expected = local_complexity(model, x, radius=0.1, frame=frame).per_layer
    scaled = copy.deepcopy(model).requires_grad_(False)
    for layer in (scaled[0], scaled[2]):
        layer.bias.mul_(scale)
    assert torch.equal(
        local_complexity(scaled, x * scale, radius=0.1 * scale, frame=frame).per_layer, expected
    )


def test_a_tiny_radius_far_from_the_origin_is_still_exact():
    model, frame = random_mlp([3, 20, 20, 1]).double(), random_frame(3, 3)
    x = 1e3 * torch.randn(200, 3, dtype=torch.float64, generator=generator(4))
    with torch.no_grad():  # every unit of the first layer passes within the radius of its own point
        model[0].bias.copy_(-(model[0].weight * x[:20]).sum(1) + 1e-7)
    found = local_complexity(model, x, radius=1e-6, frame=frame)
    assert torch.equal(found.per_layer, plain(model, x, frame, 1e-6))
    assert found.per_layer[:20, 0].min() == 1


def test_complexity_grows_linearly_with_a_small_radius():
    model = random_mlp([20, 100, 100, 100, 5])
    x, frame = torch.randn(1500, 20, generator=generator(5)), random_frame(10, 20)
    mean = {r: local_complexity(model, x, radius=r, frame=frame).total.double().mean() for r in (0.01, 0.02)}
    assert mean[0.01] > 0.3
    assert mean[0.02] / mean[0.01] == pytest.approx(2, rel=0.05)


def test_include_output_adds_one_column():
    model, frame = random_mlp([4, 10, 10, 3]), random_frame(4, 4)
    x = torch.randn(40, 4, generator=generator(6))
    inner = local_complexity(model, x, radius=1.0, frame=frame).per_layer
    found = local_complexity(model, x, radius=1.0, frame=frame, include_output=True).per_layer
    assert found.shape == (40, 3) and torch.equal(found[:, :2], inner)
    assert torch.equal(found, plain(model, x, frame, 1.0, include_output=True))


def test_a_network_without_units_has_only_its_output_to_count():
    model, x = random_mlp([3, 2], bias=False), torch.zeros(4, 3)
    assert local_complexity(model, x, radius=1.0).per_layer.shape == (4, 0)
    assert local_complexity(model, x, radius=1.0, include_output=True).total.tolist() == [2] * 4


# Ties


def test_a_value_that_is_zero_to_rounding_is_named_as_a_tie():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).double().requires_grad_(False)
    model[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    model[0].bias.copy_(torch.tensor([-0.3, 7.0], dtype=torch.float64))
    x = torch.tensor([[0.4, 0.0]], dtype=torch.float64)  # 0.4 - 0.1 - 0.3 is zero, up to rounding
    found = local_complexity(model, x, radius=0.1, frame=torch.eye(2))
    assert found.ties.tolist() == [[1]] and found.total.item() in (0, 1)
    assert local_complexity(model, x, radius=0.11, frame=torch.eye(2)).ties.tolist() == [[0]]


def test_units_that_nothing_feeds_are_neither_counted_nor_ties(monkeypatch):
    model = random_mlp([5, 12, 12, 2]).requires_grad_(False)
    for parameter in (model[2].weight, model[2].bias):
        parameter[:4] = 0  # pruned
    x, frame = torch.randn(50, 5, generator=generator(7)), random_frame(5, 5)
    expected = plain(model, x, frame, 0.5)
    asked = []
    exact_rows = _complexity._Counter._rows_in_float64
    monkeypatch.setattr(
        _complexity._Counter,
        "_rows_in_float64",
        lambda self, point, vertex: asked.append(len(point)) or exact_rows(self, point, vertex),
    )
    found = local_complexity(model, x, radius=0.5, frame=frame)
    assert torch.equal(found.per_layer, expected) and not found.ties.any()
    assert sum(asked) < 100, "float64 is for the few values in doubt, not for all 500 vertices"


def test_vertices_at_which_a_whole_layer_is_silent_are_no_ties():
    """Without biases, where the one unit of the first layer is off, the second layer is exactly zero."""
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 3, bias=False), nn.ReLU())
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[2].weight.copy_(torch.tensor([[1.0], [-1.0], [0.3]]))
    found = local_complexity(model, torch.tensor([[0.1], [-2.0]]), radius=1.0)
    assert found.per_layer.tolist() == [[1, 3], [0, 0]] and not found.ties.any()


# How it computes


def test_points_do_not_see_each_other():
    model, frame = random_mlp([8, 30, 30, 2]), random_frame(8, 8)
    x = torch.randn(90, 8, generator=generator(8))
    order = torch.randperm(90, generator=generator(9))
    found = local_complexity(model, x, radius=0.3, frame=frame).per_layer
    assert torch.equal(local_complexity(model, x[order], radius=0.3, frame=frame).per_layer, found[order])
    assert torch.equal(local_complexity(model, x[7:8], radius=0.3, frame=frame).per_layer, found[7:8])


@pytest.mark.parametrize("rows", [1, 40, 10_000])
@pytest.mark.parametrize("radius", [0.02, 0.1, 0.5])
def test_counts_do_not_depend_on_chunks(monkeypatch, rows, radius):
    model = with_seed(Residual, 5)
    x, frame = torch.randn(45, 6, generator=generator(10)), random_frame(4, 6)
    expected = plain(model, x, frame, radius)
    monkeypatch.setattr(_complexity, "_ROWS", rows)
    assert torch.equal(local_complexity(model, x, radius=radius, frame=frame).per_layer, expected)


@pytest.mark.parametrize("open_units", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("include_output", [True, False])
def test_the_last_layer_may_be_computed_in_part(monkeypatch, open_units, bias, include_output):
    model, frame = random_mlp([6, 25, 25, 25, 9], bias=bias), random_frame(5, 6)
    x = torch.randn(300, 6, generator=generator(13)) * torch.logspace(-3, 3, 300)[:, None]
    monkeypatch.setattr(_complexity, "_OPEN", open_units)
    for radius in (0.03, 0.5, 5.0):
        found = local_complexity(model, x, radius=radius, frame=frame, include_output=include_output)
        assert torch.equal(found.per_layer, plain(model, x, frame, radius, include_output))


def test_float64_settles_what_a_coarse_float32_leaves_open(monkeypatch):
    """With an absurd safety nearly every sign is in doubt, and the counts must come out the same."""
    model, frame = random_mlp([8, 20, 20, 2]), random_frame(8, 8)
    x = torch.randn(40, 8, generator=generator(11))
    monkeypatch.setattr(_complexity, "_SAFETY", 1e6)
    found = local_complexity(model, x, radius=0.3, frame=frame)
    assert torch.equal(found.per_layer, plain(model, x, frame, 0.3))


def test_values_beyond_float32_are_left_to_float64():
    model, frame = random_mlp([3, 10, 10, 1]).double(), random_frame(3, 3)
    with torch.no_grad():
        model[0].weight.mul_(1e30), model[2].weight.mul_(1e30)
    x = torch.randn(20, 3, dtype=torch.float64, generator=generator(12))
    found = local_complexity(model, x, radius=0.5, frame=frame)
    assert torch.equal(found.per_layer, plain(model, x, frame, 0.5))


def test_memory_does_not_grow_with_the_number_of_points(monkeypatch):
    model, frame = random_mlp([10, 20, 20, 2]), random_frame(10, 10)
    forward, rows = nn.Linear.forward, []
    monkeypatch.setattr(nn.Linear, "forward", lambda self, h: rows.append(len(h)) or forward(self, h))
    for radius in (0.05, 5.0):
        local_complexity(model, torch.randn(4000, 10, generator=generator()), radius=radius, frame=frame)
    assert 1000 < max(rows) <= _complexity._ROWS


def test_no_points_give_no_counts():
    found = local_complexity(random_mlp([3, 4, 1]), torch.empty(0, 3), radius=0.1)
    assert found.per_layer.shape == (0, 1) and found.total.shape == (0,)


def test_model_and_points_are_left_alone():
    model, x = random_mlp([3, 4, 1]), torch.rand(5, 3).requires_grad_()
    before, state = x.detach().clone(), copy.deepcopy(model.state_dict())
    local_complexity(model, x, radius=0.1)
    assert torch.equal(x, before) and x.grad is None
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


# The frame


def test_the_frame_is_orthonormal_and_follows_the_generator():
    model, x = random_mlp([40, 4, 1]), torch.rand(5, 40)
    found = [local_complexity(model, x, radius=0.1, generator=generator(s)) for s in (0, 0, 1)]
    frame = found[0].frame
    assert frame.shape == (25, 40), "25 directions by default"
    torch.testing.assert_close(frame @ frame.T, torch.eye(25, dtype=torch.float64))
    assert torch.equal(frame, found[1].frame) and not torch.allclose(frame, found[2].frame)
    again = local_complexity(model, x, radius=0.1, frame=frame)
    assert torch.equal(again.per_layer, found[0].per_layer)


def test_a_generator_or_a_frame_leaves_the_global_state_alone():
    model, x = random_mlp([4, 4, 1]), torch.rand(5, 4)
    before = torch.get_rng_state()
    local_complexity(model, x, radius=0.1, generator=generator())
    local_complexity(model, x, radius=0.1, frame=torch.eye(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_at_most_as_many_directions_as_dimensions():
    model, x = random_mlp([2, 4, 1]), torch.rand(5, 2)
    assert local_complexity(model, x, radius=0.1).frame.shape == (2, 2)


# Bad input


def refused(text, *args, error=ValueError, **options):
    with pytest.raises(error, match=re.escape(text)):
        local_complexity(*args, **options)


def test_bad_numbers_are_refused():
    model, x = random_mlp([2, 4, 1]), torch.rand(5, 2)
    for radius in (0, -1.0, float("nan"), float("inf")):
        refused("expected radius > 0, a distance in units of the input", model, x, radius=radius)
    refused(
        "expected n_directions from 1 to 2, the dimension of the input, got 3.",
        model,
        x,
        radius=1,
        n_directions=3,
    )
    refused("expected n_directions from 1 to 2", model, x, radius=1, n_directions=0)


def test_bad_frames_are_refused():
    model, x = random_mlp([2, 4, 1]), torch.rand(5, 2)
    refused("expected a frame of shape (P, 2), got (2, 3).", model, x, radius=1, frame=torch.eye(3)[:2])
    refused(
        "expected a frame of shape (1, 2), got (2, 2).",
        model,
        x,
        radius=1,
        frame=torch.eye(2),
        n_directions=1,
    )
    for frame in (2 * torch.eye(2), torch.ones(2, 2), torch.full((1, 2), float("nan")), torch.empty(0, 2)):
        refused("expected a frame with orthonormal rows", model, x, radius=1, frame=frame)


def test_bad_points_are_refused():
    model = random_mlp([2, 4, 1])
    refused(
        "expected inputs of shape (N, 2), got (2,). Did you forget the batch axis",
        model,
        torch.rand(2),
        radius=1,
    )
    refused("expected inputs of shape (N, 2), got (5, 3).", model, torch.rand(5, 3), radius=1)
    refused("expected finite inputs", model, torch.full((5, 2), float("nan")), radius=1)
    refused("expected a torch tensor of points, got list", model, [[0.0, 1.0]], radius=1, error=TypeError)
    refused("does not take inputs of shape (3, 8, 8)", SmallCNN(), torch.rand(5, 3, 8, 8), radius=1)


def test_networks_without_counts_are_refused():
    x = torch.rand(5, 2)
    refused("GELU", nn.Sequential(nn.Linear(2, 4), nn.GELU()), x, radius=1)
    refused(
        "Call model.eval() first", nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Dropout(0.5)), x, radius=1
    )
    broken = random_mlp([2, 4, 1])
    with torch.no_grad():
        broken[0].weight[0, 0] = float("nan")
    refused("holds NaN or infinity", broken, x, radius=1)
    refused("expected a torch.nn.Module", lambda x: x, x, radius=1, error=TypeError)


def test_the_result_says_what_it_is():
    found = local_complexity(random_mlp([2, 4, 1]), torch.rand(5, 2), radius=0.25)
    assert isinstance(found, LocalComplexity) and found.radius == 0.25
    assert torch.equal(found.total, found.per_layer.sum(1))
