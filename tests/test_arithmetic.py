"""data: tables obey the laws of their groups, and splits hold."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigrok import data

primes = st.sampled_from([2, 3, 5, 7, 11, 13])
sizes, seeds, fractions = st.integers(2, 14), st.integers(0, 2**31), st.floats(0.01, 0.99)


def square(operation, p):
    x, y = data.table(operation, p)
    return x, y.view(p, p)


def pairs(x):
    return {tuple(pair) for pair in x.tolist()}


@given(sizes)
def test_tables_stand_in_order_and_say_what_python_says(p):
    x, y = data.table("add", p)
    assert x.tolist() == [list(pair) for pair in itertools.product(range(p), repeat=2)]
    assert y.tolist() == [(a + b) % p for a, b in x.tolist()]
    assert data.table("subtract", p)[1].tolist() == [(a - b) % p for a, b in x.tolist()]
    assert data.table("multiply", p)[1].tolist() == [a * b % p for a, b in x.tolist()]


@given(primes)
def test_division_undoes_multiplication(p):
    x, y = data.table("divide", p)
    assert len(x) == p * (p - 1) and (x[:, 1] != 0).all()
    assert torch.equal(y * x[:, 1] % p, x[:, 0])
    assert torch.equal(x[:, 0] * (p - 1) + x[:, 1] - 1, torch.arange(len(x)))


def test_s5_is_the_group_of_permutations_of_five_things():
    _, y = square("s5", 120)
    permutations = list(itertools.permutations(range(5)))
    for a, b in [(3, 77), (119, 1), (40, 40), (5, 118)]:
        after = tuple(permutations[a][permutations[b][k]] for k in range(5))
        assert permutations[y[a, b]] == after
    assert torch.equal(y[y], y[:, y])  # (a b) c = a (b c), for all 1,728,000 triples
    everything = torch.arange(120)
    assert (y.sort(dim=0).values == everything[:, None]).all()
    assert torch.equal(y[0], everything) and torch.equal(y[:, 0], everything)
    assert 0 < (y == y.T).float().mean() < 0.1  # few pairs commute


def test_the_random_table_is_a_function_of_its_seed_and_fits_no_sum():
    x, y = data.table("random", 59, seed=1)
    assert torch.equal(y, data.table("random", 59, seed=1)[1])
    assert not torch.equal(y, data.table("random", 59, seed=2)[1])
    assert len(y.unique()) == 59
    assert (y == x.sum(1) % 59).float().mean() < 0.05


@given(st.sampled_from(["add", "subtract", "random"]), sizes, fractions, seeds)
def test_a_split_is_the_table_in_two_parts(operation, p, fraction, seed):
    before = torch.get_rng_state()
    task = data.arithmetic(operation, p, fraction=fraction, seed=seed)
    x, y = data.table(operation, p, seed=seed)
    results = dict(zip(map(tuple, x.tolist()), y.tolist(), strict=True))
    assert pairs(task.x_train) | pairs(task.x_test) == results.keys()
    assert len(task.x_train) + len(task.x_test) == p * p
    assert len(task.x_train) == min(max(1, round(fraction * p * p)), p * p - 1)
    for part, labels in ((task.x_train, task.y_train), (task.x_test, task.y_test)):
        assert [results[tuple(pair)] for pair in part.tolist()] == labels.tolist()
    assert torch.equal(torch.get_rng_state(), before)


@given(st.sampled_from(["add", "subtract", "multiply", "random"]), sizes, fractions, seeds)
def test_no_mirror_crosses_an_unordered_split(operation, p, fraction, seed):
    task = data.arithmetic(operation, p, fraction=fraction, split="unordered", seed=seed)
    assert not pairs(task.x_train.flip(1)) & pairs(task.x_test)
    asked = min(max(1, round(fraction * p * p)), p * p - 1)
    assert len(task.x_test) and abs(len(task.x_train) - asked) <= 1
    assert not data.without_mirror(task.x_train).any()


@given(sizes, st.floats(0.05, 0.5), seeds, st.sampled_from(["ordered", "unordered"]))
def test_a_smaller_training_set_is_the_beginning_of_a_larger_one(p, fraction, seed, split):
    small = data.arithmetic("add", p, fraction=fraction, split=split, seed=seed).x_train
    large = data.arithmetic("add", p, fraction=fraction + 0.3, split=split, seed=seed).x_train
    assert torch.equal(large[: len(small)], small)


@given(st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_without_mirror_is_what_a_set_of_pairs_says(chosen):
    x = torch.tensor(sorted(chosen))
    assert data.without_mirror(x).tolist() == [(b, a) not in chosen for a, b in x.tolist()]


def test_without_mirror_of_nothing_and_of_no_pairs():
    assert data.without_mirror(torch.zeros(0, 2, dtype=torch.int64)).shape == (0,)
    with pytest.raises(ValueError, match=r"expected pairs of whole numbers \(n, 2\), got torch.float32"):
        data.without_mirror(torch.zeros(4, 2))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_outside_of_0_and_1_is_refused(fraction):
    with pytest.raises(
        ValueError, match="fraction is the share of the table to train on, above 0 and below 1"
    ):
        data.arithmetic("add", 7, fraction=fraction)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (("plus", 7), "operation must be one of 'add', 'subtract', .*, got 'plus'"),
        (("add", 1), "p, the number of symbols, must be a whole number from 2 to 2000, got 1"),
        (("add", 7.0), "must be a whole number from 2 to 2000, got 7.0"),
        (("divide", 91), "needs a prime p, so that every b but 0 has an inverse, got 91 = 7 x 13"),
        (("s5", 59), "'s5' has 120 symbols, the permutations of five things: write p=120, got p=59"),
    ],
)
def test_tables_that_are_none(arguments, text):
    with pytest.raises(ValueError, match=text):
        data.table(*arguments)


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split must be 'ordered' or 'unordered', got 'mirror'"):
        data.arithmetic("add", 7, split="mirror")
