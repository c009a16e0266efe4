"""The exact partition against independent counts: formulas, rational arithmetic, sampling, the network."""

import copy
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minigrok.regions import Partition, Plane, _partition, partition


def random_mlp(widths, seed=0, bias=True):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(a, b, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def grid_mlp(widths, numbers, denominator=1):
    """An MLP whose weights and biases are small fractions: lines meet in corners, units repeat or die."""
    model, numbers = random_mlp(widths).double(), iter(numbers)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.tensor([next(numbers) / denominator for _ in range(p.numel())]).reshape(p.shape))
    return model


def rational_regions(model, box):
    """The oracle: cut polygons one after another by exact rational arithmetic; returns the exact areas."""
    (x0, x1), (y0, y1) = (tuple(map(Fraction, side)) for side in box)
    identity = [[Fraction(1), Fraction(0), Fraction(0)], [Fraction(0), Fraction(1), Fraction(0)]]
    pieces = [
        ([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], identity)
    ]  # polygon, rows of its affine map (a, b, c)
    layers = [m for m in model if isinstance(m, nn.Linear)]
    for layer in layers[:-1]:
        weights = [[Fraction(w) for w in row] for row in layer.weight.tolist()]
        biases = [Fraction(b) for b in layer.bias.tolist()] if layer.bias is not None else [0] * len(weights)
        cut = []
        for polygon, rows in pieces:
            z = [
                [
                    sum(w * r[k] for w, r in zip(row, rows, strict=True)) + (b if k == 2 else 0)
                    for k in range(3)
                ]
                for row, b in zip(weights, biases, strict=True)
            ]
            parts = [polygon]
            for line in z:
                parts = [half for part in parts for half in rational_halves(part, line)]
            for part in parts:
                centre = [sum(p[k] for p in part) / len(part) for k in (0, 1)]
                on = [a * centre[0] + b * centre[1] + c > 0 for a, b, c in z]
                cut.append((part, [r if o else [Fraction(0)] * 3 for r, o in zip(z, on, strict=True)]))
        pieces = cut
    return sorted(float(rational_area(polygon)) for polygon, _ in pieces)


def rational_halves(polygon, line):
    value = [line[0] * x + line[1] * y + line[2] for x, y in polygon]
    if all(v >= 0 for v in value) or all(v <= 0 for v in value):
        return [polygon]
    halves = []
    for sign in (1, -1):
        half = []
        for (p, v), (q, w) in zip(
            zip(polygon, value, strict=True),
            zip(polygon[1:] + polygon[:1], value[1:] + value[:1], strict=True),
            strict=True,
        ):
            if sign * v >= 0:
                half.append(p)
            if v * w < 0:
                t = v / (v - w)
                half.append((p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])))
        halves.append(half)
    return halves


def rational_area(polygon):
    return sum(
        p[0] * q[1] - p[1] * q[0] for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True)
    ) / 2  # fmt: skip


def check_consistent(cut: Partition):
    (x0, x1), (y0, y1) = cut.box
    assert cut.euler == 1
    assert cut.areas.min() > 0
    assert np.isclose(cut.areas.sum(), (x1 - x0) * (y1 - y0), rtol=1e-9)
    inside = cut.edge_faces[cut.edge_faces >= 0]
    assert np.array_equal(np.unique(inside), np.arange(cut.n_regions))
    border = (cut.edge_neuron == -1).all(axis=1)
    assert np.array_equal(border, (cut.edge_faces < 0).any(axis=1))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20, 80])
def test_one_layer_in_a_huge_window_has_zaslavskys_count(n):
    cut = partition(random_mlp((2, n, 1), seed=n), ((-1e6, 1e6), (-1e6, 1e6)))
    assert cut.n_regions == 1 + n + comb(n, 2)
    check_consistent(cut)


@settings(max_examples=150, deadline=None)
@given(
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    numbers=st.lists(st.integers(-2, 2), min_size=70, max_size=70),
    bias=st.booleans(),
    half=st.sampled_from([1, 2, 1000]),
)
def test_weights_on_a_grid_are_counted_as_rational_arithmetic_counts_them(widths, numbers, bias, half):
    model = grid_mlp((2, *widths, 1), numbers)
    if not bias:
        for layer in model:
            if isinstance(layer, nn.Linear):
                layer.bias.data.zero_()
    box = ((-half, half), (-half, half))
    cut, exact = partition(model, box), rational_regions(model, box)
    assert cut.n_regions == len(exact)
    assert np.allclose(np.sort(cut.areas), exact, rtol=1e-7, atol=1e-9 * half**2)
    check_consistent(cut)


