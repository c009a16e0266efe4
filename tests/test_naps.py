"""Patterns: mined by a loop over samples and units, ordered, refused, and made minimal by brute force."""

import copy
import itertools
import re
from fractions import Fraction
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minigrok import naps, networks
from minigrok.models import cnn, mlp, resnet18
from minigrok.naps import NAP, minimal


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def watched(model: nn.Module, x: Tensor) -> list[Tensor]:
    """What goes into every ReLU, module or function, in float64: the oracle for states."""
    kept: list[Tensor] = []
    relu = torch.relu

    def noted(z: Tensor, *_: object, **__: object) -> Tensor:
        kept.append(z.flatten(1).clone())
        return relu(z)

    with mock.patch("torch.relu", noted), mock.patch("torch.nn.functional.relu", noted):
        copy.deepcopy(model).double()(x.double())
    return kept


def mined_by_a_loop(model: nn.Module, x: Tensor, y: Tensor, delta: Fraction) -> dict[int, tuple[set, set]]:
    """Algorithm 1, one class, one unit and one sample at a time, in whole numbers."""
    pre_activations = [z.tolist() for z in watched(model, x)]
    found = {}
    for label in sorted(set(y.tolist())):
        members = [i for i in range(len(y)) if y[i] == label]
        active, inactive = set(), set()
        for layer, z in enumerate(pre_activations):
            for unit in range(len(z[0])):
                count = sum(1 for i in members if z[i][unit] > 0)
                if Fraction(count, len(members)) >= delta:
                    active.add((layer, unit))
                if Fraction(count, len(members)) <= 1 - delta:
                    inactive.add((layer, unit))
        found[label] = (active, inactive)
    return found


def units_of(masks: tuple[Tensor, ...]) -> set[tuple[int, int]]:
    return {(layer, unit) for layer, mask in enumerate(masks) for unit in mask.nonzero()[:, 0].tolist()}


def nap_of(active: str, *more: str) -> NAP:
    """A pattern from words such as "+-0": active, inactive, open; one word for each layer."""
    words = (active, *more)
    masks = {sign: tuple(torch.tensor([c == sign for c in word]) for word in words) for sign in "+-"}
    return NAP(masks["+"], masks["-"])


def small_net(widths=(3, 6, 5, 4), seed: int = 0, dead: int = 0) -> nn.Sequential:
    """A random network; the first `dead` units of its first layer are inactive everywhere near the cube."""
    model = mlp(list(widths), generator=seeded(seed))
    with torch.no_grad():
        model[0].bias[:dead] = -100
    return model


def signs(d: int) -> nn.Sequential:
    """A network of one layer whose states are the signs of its inputs."""
    model = nn.Sequential(nn.Linear(d, d), nn.ReLU())
    model.load_state_dict({"0.weight": torch.eye(d), "0.bias": torch.zeros(d)})
    return model


def samples(n: int, d: int = 3, seed: int = 1) -> Tensor:
    return torch.rand(n, d, generator=seeded(seed)) * 2 - 1


# --- mining -------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    widths=st.lists(st.integers(1, 8), min_size=2, max_size=4),
    n=st.integers(1, 150),
    classes=st.integers(1, 4),
    delta=st.one_of(st.sampled_from(["0.51", "0.6", "0.75", "0.8", "0.9", "0.95", "0.99", "1"])),
    dead=st.integers(0, 3),
    copies=st.integers(1, 3),
    batch=st.integers(1, 200),
    seed=st.integers(0, 5),
)
def test_mining_is_the_loop_over_samples_and_units(widths, n, classes, delta, dead, copies, batch, seed):
    model = small_net([3, *widths, 2], seed=seed, dead=dead)
    x = samples(n, seed=seed + 1).repeat(copies, 1)
    y = torch.randint(classes, (len(x),), generator=seeded(seed + 2))
    found = naps.mine(model, x, y, delta=float(delta), batch=batch)
    expected = mined_by_a_loop(model, x, y, Fraction(delta))
    assert list(found) == list(expected)
    for label, (active, inactive) in expected.items():
        assert units_of(found[label].active) == active
        assert units_of(found[label].inactive) == inactive


