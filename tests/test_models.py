"""models: PyTorch's own initialisation is the oracle, drawn from a generator that is not PyTorch's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from minigrok import models

seeds = st.integers(0, 2**31)
widths = st.lists(st.integers(1, 7), min_size=2, max_size=5)


def numbers(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@given(widths, seeds, st.booleans())
def test_the_weights_are_those_of_layers_made_by_hand(widths, seed, bias):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        by_hand = nn.Sequential(*[nn.Linear(n_in, n_out, bias) for n_in, n_out in pairs])
        ours_without = models.mlp(widths, bias=bias)  # drawn from torch's own generator, further on
        torch.manual_seed(seed)
        again = models.mlp(widths, bias=bias)
    ours = models.mlp(widths, bias=bias, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(numbers(ours), numbers(by_hand))
    assert torch.equal(numbers(again), numbers(by_hand))
    assert not torch.equal(numbers(ours_without), numbers(by_hand))


def test_a_generator_leaves_torchs_own_alone():
    before = torch.get_rng_state()
    models.mlp([2, 16, 3], generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


@given(widths, st.booleans(), st.floats(0.125, 8))
def test_scale_multiplies_every_weight_and_bias(widths, bias, scale):
    def make(scale):
        return models.mlp(widths, bias=bias, scale=scale, generator=torch.Generator().manual_seed(1))

    assert torch.equal(numbers(make(scale)), scale * numbers(make(1.0)))
    if not bias:
        x = torch.randn(5, widths[0], generator=torch.Generator().manual_seed(2))
        layers = len(widths) - 1
        torch.testing.assert_close(make(scale)(x), scale**layers * make(1.0)(x), rtol=1e-4, atol=1e-5)


def test_layers_and_activations_alternate_and_the_last_layer_is_bare():
    model = models.mlp([2, 5, 4, 3], activation=lambda: nn.LeakyReLU(0.2), bias=False)
    kinds = [nn.Linear, nn.LeakyReLU, nn.Linear, nn.LeakyReLU, nn.Linear]
    assert [type(layer) for layer in model] == kinds
    assert all(layer.bias is None for layer in model[::2])
    assert model[1] is not model[3]
    assert model(torch.zeros(7, 2)).shape == (7, 3)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in model.parameters())


@pytest.mark.parametrize("bad", [[], [2], [2, 0, 3], [2, -1], [2, 1.5, 3], [2, "3"]])
def test_widths_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match=r"widths must be at least two.*write \[2, 16, 3\]"):
        models.mlp(bad)


def test_an_activation_that_is_made_already_is_refused():
    with pytest.raises(TypeError, match=r"got the module ReLU\(\).*Write nn.ReLU without brackets"):
        models.mlp([2, 3, 2], activation=nn.ReLU())


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="scale must be a finite number above 0.*got"):
        models.mlp([2, 3], scale=bad)
