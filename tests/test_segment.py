"""Breakpoints on a segment against sampling, rational arithmetic, the partition of a plane, the network."""

import copy
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minigrok.models import mlp
from minigrok.networks import trace
from minigrok.regions import Plane, local_complexity, on_segment, partition


def random_mlp(widths, *, seed=0, **options):
    return mlp(widths, generator=torch.Generator().manual_seed(seed), **options)


def with_seed(build, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


class ResidualCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(16, 3)

    def forward(self, x):
        h = F.relu(self.first(x))
        h = F.leaky_relu(F.avg_pool2d(h + self.norm(self.second(h)), 3), 0.2)
        return self.head(h.flatten(1)).abs()


def signs(model, rows):
    """The sign pattern (rows, all units) of float64 pre-activations."""
    network = trace(model, tuple(rows.shape[1:]), dtype=torch.float64)
    return torch.cat(network.pre_activations(rows), 1) > 0


def sampled_regions(model, segment, n):
    pattern = signs(model, segment.lift(torch.linspace(0, 1, n, dtype=torch.float64)))
    return 1 + int((pattern[1:] != pattern[:-1]).any(1).sum())


def random_ends(*shape, seed=0):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed)).unbind()


# Against what is known


def test_a_hat_folded_once_more():
    fold = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU()).requires_grad_(False)
    fold[0].weight.fill_(4.0)
    fold[0].bias.copy_(torch.tensor([-1.0, -2.0]))
    fold[2].weight.copy_(torch.tensor([[1.0, -2.0]]))
    fold[2].bias.fill_(-0.5)
    segment = on_segment(fold, torch.zeros(1), torch.ones(1))
    assert segment.breakpoints.tolist() == [0.25, 0.375, 0.5, 0.625]
    assert segment.neurons.tolist() == [[0, 0], [1, 0], [0, 1], [1, 0]]
    assert segment.n_regions == 5
    assert segment.middles.tolist() == [0.125, 0.3125, 0.4375, 0.5625, 0.8125]
    assert segment.points.tolist() == [[0.25], [0.375], [0.5], [0.625]]


def test_dense_sampling_finds_the_same_regions_and_sparse_sampling_misses_some():
    model = random_mlp([784, 200, 200, 200, 10])
    a, b = torch.rand(2, 784, generator=torch.Generator().manual_seed(1)).unbind()
    segment = on_segment(model, a, b)
    assert segment.n_regions > 80
    assert sampled_regions(model, segment, 50_000) == segment.n_regions
    assert sampled_regions(model, segment, 500) < segment.n_regions


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (random_mlp([3, 20, 20, 2]), (3,)),
        (random_mlp([3, 20, 20, 2], activation=nn.LeakyReLU), (3,)),
        (with_seed(ResidualCNN).eval(), (1, 6, 6)),
    ],
    ids=["mlp", "leaky", "residual cnn"],
)
def test_pieces_are_affine_and_neighbours_differ_in_the_named_unit(model, shape):
    a, b = random_ends(*shape, seed=2)
    segment = on_segment(model, 2 * a, 2 * b)
    assert segment.n_regions > 5
    assert (np.diff(segment.breakpoints) > 0).all() and segment.breakpoints.dtype == np.float64
    ends = np.concatenate([[0.0], segment.breakpoints, [1.0]])
    double = copy.deepcopy(model).double()
    thirds = [segment.lift((1 - w) * ends[:-1] + w * ends[1:]) for w in (0.01, 0.5, 0.99)]
    with torch.no_grad():
        low, middle, high = (double(rows).flatten(1) for rows in thirds)
    torch.testing.assert_close(middle, (low + high) / 2)
    patterns = [signs(model, rows) for rows in thirds]
    assert torch.equal(patterns[0], patterns[1]) and torch.equal(patterns[1], patterns[2])
    network = trace(model, shape)
    unit = torch.tensor([sum(network.units[:layer]) + u for layer, u in segment.neurons.tolist()])
    change = patterns[1][1:] != patterns[1][:-1]
    assert change.gather(1, unit[:, None]).all()
    assert (change.sum(1) == 1).all(), "no two units of a random network change at one point"


def test_the_units_named_are_zero_at_their_breakpoints():
    model = random_mlp([5, 30, 30, 30, 2], seed=3)
    segment = on_segment(model, *random_ends(5, seed=4))
    z = trace(model, dtype=torch.float64).pre_activations(segment.points)
    found = [float(z[layer][k, unit]) for k, (layer, unit) in enumerate(segment.neurons)]
    assert len(found) > 5 and np.abs(found).max() < 1e-13