@pytest.mark.parametrize("delta", ["0.55", "0.6", "0.65", "0.7", "0.8", "0.85", "0.9", "0.95", "0.99"])
def test_a_share_of_exactly_delta_suffices_whatever_float_makes_of_it(delta):
    sign = signs(1)
    for n in (100, 300, 700, 1000):
        least = int(Fraction(delta) * n)
        assert least == Fraction(delta) * n, "the test wants a whole number"
        for count in (least - 1, least, n - least, n - least + 1):
            x = torch.ones(n, 1)
            x[count:] = -1
            nap = naps.mine(sign, x, torch.zeros(n, dtype=torch.long), delta=float(delta))[0]
            assert bool(nap.active[0]) == (count >= least)
            assert bool(nap.inactive[0]) == (count <= n - least)


def test_with_delta_1_all_samples_follow_and_only_units_that_never_change_are_fixed():
    model, x = small_net(dead=2), samples(300)
    y = torch.randint(3, (300,), generator=seeded(4))
    for label, nap in naps.mine(model, x, y, delta=1).items():
        members = x[y == label]
        assert nap.follows(model, members).all()
        for z, fixed in zip(watched(model, members), nap.fixed, strict=True):
            never_changes = (z > 0).all(0) | (z <= 0).all(0)
            assert torch.equal(fixed, never_changes)
    assert naps.coverage(naps.mine(model, x, y, delta=1), model, x, y).total == 1


def test_a_smaller_delta_gives_a_finer_pattern():
    model, x = small_net((3, 12, 12, 4)), samples(400)
    y = torch.randint(3, (400,), generator=seeded(4))
    by_delta = [naps.mine(model, x, y, delta=delta) for delta in (1.0, 0.99, 0.9, 0.75, 0.6, 0.51)]
    for coarse, fine in itertools.pairwise(by_delta):
        assert all(coarse[label].coarser_than(fine[label]) for label in coarse)
    assert by_delta[0][0].size < by_delta[-1][0].size


def test_chosen_layers_are_mined_as_all_are_and_the_rest_left_open():
    model, x = small_net((3, 6, 5, 7, 2)), samples(100)
    y = torch.randint(2, (100,), generator=seeded(4))
    whole = naps.mine(model, x, y, delta=0.8)
    for layers in (0, 1, [2], [0, 2], [1, 0], []):
        found = naps.mine(model, x, y, delta=0.8, layers=layers)
        assert all(found[label] == whole[label].only(layers) for label in whole)
    assert [mask.any().item() for mask in whole[0].only(1).fixed] == [False, True, False]


def test_labels_choose_the_classes_and_their_order():
    model, x = small_net(), samples(60)
    y = torch.arange(60) % 3 * 10
    whole = naps.mine(model, x, y, delta=0.9)
    assert list(whole) == [0, 10, 20]
    some = naps.mine(model, x, y, delta=0.9, labels=[20, 0])
    assert list(some) == [20, 0] and all(some[k] == whole[k] for k in some)


# --- states, and who follows --------------------------------------------------------------------------------