@pytest.mark.parametrize("seed", range(5))
def test_without_biases_the_regions_are_the_sectors_around_the_origin(seed):
    model = random_mlp((2, 32, 32, 32, 2), seed=seed, bias=False).double()
    cut = partition(model)
    corner = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [1.0, 1.0]])
    rays = np.concatenate(
        [np.linspace(a, b, 60_000, endpoint=False) for a, b in zip(corner, corner[1:], strict=False)]
    )
    changes = (patterns(model, rays) != patterns(model, np.roll(rays, 1, axis=0))).any(axis=1).sum()
    narrow = (cut.areas < 1e-3).sum()  # sectors that the rays may miss
    assert changes <= cut.n_regions <= changes + narrow
    check_consistent(cut)


def patterns(model, points):
    h, states = torch.as_tensor(np.asarray(points), dtype=torch.float64), []
    with torch.no_grad():
        for layer in list(model.double())[:-1]:
            h = layer(h)
            if isinstance(layer, nn.Linear):
                states.append(h > 0)
    return torch.cat(states, dim=1).numpy()


@pytest.mark.parametrize("widths", [(2, 12, 2), (2, 10, 10, 3), (2, 6, 6, 6, 1)])
def test_dense_sampling_finds_the_same_patterns(widths):
    model = random_mlp(widths, seed=3)
    cut = partition(model)
    sampled = np.unique(patterns(model, np.random.default_rng(0).uniform(-1, 1, (200_000, 2))), axis=0)
    ours = patterns(model, cut.interior_points)
    found = {p.tobytes() for p in sampled}
    assert found <= {p.tobytes() for p in ours}
    missed = [k for k, p in enumerate(ours) if p.tobytes() not in found]
    assert (cut.areas[missed] < 1e-3).all()  # only small regions escape the sample


def test_across_an_edge_exactly_the_unit_that_made_it_changes():
    model = random_mlp((2, 20, 20, 2), seed=1)
    cut = partition(model)
    states = patterns(model, cut.interior_points)
    inner = (cut.edge_faces >= 0).all(axis=1)
    left, right = cut.edge_faces[inner].T
    changed = states[left] != states[right]
    layer, unit = cut.edge_neuron[inner].T
    assert (changed.sum(axis=1) == 1).all()
    assert np.array_equal(changed.argmax(axis=1), 20 * layer + unit)


@settings(max_examples=25, deadline=None)
@given(
    widths=st.lists(st.integers(1, 24), min_size=1, max_size=3),
    n_out=st.integers(1, 4),
    seed=st.integers(0, 1000),
    corner=st.tuples(st.floats(-5, 5), st.floats(-5, 5)),
    size=st.floats(1e-3, 1e3),
)
def test_the_affine_map_of_a_region_is_the_network_there(widths, n_out, seed, corner, size):
    model = random_mlp((2, *widths, n_out), seed=seed).double()
    box = ((corner[0], corner[0] + size), (corner[1], corner[1] + size))
    cut = partition(model, box)
    check_consistent(cut)
    assert cut.slopes.shape == (cut.n_regions, n_out, 2)
    with torch.no_grad():
        at_vertices = model(torch.from_numpy(cut.vertices)).numpy()
        for polygon, slope, offset in zip(cut.polygons(), cut.slopes, cut.offsets, strict=True):
            ours = polygon @ slope.T + offset
            assert np.allclose(ours, model(torch.from_numpy(polygon)).numpy(), rtol=1e-8, atol=1e-8)
    assert np.allclose(cut.outputs, at_vertices, rtol=1e-7, atol=1e-9 * max(1.0, np.abs(at_vertices).max()))


