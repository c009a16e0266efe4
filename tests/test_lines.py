"""What the units of a partition do, against dense sampling, and where its lines lie, against geometry."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrok import models
from minigrok.regions import Plane, lines_by_distance, local_complexity, partition, unit_states

MIDDLE = np.array([[[0.0, -1.0], [0.0, 1.0]]])


def vertical(*places, slope=1.0):
    """A network of one layer whose lines are x1 = place."""
    net = models.mlp([2, len(places), 1])
    net[0].weight.data.copy_(torch.tensor([[slope, 0.0]] * len(places)))
    net[0].bias.data.copy_(torch.tensor([-slope * place for place in places]))
    return net


def random_net(seed, widths=(2, 12, 12, 2), scale=1.5):
    return models.mlp(list(widths), scale=scale, generator=torch.Generator().manual_seed(seed))


def dense_states(model, box, n=250):
    """What every unit does on a fine grid."""
    axes = [torch.linspace(*side, n, dtype=torch.float64) for side in box]
    h, active = torch.cartesian_prod(*axes), []
    for layer in model.double():
        h = layer(h)
        if isinstance(layer, torch.nn.Linear):
            active.append(h > 0)
    active = torch.cat(active[:-1], dim=1).numpy()  # the last layer has no units
    return np.where(active.all(axis=0), 1, np.where(active.any(axis=0), 0, -1))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 1.0, 3.0]))
def test_states_are_those_of_dense_sampling(seed, side):
    box = ((-side, side), (-side, side))
    model = random_net(seed)
    states, dense = unit_states(partition(model, box)), dense_states(model, box)
    crossing = states == 0
    assert (states[~crossing] == dense[~crossing]).all()  # exact: no sample may contradict
    assert (dense[crossing] == 0).mean() > 0.7 or crossing.sum() < 8  # a grid misses the smallest cuts


def test_twins_that_share_a_line_both_have_it():
    assert unit_states(partition(vertical(0.25, 0.25, 0.25))).tolist() == [0, 0, 0]


def test_a_layer_that_is_always_zero_is_dead():
    model = vertical(5.0, 6.0)
    assert unit_states(partition(model)).tolist() == [-1, -1]
    deeper = models.mlp([2, 2, 3, 1], bias=True)
    deeper[0].load_state_dict(model[0].state_dict())
    deeper[2].bias.data.copy_(torch.tensor([1.0, 0.0, -1.0]))
    assert unit_states(partition(deeper)).tolist() == [-1, -1, 1, -1, -1]


def test_states_on_a_plane_through_many_dimensions():
    model = random_net(3, widths=(20, 30, 30, 3))
    plane = Plane.through(*torch.randn(3, 20, generator=torch.Generator().manual_seed(1)))
    cut = partition(model, plane=plane)
    states, lines = unit_states(cut), cut.edge_neuron[cut.edge_neuron[:, 0] >= 0]
    has_line = np.zeros((2, 30), dtype=bool)
    has_line[lines[:, 0], lines[:, 1]] = True
    assert ((states == 0) == has_line.ravel()).all()


def test_lines_and_areas_of_a_known_drawing():
    cut = partition(vertical(0.3, -0.5, 0.301))
    length, area = lines_by_distance(cut, MIDDLE, [0, 0.1, 0.35, 0.6, np.inf])
    assert np.allclose(length, [0, 4, 2, 0])
    assert np.allclose(area, [0.4, 1.0, 1.0, 1.6], atol=0.02)


def test_a_round_curve():
    angle = np.linspace(0, 2 * np.pi, 200)
    ring = 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ring = np.stack([ring[:-1], ring[1:]], axis=1)
    _, area = lines_by_distance(partition(vertical(0.0)), ring, [0, 0.1, np.inf])
    assert area[0] == pytest.approx(np.pi * (0.6**2 - 0.4**2), rel=0.02)
    length, _ = lines_by_distance(partition(vertical(0.0)), ring, [0, 0.1, np.inf])
    assert length == pytest.approx([0.4, 1.6], abs=0.02)  # the line x1 = 0 passes the ring twice


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_nothing_is_lost(seed):
    cut = partition(random_net(seed), ((-2, 1), (0, 1)))
    length, area = lines_by_distance(cut, MIDDLE, [0, 0.05, 0.3, 1, np.inf])
    inner = cut.vertices[cut.edges[cut.edge_neuron[:, 0] >= 0]]
    assert length.sum() == pytest.approx(np.linalg.norm(inner[:, 0] - inner[:, 1], axis=1).sum())
    assert area.sum() == pytest.approx(3)


def test_the_density_of_lines_is_local_complexity_for_a_small_radius():
    # Crofton: a line meets the diamond of half width r where it passes through the diamond's width, which is
    # 2 sqrt(2) r * 2 / pi on average over directions.
    cut, r, generator = partition(random_net(7, (2, 200, 200, 1))), 0.01, torch.Generator().manual_seed(0)
    x = 0.95 * (2 * torch.rand(20_000, 2, generator=generator) - 1)
    length, area = lines_by_distance(cut, MIDDLE, [0, np.inf])
    expected = length[0] / area[0] * r * 4 * np.sqrt(2) / np.pi
    measured = local_complexity(random_net(7, (2, 200, 200, 1)), x, radius=r, generator=generator).total
    assert measured.double().mean().item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    "curve, edges, text",
    [
        (np.zeros((0, 2, 2)), [0, 1], "the curve has no segments: a network with one answer"),
        (np.zeros((4, 2)), [0, 1], r"segments \(S, 2, 2\), got the shape \(4, 2\)"),
        (MIDDLE, [0.5], r"at least two increasing distances, got \[0.5\]"),
        (MIDDLE, [0, 0.2, 0.1], r"increasing distances, got \[0.0, 0.2, 0.1\]"),
        (MIDDLE, [0, float("nan")], "increasing distances"),
        (MIDDLE, [-np.inf, np.inf], r"got \[-inf, inf\]. Only the last may be inf"),
        (np.nan * MIDDLE, [0, 1], "expected a curve of finite segments, got NaN"),
    ],
)
def test_bad_input_is_refused_in_words(curve, edges, text):
    with pytest.raises(ValueError, match=text):
        lines_by_distance(partition(vertical(0.0)), curve, edges)
