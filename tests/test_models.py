"""models: PyTorch's own initialisation is the oracle, drawn from a generator that is not PyTorch's own."""

import numpy as np
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


def test_whole_numbers_may_be_those_of_numpy():
    two, three, eight = np.array([2, 3, 8])
    assert [layer.in_features for layer in models.mlp(np.array([2, 3, 8]))[::2]] == [2, 3]
    assert models.pair_mlp(three, eight).left.weight.shape == (3, 8)
    assert models.cnn(two, n_classes=three)(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


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


def conv_numbers_by_hand(seed, make):
    """The weights PyTorch draws when the same layers are made one after the other."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for layer in make() for p in layer.parameters()])


@given(st.integers(1, 3), seeds)
def test_the_cnn_has_the_weights_of_layers_made_by_hand(width, seed):
    channels, strides = [3, width, 2 * width, 2 * width, 4 * width, 4 * width], [2, 1, 2, 1, 2]

    def make():
        for n_in, n_out, stride in zip(channels, channels[1:], strides, strict=False):
            yield nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1)
        yield nn.Linear(64 * width, 16 * width)
        yield nn.Linear(16 * width, 10)

    ours = models.cnn(width, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(numbers(ours), conv_numbers_by_hand(seed, make))


@pytest.mark.parametrize("make", [models.cnn, models.resnet18])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_picture_networks(make, batch_norm):
    before = torch.get_rng_state()
    model = make(2, batch_norm=batch_norm, n_classes=7, generator=torch.Generator().manual_seed(0))
    again = make(2, batch_norm=batch_norm, n_classes=7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(numbers(model), numbers(again))
    assert any(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == batch_norm
    x = torch.rand(3, 3, 32, 32)
    assert model(x).shape == (3, 7)
    model(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_the_sizes_of_the_picture_networks():
    for width in (8, 16):
        convolutions = [m for m in models.cnn(width).modules() if isinstance(m, nn.Conv2d)]
        affine = [m for m in models.cnn(width).modules() if isinstance(m, nn.Linear)]
        assert (len(convolutions), len(affine)) == (5, 2)
    # ResNet-18: 17 convolutions of 3 x 3 and one affine layer; three shortcuts change the channels
    modules = list(models.resnet18(64, batch_norm=True).modules())
    sizes = [m.kernel_size for m in modules if isinstance(m, nn.Conv2d)]
    assert sizes.count((3, 3)) == 17 and sizes.count((1, 1)) == 3
    n_weights = sum(
        p.numel() for m in modules if isinstance(m, nn.Conv2d | nn.Linear) for p in m.parameters()
    )
    assert n_weights == 9 * 3 * 64 + 9 * (
        64 * 64 * 4 + 64 * 128 + 128 * 128 * 3 + 128 * 256 + 256 * 256 * 3
    ) + (9 * (256 * 512 + 512 * 512 * 3) + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 10 + 10)


def test_a_block_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    for n_out, stride in [(4, 1), (6, 2)]:
        block = models.PreActBlock(4, n_out, stride=stride, batch_norm=True, generator=generator).eval()
        x = torch.randn(2, 4, 8, 8, generator=generator)
        h = x.div((1 + block.norm1.eps) ** 0.5).relu()  # a fresh batch norm has mean 0 and variance 1
        inner = block.conv1(h).div((1 + block.norm2.eps) ** 0.5).relu()
        shortcut = x if n_out == 4 else block.shortcut(h)
        torch.testing.assert_close(block(x), shortcut + block.conv2(inner))


@pytest.mark.parametrize("make", [models.cnn, models.resnet18])
def test_picture_networks_refuse_no_channels(make):
    with pytest.raises(ValueError, match="at least 1 channel and n_classes at least 2, got 0 and 10"):
        make(0)
    with pytest.raises(ValueError, match="got 8 and 1"):
        make(8, n_classes=1)
