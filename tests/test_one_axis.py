"""experiments/one_axis.py: settings, turns, lags and forecasts by hand; measures against the library's."""

import csv
import importlib.util
import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from minigrok import measures, naps, recordings, regions, training
from minigrok.course.exercises import lesson14

SCRIPT = Path(__file__).parents[1] / "experiments" / "one_axis.py"


def load(name="one_axis"):
    spec = importlib.util.spec_from_file_location(name, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


one_axis = load()


@pytest.fixture
def script(tmp_path, monkeypatch):
    """The script with folders of its own and short settings."""
    monkeypatch.setattr(one_axis, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(one_axis, "RECORDING", tmp_path / "one_axis.npz")
    seeds, steps = (0, 1, 2), 130
    short = {
        "addition": replace(one_axis.ADDITION, seeds=seeds, steps=steps),
        "mixed": replace(one_axis.ADDITION, seeds=seeds, steps=steps, drawn=True),
        "frozen": replace(one_axis.ADDITION, seeds=seeds, steps=steps, freeze_at=60),
        "clamped": replace(one_axis.DIGITS, seeds=seeds, steps=1100, clamp_at=100),
    }
    monkeypatch.setattr(one_axis, "SETTINGS", short)
    return one_axis


def network(task, seeds=(0, 1)):
    setting = replace(one_axis.ADDITION if task == "addition" else one_axis.DIGITS, seeds=seeds)
    return setting, one_axis.new_state(setting).model.requires_grad_(False), one_axis.points(setting, seeds)


# Settings


def test_a_control_changes_one_thing():
    for name, setting in one_axis.SETTINGS.items():
        base = one_axis.ADDITION if setting.task == "addition" else one_axis.DIGITS
        changed = {key for key in vars(base) if getattr(setting, key) != getattr(base, key)}
        changed.discard("fraction") if setting.task == "digits" else None  # NaN: digits have none
        assert len(changed - {"seeds", "steps", "plateau"}) == (name not in ("addition", "digits")), name


def test_the_looks_lie_in_the_run_and_the_plateau_has_some():
    for name, setting in one_axis.SETTINGS.items():
        steps = one_axis.looks(setting)
        assert steps[0] == 0 and steps[-1] == setting.steps and steps == sorted(set(steps)), name
        assert any(setting.plateau[0] <= step <= setting.plateau[1] for step in steps), name


def test_drawn_settings_are_the_seeds_and_the_samples_theirs():
    mixed = replace(one_axis.ADDITION, drawn=True)
    each = [one_axis.own(mixed, seed) for seed in range(20)]
    assert each[3] == one_axis.own(mixed, 3) and len({part.fraction for part in each}) == 20
    assert all(0.3 <= part.fraction <= 0.5 and 0.1 <= part.weight_decay <= 3 for part in each)
    assert one_axis.own(one_axis.ADDITION, 3) == one_axis.ADDITION
    n = len(one_axis.samples(mixed, 3)[0])
    assert abs(n - each[3].fraction * 59**2) < 2


def test_no_test_pair_is_the_mirror_of_a_training_pair_and_random_labels_stay():
    x_train, _, x_test, _ = one_axis.samples(one_axis.ADDITION, 0)
    pairs = {tuple(pair) for pair in x_train.tolist()}
    assert not any((b, a) in pairs for a, b in x_test.tolist())
    random = replace(one_axis.DIGITS, random_labels=True)
    first, again = one_axis.samples(random, 0), one_axis.samples(random, 0)
    assert torch.equal(first[1], again[1])
    assert (first[1] != one_axis.samples(one_axis.DIGITS, 0)[1]).float().mean() > 0.7


# Turns, lags, forecasts


STEPS = np.array([0, 10, 20, 40, 80, 160, 320, 640])
SHARE = one_axis.SHARE


def turn(values, how=SHARE, plateau=(10, 20)):
    return tuple(one_axis.turn(STEPS, np.array(values, dtype=float), plateau, how))


def test_a_turn_is_where_half_of_the_change_is_made():
    assert turn([0, 0, 0, 0.1, 0.4, 0.5, 1, 1]) == (80, 160)  # from 0 to 1: half is .5
    assert turn([0, 1, 1, 0.6, 0.4, 0.3, 0, 0]) == (40, 80)  # and downwards
    assert turn([9, 0, 0.2, 0.7, 0.7, 0.7, 0.7, 0.7]) == (20, 40)  # the first look is not of the plateau
    assert turn([0, 0, 0, 0.9, 0.1, 1, 1, 1]) == (20, 40)  # made and lost again: the first time counts


def test_what_does_not_turn_is_not_by_the_last_step():
    assert turn([0, 0.5, 0.5, 0.9, 0.1, 0.55, 0.55, 0.55]) == (640, np.inf)  # .05 is below the threshold
    assert turn([0, 0.5, 0.5, 0.9, 0.1, 0.5, 0.55, np.nan]) == (640, np.inf)
    relative = one_axis.Measure(0.5, relative=True)
    assert turn([0, 10, 10, 10, 6, 6, 6, 6], relative) == (640, np.inf)
    assert turn([0, 10, 10, 10, 6, 4, 4, 4], relative) == (40, 80)  # 7 is reached at 80
    assert turn([0] * 8, relative) == (640, np.inf)  # no change is no turn, whatever the threshold


def test_naps_that_fix_next_to_nothing_say_nothing():
    curves = {"nap_size_95": np.array([[0.5, 0.001]]), "nap_recall_95": np.array([[0.3, 1.0]])}
    for measure in ("nap_recall_95", "nap_labels_stability_95"):
        found = one_axis.without_empty_naps(measure, curves["nap_recall_95"], curves)
        np.testing.assert_array_equal(found, [[0.3, np.nan]])
    for measure in ("nap_size_95", "norm"):
        assert one_axis.without_empty_naps(measure, curves["nap_size_95"], curves).all()


def test_a_fall_is_counted_from_the_peak_of_the_plateau_or_later():
    fall = replace(SHARE, fall=True)
    assert turn([99, 1, 2, 5, 4, 3, 1, 1], fall) == (80, 160)  # 5 to 1: 3 is half of the way
    assert turn([99, 1, 2, 5, 6, 7, 8, 9], fall) == (640, np.inf)
    assert turn([0, 5, 2, 1, 1, 1, 1, 1], fall) == (10, 20)


def test_lags_by_hand():
    accuracy = np.array([[100.0, 100, 100, 100, 640], [400, 400, 400, 400, np.inf]])  # middle: 200
    measure = np.array([[10.0, 10, 10, 400, 1], [40, 40, 40, 1600, 2]])  # middle: 20 and 800
    median, low, high, leading, lagging, turning = one_axis.lag(measure, accuracy)
    assert median == pytest.approx(-1) and low == pytest.approx(-1) and high == pytest.approx(np.log10(4))
    assert (leading, lagging, turning) == (0.75, 0.25, 1)  # the last run is left out
    never = one_axis.lag(np.tile([[640.0], [np.inf]], 5), accuracy)
    assert np.isposinf(never[:3]).all() and never[3:].tolist() == [0, 1, 0]
    assert np.isnan(one_axis.lag(measure[:, :2], accuracy[:, :2])).all()  # two runs are too few


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_order_and_scikit_learns(runs):
    values = np.array([value for value, _ in runs], dtype=float)
    outcome = np.array([good for _, good in runs])
    if outcome.all() or not outcome.any():
        return
    pairs = [(a > b) + (a == b) / 2 for a in values[outcome] for b in values[~outcome]]
    found = one_axis.auc(values, outcome)
    assert found == pytest.approx(sum(pairs) / len(pairs)) == roc_auc_score(outcome, values)


def test_held_out_auc_finds_the_direction_and_claims_nothing_for_noise():
    outcome = np.arange(24) % 3 == 0
    for sign in (1, -1):
        assert one_axis.held_out_auc(sign * (outcome + 0.1 * np.sin(np.arange(24))), outcome, 20) == 1
    noise = np.random.default_rng(0).random((24, 60))
    scores = one_axis.held_out_auc(noise, outcome, 20)
    assert scores.shape == (60,) and abs(scores.mean() - 0.5) < 0.06
    assert scores[7] == pytest.approx(one_axis.held_out_auc(noise[:, 7], outcome, 20))
    _, low, high = one_axis.with_interval(scores, outcome)
    assert ((low < 0.5) & (high > 0.5)).mean() > 0.85
    assert one_axis.best_by_chance(noise, outcome, 20) > np.quantile(scores, 0.95)


def test_the_interval_is_hanley_and_mcneils():
    # Their formula written out for a = .8, 10 and 20 runs: q1 = 2/3, q2 = 1.28/1.8
    outcome = np.arange(30) < 10
    error = ((0.16 + 9 * (2 / 3 - 0.64) + 19 * (1.28 / 1.8 - 0.64)) / 200) ** 0.5
    expected = [0.8, 0.8 - 1.96 * error, 0.8 + 1.96 * error]
    np.testing.assert_allclose(one_axis.with_interval(np.array(0.8), outcome), expected)


def test_forecasts_ask_every_run_at_its_own_look(monkeypatch):
    setting = replace(one_axis.ADDITION, seeds=tuple(range(12)))
    monkeypatch.setattr(one_axis, "SETTINGS", {"borderline": setting})
    steps, outcome = np.array(one_axis.looks(setting)), np.arange(12) % 2 == 0
    begins = 4 + np.arange(12) % 3  # the look at which each run fits
    at = np.arange(len(steps))[:, None]
    curves = {
        "train_accuracy": (at >= begins).astype(float),
        "test_accuracy": np.where(outcome, 0.95, 0.5) * np.ones_like(at),
        "known": np.where(at == begins, outcome * 1.0, 0.5),  # tells at the fit, and only then
        "missing": np.where(at == 0, np.nan, 1.0) * np.ones(12),
        "never": np.full((len(steps), 12), np.nan),
    }
    found = one_axis.forecasts({"borderline": curves})
    assert found["forecast/borderline/groks"].tolist() == outcome.tolist()
    assert found["forecast/borderline/fit/known"][0] == 1
    assert found["forecast/borderline/T4/known"][0] == 0.5
    assert "forecast/borderline/fit/missing" in found and "forecast/borderline/fit/never" not in found
    curves["test_accuracy"][-1, 4:] = 0  # two runs that grok are too few
    assert list(one_axis.forecasts({"borderline": curves})) == ["forecast/borderline/groks"]


# Interventions


@pytest.mark.parametrize("task", ["addition", "digits"])
def test_frozen_gates_change_nothing_at_the_frozen_weights(task):
    setting, ensemble, seen = network(task)
    gated = one_axis.new_state(replace(setting, freeze_at=0)).model
    gated.freeze()
    x = seen.x_test[:, :50]
    torch.testing.assert_close(gated(x), ensemble(x))
    torch.testing.assert_close(gated[1](x[1]), ensemble(x)[1])


def test_frozen_gates_stay_as_the_weights_move():
    setting, ensemble, seen = network("digits")
    gated = one_axis.new_state(replace(setting, freeze_at=0)).model
    gated.freeze()
    x, live = seen.x_test[:, :50], gated.live.stacked
    with torch.no_grad():
        for layer in (live[0], live[2], live[4], live[6]):
            layer.bias.zero_()
        for part in (gated.frozen.stacked,):
            assert part[0].bias.abs().max() > 0  # the gates are those of the biases that were
        before = gated(x)
        live[0].weight.neg_()  # with gates of its own the other units would be on
        torch.testing.assert_close(gated(x), -before)
    assert not torch.allclose(gated.live(x), -before)
    gated(x).square().sum().backward()
    assert all(weight.grad is None for weight in gated.frozen.parameters())


def test_a_clamped_network_keeps_its_length_from_then_on(script):
    run = script.train("clamped")
    setting, lengths = script.SETTINGS["clamped"], {}
    for step in script.looks(setting):
        model = script.ensemble_at(setting, script.RUNS / "clamped", step, slice(None))
        lengths[step] = measures.weight_norm(model)
    assert (lengths[0] - lengths[100]).abs().min() > 0.1
    for step in (200, 400, 1100):
        torch.testing.assert_close(lengths[step], lengths[100], rtol=1e-5, atol=0)
    assert run.state.step == 1100


def test_a_frozen_run_is_the_plain_run_until_then(script):
    script.train("addition"), script.train("frozen")
    parts = {
        name: script.ensemble_at(script.SETTINGS[name], script.RUNS / name, 60, slice(0, 2))
        for name in ("addition", "frozen")
    }
    live = parts["frozen"].live.stacked.left.weight
    assert torch.equal(live, parts["addition"].stacked.left.weight)
    later = script.ensemble_at(script.SETTINGS["frozen"], script.RUNS / "frozen", 111, slice(0, 2))
    torch.testing.assert_close(later.frozen.stacked.left.weight, live, rtol=1e-3, atol=1e-3)
    assert (later.live.stacked.left.weight - live).abs().max() > 0.1 and later.closed


# Measures


def test_the_body_of_the_vectors_is_the_network():
    for task in ("addition", "digits"):
        _, ensemble, seen = network(task)
        x = seen.x_train[:, :40]
        torch.testing.assert_close(
            one_axis.walk(one_axis.body(ensemble), one_axis.vectors(ensemble, x))[1], ensemble(x)
        )


def test_exact_robustness_against_all_corners():
    generator = torch.Generator().manual_seed(0)
    h, readout = torch.randn(2, 40, 6, generator=generator), torch.randn(2, 4, 6, generator=generator)
    y, eps = (h.relu() @ readout.mT).argmax(2), torch.tensor([0.2, 0.5])
    corners = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=6)))
    moved = h[:, :, None] + eps[:, None, None, None] * corners
    answers = torch.einsum("snkd,scd->snkc", moved.relu(), readout).argmax(3)
    right = (answers == y[..., None]).all(2).float().mean(1)
    found = one_axis.exact_robust(h, y, readout, eps)
    torch.testing.assert_close(found, right)
    assert 0 < found.min() and found.max() < 1