def test_polygons_are_convex_counter_clockwise_and_have_the_areas():
    cut = partition(random_mlp((2, 30, 30, 2), seed=5))
    for polygon, area in zip(cut.polygons(), cut.areas, strict=True):
        step = np.roll(polygon, -1, axis=0) - polygon
        turn = step[:, 0] * np.roll(step[:, 1], -1) - step[:, 1] * np.roll(step[:, 0], -1)
        assert (turn > -1e-12).all()
        x, y = polygon.T
        assert np.isclose((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2, area, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("largest", [4, 40, 400])
def test_cut_in_pieces_equals_cut_in_one(monkeypatch, largest):
    model = random_mlp((2, 24, 24, 24, 3), seed=2)
    whole = partition(model)
    monkeypatch.setattr(_partition, "_PIECE", largest)
    pieces = partition(model)
    check_consistent(pieces)
    assert (pieces.n_regions, len(pieces.edges)) == (whole.n_regions, len(whole.edges))
    assert np.allclose(np.sort(pieces.areas), np.sort(whole.areas), rtol=1e-9, atol=1e-15)
    assert np.array_equal(np.unique(pieces.edge_neuron, axis=0), np.unique(whole.edge_neuron, axis=0))
    order = [np.lexsort(np.round(p.vertices, 9).T) for p in (whole, pieces)]
    assert np.allclose(whole.outputs[order[0]], pieces.outputs[order[1]])


@settings(max_examples=40, deadline=None)
@given(numbers=st.lists(st.integers(-2, 2), min_size=70, max_size=70))
def test_pieces_of_degenerate_networks_fit_together(numbers):
    model = grid_mlp((2, 4, 4, 4, 1), numbers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_partition, "_PIECE", 3)
        cut = partition(model)
    assert cut.n_regions == len(rational_regions(model, cut.box))
    check_consistent(cut)


def test_pieces_that_do_not_match_are_cut_again_in_one(monkeypatch):
    model = random_mlp((2, 24, 24, 2), seed=2)
    expected = partition(model).n_regions
    monkeypatch.setattr(_partition, "_PIECE", 10)

    def refuse(*_):
        raise _partition._Mismatch

    monkeypatch.setattr(_partition._Mesh, "_match", refuse)
    assert partition(model).n_regions == expected


@pytest.mark.parametrize("change", ["duplicate", "mirror", "dead", "scaled"])
def test_a_unit_that_adds_no_line_adds_no_region(change):
    model = random_mlp((2, 8, 6, 1), seed=4).double()
    before = partition(model).n_regions
    wider = nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 1)).double()
    with torch.no_grad():
        row, bias = model[0].weight[3], model[0].bias[3]
        factor = {"duplicate": 1.0, "mirror": -1.0, "dead": 0.0, "scaled": 1e-7}[change]
        wider[0].weight.copy_(torch.cat([model[0].weight, factor * row[None]]))
        wider[0].bias.copy_(torch.cat([model[0].bias, factor * bias[None]]))
        wider[2].weight.copy_(torch.cat([model[2].weight, torch.zeros(6, 1, dtype=torch.float64)], dim=1))
        wider[2].bias.copy_(model[2].bias)
        wider[4].load_state_dict(model[4].state_dict())
    assert partition(wider).n_regions == before


@pytest.mark.parametrize("factor", [1e-14, 1e-30, 1e14])
def test_the_scale_of_a_unit_does_not_matter(factor):
    model = random_mlp((2, 16, 16, 3), seed=1).double()
    before = partition(model)
    with torch.no_grad():  # the same function: smaller weights in, larger weights out
        model[0].weight[3:9] *= factor
        model[0].bias[3:9] *= factor
        model[2].weight[:, 3:9] /= factor
    after = partition(model)
    assert after.n_regions == before.n_regions
    assert np.allclose(np.sort(after.areas), np.sort(before.areas))


@settings(max_examples=60, deadline=None)
@given(numbers=st.lists(st.integers(-2, 2), min_size=70, max_size=70))
def test_a_window_far_from_the_origin_has_no_slivers(numbers):
    model, far = grid_mlp((2, 3, 3, 1), numbers), torch.tensor([1e6, 7e5], dtype=torch.float64)
    near = partition(model, ((-1 / 3, 1 / 3), (-1 / 3, 1 / 3)))
    with torch.no_grad():
        model[0].bias -= model[0].weight @ far
    cut = partition(model, tuple((c - 1 / 3, c + 1 / 3) for c in far.tolist()))
    assert cut.n_regions == near.n_regions
    assert np.allclose(np.sort(cut.areas), np.sort(near.areas), atol=1e-6)


def test_a_partition_says_how_many_regions_it_has():
    line = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    nn.init.constant_(line[0].weight, 1.0), nn.init.zeros_(line[0].bias)
    assert repr(partition(line)) == "Partition(2 regions, box=((-1.0, 1.0), (-1.0, 1.0)))"


