"""The figures of proofs: rooms painted by a lead, the triangle of a ReLU, bars of answers."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from minigrok import models
from minigrok.course import plots
from minigrok.regions import partition


@pytest.fixture(autouse=True)
def no_figures_left():
    with plt.rc_context():
        yield
    plt.close("all")


def net(seed=0):
    return models.mlp([2, 6, 6, 3], generator=torch.Generator().manual_seed(seed), scale=1.5).double()


@pytest.mark.parametrize("seed", range(3))
def test_rooms_are_painted_with_the_lead_that_the_network_gives(seed):
    model = net(seed)
    cut = partition(model)
    chosen = list(range(0, cut.n_regions, 2))
    ax = plots.rooms(cut, chosen, label=0, rival=2)
    paint = ax.collections[0]
    triangles = paint._triangulation
    corners = np.column_stack([triangles.x, triangles.y])
    outputs = model(torch.from_numpy(corners)).detach().numpy()
    np.testing.assert_allclose(paint.get_array(), outputs[:, 2] - outputs[:, 0], atol=1e-9)
    p, q, r = (corners[triangles.triangles[:, k]] for k in range(3))
    (ux, uy), (vx, vy) = (q - p).T, (r - p).T
    painted = np.abs(ux * vy - uy * vx).sum() / 2
    np.testing.assert_allclose(painted, cut.areas[chosen].sum(), rtol=1e-9)  # all of them, and nothing twice
    assert paint.norm.vmin == -paint.norm.vmax  # the boundary has the middle colour


def test_rooms_takes_a_path_and_keeps_the_window():
    ax = plots.rooms(partition(net()), [0], label=0, rival=1, path=np.array([[0.0, 0.0], [5.0, 5.0]]))
    assert ax.get_xlim() == (-1, 1) and len(ax.get_lines()) == 3


@pytest.mark.parametrize("chosen", [[], [-1], [10_000]])
def test_rooms_that_do_not_exist_are_refused(chosen):
    with pytest.raises(ValueError, match="expected some of the regions 0 to"):
        plots.rooms(partition(net()), chosen, label=0, rival=1)


def test_the_triangle_has_the_unit_inside():
    ax = plots.triangle(-1.0, 3.0)
    corners = ax.patches[0].get_xy()[:3]
    z = np.linspace(-1, 3, 41)
    above = np.interp(z, *corners[[0, 2]].T)
    assert (np.maximum(z, 0) <= above + 1e-12).all()
    assert [tuple(point) for point in corners] == [(-1, 0), (0, 0), (3, 3)]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(labels) == 3 and len({line.get_linestyle() for line in ax.get_lines()}) == 2


@pytest.mark.parametrize("bounds", [(0, 1), (-1, 0), (1, 2)])
def test_a_triangle_needs_an_undecided_unit(bounds):
    with pytest.raises(ValueError, match="expected least < 0 < most"):
        plots.triangle(*bounds)