def test_robustness_apart_from_accuracy_is_that_of_single_networks():
    _, ensemble, seen = network("addition")
    found = one_axis.closer(ensemble, seen)
    for s in range(2):
        net, right = ensemble[s], ensemble[s](seen.x_test[s]).argmax(1) == seen.y_test[s]
        mirrored = net(seen.x_test[s].flip(-1)).argmax(1)
        agree = net(seen.x_test[s]).argmax(1)[~right] == mirrored[~right]
        assert found["wrong_agrees"][s] == pytest.approx(agree.double().mean().item())
        assert found["attacked_accuracy"][s] == pytest.approx(right[:200].double().mean().item())
        clean = training.accuracy(net, seen.x_train[s, :200], seen.y_train[s, :200])
        assert found["robust_train_20"][s] <= found["robust_train_10"][s] <= clean
        assert found["noisy_given"][s] <= right[:200].double().mean() / one_axis.FEW_RIGHT


def test_no_noise_and_no_ball_leave_what_is_right_right(monkeypatch):
    _, ensemble, seen = network("addition")
    monkeypatch.setattr(one_axis, "unit_of", lambda ensemble, seen: torch.zeros(len(ensemble), 1, 1))
    found = one_axis.closer(ensemble, seen)
    right = training.accuracy(ensemble, seen.x_train[:, :200], seen.y_train[:, :200])
    for name in ("noisy_train", "robust_train_10", "robust_train_20"):
        torch.testing.assert_close(found[name], right, check_dtype=False)
    given = found["attacked_accuracy"] / found["attacked_accuracy"].clamp(min=one_axis.FEW_RIGHT)
    torch.testing.assert_close(found["noisy_given"], given)