def rational_breakpoints(model, a, b):
    """The oracle: the same question in exact rational arithmetic, piece by piece. Positions in (0, 1)."""
    layers = [m for m in model if isinstance(m, nn.Linear)][:-1]
    ends = [[Fraction(v) for v in end.tolist()] for end in (a, b)]
    pieces = [(Fraction(0), Fraction(1), *ends)]  # t0, t1, the values at t0 and at t1
    for layer in layers:
        weight = [[Fraction(w) for w in row] for row in layer.weight.tolist()]
        bias = (
            [Fraction(v) for v in layer.bias.tolist()]
            if layer.bias is not None
            else [Fraction(0)] * len(weight)
        )
        new = []
        for t0, t1, h0, h1 in pieces:
            z0, z1 = (
                [
                    sum(w * v for w, v in zip(row, h, strict=True)) + c
                    for row, c in zip(weight, bias, strict=True)
                ]
                for h in (h0, h1)
            )
            cuts = {p / (p - q) for p, q in zip(z0, z1, strict=True) if p * q < 0} | {
                Fraction(0),
                Fraction(1),
            }
            for s0, s1 in zip(sorted(cuts)[:-1], sorted(cuts)[1:], strict=True):
                middle = [p + (s0 + s1) / 2 * (q - p) for p, q in zip(z0, z1, strict=True)]
                values = [
                    [(p + s * (q - p)) * (m > 0) for p, q, m in zip(z0, z1, middle, strict=True)]
                    for s in (s0, s1)
                ]
                new.append((t0 + s0 * (t1 - t0), t0 + s1 * (t1 - t0), *values))
        pieces = new
    return [float(t0) for t0, *_ in pieces[1:]]


