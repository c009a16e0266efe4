"""A map for networks that have no linear regions: how much the output bends, on a grid. An approximation."""

import copy

import torch
from torch import Tensor, nn

from minigrok._support import with_float64
from minigrok.networks import _check_model
from minigrok.regions._partition import Box, Plane, _check_box, _check_plane

# So many grid points are sent through the network at once.
_ROWS = 4096


def bending_on_grid(
    model: nn.Module,
    box: Box = ((-1.0, 1.0), (-1.0, 1.0)),
    *,
    resolution: int = 200,
    plane: Plane | None = None,
) -> Tensor:
    """Map how much the gradient of the output turns from one grid cell to the next.

    Where regions of a ReLU network have edges, a network with GELU or tanh only bends more, and there is
    nothing to count. This map is an approximation for looking at, with any model. With f at the centres p
    of the cells, a step h_x along the first axis and h_y along the second, it is

        b = sqrt(|f(p + h_x) - 2 f(p) + f(p - h_x)|^2 / h_x^2 + the same along y),

    where |.| is the norm over all outputs. Inside a linear region b is zero (to rounding). On an edge it is
    about the jump of the slope across it, in units of output per input, however fine the grid; where f is
    smooth it shrinks with h.

    Args:
        model: any model in eval mode; with `plane=None` its input is (N, 2).
        box: ((x_min, x_max), (y_min, y_max)), in the plane's coordinates. It is looked at one step beyond.
        resolution: the number of cells along each axis.
        plane: a `Plane` through the input space of a bigger model.

    Returns:
        (resolution, resolution), in the model's dtype; entry [i, j] belongs to the i-th y and the j-th x,
        so that `imshow(..., origin="lower")` shows it upright.

    Raises:
        ValueError: a box without area, resolution < 1, weights with NaN, a model in training mode with
            dropout or batch norm.

    Example:
        >>> fold = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
        >>> _ = fold[0].weight.data.copy_(torch.tensor([[3.0, 0.0]])), fold[0].bias.data.zero_()
        >>> bending_on_grid(fold, resolution=3)  # f is 3 x or 0: the slope jumps by 3, at x = 0
        tensor([[0., 3., 0.],
                [0., 3., 0.],
                [0., 3., 0.]])

    Used in lesson 03.
    """
    if not resolution >= 1:
        raise ValueError(f"expected resolution of at least 1 cell, got {resolution}.")
    box, plane = _check_box(box), _check_plane(plane)
    _check_model(model)
    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    double = copy.deepcopy(with_float64(model)).double()
    device = next(double.parameters(), torch.empty(0)).device
    values, steps = _values(double, box, int(resolution), plane, device)
    middle = values[1:-1, 1:-1]
    along_y = values[2:, 1:-1] - 2 * middle + values[:-2, 1:-1]
    along_x = values[1:-1, 2:] - 2 * middle + values[1:-1, :-2]
    turn = (along_x / steps[0]).square().sum(-1) + (along_y / steps[1]).square().sum(-1)
    return turn.sqrt().to(weight.device, weight.dtype)


@torch.no_grad()
def _values(
    model: nn.Module, box: Box, resolution: int, plane: Plane | None, device: torch.device
) -> tuple[Tensor, list[float]]:
    """The output at the centres of all cells and of one more ring around them, and the sides of a cell."""
    steps = [(high - low) / resolution for low, high in box]
    x, y = (
        low + step * (torch.arange(-1, resolution + 1, dtype=torch.float64) + 0.5)
        for (low, _), step in zip(box, steps, strict=True)
    )
    points = torch.cartesian_prod(y, x).flip(1)
    inputs = points if plane is None else plane.lift(points)
    try:
        rows = torch.cat([model(part.to(device)).flatten(1) for part in inputs.split(_ROWS)])
    except RuntimeError as error:
        raise ValueError(
            f"the model does not take inputs of shape {tuple(inputs.shape[1:])}: {error}. "
            "Give a plane through its input space (regions.Plane)."
        ) from error
    return rows.unflatten(0, (len(y), len(x))), steps