def test_digits_robust_at_training_images_are_those_that_no_attack_breaks():
    _, ensemble, seen = network("digits", seeds=(0,))
    found = one_axis.closer(ensemble, seen)
    net, x, y = ensemble[0], seen.x_train[0, :100], seen.y_train[0, :100]
    alive = [
        one_axis.attacks.pgd(net, x, y, 0.05, loss=loss, generator=torch.Generator().manual_seed(0)).success
        for loss in ("margin", "cross_entropy")
    ]
    assert found["robust_train_05"].item() == pytest.approx((~(alive[0] | alive[1])).double().mean().item())
    assert found["robust_train_05"][0] <= training.accuracy(net, x, y)


def test_given_right_is_the_share_of_the_right_ones():
    curves = {
        "attacked_accuracy": np.array([[0.01, 0.5]]),
        "robust_05": np.array([[0.01, 0.4]]),
        "robust_10": np.array([[0.0, 0.25]]),
    }
    found = one_axis.given_right(curves)
    np.testing.assert_allclose(found["robust_given_05"], [[0.2, 0.8]])  # too few are right: over .05
    np.testing.assert_allclose(found["robust_given_10"], [[0, 0.5]])
    assert one_axis.given_right({"robust_05": np.ones((1, 1))}) == {}


def test_distances_below_1_are_local_complexity():
    _, ensemble, seen = network("digits")
    x, radius = seen.x_train[:, :40], torch.tensor([0.1, 0.4])
    counts = (one_axis.distances(one_axis.body(ensemble), x, radius) < 1).sum(2).double()
    frame = torch.randn(64, 25, generator=torch.Generator().manual_seed(0)).double()
    frame = torch.linalg.qr(frame).Q.T
    for s in range(2):
        expected = regions.local_complexity(ensemble[s], x[s], radius=float(radius[s]), frame=frame).total
        # A unit whose bend cuts off the centre alone, and no two vertices, is the one difference.
        assert (counts[s] - expected).abs().mean() <= 0.01 * expected.double().mean()