@settings(max_examples=80)
@given(data=st.data(), widths=st.lists(st.integers(1, 5), min_size=1, max_size=3), d=st.integers(1, 3))
def test_weights_on_a_grid_agree_with_rational_arithmetic(data, widths, d):
    """Zeros that coincide, units that are zero on whole pieces, repeated and dead units: no slivers."""
    model = random_mlp([d, *widths, 1], bias=data.draw(st.booleans()))
    small = st.integers(-2, 2)
    with torch.no_grad():
        for p in model.parameters():
            flat = data.draw(st.lists(small, min_size=p.numel(), max_size=p.numel()))
            p.copy_(torch.tensor(flat).reshape(p.shape))
    ends = [torch.tensor(data.draw(st.lists(small, min_size=d, max_size=d))).double() for _ in range(2)]
    if torch.equal(*ends):
        ends[1] = ends[1] + 1
    segment = on_segment(model, *ends)
    np.testing.assert_allclose(segment.breakpoints, rational_breakpoints(model, *ends), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_a_segment_of_a_plane_has_the_regions_of_the_partition(seed):
    """The lower side of a window: its border vertices are the breakpoints."""
    model = random_mlp([2, 30, 30, 30, 1], seed=seed, scale=1.7)
    cut = partition(model, ((-1, 1), (-1, 1)))
    on_side = cut.vertices[:, 1] == -1
    expected = np.sort((cut.vertices[on_side, 0] + 1) / 2)
    segment = on_segment(model, torch.tensor([-1.0, -1.0]), torch.tensor([1.0, -1.0]))
    np.testing.assert_allclose(segment.breakpoints, expected[1:-1], rtol=0, atol=1e-12)


# Properties


@pytest.mark.parametrize("middle", [0.5, 0.123, 0.9])
def test_counts_add_up_when_the_segment_is_split(middle):
    model = random_mlp([10, 40, 40, 3], seed=5)
    a, b = (end.double() for end in random_ends(10, seed=6))
    whole = on_segment(model, a, b)
    point = whole.lift([middle])[0]
    first, second = on_segment(model, a, point), on_segment(model, point, b)
    assert whole.n_regions == first.n_regions + second.n_regions - 1
    joined = np.concatenate([middle * first.breakpoints, middle + (1 - middle) * second.breakpoints])
    np.testing.assert_allclose(whole.breakpoints, joined, rtol=0, atol=1e-12)


def test_a_segment_says_how_many_regions_it_has():
    unit = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    nn.init.ones_(unit[0].weight), nn.init.constant_(unit[0].bias, -0.5)
    assert repr(on_segment(unit, torch.zeros(1), torch.ones(1))) == "Segment(2 regions)"


def test_the_way_back_is_the_same_way():
    model = random_mlp([10, 40, 40, 3], seed=7)
    a, b = random_ends(10, seed=8)
    there, back = on_segment(model, a, b), on_segment(model, b, a)
    np.testing.assert_allclose(there.breakpoints, 1 - back.breakpoints[::-1], rtol=0, atol=1e-12)
    assert (there.neurons == back.neurons[::-1]).all()


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("where", [0.5, 0.3])
def test_a_network_without_biases_has_one_breakpoint_on_a_line_through_the_origin(depth, where):
    model = random_mlp([6, *[30] * depth, 2], bias=False, seed=depth)
    (direction, _) = random_ends(6, seed=9)
    a, b = -where * direction.double(), (1 - where) * direction.double()
    segment = on_segment(model, a, b)
    np.testing.assert_allclose(segment.breakpoints, [where], rtol=0, atol=1e-14)


def test_it_ends_and_begins_on_breakpoints_without_slivers():
    model = random_mlp([4, 30, 30, 2], seed=10)
    whole = on_segment(model, *random_ends(4, seed=11))
    for k in (0, 3, len(whole.breakpoints) - 2):
        part = on_segment(model, whole.points[k], whole.points[k + 1])
        assert part.n_regions == 1
    assert on_segment(model, whole.points[0], whole.points[-1]).n_regions == len(whole.breakpoints) - 1


def test_repeated_and_mirrored_units_make_one_breakpoint():
    model = random_mlp([3, 8, 2], seed=12).requires_grad_(False)
    a, b = random_ends(3, seed=13)
    expected = on_segment(model, 3 * a, 3 * b)
    wide = nn.Sequential(nn.Linear(3, 24), nn.ReLU(), nn.Linear(24, 2)).requires_grad_(False)
    wide[0].weight.copy_(torch.cat([model[0].weight, -model[0].weight, 8 * model[0].weight]))
    wide[0].bias.copy_(torch.cat([model[0].bias, -model[0].bias, 8 * model[0].bias]))
    found = on_segment(wide, 3 * a, 3 * b)
    assert expected.n_regions > 3
    np.testing.assert_allclose(found.breakpoints, expected.breakpoints, rtol=0, atol=1e-12)


def test_a_flat_unit_does_not_swallow_the_breakpoints_around_its_zero():
    """A unit with tiny slope is zero, to rounding, on a long stretch; steep ones there are found."""
    model = nn.Sequential(nn.Linear(1, 4), nn.ReLU()).double().requires_grad_(False)
    model[0].weight.copy_(torch.tensor([[1e-12], [1.0], [1.0], [1.0]]))
    model[0].bias.copy_(torch.tensor([-0.5e-12, -0.49, -0.5, -0.51]))
    segment = on_segment(model, torch.zeros(1), torch.ones(1))
    assert np.allclose(segment.breakpoints, [0.49, 0.5, 0.51]) or np.allclose(
        segment.breakpoints, [0.49, 0.5, 0.5, 0.51]
    )


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_scale_of_the_inputs_does_not_matter(scale):
    model = random_mlp([5, 20, 20, 2], bias=False, seed=14)
    a, b = (end.double() for end in random_ends(5, seed=15))
    expected = on_segment(model, a, b)
    found = on_segment(model, scale * a, scale * b)
    assert expected.n_regions > 5
    np.testing.assert_allclose(found.breakpoints, expected.breakpoints, rtol=0, atol=1e-12)


def test_a_network_without_units_has_one_region():
    segment = on_segment(nn.Linear(2, 3), torch.zeros(2), torch.ones(2))
    assert segment.n_regions == 1 and segment.neurons.shape == (0, 2) and segment.points.shape == (0, 2)


def test_inputs_and_model_are_left_alone():
    model = random_mlp([3, 5, 2])
    a, b = (end.requires_grad_() for end in random_ends(3))
    before = a.detach().clone()
    segment = on_segment(model, a, b)
    assert torch.equal(a, before) and not segment.points.requires_grad
    assert torch.equal(segment.lift([0.0, 1.0]), torch.stack([a, b]).double())


# Bad input


def test_what_is_found_does_not_change_with_what_was_handed_in():
    a, b = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    segment = on_segment(mlp([2, 3, 1]), a, b)
    origin, u, v = torch.zeros(3, 3, dtype=torch.float64).fill_diagonal_(1.0)
    plane = Plane(origin, u, v)
    frame = torch.eye(2, dtype=torch.float64)
    found = local_complexity(mlp([2, 3, 1]), a[None], radius=0.1, frame=frame)
    for handed_in in (a, b, origin, u, frame):
        handed_in += 5
    assert segment.lift([0.0, 1.0]).tolist() == [[0, 0], [1, 1]]
    assert plane.lift([[2.0, 3.0]]).tolist() == [[1, 2, 3]]
    assert torch.equal(found.frame, torch.eye(2, dtype=torch.float64))


def test_bad_input_is_refused():
    model = random_mlp([2, 5, 1])
    a, b = torch.zeros(2), torch.ones(2)

    def refused(text, *args, error=ValueError):
        with pytest.raises(error, match=re.escape(text)):
            on_segment(*args)

    refused(
        "a and b are the same point: there is no segment between them. Give two inputs.", model, a, a.clone()
    )
    refused("expected a and b of one shape, got (2,) and (3,).", model, a, torch.ones(3))
    refused("expected inputs of shape (N, 2), got (1, 3).", model, torch.zeros(3), torch.ones(3))
    refused("expected torch tensors, got list", model, a, [1.0, 1.0], error=TypeError)
    refused("expected finite inputs", model, a, torch.tensor([0.0, float("nan")]))
    refused("expected a torch.nn.Module", torch.relu, a, b, error=TypeError)
    refused("GELU", nn.Sequential(nn.Linear(2, 3), nn.GELU()), a, b)
    refused(
        "does not take inputs of shape (2,)", nn.Sequential(nn.Flatten(), nn.Linear(3, 1)), a[None], b[None]
    )