class Residual(nn.Module):
    """A sum of two paths, and a ReLU that is used twice: three layers of units."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.inner, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.first(x))
        h = self.relu(h + self.inner(h))
        return self.head(torch.relu(h - 0.3))


NETWORKS = {
    "mlp": (lambda: small_net((4, 8, 8, 3)), (4,)),
    "residual": (Residual, (4,)),
    "cnn": (lambda: cnn(2, generator=seeded()).eval(), (3, 32, 32)),
    "resnet": (lambda: resnet18(1, generator=seeded()).eval(), (3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_states_are_the_signs_of_what_goes_into_each_relu(name):
    build, shape = NETWORKS[name]
    model, x = build(), torch.rand(70, *shape, generator=seeded(3))
    found, expected = naps.states(model, x), watched(model, x)
    assert len(found) == len(expected)
    for state, z in zip(found, expected, strict=True):
        assert state.dtype == torch.bool and torch.equal(state, z > 0)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_input_follows_its_own_full_pattern_and_violations_count_the_rest(name):
    build, shape = NETWORKS[name]
    model, x = build(), torch.rand(5, *shape, generator=seeded(3))
    pattern = torch.cat(naps.states(model, x), 1)
    for i in range(3):
        nap = naps.of(model, x[i])
        assert nap == naps.of(model, x[i : i + 1])
        assert nap.size == sum(nap.units) == pattern.shape[1]
        assert torch.equal(nap.violations(model, x), (pattern != pattern[i]).sum(1))
        assert nap.follows(model, x[i : i + 1]).all()


def test_cnn_patterns_are_mined_and_followed():
    model, x = cnn(2, generator=seeded()).eval(), torch.rand(90, 3, 32, 32, generator=seeded(1))
    y = torch.arange(90) % 3
    found = naps.mine(model, x, y, delta=0.9)
    expected = mined_by_a_loop(model, x, y, Fraction("0.9"))
    for label, (active, inactive) in expected.items():
        assert units_of(found[label].active) == active and units_of(found[label].inactive) == inactive
    follow = naps.followers(found, model, x)
    for k, nap in enumerate(found.values()):
        assert torch.equal(follow[:, k], nap.follows(model, x))
        assert torch.equal(follow[:, k], nap.violations(model, x) == 0)


@settings(max_examples=25)
@given(seed=st.integers(0, 100), share=st.floats(0, 1), n=st.integers(0, 130))
def test_violations_are_counted_one_by_one(seed, share, n):
    model, x = small_net((3, 7, 6, 2), seed=seed), samples(n, seed=seed + 1)
    draw = seeded(seed + 2)
    active = tuple(torch.rand(units, generator=draw) < share for units in (7, 6))
    inactive = tuple(~a & (torch.rand(len(a), generator=draw) < share) for a in active)
    nap = NAP(active, inactive)
    expected = torch.zeros(n, dtype=torch.int64)
    for z, on, off in zip(watched(model, x), active, inactive, strict=True):
        expected += ((z <= 0) & on).sum(1) + ((z > 0) & off).sum(1)
    assert torch.equal(nap.violations(model, x), expected)
    assert torch.equal(nap.follows(model, x), expected == 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layer", [0, 1])
def test_states_do_not_depend_on_the_batch_even_where_float32_cannot_tell(layer, dtype):
    """Every unit of a layer is 0 at x0 up to float32's rounding, and nearly all samples lie close to x0."""
    model = mlp([200, 40, 30, 2], generator=seeded())
    x0, x1 = torch.rand(2, 200, generator=seeded(1))
    with torch.no_grad():
        if layer == 1:
            model[0].weight *= 300  # inner values far larger than the inputs
            model[0].bias[0] -= model[0](x1)[0]  # and a few samples in doubt in the layer before
        model[2 * layer].bias -= model[: 2 * layer + 1](x0)
    x = (torch.stack([x0] * 395 + [x1] * 5) + 3e-7 * torch.randn(400, 200, generator=seeded(2))).to(dtype)
    expected = [z > 0 for z in watched(model, x)]
    in_float32 = model[: 2 * layer + 1](x.float()) > 0
    assert (in_float32 != expected[layer]).sum() > 100, "the test wants signs that float32 gets wrong"
    for batch in (400, 7):
        parts = [naps.states(model, part) for part in x.split(batch)]
        for k, state in enumerate(expected):
            assert torch.equal(torch.cat([part[k] for part in parts]), state)
    y = torch.zeros(400, dtype=torch.long)
    once = naps.mine(model, x, y, delta=0.6)[0]
    assert naps.mine(model, x, y, delta=0.6, batch=90)[0] == once
    assert units_of(once.active) == mined_by_a_loop(model, x, y, Fraction("0.6"))[0][0]


def test_states_are_right_where_float32_overflows():
    model = small_net((4, 8, 8, 2)).double()
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 1e25  # products of 1e50: infinite in float32, and then NaN
    x = torch.rand(400, 4, generator=seeded(3), dtype=torch.float64) - 0.5
    for found, z in zip(naps.states(model, x), watched(model, x), strict=True):
        assert torch.equal(found, z > 0)


def test_a_pattern_does_not_change_with_the_masks_it_was_made_from():
    mask = torch.tensor([True, False])
    nap = NAP((mask,), (~mask,))
    mask.fill_(True)
    assert nap.active[0].tolist() == [True, False]


def test_a_class_that_is_asked_for_twice_is_mined_once():
    model, y = small_net((3, 6, 2)), torch.arange(20) % 2
    twice = naps.mine(model, samples(20), y, delta=1, labels=[1, 1, 0])
    assert list(twice) == [1, 0] and twice == naps.mine(model, samples(20), y, delta=1)


def test_a_unit_at_exactly_zero_is_inactive():
    one = signs(1)
    x = torch.tensor([[0.0], [-0.0], [1e-30], [-1e-30]])
    assert naps.states(one, x)[0][:, 0].tolist() == [False, False, True, False]
    many = x.repeat(50, 1)  # enough for float32 to be tried first
    assert naps.states(one, many)[0][:, 0].tolist() == 50 * [False, False, True, False]