def test_the_parts_of_a_change_add_up_to_it():
    setting, ensemble, seen = network("digits")
    before = one_axis.bends(ensemble, seen)
    with torch.no_grad():
        ensemble.stacked[0].bias[:, :5] = -100  # five units die
        ensemble.stacked[0].bias[:, 5:8] = 100
        ensemble.stacked[2].weight *= torch.linspace(0.5, 1.5, 60)
    now = one_axis.bends(ensemble, seen)
    parts = one_axis.changes(before, now)
    total = [(part.distances < 1).sum(2).float().mean(1) for part in (before, now)]
    torch.testing.assert_close(sum(parts.values()), total[1] - total[0], rtol=1e-4, atol=1e-4)
    assert (parts["change_died"] < 0).all() and (parts["change_moved"] != 0).all()
    assert now.dead[:, :5].all() and now.always_on[:, 5:8].all()


def test_one_factor_on_a_units_distances_is_rescaling():
    near = torch.rand(1, 50, 3, generator=torch.Generator().manual_seed(0)) * 3
    none = torch.zeros(1, 3, dtype=torch.bool)
    before = one_axis.Bends(near, none, none)
    parts = one_axis.changes(before, one_axis.Bends(near * 2, none, none))
    expected = (near * 2 < 1).float().mean(1).sum() - (near < 1).float().mean(1).sum()
    torch.testing.assert_close(parts["change_rescaled"], expected[None])
    torch.testing.assert_close(parts["change_moved"], torch.zeros(1))