def test_a_network_that_is_dead_in_the_window_has_one_region():
    model = random_mlp((2, 5, 1))
    model[0].bias.data.fill_(-100.0)
    cut = partition(model)
    assert (cut.n_regions, len(cut.edges)) == (1, 4)
    assert np.allclose(cut.slopes, 0)


@pytest.mark.parametrize("activation", [nn.LeakyReLU(0.2), nn.PReLU()])
def test_leaky_units_are_cut_and_carry_their_slope(activation):
    model = nn.Sequential(nn.Linear(2, 6), activation, nn.Linear(6, 6), activation, nn.Linear(6, 2)).double()
    cut = partition(model)
    p = torch.from_numpy(cut.interior_points).requires_grad_()
    gradient = torch.autograd.grad(model(p)[:, 1].sum(), p)[0].numpy()
    assert np.allclose(cut.slopes[:, 1], gradient)


def test_a_plane_through_a_bigger_network():
    model = random_mlp((50, 20, 20, 3), seed=7).double()
    points = torch.randn(3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plane = Plane.through(*points)
    cut = partition(model, ((-4, 4), (-4, 4)), plane=plane)
    check_consistent(cut)
    with torch.no_grad():
        for polygon, slope, offset in zip(cut.polygons(), cut.slopes, cut.offsets, strict=True):
            assert np.allclose(polygon @ slope.T + offset, model(plane.lift(polygon)).numpy(), atol=1e-9)
    assert torch.allclose(plane.lift(plane.coordinates(points)), points)
    frame = torch.stack([plane.u, plane.v])
    assert torch.allclose(frame @ frame.T, torch.eye(2, dtype=torch.float64))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(12, 2)

    def forward(self, x):
        h = torch.relu(self.stem(x))
        h = h + self.inner(torch.relu(self.norm(h)))
        return self.head(nn.functional.avg_pool2d(h, 2).flatten(1))


def test_a_plane_through_a_residual_convolutional_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Residual().double().eval()
        plane = Plane.through(*torch.randn(3, 1, 4, 4, dtype=torch.float64))
    cut = partition(model, ((-3, 3), (-3, 3)), plane=plane)
    check_consistent(cut)
    assert cut.n_regions > 50
    p = torch.from_numpy(cut.interior_points).requires_grad_()
    gradient = torch.autograd.grad(model(plane.lift(p))[:, 0].sum(), p)[0].numpy()
    assert np.allclose(cut.slopes[:, 0], gradient, atol=1e-9)


@pytest.mark.parametrize("n_out", [1, 2, 5])
def test_on_the_decision_boundary_two_outputs_are_equal_and_largest(n_out):
    model = random_mlp((2, 16, 16, n_out), seed=11).double()
    with torch.no_grad():
        model[-1].weight.mul_(8)
        model[-1].bias.sub_(model(torch.zeros(1, 2, dtype=torch.float64))[0])
    segments = partition(model, ((-3, 3), (-3, 3))).decision_boundary
    assert len(segments) > 5
    t = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None, None]
    a, b = torch.from_numpy(segments).unbind(1)
    with torch.no_grad():
        f = model(((1 - t) * a + t * b).reshape(-1, 2))
    f = torch.cat([f, torch.zeros_like(f)], dim=1) if n_out == 1 else f
    top = f.topk(2, dim=1).values
    assert torch.allclose(top[:, 0], top[:, 1], atol=1e-8)


@pytest.mark.parametrize("n_out", [1, 2, 4])
def test_the_boundary_is_crossed_exactly_where_the_class_changes(n_out):
    model = random_mlp((2, 16, 16, n_out), seed=13).double()
    with torch.no_grad():
        model[-1].bias.sub_(model(torch.zeros(1, 2, dtype=torch.float64))[0])
    segments = partition(model).decision_boundary
    y = 0.123456
    x = torch.linspace(-1, 1, 20_001, dtype=torch.float64)
    with torch.no_grad():
        f = model(torch.stack([x, torch.full_like(x, y)], dim=1))
    winner = f.argmax(1) if n_out > 1 else f[:, 0] > 0
    (a, b) = segments[:, 0], segments[:, 1]
    assert ((a[:, 1] < y) != (b[:, 1] < y)).sum() == (winner[1:] != winner[:-1]).sum()