def test_only_the_layers_that_are_asked_for_are_computed():
    computed = []

    class Noted(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            computed.append(len(x))
            return super().forward(x)

    model = mlp([3, 6, 5, 2], generator=seeded())
    network = naps._network(model, samples(1))
    noted = Noted(5, 2, dtype=torch.float64)
    steps = list(network.steps)
    object.__setattr__(steps[-1], "apply", noted)
    for rows, found, sure in naps._chunks(network, samples(10), [0, 1]):
        assert rows.tolist() == list(range(10)) and sorted(found) == [0, 1] and sure.all()
    assert not computed, "the output was computed, and nobody asked"
    assert network(samples(4).double()).shape == (4, 2) and computed == [4]


def test_inputs_of_whole_numbers_and_of_other_precisions():
    model = small_net((3, 6, 2))
    x = torch.randint(0, 200, (90, 3), generator=seeded(5))
    expected = naps.states(model, x.double())[0]
    for dtype in (torch.uint8, torch.int16, torch.int64, torch.float32, torch.float16):
        assert torch.equal(naps.states(model, x.to(dtype))[0], expected)
    assert naps.states(model, torch.tensor([[True, False, True]]))[0].shape == (1, 6)


def test_nothing_is_changed():
    model = small_net().train()
    x = samples(80).requires_grad_()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    y = torch.arange(80) % 2
    naps.coverage(naps.mine(model, x, y, delta=0.9), model, x, y)
    assert model.training and x.grad is None and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- coverage -----------------------------------------------------------------------------------------------


def test_coverage_counts_by_hand():
    model = signs(2)
    found = {3: nap_of("+0"), 1: nap_of("0+")}
    x = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, 1.0]])
    y = torch.tensor([3, 3, 1, 1, 7])
    assert naps.followers(found, model, x).int().tolist() == [[1, 1], [1, 0], [0, 1], [0, 0], [1, 1]]
    cover = naps.coverage(found, model, x, y)
    assert cover.labels.tolist() == [3, 1]
    assert cover.recall.tolist() == [1.0, 0.5]
    assert cover.others.tolist() == [1, 2]
    assert (cover.total, cover.ambiguous, cover.none, cover.n) == (3 / 5, 2 / 5, 1 / 5, 5)
    assert repr(cover) == (
        "Coverage(5 samples: 60.0% follow their own class, 3 another's, 40.0% two or more, 20.0% none)"
    )


def test_coverage_agrees_with_a_loop():
    model, x, n = small_net((3, 8, 8, 3)), samples(80), 80
    y = model(x).argmax(1)
    found = naps.mine(model, x, y, delta=0.9)
    cover = naps.coverage(found, model, x, y)
    own = {label: set(torch.cat(nap.active).nonzero()[:, 0].tolist()) for label, nap in found.items()}
    off = {label: set(torch.cat(nap.inactive).nonzero()[:, 0].tolist()) for label, nap in found.items()}
    pattern = [set(row.nonzero()[:, 0].tolist()) for row in torch.cat(watched(model, x), 1) > 0]
    follow = [[own[k] <= on and not off[k] & on for k in found] for on in pattern]
    for k, label in enumerate(found):
        members = [follow[i][k] for i in range(n) if y[i] == label]
        assert cover.recall[k] == sum(members) / len(members)
        assert cover.others[k] == sum(follow[i][k] for i in range(n) if y[i] != label)
    assert cover.ambiguous == sum(sum(row) >= 2 for row in follow) / n
    assert cover.none == sum(not any(row) for row in follow) / n
    assert 0 < cover.total < 1 and cover.ambiguous > 0


# --- patterns among themselves ------------------------------------------------------------------------------

PATTERNS = st.lists(st.sampled_from("+-0"), min_size=4, max_size=4).map("".join)


@given(PATTERNS, PATTERNS, PATTERNS)
def test_coarser_than_is_a_partial_order(a, b, c):
    a, b, c = (nap_of(word[:3], word[3:]) for word in (a, b, c))
    assert a.coarser_than(a)
    assert (a.coarser_than(b) and b.coarser_than(a)) == (a == b)
    if a.coarser_than(b) and b.coarser_than(c):
        assert a.coarser_than(c)