def test_naps_are_those_of_the_library():
    _, ensemble, seen = network("digits")
    inside = one_axis.walk(one_axis.body(ensemble), seen.x_train)[0]
    states = torch.cat([z > 0 for z in inside], 2)
    test = torch.cat([z > 0 for z in one_axis.walk(one_axis.body(ensemble), seen.x_test)[0]], 2)
    for delta in one_axis.DELTAS:
        mined = one_axis.mine(states, seen.y_train, 10, delta)
        for s in range(2):
            expected = naps.mine(ensemble[s], seen.x_train[s], seen.y_train[s], delta=delta)
            for k, nap in expected.items():
                assert torch.equal(mined.active[s, k] > 0, torch.cat(nap.active))
                assert torch.equal(mined.inactive[s, k] > 0, torch.cat(nap.inactive))
                follows = mined.followed(test)[s, :, k]
                assert torch.equal(follows, nap.follows(ensemble[s], seen.x_test[s]))


def test_samples_that_fill_up_and_classes_without_samples_fix_nothing():
    states = torch.tensor([[[True, False], [True, True], [False, False]]])
    mined = one_axis.mine(states, torch.tensor([[0, 0, -1]]), 2, 0.95)
    assert mined.active.tolist() == [[[1, 0], [0, 0]]] and mined.inactive.sum() == 0
    assert one_axis.shuffled_labels(torch.tensor([[3, 1, 2, -1]]))[0, 3] == -1
    assert one_axis.shuffled_labels(torch.tensor([[3, 1, 2, -1]])).sort().values.tolist() == [[-1, 1, 2, 3]]


def test_jaccard_by_hand_and_the_null_keeps_the_sizes():
    def patterns(active, inactive):
        return one_axis.Patterns(torch.tensor([active]).float(), torch.tensor([inactive]).float())

    a = patterns([[1, 1, 0, 0], [0, 0, 0, 0]], [[0, 0, 1, 0], [0, 0, 0, 0]])
    b = patterns([[1, 0, 1, 0], [0, 0, 0, 0]], [[0, 0, 0, 1], [0, 0, 0, 0]])
    assert one_axis.jaccard(a, a).item() == 1
    assert one_axis.jaccard(a, b).item() == pytest.approx(1 / 5)  # the second class fixes nothing
    null = one_axis.shuffled(a, [3, 1])
    assert null.active[..., :3].sum(2).tolist() == [[2, 0]] and not (null.active * null.inactive).any()
    assert null.inactive.sum() == 1 and null.active[..., 3].sum() == 0


