"""models for pairs: formulas written out, a network on one-hot codes, and the cosine solution's theory."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from minigrok import data, models, networks, regions

seeds = st.integers(0, 2**31)


def generator(seed):
    return torch.Generator().manual_seed(seed)


@given(st.integers(2, 9), st.integers(1, 12), seeds, st.sampled_from([nn.ReLU, models.Square, nn.Tanh]))
def test_adding_is_a_perceptron_on_one_hot_codes(p, width, seed, activation):
    model = models.pair_mlp(p, width, activation=activation, generator=generator(seed))
    x, _ = data.table("add", p)
    codes = torch.cat([nn.functional.one_hot(x[:, i], p).float() for i in (0, 1)], dim=1)
    tables = torch.cat([model.left.weight, model.right.weight])
    logits = activation()(codes @ tables) @ model.body[1].weight.T
    torch.testing.assert_close(model(x), logits)
    bound = 1 / math.sqrt(2 * p)
    assert tables.abs().max() <= bound and model.body[1].weight.abs().max() <= 1 / math.sqrt(width)


@given(st.integers(2, 9), st.integers(1, 12), st.integers(1, 6), seeds)
def test_concatenating_is_what_it_says(p, width, dim, seed):
    model = models.pair_mlp(p, width, combine="concatenate", dim=dim, generator=generator(seed))
    x, _ = data.table("add", p)
    embedded = torch.cat([model.left.weight[x[:, 0]], model.right.weight[x[:, 1]]], dim=1)
    assert torch.equal(model.embed(x), embedded) and embedded.shape == (p * p, 2 * dim)
    hidden, readout = model.body[0].weight, model.body[2].weight
    torch.testing.assert_close(model(x), (embedded @ hidden.T).relu() @ readout.T)


@pytest.mark.parametrize("combine", ["add", "concatenate"])
def test_a_shared_table_that_is_added_cannot_tell_mirrors_apart(combine):
    model = models.pair_mlp(7, 16, combine=combine, shared=True, generator=generator(0))
    x, _ = data.table("add", 7)
    assert model.left is model.right
    same = torch.equal(model(x), model(x.flip(1)))
    assert same == (combine == "add")


@given(seeds)
@settings(max_examples=5)
def test_weights_come_from_the_generator_alone(seed):
    before = torch.get_rng_state()
    makers = [
        lambda g, **k: models.pair_mlp(5, 8, generator=g, **k),
        lambda g, **k: models.pair_mlp(5, 8, combine="concatenate", generator=g, **k),
        lambda g: models.pair_transformer(5, dim=8, heads=2, width=12, generator=g),
        lambda g: models.cosine_solution(5, 8, generator=g),
    ]
    for make in makers:
        first, again, other = make(generator(seed)), make(generator(seed)), make(generator(seed + 1))
        assert all(torch.equal(u, v) for u, v in zip(first.parameters(), again.parameters(), strict=True))
        assert not all(torch.equal(u, v) for u, v in zip(first.parameters(), other.parameters(), strict=True))
    for make in makers[:2]:
        plain, scaled = make(generator(seed)), make(generator(seed), scale=3.0)
        for u, v in zip(plain.parameters(), scaled.parameters(), strict=True):
            torch.testing.assert_close(3 * u, v)
    assert torch.equal(torch.get_rng_state(), before)


@given(st.integers(3, 31), seeds)
@settings(max_examples=15)
def test_many_waves_solve_addition(p, seed):
    x, y = data.table("add", p)
    model = models.cosine_solution(p, 80 * p, generator=generator(seed))
    assert (model(x).argmax(dim=1) == y).float().mean() > 0.99


def test_the_cosine_solution_gets_better_with_width():
    # Gromov 2023: at p = 97 about a third right with 20 units, nine tenths with 50, all with 200.
    x, y = data.table("add", 97)
    share = {
        width: torch.tensor(
            [(models.cosine_solution(97, width, generator=generator(s))(x).argmax(1) == y).float().mean()
             for s in range(5)]
        ).median()
        for width in (20, 50, 100, 200)
    }  # fmt: skip
    assert 0.2 < share[20] < 0.45 and 0.8 < share[50] < 0.97 and 0.98 < share[100] and share[200] > 0.999


def test_the_cosine_solution_with_all_phases_is_exact_in_the_mean():
    # With phases on a grid instead of drawn, the terms that should average out sum to exactly nothing.
    p, k, phases = 7, 2, 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    u, v = torch.cartesian_prod(phases, phases).T
    x, y = data.table("add", p)
    wave = torch.tensor(2 * math.pi * k / p, dtype=torch.float64)
    hidden = (torch.cos(wave * x[:, :1] + u) + torch.cos(wave * x[:, 1:] + v)).square()
    logits = hidden @ torch.cos(wave * torch.arange(p)[:, None] + u + v).T / len(u)
    expected = torch.cos(wave * (y[:, None] - torch.arange(p))) / 2
    torch.testing.assert_close(logits, expected.to(logits.dtype))


@given(st.integers(2, 6), st.sampled_from([(4, 1), (4, 2), (6, 3)]), seeds)
@settings(max_examples=20)
def test_the_transformer_is_what_its_formula_says(p, sizes, seed):
    dim, heads = sizes
    model = models.pair_transformer(p, dim=dim, heads=heads, width=10, generator=generator(seed))
    x, _ = data.table("add", p)
    for i in (0, p * p - 1):
        e = [model.token[s] + model.position[t] for t, s in enumerate([*x[i].tolist(), p])]
        size, summed = dim // heads, []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            q, k, v = (
                torch.stack([(f.weight @ token)[part] for token in e])
                for f in (model.query, model.key, model.value)
            )
            weights = (k @ q[2] / math.sqrt(size)).softmax(dim=0)
            summed.append(weights @ v)
        r = e[2] + model.out.weight @ torch.cat(summed)
        up, down = model.head.up, model.head.down
        r = r + down.weight @ (up.weight @ r + up.bias).relu() + down.bias
        torch.testing.assert_close(model(x)[i], model.head.unembed.weight @ r)


def test_what_follows_the_embedding_has_regions_that_can_be_counted():
    x, _ = data.table("add", 5)
    pair = models.pair_mlp(5, 8, generator=generator(0))
    transformer = models.pair_transformer(5, dim=8, heads=2, width=12, generator=generator(0))
    with torch.no_grad():
        e, r = pair.embed(x), transformer.attention(transformer.embed(x))
    assert networks.trace(pair.body).units == (8,)
    assert regions.local_complexity(pair.body, e, radius=0.1, generator=generator(0)).per_layer.shape == (
        25,
        1,
    )
    counted = regions.local_complexity(transformer.head, r, radius=0.1, generator=generator(0))
    assert counted.per_layer.shape == (25, 1)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: models.pair_mlp(1), "p must be at least 2 symbols and width at least 1 unit, got 1 and 128"),
        (lambda: models.pair_mlp(5, 0), "width at least 1 unit, got 5 and 0"),
        (lambda: models.pair_mlp(5, combine="sum"), "combine must be 'add' or 'concatenate', got 'sum'"),
        (lambda: models.pair_mlp(5, dim=3), "as wide as the hidden layer: leave dim out, got dim=3"),
        (lambda: models.pair_mlp(5, combine="concatenate", dim=0), "dim must be at least 1, got 0"),
        (lambda: models.pair_mlp(5, scale=0.0), "scale must be a finite number above 0"),
        (lambda: models.cosine_solution(2, 8), "p must be at least 3: two symbols have no wave"),
        (lambda: models.pair_transformer(5, dim=9, heads=2), "dim must be a multiple of heads"),
    ],
)
def test_networks_that_cannot_be_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_an_activation_that_is_already_a_module_is_refused():
    with pytest.raises(TypeError, match="Write nn.ReLU without brackets"):
        models.pair_mlp(5, activation=nn.ReLU())