@given(PATTERNS, PATTERNS)
def test_and_is_the_coarsest_pattern_finer_than_both(a, b):
    first, second = nap_of(a[:3], a[3:]), nap_of(b[:3], b[3:])
    against = sum({p, q} == {"+", "-"} for p, q in zip(a, b, strict=True))
    assert naps.clashes(first, second) == naps.clashes(second, first) == against
    if against:
        with pytest.raises(ValueError, match=f"contradict each other at {against} units"):
            first & second
    else:
        word = "".join(q if p == "0" else p for p, q in zip(a, b, strict=True))
        assert first & second == nap_of(word[:3], word[3:])
        assert first.coarser_than(first & second) and second.coarser_than(first & second)


@given(PATTERNS, st.integers(0, 3))
def test_without_and_keep_and_only_give_coarser_patterns(word, place):
    nap = nap_of(word[:3], word[3:])
    layer, unit = divmod(place, 3)
    open_one = word[:place] + "0" + word[place + 1 :]
    assert nap.without(layer, unit) == nap_of(open_one[:3], open_one[3:])
    assert nap.without(layer, unit).coarser_than(nap)
    assert nap.only(0) == nap_of(word[:3], "0") and nap.only([]).size == 0
    masks = (torch.tensor([True, False, True]), torch.tensor([False]))
    assert nap.keep(masks) == nap_of(word[0] + "0" + word[2], "0")
    assert nap.keep(nap.fixed) == nap


def test_finer_patterns_have_fewer_followers_and_clashing_ones_none_in_common():
    model, x = small_net((3, 8, 8, 3)), samples(500)
    y = (x[:, 0] > 0) + 2 * (x[:, 1] > 0)
    fine, coarse = (naps.mine(model, x, y, delta=delta) for delta in (0.6, 0.85))
    n_clashing = 0
    for label in fine:
        assert (fine[label].follows(model, x) <= coarse[label].follows(model, x)).all()
        for other in coarse:
            if naps.clashes(fine[label], coarse[other]):
                n_clashing += 1
                assert not (fine[label].follows(model, x) & coarse[other].follows(model, x)).any()
    assert n_clashing, "the test wants patterns that contradict each other"
    nap = naps.of(model, x[0])
    both = nap.only(0) & nap.only(1)
    assert both == nap and torch.equal(
        both.follows(model, x), nap.only(0).follows(model, x) & nap.only(1).follows(model, x)
    )


def test_what_a_pattern_says_of_itself():
    nap = nap_of("+-0", "00-+")
    assert (nap.units, nap.size, nap.counts) == ((3, 4), 4, ((1, 1), (1, 1)))
    assert repr(nap) == "NAP(4 of 7 fixed, by layer: +1 -1, +1 -1)"
    assert nap != nap_of("+-0", "00--") and nap != nap_of("+-0") and nap != "+-0"
    with pytest.raises(TypeError, match="unhashable"):
        hash(nap)


# --- minimal patterns ---------------------------------------------------------------------------------------


def needs(*families: set[int]):
    """Sufficient iff all units of one of these sets are fixed; counts how often it is asked."""

    def sufficient(nap: NAP) -> bool:
        sufficient.asked.append(nap)
        fixed = set(torch.cat(nap.fixed).nonzero()[:, 0].tolist())
        return any(family <= fixed for family in families)

    sufficient.asked = []
    return sufficient


def minimal_sets(families) -> list[set[int]]:
    return [set(a) for a in families if not any(set(b) < set(a) for b in families)]


def fixed_units(nap: NAP) -> set[int]:
    return set(torch.cat(nap.fixed).nonzero()[:, 0].tolist())


FAMILIES = st.lists(st.frozensets(st.integers(0, 11), max_size=6), min_size=1, max_size=5)
WHOLE = nap_of("+-+-+-+", "++--+")


@settings(max_examples=60)
@given(FAMILIES, st.integers(1, 12), st.one_of(st.none(), st.integers(0, 9)))
def test_conservative_is_minimal_and_blocks_change_only_the_number_of_calls(families, block, seed):
    sufficient = needs(*families)
    found = minimal(WHOLE, sufficient, generator=None if seed is None else seeded(seed))
    assert found.minimal and found.nap.coarser_than(WHOLE) and found.tried == found.nap
    assert fixed_units(found.nap) in minimal_sets(families)
    assert found.calls == len(sufficient.asked) == 13
    assert any(asked == found.nap for asked in sufficient.asked)
    in_blocks = minimal(
        WHOLE, needs(*families), block=block, generator=None if seed is None else seeded(seed)
    )
    assert in_blocks.nap == found.nap and in_blocks.minimal