@pytest.mark.parametrize("seed", range(5))
def test_the_boundary_of_two_opposite_outputs_is_whole(seed):
    """Both outputs are zero on it, so their own size says nothing about what is rounding."""
    model = random_mlp((2, 16, 16, 1), seed=seed).double()
    with torch.no_grad():
        model[-1].bias.sub_(model(torch.zeros(1, 2, dtype=torch.float64))[0])
    opposite = copy.deepcopy(model)
    opposite[-1] = torch.nn.Linear(16, 2).double()
    with torch.no_grad():
        for mine, other in zip(opposite[-1].parameters(), model[-1].parameters(), strict=True):
            mine.copy_(torch.cat([other, -other]))
    alone = partition(model).decision_boundary
    np.testing.assert_allclose(partition(opposite).decision_boundary, alone, atol=1e-12)
    inside = alone.reshape(-1, 2)[np.abs(alone.reshape(-1, 2)).max(axis=1) < 1 - 1e-9]
    meeting = (np.abs(inside[:, None] - inside).max(axis=2) < 1e-9).sum(axis=1)
    assert (meeting >= 2).all(), "inside the window every segment goes on"


def test_the_model_and_the_global_generator_are_left_alone():
    model = random_mlp((2, 8, 2)).train()
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.random.get_rng_state()
    partition(model)
    assert model.training and all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("box", [((1, 1), (0, 1)), ((0, 1), (1, 0)), ((0, float("inf")), (0, 1))])
def test_a_box_without_area_is_refused(box):
    with pytest.raises(ValueError, match=r"has no area\. Give \(\(x_min, x_max\), \(y_min, y_max\)\)"):
        partition(random_mlp((2, 3, 1)), box)


def test_a_box_of_the_wrong_form_is_refused():
    with pytest.raises(
        ValueError, match=r"expected box=\(\(x_min, x_max\), \(y_min, y_max\)\), got \(-1, 1\)"
    ):
        partition(random_mlp((2, 3, 1)), (-1, 1))


def test_three_points_on_a_line_are_refused():
    a, b = torch.zeros(5), torch.ones(5)
    for points in [(a, b, 3 * b), (a, a, b), (a, b, a)]:
        with pytest.raises(ValueError, match="lie on one line, which spans no plane"):
            Plane.through(*points)
    with pytest.raises(ValueError, match=r"inputs of one shape, got \(5,\), \(5,\), \(4,\)"):
        Plane.through(a, b, torch.ones(4))


def test_inputs_of_another_dimension_are_refused():
    expected = r"does not take inputs of shape \(2,\).*or a plane through the network's input space"
    with pytest.raises(ValueError, match=expected):
        partition(random_mlp((3, 4, 1)))


@pytest.mark.parametrize("width", [0, 3])
def test_values_without_an_axis_and_layers_without_units(width):
    class Ragged(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.eye(3)[:width, :2])

        def forward(self, x):
            alone = x.sum(1)  # one number a sample, alive while a layer cuts
            return nn.functional.linear(x + 0.5, self.weight).relu().sum(1) + (alone - 1).relu() + alone

    cut = partition(Ragged())  # x1 = -1/2 and x2 = -1/2, and the line x1 + x2 = 1
    assert cut.n_regions == (5 if width else 2)
    assert cut.outputs.shape == (len(cut.vertices), 1)
    check_consistent(cut)


def test_a_plane_made_by_hand_is_checked_and_brought_to_float64():
    e = torch.eye(3)
    assert partition(random_mlp((3, 5, 1)), plane=Plane(e[0], e[1], e[2])).euler == 1
    with pytest.raises(ValueError, match="expected orthonormal u and v. Plane.through"):
        Plane(e[0], e[1], e[1])
    with pytest.raises(ValueError, match=r"origin, u and v of one shape, got \(3,\), \(3,\), \(2,\)"):
        Plane(e[0], e[1], e[2, :2])
    with pytest.raises(ValueError, match="expected finite inputs, got NaN or infinity"):
        Plane.through(e[0], e[1], e[2] * float("nan"))
    plane = Plane(e[0], e[1], e[2])
    with pytest.raises(ValueError, match=r"expected plane coordinates \(N, 2\), got \(1, 3\)"):
        plane.lift([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match=r"expected inputs \(N, 3\) as the plane has them, got \(3,\)"):
        plane.coordinates(e[0])
    with pytest.raises(TypeError, match="expected a Plane, got tuple. Plane.through"):
        partition(random_mlp((3, 5, 1)), plane=(e[0], e[1], e[2]))


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match="expected a torch.nn.Module, got function"):
        partition(lambda x: x)
