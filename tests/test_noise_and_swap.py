"""The noise schedule and the swap regulariser of Tan & Huang, against sums done by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from minigrok import data, models
from minigrok.training import Ensemble, accuracy, noise_level, swap_loss

share, level = st.floats(0, 1), st.floats(0, 10)


@given(share, level, level)
def test_noise_level_is_the_formula(accuracy, first, last):
    sigma = noise_level(accuracy, first, last)
    assert isinstance(sigma, float)
    assert sigma == pytest.approx(max(first * (1 - accuracy), last), rel=1e-5, abs=1e-6)


@given(share, share, level, level)
def test_noise_never_grows_as_more_is_learnt(one, other, first, last):
    low, high = sorted([one, other])
    assert noise_level(low, first, last) >= noise_level(high, first, last) >= 0


def test_noise_level_of_several_networks():
    shares = torch.tensor([0.0, 0.5, 0.9, 1.0])
    sigma = noise_level(shares, 0.5, 0.1)
    assert torch.equal(sigma, torch.stack([torch.tensor(noise_level(a, 0.5, 0.1)) for a in shares.tolist()]))
    each = noise_level(shares, torch.tensor([0.5, 0.5, 0.0, 0.0]), torch.tensor([0.1, 0.1, 0.3, 0.0]))
    assert each.tolist() == pytest.approx([0.5, 0.25, 0.3, 0.0])


def test_a_network_that_has_diverged_has_no_noise_level():
    assert noise_level(torch.tensor([0.5, torch.nan]), 0.5, 0.1).isnan().tolist() == [False, True]


@pytest.mark.parametrize("wrong", [-0.1, 1.01, 95.0])
def test_an_accuracy_that_is_no_share_is_refused(wrong):
    with pytest.raises(ValueError, match=r"share of the training set, in \[0, 1\], got"):
        noise_level(wrong, 0.5, 0.4)


@pytest.mark.parametrize("first, last", [(-0.5, 0.4), (0.5, -0.4), (0.5, float("nan")), (float("inf"), 0.4)])
def test_a_noise_that_is_no_standard_deviation_is_refused(first, last):
    with pytest.raises(ValueError, match="standard deviations, finite and at least 0"):
        noise_level(0.5, first, last)


def pair_net(seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    return models.pair_mlp(7, 16, generator=generator, **options)


def test_swap_loss_by_hand():
    model, (x, _) = pair_net(), data.table("add", 7)
    logits = model(x).view(7, 7, 7)
    by_hand = sum(
        (logits[a, b, c] - logits[b, a, c]) ** 2 for a in range(7) for b in range(7) for c in range(7)
    )
    torch.testing.assert_close(swap_loss(model, x), by_hand / 7**3)


def test_a_shared_added_table_has_no_swap_loss():
    x, _ = data.table("add", 7)
    assert swap_loss(pair_net(shared=True), x) < 1e-12
    assert swap_loss(pair_net(shared=False), x) > 1e-6


def test_swap_loss_goes_down_along_its_gradient():
    model, (x, _) = pair_net(combine="concatenate", dim=4), data.table("add", 7)
    before = swap_loss(model, x)
    before.backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight -= 0.01 * weight.grad
    assert swap_loss(model, x) < before


def test_swap_loss_of_an_ensemble_is_that_of_each():
    nets, (x, _) = [pair_net(seed) for seed in range(3)], data.table("add", 7)
    each = torch.stack([swap_loss(net, x) for net in nets])
    together = Ensemble(nets)
    torch.testing.assert_close(swap_loss(together, x), each)
    torch.testing.assert_close(swap_loss(together, x.expand(3, -1, -1)), each)
    assert accuracy(together, x, x[:, 0]).shape == each.shape


def test_swap_loss_wants_pairs():
    with pytest.raises(ValueError, match=r"expected pairs x \(N, 2\).*got shape \(4, 3\)"):
        swap_loss(nn.Identity(), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="at least one pair"):
        swap_loss(pair_net(), torch.zeros(0, 2, dtype=torch.int64))