def test_blocks_save_calls_where_most_units_can_be_spared():
    whole = nap_of("+" * 256)
    found = minimal(whole, needs({17, 200}), block=64)
    assert fixed_units(found.nap) == {17, 200} and found.minimal and found.calls < 30
    assert minimal(whole, needs(set(range(256))), block=64).calls <= 2 * 256 + 1
    # Asked: all; none; 4567; then 4 and 5 are needed or 6 and 7: 67; 567. That 4 alone goes is asked last.
    sufficient = needs({5})
    minimal(nap_of("+" * 8), sufficient, block=8)
    asked = ["".join(map(str, sorted(fixed_units(nap)))) for nap in sufficient.asked]
    assert asked == ["01234567", "", "4567", "67", "567", "5"]


@settings(max_examples=60)
@given(FAMILIES, st.integers(0, 9))
def test_statistical_ends_with_a_minimal_pattern(families, seed):
    sufficient = needs(*families)
    found = minimal(WHOLE, sufficient, method="statistical", generator=seeded(seed))
    assert found.minimal and fixed_units(found.nap) in minimal_sets(families)
    assert found.calls == len(sufficient.asked)
    again = minimal(WHOLE, needs(*families), method="statistical", generator=seeded(seed))
    assert again.nap == found.nap and again.calls == found.calls


def test_statistical_needs_few_calls_for_a_few_units_out_of_many():
    whole, needed = nap_of("+-" * 200), {3, 77, 250}
    calls = []
    for seed in range(10):
        found = minimal(whole, needs(needed), method="statistical", generator=seeded(seed))
        assert fixed_units(found.nap) == needed and found.minimal
        calls.append(found.calls)
    assert sum(calls) / len(calls) < 80, f"one by one takes 401 calls; these took {calls}"


@settings(max_examples=40)
@given(FAMILIES, st.integers(1, 14), st.sampled_from(["conservative", "statistical"]), st.integers(1, 5))
def test_a_budget_of_calls_is_kept_and_its_result_was_proved(families, max_calls, method, block):
    sufficient = needs(*families)
    found = minimal(WHOLE, sufficient, method=method, max_calls=max_calls, generator=seeded(), block=block)
    assert found.calls == len(sufficient.asked) <= max_calls
    assert needs(*families)(found.nap) and any(asked == found.nap for asked in sufficient.asked)
    for layer, unit in units_of(found.tried.fixed):
        assert not needs(*families)(found.nap.without(layer, unit))
    assert found.minimal == (found.tried == found.nap)
    if found.minimal:
        assert fixed_units(found.nap) in minimal_sets(families)


def test_optimistic_keeps_the_units_that_an_adversarial_example_has_the_other_way():
    nap = nap_of("++--0+")
    x_adv = torch.tensor([[1.0, -1, -1, -1, 1, 1], [1.0, 1, -1, 1, -1, 1]])  # flips 1; flips 3
    options = {"method": "optimistic", "model": signs(6), "x_adv": x_adv}
    found = minimal(nap, needs({1, 3}), **options)
    assert found.nap == found.estimate == nap_of("0+0-00") and found.calls == 2 and not found.minimal
    assert repr(found) == "Minimal(2 units, not known to be minimal, 2 calls)"
    after = minimal(found.nap, needs({3}), method="conservative")
    assert after.nap == nap_of("000-00") and after.minimal


def test_optimistic_adds_as_many_units_as_there_are():
    x_adv, sufficient = torch.ones(1, 20), needs({19})
    x_adv[0, [0, 1, 5]] = -1
    found = minimal(nap_of("+" * 20), sufficient, method="optimistic", model=signs(20), x_adv=x_adv)
    assert [nap.size for nap in sufficient.asked] == [20, 3, 6, 12] and found.nap.size == 20
    assert fixed_units(sufficient.asked[2]) == {0, 1, 2, 3, 4, 5}


@settings(max_examples=60)
@given(
    st.sets(st.integers(0, 9)),
    st.sets(st.integers(0, 9), max_size=4),
    st.one_of(st.none(), st.integers(0, 4)),
)
def test_optimistic_never_returns_an_estimate_that_was_not_proved(needed, flipped, seed):
    nap, sufficient = nap_of("+" * 10), needs(needed)
    x_adv = torch.ones(1, 10)
    x_adv[0, list(flipped)] = -1
    found = minimal(
        nap, sufficient, method="optimistic", model=signs(10), x_adv=x_adv,
        generator=None if seed is None else seeded(seed),
    )  # fmt: skip
    assert fixed_units(found.estimate) == flipped
    assert found.estimate.coarser_than(found.nap) and found.nap.coarser_than(nap)
    assert needs(needed)(found.nap) and any(asked == found.nap for asked in sufficient.asked)
    assert found.calls == len(sufficient.asked) <= 6  # at most 0, 1, 2, 4, 8 units of ten, and the whole
    assert (found.nap == found.estimate) == (needed <= flipped)