def test_spread_is_the_librarys_and_silence_is_nan():
    setting, ensemble, seen = network("digits")
    found = one_axis.spread(ensemble, seen, 0.1)
    plain = ensemble[1]
    expected = measures.perturbation_measures(
        plain[:2], plain[:6], seen.x_train[1, :100], sigma=0.1, generator=torch.Generator().manual_seed(0)
    )
    for name in ("pe", "pmi", "ed", "mid"):
        torch.testing.assert_close(found[name][1], getattr(expected, name), rtol=1e-4, atol=1e-5)
    ensemble.stacked[4].bias[0] = -1e6  # no unit of the last layer is ever on
    found = one_axis.spread(ensemble, seen, 0.1)
    assert found["pe"][0].isnan() and not found["pe"][1].isnan()


# The lesson's exercises


@pytest.mark.parametrize("seed", range(50))
def test_no_usual_mistake_about_lags_is_right_by_chance(seed):
    right, mistakes = lesson14._lags(*lesson14.class_turns(seed=seed))
    assert np.isfinite(right) and right != 0
    assert all(abs(wrong - right) > 0.01 * abs(right) for wrong in mistakes.values())


def test_held_out_runs_sometimes_outvote_the_learners():
    everyone = np.ones(24, dtype=bool)
    told = []
    for seed in range(6):
        values, outcome, learn = lesson14._runs(seed)
        areas = [lesson14._auc(values, outcome, which) >= 0.5 for which in (learn, everyone)]
        told.append(areas[0] != areas[1])
    assert told == [False] * 5 + [True]


# The whole


def test_a_run_from_beginning_to_table_and_nothing_is_done_twice(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "looks", lambda setting: [0, 60, 94, 111, 130])
    for name in ("addition", "frozen"):
        assert not script.is_trained(name)
        script.train(name)
        assert script.is_trained(name) and not script.is_looked_at(name)
        script.look(name)
    monkeypatch.setattr(script, "look_at_some", None)  # would fail if they were called again
    monkeypatch.setattr(script, "look_closer", None)
    monkeypatch.setattr(script, "step_of", lambda setting: None)
    script.train("addition")
    script.record()
    kept = recordings.load(script.RECORDING)
    assert kept["addition/test_accuracy"].shape == (len(kept["addition/steps"]), 3)
    assert kept["addition/turn/norm"].shape == (2, 3) and "frozen/own_gates_accuracy" in kept.arrays
    assert (kept["addition/robust_10"] <= kept["addition/robust_pgd_10"] + 1e-6).all()
    assert (kept["addition/test_accuracy"] <= 1).all() and kept["addition/train_accuracy"][-1].min() > 0.9
    script.write_table(script.RECORDING.with_suffix(".csv"))
    with open(script.RECORDING.with_suffix(".csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    (row,) = [r for r in rows if (r["setting"], r["seed"], r["measure"]) == ("addition", "1", "norm")]
    assert [float(row["after_step"]), float(row["by_step"])] == kept["addition/turn/norm"][:, 1].tolist()
    assert "wrote" in capsys.readouterr().out


def test_looks_do_not_depend_on_who_else_is_looked_at(script, monkeypatch):
    script.train("mixed")
    monkeypatch.setattr(script, "looks", lambda setting: [0, 40, 130])
    together = script.look_at_some("mixed", slice(0, 3))
    alone = script.look_at_some("mixed", slice(1, 2))
    for measure in ("test_accuracy", "norm", "complexity_train", "nap_size_95", "pe", "robust_10"):
        np.testing.assert_allclose(alone[measure][:, 0], together[measure][:, 1], rtol=1e-4, atol=0.02)


def test_four_digits_are_kept():
    values = one_axis.short(np.array([0.0, 123.456, -0.00123456, np.nan, np.inf]))
    np.testing.assert_allclose(values, [0, 123.5, -0.001235, np.nan, np.inf], rtol=1e-6)
