"""The map of bending against functions whose bending is known."""

import re

import pytest
import torch
from torch import nn

from minigrok.regions import Plane, bending_on_grid, partition

BOX = ((-1.0, 1.0), (-2.0, 1.0))


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def random_mlp(widths, activation, seed=0):
    rng, layers = torch.Generator().manual_seed(seed), []
    for a, b in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(a, b), activation()]
    model = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) / p[0].numel() ** 0.5)
    return model


def test_a_quadratic_bends_by_its_second_derivative_times_the_step():
    steps = (2 / 40, 3 / 40)
    bending = bending_on_grid(Function(lambda x: 3 * x[:, :1] ** 2 + 5 * x[:, 1:] ** 2), BOX, resolution=40)
    expected = ((6 * steps[0]) ** 2 + (10 * steps[1]) ** 2) ** 0.5
    torch.testing.assert_close(bending, torch.full((40, 40), expected), rtol=1e-5, atol=0)


def test_rows_are_y_and_columns_are_x():
    bending = bending_on_grid(Function(lambda x: (x[:, :1] - 0.5).relu()), resolution=4)
    assert (bending[:, :2] == 0).all()
    assert (bending[:, 2:] > 0.1).all(), "the fold x = 0.5 runs between the last two columns"
    assert torch.equal(bending, bending[:1].expand(4, 4))


@pytest.mark.parametrize("resolution", [50, 51, 200])
def test_a_fold_shows_its_jump_of_slope_however_fine_the_grid(resolution):
    bending = bending_on_grid(Function(lambda x: 3 * x[:, :1].abs()), resolution=resolution)
    row = bending[0]
    assert row.sum().item() == pytest.approx(6, rel=1e-4), (
        "3 on the left, -3 on the right: shared by its cells"
    )
    assert (row > 1e-9).sum() <= 2


def test_it_is_zero_inside_linear_regions_and_not_on_their_edges():
    model, n = random_mlp([2, 12, 12, 3], nn.ReLU), 60
    bending = bending_on_grid(model, resolution=n)
    centres = (torch.arange(n, dtype=torch.float64) + 0.5) * 2 / n - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    patterns = []
    for shift in ((0, 0), (2 / n, 0), (-2 / n, 0), (0, 2 / n), (0, -2 / n)):
        h = (torch.stack([x, y], -1) + torch.tensor(shift, dtype=torch.float64)).flatten(0, 1)
        first = model[0].double()(h)
        patterns.append(torch.cat([first, model[2].double()(first.relu())], 1) > 0)
    inside = torch.stack([p == patterns[0] for p in patterns]).all(0).all(1).reshape(n, n)
    assert 0.2 < inside.double().mean() < 0.9 and partition(model).n_regions > 20
    assert bending[inside].max() < 1e-9
    assert bending[~inside].median() > 1e-3


def test_a_smooth_network_bends_less_on_a_finer_grid():
    model = random_mlp([2, 20, 20, 1], nn.GELU)
    coarse, fine = (bending_on_grid(model, resolution=n).median() for n in (40, 80))
    assert coarse > 0 and fine / coarse == pytest.approx(0.5, rel=0.1)


def test_a_plane_through_a_bigger_input_is_looked_at_in_its_own_coordinates():
    model = Function(lambda x: x[:, 2, :1].abs() + 100 * x[:, 0, :1] ** 2)
    plane = Plane(
        torch.zeros(3, 2, dtype=torch.float64), *torch.eye(6, dtype=torch.float64)[[4, 3]].reshape(2, 3, 2)
    )
    bending = bending_on_grid(model, resolution=5, plane=plane)
    assert torch.equal(bending > 1e-9, torch.eye(5, dtype=torch.bool)[2].expand(5, 5))


def test_dtype_and_model_are_kept():
    model = random_mlp([2, 5, 1], nn.Tanh).double()
    bending = bending_on_grid(model, resolution=3)
    assert bending.dtype == torch.float64 and bending.shape == (3, 3) and not bending.requires_grad
    model.float()
    assert bending_on_grid(model, resolution=3).dtype == torch.float32
    assert next(model.parameters()).dtype == torch.float32


def test_bad_input_is_refused():
    model = random_mlp([2, 5, 1], nn.Tanh)

    def refused(text, *args, **options):
        with pytest.raises(ValueError, match=re.escape(text)):
            bending_on_grid(*args, **options)

    refused("expected resolution of at least 1 cell, got 0.", model, resolution=0)
    refused("has no area", model, ((0.0, 0.0), (0.0, 1.0)))
    refused("does not take inputs of shape (2,)", random_mlp([3, 5, 1], nn.Tanh))
    refused("Give a plane through its input space (regions.Plane)", random_mlp([3, 5, 1], nn.Tanh))
    refused("Call model.eval() first", nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    with torch.no_grad():
        model[0].bias[0] = float("inf")
    refused("holds NaN or infinity", model)