def test_all_three_on_a_network_where_every_subset_can_be_tried():
    """Sufficient: all points of a grid that follow are of class 0. That is true of finer patterns too."""
    side = torch.linspace(-1, 1, 41)
    grid = torch.cartesian_prod(side, side)
    n_interesting = 0
    for seed in range(12):
        model = mlp([2, 5, 4, 2], generator=seeded(seed))
        with torch.no_grad():
            model[-1].bias -= model(grid).mean(0)
            answer = model(grid).argmax(1)
            at = grid[(model(grid)[:, 0] - model(grid)[:, 1]).argmax()]
        pattern, nap = torch.cat(naps.states(model, grid), 1), naps.of(model, at)
        wanted = torch.cat(nap.active)

        def holds(units: list[int], pattern=pattern, wanted=wanted, answer=answer) -> bool:
            follow = (pattern[:, units] == wanted[units]).all(1)
            return bool((answer[follow] == 0).all())

        def sufficient(nap: NAP, holds=holds) -> bool:
            return holds(sorted(fixed_units(nap)))

        if not holds(list(range(9))) or holds([]):
            continue
        n_interesting += 1
        every = [set(s) for k in range(10) for s in itertools.combinations(range(9), k) if holds(list(s))]
        smallest = [s for s in every if not any(s - {j} in every for j in s)]
        for options in ({}, {"block": 4}, {"method": "statistical"}, {"generator": seeded(seed)}):
            found = minimal(nap, sufficient, **options)
            assert found.minimal and fixed_units(found.nap) in smallest
        found = minimal(nap, sufficient, method="optimistic", model=model, x_adv=grid[answer == 1])
        assert found.calls == 2, "with all adversarial examples at hand the estimate is sufficient"
        assert any(s <= fixed_units(found.nap) for s in smallest)
    assert n_interesting >= 5


# --- what is refused ----------------------------------------------------------------------------------------

X, Y = samples(20), torch.arange(20) % 2


@pytest.mark.parametrize("delta", [0.5, 0.3, 0, -1, 1.01, float("nan")])
def test_delta_outside_its_range_is_refused(delta):
    with pytest.raises(ValueError, match=r"expected delta in \(0.5, 1\]"):
        naps.mine(small_net(), X, Y, delta=delta)


