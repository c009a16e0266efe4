"""grokfast, perp_grad and stablemax: against the recursion and the projection written out, and properties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from minigrok import models, training
from minigrok.training import Ensemble, classification_loss, grokfast, perp_grad, stablemax

seeds = st.integers(0, 10_000)


def weight(values, gradient):
    parameter = nn.Parameter(torch.as_tensor(values, dtype=torch.float64))
    parameter.grad = torch.as_tensor(gradient, dtype=torch.float64).clone()
    return parameter


def draw(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- grokfast


@given(seeds, st.floats(0, 0.999), st.floats(0, 10), st.integers(1, 12))
def test_grokfast_is_the_recursion_written_out(seed, alpha, lamb, updates):
    gradients = draw(seed, updates, 3, 2).numpy()
    w, memory, slow = weight(np.zeros((3, 2)), np.zeros((3, 2))), {}, gradients[0]
    for g in gradients:
        w.grad = torch.from_numpy(g.copy())
        grokfast([w], memory, alpha=alpha, lamb=lamb)
        slow = alpha * slow + (1 - alpha) * g
        np.testing.assert_allclose(w.grad, g + lamb * slow, rtol=1e-9, atol=1e-9)


def test_grokfast_without_strength_changes_nothing_and_keeps_no_hold_on_the_gradient():
    w, memory = weight([1.0], [3.0]), {}
    grokfast([w], memory, lamb=0)
    assert w.grad.item() == 3
    w.grad.zero_()
    assert memory[w].item() == 3


def test_grokfast_passes_over_parameters_without_gradient():
    w, memory = nn.Parameter(torch.ones(2)), {}
    grokfast([w], memory)
    assert w.grad is None and not memory


def test_adamw_divides_a_constant_factor_out_again():
    """What the docstring says: where gradients point one way, Grokfast with AdamW is AdamW."""
    plain, fast, memory = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3)), {}
    optimizers = [torch.optim.AdamW([w], lr=0.1, eps=0) for w in (plain, fast)]
    for _ in range(20):
        for w, optimizer in zip((plain, fast), optimizers, strict=True):
            w.grad = torch.tensor([0.3, -2.0, 1.0])
            if w is fast:
                grokfast([w], memory)
            optimizer.step()
    torch.testing.assert_close(plain, fast)


@pytest.mark.parametrize("options", [{"alpha": 1.0}, {"alpha": -0.1}, {"lamb": -1.0}, {"lamb": float("nan")}])
def test_grokfast_refuses_what_is_no_average(options):
    with pytest.raises(ValueError, match="alpha must be at least 0 and below 1, lamb at least 0; got"):
        grokfast([weight([1.0], [1.0])], {}, **options)


# --- perp_grad


@given(seeds, st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_perp_grad_is_orthogonal_and_keeps_the_length(seed, size, steepness):
    w = weight(size * draw(seed, 4, 3), steepness * draw(seed + 1, 4, 3))
    g = w.grad.clone()
    perp_grad([w])
    assert abs((w * w.grad).sum()) <= 1e-9 * w.norm() * g.norm()
    torch.testing.assert_close(w.grad.norm(), g.norm())
    # What is left of g lies in the plane of g and w, on g's side.
    direct = g - (w * g).sum() / (w * w).sum() * w
    torch.testing.assert_close(w.grad, (direct * g.norm() / direct.norm()).detach())


@pytest.mark.parametrize("values, gradient, expected", [
    ([0.0, 0.0], [1.0, 2.0], [1.0, 2.0]),  # no direction to take away
    ([1.0, 2.0], [0.0, 0.0], [0.0, 0.0]),
    ([1.0, 2.0], [-3.0, -6.0], [0.0, 0.0]),  # nothing but rescaling
    ([1e-9, 0.0], [1.0, 1.0], [0.0, 2.0**0.5]),
])  # fmt: skip
def test_perp_grad_where_a_direction_is_missing(values, gradient, expected):
    w = weight(values, gradient)
    perp_grad([w])
    torch.testing.assert_close(w.grad, torch.tensor(expected, dtype=torch.float64))


def test_rounding_of_a_parallel_gradient_is_not_blown_up():
    for seed in range(50):
        w = nn.Parameter(draw(seed, 30).float())
        w.grad = 0.7 * w.detach()
        perp_grad([w])
        assert not w.grad.any()


def test_perp_grad_leaves_parameters_without_gradient():
    w = nn.Parameter(torch.ones(2))
    perp_grad([w])
    assert w.grad is None


def test_perp_grad_of_an_ensemble_is_that_of_each_network():
    nets = [
        models.mlp([3, 5, 4], generator=torch.Generator().manual_seed(seed)).double() for seed in (0, 1, 2)
    ]
    ensemble, x, y = Ensemble(nets), draw(7, 9, 3), torch.arange(9) % 4
    classification_loss(ensemble(x), y).sum().backward()
    perp_grad(ensemble.parameters(), stacked=True)
    stacked = [w.grad for w in ensemble.parameters()]
    for s, net in enumerate(nets):
        classification_loss(net(x), y).backward()
        perp_grad(net.parameters())
        for together, alone in zip(stacked, net.parameters(), strict=True):
            torch.testing.assert_close(together[s], alone.grad)


def test_a_small_step_along_perp_grad_leaves_the_length():
    w = weight(draw(0, 6), draw(1, 6))
    before = w.norm().item()
    perp_grad([w])
    changes = [abs((w - eps * w.grad).norm().item() - before) for eps in (1e-2, 1e-3)]
    assert changes[1] < changes[0] / 50  # of second order


# --- stablemax


@given(seeds, st.floats(1e-3, 1e4))
def test_stablemax_sums_to_one_and_keeps_the_order(seed, scale):
    z = scale * draw(seed, 5, 7)
    probabilities = stablemax(z)
    assert (probabilities > 0).all()
    torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(5, dtype=torch.float64))
    order = z.argsort(dim=-1)
    assert (probabilities.gather(-1, order).diff(dim=-1) >= 0).all()


@given(seeds)
def test_stablemax_is_its_formula(seed):
    z = 3 * draw(seed, 6)
    s = np.array([v + 1 if v >= 0 else 1 / (1 - v) for v in z.tolist()])
    np.testing.assert_allclose(stablemax(z), s / s.sum(), rtol=1e-12)


def test_stablemax_has_slope_one_at_zero_from_both_sides():
    z = torch.tensor([-1e-9, 0.0, 1e-9, 1.0], dtype=torch.float64, requires_grad=True)
    training._losses._stable(z).sum().backward()
    torch.testing.assert_close(z.grad, torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("size", [20.0, 1e4, 1e10, 1e30])
def test_gradients_are_finite_and_not_zero_where_softmax_has_none(size):
    z = torch.tensor([[size, -size, 0.0, 1.0]], requires_grad=True)
    y = torch.tensor([0])
    assert not torch.autograd.grad(classification_loss(z, y), z)[0][0, 0]
    (gradient,) = torch.autograd.grad(classification_loss(z, y, "stablemax"), z)
    assert gradient.isfinite().all()
    assert (gradient[0, 2:] > 0).all()  # to push down the wrong logits is still worth something


@given(seeds)
def test_the_loss_is_minus_the_logarithm_and_its_gradient_is_right(seed):
    z, y = (3 * draw(seed, 4, 5)).requires_grad_(), torch.tensor([0, 3, 1, 4])
    expected = -stablemax(z).log()[torch.arange(4), y].mean()
    torch.testing.assert_close(classification_loss(z, y, "stablemax"), expected)
    assert torch.autograd.gradcheck(lambda z: classification_loss(z, y, "stablemax"), (z,))


def test_the_loss_of_an_ensemble_is_that_of_each():
    z, y = draw(3, 2, 6, 5), torch.arange(6) % 5
    for labels in (y, torch.stack([y, y.flip(0)])):
        alone = [classification_loss(z[s], labels.expand(2, 6)[s], "stablemax") for s in range(2)]
        torch.testing.assert_close(classification_loss(z, labels, "stablemax"), torch.stack(alone))


def test_an_unknown_loss_is_refused_with_all_names():
    with pytest.raises(ValueError, match="'squared_error' or 'stablemax', got 'softmax'"):
        training.classification_step("softmax")