def refusals():
    model, nap = small_net(), nap_of("++----", "+----")
    dropout = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 2)).train()
    gelu = nn.Sequential(nn.Linear(3, 4), nn.GELU())
    mined = {0: naps.mine(model, X, Y, delta=1)[0]}
    true = torch.tensor([True])
    yes = {"sufficient": lambda nap: True}
    return {
        "no sample of a class": (lambda: naps.mine(model, X, Y, delta=1, labels=[0, 7]), "class 7 has no"),
        "coverage of a missing class": (
            lambda: naps.coverage({5: nap}, model, X, Y),
            "class 5 has no samples: y holds [0, 1]",
        ),
        "fewer classes than samples": (
            lambda: naps.mine(model, X, Y[:-1], delta=1),
            "got 20 samples and 19 classes",
        ),
        "no samples": (lambda: naps.mine(model, X[:0], Y[:0], delta=1), "at least one sample, got none"),
        "classes as numbers with a point": (
            lambda: naps.mine(model, X, Y.float(), delta=1),
            "expected y to be a tensor (N,) of integers, the classes, got torch.float32 of shape (20,)",
        ),
        "classes one-hot": (lambda: naps.mine(model, X, Y[:, None], delta=1), "int64 of shape (20, 1)"),
        "classes in a list": (lambda: naps.mine(model, X, Y.tolist(), delta=1), "got list"),
        "samples in a list": (lambda: naps.mine(model, X.tolist(), Y, delta=1), "got list. Use torch"),
        "input of another size": (lambda: naps.states(model, samples(5, 4)), "shape (N, 3), got (0, 4)"),
        "NaN": (lambda: naps.states(model, torch.full((4, 3), torch.nan)), "got NaN or infinity"),
        "infinity among many": (
            lambda: naps.mine(model, torch.cat([samples(100), torch.full((1, 3), torch.inf)]),
                              torch.zeros(101, dtype=torch.long), delta=1),
            "got NaN or infinity",
        ),
        "no layer 2": (lambda: naps.mine(model, X, Y, delta=1, layers=[1, 2]), "are 0 to 1, got [2]"),
        "no layer -1": (lambda: nap.only(-1), "are 0 to 1, got [-1]"),
        "no unit 5": (lambda: nap.without(1, 5), "layer 1 has units 0 to 4, got unit 5"),
        "batch of none": (lambda: naps.mine(model, X, Y, delta=1, batch=0), "expected batch >= 1"),
        "dropout": (lambda: naps.mine(dropout, X, Y, delta=1), "training mode"),
        "not piecewise linear": (lambda: naps.states(gelu, X), "GELU"),
        "no units": (lambda: naps.states(nn.Sequential(nn.Linear(3, 2)), X), "no ReLU or other unit"),
        "a pattern of another network": (
            lambda: mined[0].follows(small_net((3, 6, 6, 4)), X),
            "the pattern is of layers of (6, 5) units, the model's layers have (6, 6)",
        ),
        "all patterns for one": (
            lambda: naps.clashes(nap, mined), "got dict. Take the pattern of one class, naps[label]."
        ),
        "no pattern": (lambda: naps.followers({0: "+"}, model, X), "expected a pattern, a naps.NAP, got str"),
        "one such among several": (
            lambda: naps.followers({0: nap, 1: nap_of("++")}, model, X),
            "the pattern is of layers of (2,) units, the model's layers have (6, 5)",
        ),
        "patterns of two networks": (
            lambda: nap.coarser_than(nap_of("++")),
            "the patterns are of different networks: layers of (6, 5) and of (2,) units",
        ),
        "clashes of two networks": (lambda: naps.clashes(nap, nap_of("+")), "different networks"),
        "contradiction": (
            lambda: nap_of("++0") & nap_of("+--"),
            "they contradict each other at 1 units, the first of them unit 1 of layer 0",
        ),
        "many inputs for one": (lambda: naps.of(model, X), "expected one input, got 20"),
        "both ways": (lambda: NAP((true,), (true,)), "unit 0 of layer 0 is asked to be both"),
        "masks of two lengths": (
            lambda: NAP((true,), (true, true)),
            "expected masks of the same layers, got active of (1,) and inactive of (1, 1) units",
        ),
        "masks of numbers": (lambda: NAP((torch.ones(2),), (torch.zeros(2),)), "expected active[0] to be a"),
        "masks to keep": (lambda: nap.keep([true]), "one mask for each layer, of (6, 5) units, got (1,)"),
        "not sufficient": (lambda: minimal(nap, lambda nap: False), "not sufficient to begin with"),
        "method": (lambda: minimal(nap, **yes, method="greedy"), "statistical, optimistic, got 'greedy"),
        "no examples": (lambda: minimal(nap, **yes, method="optimistic", model=model), "needs a model and"),
        "needless examples": (lambda: minimal(nap, **yes, model=model, x_adv=X), "the other methods neither"),
        "empty examples": (
            lambda: minimal(nap, **yes, method="optimistic", model=model, x_adv=X[:0]),
            "at least one adversarial example",
        ),
        "examples of another network": (
            lambda: minimal(nap_of("+"), **yes, method="optimistic", model=model, x_adv=X),
            "the pattern is of layers of (1,) units",
        ),
        "no calls": (lambda: minimal(nap, **yes, max_calls=0), "expected max_calls >= 1, got 0"),
        "empty block": (lambda: minimal(nap, **yes, block=0), "expected block >= 1, got 0"),
        "not an answer": (lambda: minimal(nap, lambda nap: "verified"), "got str. Of a certificate, for"),
    }  # fmt: skip


@pytest.mark.parametrize("name", refusals())
def test_refused_in_words(name):
    call, words = refusals()[name]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        call()


def test_a_traced_network_has_the_patterns_of_its_model():
    model, x = mlp([3, 6, 5, 2], generator=torch.Generator().manual_seed(0)), torch.randn(200, 3)
    y = torch.arange(200) % 2
    network = networks.trace(model)
    assert all((a == b).all() for a, b in zip(naps.states(network, x), naps.states(model, x), strict=True))
    assert naps.mine(network, x, y, delta=0.9) == naps.mine(model, x, y, delta=0.9)
    assert naps.of(network, x[0]) == naps.of(model, x[0])
