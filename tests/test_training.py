"""training: the loop against a bare one, stopped and resumed runs bit for bit, ensembles against single."""

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from minigrok import data, models, networks, recordings, training
from minigrok.training import Ensemble, State, train

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
X, Y = data.spiral(60)
AT = [0, 3, 10, 25, 40]
BATCHES = training.minibatches(X, Y, 16, seed=3)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def noisy_step(state, batch):
    """One update that draws from the state's generator (noise) and from torch's own (dropout)."""
    x, y = batch
    x = x + 0.1 * torch.randn(x.shape, generator=state.generator)
    state.optimizer.zero_grad()
    F.cross_entropy(state.model(x), y).backward()
    state.optimizer.step()


def new_state(optimizer="adamw", seed=0, width=8, noise=1, **options):
    model = models.mlp([2, width, 2], generator=generator(seed), activation=lambda: nn.Dropout(0.5))
    options = {"lr": 0.02} | options
    kinds = {
        "adamw": lambda p: torch.optim.AdamW(p, weight_decay=0.1, **options),
        "fused": lambda p: torch.optim.AdamW(p, weight_decay=0.1, fused=True, **options),
        "momentum": lambda p: torch.optim.SGD(p, momentum=0.9, **options),
    }
    return State(model, kinds[optimizer](model.parameters()), generator(noise))


def look(state):
    noise = torch.randn(3, generator=state.generator)  # looking may draw, and must not disturb
    logits = state.model(X) + torch.rand(1)
    return {"loss": F.cross_entropy(logits, Y), "noise": noise, "training": state.model.training}


USUAL = {"batches": BATCHES, "observe": look, "at": AT}


def go(state, *, step=noisy_step, steps=40, seed=7, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of torch's own generator, which dropout draws from
        return train(step, state, steps=steps, **USUAL | options)


def content(run):
    """Everything a run consists of, as one hash, and what was observed."""
    state = run.state
    tensors = [state.model.state_dict(), state.generator.get_state()]
    slots = [list(slot.values()) for slot in state.optimizer.state_dict()["state"].values()]
    slots = [[torch.as_tensor(value) for value in slot if value is not None] for slot in slots]
    records = [[record[name] for name in sorted(record)] for record in run.records]
    return recordings.data_hash([tensors, slots, records]), state.step


# --- clocks and batches


@given(st.integers(0, 10**6), st.integers(2, 60))
def test_log_spaced_rises_from_first_to_last(steps, n):
    times = training.log_spaced(steps, n)
    assert times[0] == 0 and times[-1] == steps
    assert all(isinstance(t, int) for t in times)
    assert all(a < b for a, b in zip(times[:-1], times[1:], strict=True))
    assert len(times) == min(n, steps + 1)


def test_log_spaced_is_geometric_once_the_steps_are_large():
    times = np.array(training.log_spaced(100_000, 30))
    ratios = times[12:] / times[11:-1]
    assert ratios.max() / ratios.min() < 1.1


@pytest.mark.parametrize("steps, n", [(-1, 5), (10, 1), (10, 0)])
def test_log_spaced_refuses_what_it_cannot_space(steps, n):
    with pytest.raises(ValueError, match="expected steps of at least 0 and n of at least 2"):
        training.log_spaced(steps, n)


@given(st.integers(1, 30), st.data())
def test_every_epoch_uses_every_sample_once(n, draw):
    size = draw.draw(st.integers(1, n))
    seed = draw.draw(st.integers(0, 2**40))
    batches = training.minibatches(torch.arange(n) * 10, torch.arange(n), size, seed=seed)
    per_epoch = -(-n // size)
    for epoch in range(3):
        seen = [batches(t) for t in range(epoch * per_epoch, (epoch + 1) * per_epoch)]
        assert sorted(torch.cat([y for _, y in seen]).tolist()) == list(range(n))
        assert all(torch.equal(x, 10 * y) for x, y in seen)
        assert all(len(y) == size for _, y in seen[:-1]) and 1 <= len(seen[-1][1]) <= size


def test_batches_have_no_memory_and_depend_on_seed_and_epoch():
    ask = [17, 0, 3, 17, 4, 99]
    one, two = (training.minibatches(X, Y, 16, seed=5) for _ in range(2))
    first = {t: one(t)[0] for t in ask}
    for t in reversed(ask):
        assert torch.equal(two(t)[0], first[t])
    assert not torch.equal(first[0], first[4])  # the same place in the next epoch
    next_seed = training.minibatches(X, Y, 16, seed=6)(0)[0]
    assert not torch.equal(first[0], next_seed) and not torch.equal(first[4], next_seed)


def test_several_seeds_give_each_its_own_batches():
    together = training.minibatches(X, Y, 16, seed=[4, 9])
    alone = [training.minibatches(X, Y, 16, seed=seed) for seed in (4, 9)]
    for t in (0, 3, 7):  # 3 is a short one: 60 samples in batches of 16
        x, y = together(t)
        for s in range(2):
            assert torch.equal(x[s], alone[s](t)[0]) and torch.equal(y[s], alone[s](t)[1])


@pytest.mark.parametrize("y, size", [(Y, 61), (Y, 0), (Y[:5], 4)])
def test_batches_that_cannot_be_are_refused(y, size):
    with pytest.raises(ValueError, match="as many labels as samples and a size from 1 to 60, got"):
        training.minibatches(X, y, size, seed=0)


# --- the loop


def test_the_loop_is_the_bare_loop():
    run = go(new_state(), observe=None, at=None)
    bare = new_state()
    with torch.random.fork_rng():
        torch.manual_seed(7)
        for t in range(40):
            noisy_step(bare, BATCHES(t))
    bare.step = 40
    assert content(run) == content(training.Run(bare, []))
    assert run.state.step == 40 and run.state.seconds > 0 and not run.interrupted


def test_looking_changes_nothing():
    often, seldom = go(new_state(), at=range(41)), go(new_state(), at=[40])
    assert often.records[-1]["loss"] == seldom.records[-1]["loss"]
    often.records, seldom.records = [], []
    assert content(often) == content(seldom)


def test_it_is_looked_at_in_evaluation_mode_without_gradients_and_modes_come_back():
    state = new_state()
    state.model[0].eval()  # a part that the reader has frozen
    modes = []

    def observe(state):
        modes.append((state.model.training, torch.is_grad_enabled()))
        return {"x": 1}

    go(state, observe=observe)
    assert modes == [(False, False)] * len(AT)
    assert state.model.training and not state.model[0].training and state.model[1].training


def test_what_was_observed_is_stacked_and_does_not_follow_the_weights():
    def observe(state):
        weight = state.model[0].weight
        return {
            "weight": weight,
            "number": torch.tensor(2.5),
            "array": np.arange(3),
            "flag": True,
            "count": 3,
        }

    run = go(new_state(), observe=observe)
    assert run.steps.tolist() == AT
    assert run["weight"].shape == (5, 8, 2) and run["array"].shape == (5, 3)
    assert (
        run["number"].tolist() == [2.5] * 5 and run["flag"].dtype == bool and run["count"].dtype == np.int64
    )
    assert type(run.records[0]["number"]) is float
    assert not np.array_equal(run["weight"][0], run["weight"][1])
    with pytest.raises(
        KeyError, match="nothing called 'weights' was observed, only 'array', 'count', 'flag'"
    ):
        run["weights"]


def test_a_quantity_that_was_seen_now_and_then_is_not_one_array():
    run = training.Run(None, [{"step": 0, "loss": 1.0}, {"step": 5}, {"step": 9, "loss": 0.5}])
    with pytest.raises(KeyError, match=r"'loss' was observed at some steps only, not at \[5\]: take it from"):
        run["loss"]


@pytest.mark.parametrize(
    "seen, text",
    [
        ({"net": nn.ReLU()}, "'net' must be a number, or an array or tensor of numbers, got ReLU"),
        ({"step": 3}, "observe must return a dict .* without the key 'step'"),
        (None, "observe must return a dict .* got None"),
    ],
)
def test_observations_that_cannot_be_kept_are_refused(seen, text):
    with pytest.raises(TypeError, match=text):
        go(new_state(), observe=lambda state: seen)


@pytest.mark.parametrize(
    "options, text",
    [
        ({"observe": None}, "at says when to observe, but there is no observe"),
        ({"at": [-1, 3]}, "at must hold steps of at least 0, got -1"),
        ({"every": 0}, "every must be at least 1 update, got 0"),
        ({"steps": 2.5}, "steps must be a whole number of updates, got 2.5"),
        ({"steps": -1}, "the run has made 0 updates already, more than steps=-1: ask for more steps"),
    ],
)
def test_arguments_that_cannot_be_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        go(new_state(), **options)


def test_a_step_of_the_ready_made_kind_asks_for_batches():
    with pytest.raises(ValueError, match=r"needs a batch: hand batches=lambda t: \(x, y\) to train"):
        go(new_state(), step=training.classification_step(), batches=None)


def test_a_run_goes_on_from_its_state():
    expected, state = content(go(new_state())), new_state()
    with torch.random.fork_rng():
        torch.manual_seed(7)  # both parts draw their dropout from one stream
        first = train(noisy_step, state, steps=17, **USUAL)
        second = train(noisy_step, first.state, steps=40, **USUAL)
    assert content(second) == expected
    assert first.steps.tolist() == [0, 3, 10]  # the older run stays as it was
    assert train(noisy_step, state, steps=40, observe=look).steps.tolist() == AT  # done: nothing more to do


def test_the_progress_bar_counts_and_leaves_nothing_behind(capsys):
    go(new_state(), progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "40" in err


def test_the_progress_bar_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"needs tqdm: pip install 'minigrok\[course\]'"):
        go(new_state(), progress=True)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- stopping


def stopping(function, when, times=1):
    """The function, with `times` Ctrl-C in the middle of its call number `when`."""
    calls = iter(range(10**9))

    def stops(*args):
        if next(calls) == when:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return function(*args)

    return stops


@pytest.fixture(autouse=True)
def handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def stopped_and_gone_on(step, observe, capsys):
    """Stop a run, check what it says, go on, and return the stopped run's step and records and the whole."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        state = new_state()
        run = train(step, state, steps=40, **USUAL | {"observe": observe})
        assert run.interrupted and state.model.training
        said = f"Stopped after {state.step} of 40 updates. To go on: train(..., state=run.state)\n"
        assert capsys.readouterr().out == said
        at = state.step
        done = train(noisy_step, run.state, steps=40, **USUAL)
    assert not done.interrupted
    return at, run.steps.tolist(), content(done)


@pytest.mark.parametrize("when", [0, 10, 24])
def test_ctrl_c_in_an_update_finishes_the_update(when, capsys):
    at, seen, whole = stopped_and_gone_on(stopping(noisy_step, when), look, capsys)
    assert at == when + 1
    assert seen == [t for t in AT if t < at]
    assert whole == content(go(new_state()))


@pytest.mark.parametrize("when", range(5))
def test_ctrl_c_in_an_observation_drops_the_observation(when, capsys):
    again = stopping(look, when)  # the first look has drawn numbers already when Ctrl-C comes
    at, seen, whole = stopped_and_gone_on(noisy_step, lambda state: (look(state), again(state))[0], capsys)
    assert at == AT[when] and seen == AT[:when]
    assert whole == content(go(new_state()))


@pytest.mark.parametrize("when", [0, 2])
def test_ctrl_c_while_a_checkpoint_is_written_finishes_the_file(when, tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    expected = content(go(new_state()))
    monkeypatch.setattr(training._checkpoints, "write_whole", stopping(recordings.write_whole, when))
    stopped = go(new_state(), checkpoint=path, every=10)
    assert stopped.interrupted and stopped.state.step == 10 * when
    assert os.listdir(tmp_path) == ["run.pt"]
    assert content(go(new_state(), checkpoint=path, every=10)) == expected


def test_a_second_ctrl_c_cuts_the_update_and_that_is_said_and_not_kept(tmp_path, capsys):
    path = tmp_path / "run.pt"
    run = go(new_state(), step=stopping(noisy_step, 25, times=2), checkpoint=path, every=10)
    assert run.interrupted and run.state.step == 25
    assert (
        "Stopped after 25 of 40 updates. The last update was cut: the weights may be"
        in capsys.readouterr().out
    )
    assert torch.load(path)["step"] == 20
    assert content(go(new_state(), checkpoint=path)) == content(go(new_state()))


def test_impatience_while_the_run_is_put_away_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setattr(training._checkpoints, "write_whole", stopping(recordings.write_whole, 1, times=3))
    run = go(new_state(), checkpoint=tmp_path / "run.pt", every=10)
    assert run.interrupted and run.state.step == 10


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = go(new_state(), step=stopping(noisy_step, 5))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert not run.interrupted and run.state.step == 40


def test_outside_the_main_thread_it_runs_without_touching_signals():
    runs = []
    thread = threading.Thread(target=lambda: runs.append(go(new_state())))
    thread.start()
    thread.join()
    assert content(runs[0]) == content(go(new_state()))


def test_an_error_of_the_reader_comes_through():
    def wrong(state, batch):
        raise ZeroDivisionError("mine")

    state = new_state()
    with pytest.raises(ZeroDivisionError, match="mine"):
        go(state, step=wrong)
    assert state.step == 0 and len(state.records) == 1


KERNEL = """
import time, torch
from minigrok import training
model = torch.nn.Linear(1, 1)
def step(state, batch):
    if state.step == 0:
        print("begun")
    time.sleep(0.01)
run = training.train(step, training.State(model, torch.optim.SGD(model.parameters())), steps=10**6)
"""


def test_the_stop_button_of_jupyter_gives_the_run():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        client.execute(KERNEL)
        while client.get_iopub_msg(timeout=60)["content"].get("text") != "begun\n":
            pass
        manager.interrupt_kernel()  # what the button does
        assert client.get_shell_msg(timeout=60)["content"]["status"] == "ok"
        reply = client.execute_interactive(
            "assert run.interrupted and 0 < run.state.step < 10**6",
            timeout=60,
            output_hook=lambda message: None,
        )
        assert reply["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


# --- checkpoints


@pytest.mark.parametrize("optimizer", ["adamw", "fused", "momentum"])
@pytest.mark.parametrize("stop", [1, 10, 33])
def test_a_resumed_run_is_bit_for_bit_one_that_never_stopped(optimizer, stop, tmp_path):
    path = tmp_path / "deep" / "run.pt"  # the folder is made
    expected = go(new_state(optimizer))
    first = go(new_state(optimizer), steps=stop, checkpoint=path)
    resumed = go(new_state(optimizer), seed=12345, checkpoint=path)  # torch's own generator stands elsewhere
    assert content(resumed) == content(expected)
    assert [type(v) for r in resumed.records for v in r.values()] == [
        type(v) for r in expected.records for v in r.values()
    ]
    assert resumed.state.seconds > first.state.seconds
    again = go(new_state(optimizer), step=None, checkpoint=path)  # finished: no update is made any more
    assert content(again) == content(expected)
    assert os.listdir(path.parent) == ["run.pt"]


KILLED = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import torch
torch.set_num_threads(1)
import test_training as t
def step(state, batch):
    if state.step == 23:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    t.noisy_step(state, batch)
t.go(t.new_state(), step=step, checkpoint={path!r}, every=10)
"""


def test_a_process_that_was_killed_is_resumed_by_another(tmp_path):
    path = tmp_path / "run.pt"
    code = KILLED.format(folder=str(Path(__file__).parent), path=str(path))
    killed = subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert killed.returncode != 0
    assert torch.load(path)["step"] == 20
    assert content(go(new_state(), checkpoint=path)) == content(go(new_state()))


def test_a_longer_run_goes_on_from_a_finished_one(tmp_path):
    path = tmp_path / "run.pt"
    go(new_state(), steps=20, checkpoint=path)
    assert content(go(new_state(), checkpoint=path)) == content(go(new_state()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "run.pt"
    go(new_state(), steps=20, checkpoint=path)
    return path.read_bytes()


def starts_anew(path, reason=""):
    bad, begun = path.read_bytes(), []
    others = set(os.listdir(path.parent))
    with pytest.warns(
        UserWarning, match=rf"{path.name} is not a whole minigrok checkpoint \(.*{reason}"
    ) as said:
        go(
            new_state(),
            steps=1,
            checkpoint=path,
            step=lambda state, batch: begun.append(state.step),
            every=10**6,
        )
    assert begun == [0] and torch.load(path)["step"] == 1
    (aside,) = set(os.listdir(path.parent)) - others
    assert aside.endswith(".broken") and path.with_name(aside).read_bytes() == bad
    assert f"It was renamed to {aside}; the run starts anew." in str(said[0].message)
    assert said[0].filename == __file__
    path.unlink()


@settings(same_folder, max_examples=25)
@given(part=st.floats(0, 1, exclude_max=True))
def test_a_checkpoint_cut_short_is_set_aside(whole, part, tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(whole[: int(part * len(whole))])
    starts_anew(path)


def test_a_checkpoint_with_one_wrong_bit_is_set_aside(whole, tmp_path):
    path = tmp_path / "run.pt"
    weights = torch.load(io.BytesIO(whole))["model"]["0.weight"]
    at = whole.index(weights.numpy().tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    starts_anew(path, "the checksum of its part .* is wrong")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_foreign_files_are_set_aside_and_never_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.pt"
    path.write_text("hello")
    starts_anew(path, "BadZipFile")
    torch.save(nn.Linear(2, 2).state_dict(), path)
    starts_anew(path, "KeyError: 'format'")
    torch.save({"format": "minigrok checkpoint 9"}, path)
    starts_anew(path, "its format is 'minigrok checkpoint 9'")
    torch.save({"format": training._checkpoints.FORMAT, "x": Evil()}, path)
    starts_anew(path, "UnpicklingError")
    assert not Path("unpickled").exists()
    torch.save({"format": training._checkpoints.FORMAT, "step": 3}, path)
    starts_anew(path, r"it lacks \['model', 'optimizer'")
    names = ["run.pt.broken", *(f"run.pt.{k}.broken" for k in (2, 3, 4, 5))]
    assert sorted(os.listdir(tmp_path)) == sorted(names)  # each is kept


@pytest.mark.parametrize(
    "state, options, text",
    [
        ({"width": 9}, {}, r"shape of 0.weight was \(8, 2\), now \(9, 2\)"),
        ({"seed": 1}, {}, "hash of the first weights and generator was"),
        ({"noise": 2}, {}, "hash of the first weights and generator was"),
        ({"lr": 0.01}, {}, r"optimizer's lr \(parameter group 0\) was 0.02, now 0.01"),
        ({"optimizer": "momentum"}, {}, "optimizer was AdamW, now SGD"),
        ({}, {"at": [0, 5, 40]}, r"3 steps \[0, 3, 10\], now due at 2 steps \[0, 5\] \(pass the same `at`"),
        ({}, {"observe": None, "at": None}, r"observed at 3 steps \[0, 3, 10\], now due at 0 steps \[\]"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_kept(state, options, text, whole, tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(whole)
    with pytest.raises(
        ValueError, match=rf"the checkpoint .*run.pt is of another run: .*{text}.*a file of its own"
    ):
        go(new_state(**state), checkpoint=path, **options)
    assert path.read_bytes() == whole


def test_a_checkpoint_beyond_the_steps_asked_for_is_refused(whole, tmp_path):
    path = tmp_path / "run.pt"
    path.write_bytes(whole)
    with pytest.raises(
        ValueError, match="the run has made 20 updates already, more than steps=15: ask for more"
    ):
        go(new_state(), steps=15, checkpoint=path)
    assert path.read_bytes() == whole


def test_options_changed_on_the_way_are_not_undone_by_the_file(tmp_path):
    path = tmp_path / "run.pt"
    run = go(new_state(), steps=20, checkpoint=path)
    run.state.optimizer.param_groups[0]["lr"] = 0.0
    run.state.optimizer.param_groups[0]["weight_decay"] = 0.0
    before = recordings.data_hash(run.state.model.state_dict())
    go(run.state, checkpoint=path)
    assert run.state.step == 40 and recordings.data_hash(run.state.model.state_dict()) == before
    assert go(new_state(), checkpoint=path).state.step == 40  # still known as the run that began so


def test_a_checkpoint_that_cannot_be_written_says_so_before_any_training(tmp_path):
    (tmp_path / "file").write_text("")
    begun = []
    with pytest.raises((NotADirectoryError, FileExistsError, FileNotFoundError)):
        go(new_state(), checkpoint=tmp_path / "file" / "run.pt", step=lambda *_: begun.append(1))
    assert not begun


# --- weights that are no numbers


def spoil(weight):
    with torch.no_grad():
        weight.fill_(float("inf"))


def test_a_diverged_run_says_where_and_hands_over_what_there_is(tmp_path):
    path = tmp_path / "run.pt"

    def step(state, batch):
        if state.step == 12:
            spoil(state.model[0].weight)

    with pytest.raises(
        training.Diverged, match=r"NaN or infinite at step 20 \(last observed at step 10\)"
    ) as error:
        go(new_state(), step=step, checkpoint=path, every=20)
    assert error.value.run.steps.tolist() == [0, 3, 10]
    assert torch.load(path)["step"] == 0  # what is on disk is finite
    with pytest.raises(training.Diverged, match="at step 40"):  # nobody looked, and still it is said
        go(new_state(), step=step, observe=None, at=None)
    assert issubclass(training.Diverged, ValueError)


def ensemble_state(n=3, **options):
    ensemble = Ensemble([models.mlp([2, 8, 2], generator=generator(seed)) for seed in range(n)])
    return State(ensemble, torch.optim.AdamW(ensemble.parameters(), lr=0.02, **options))


def test_one_diverged_seed_leaves_the_others_alone():
    usual = training.classification_step()

    def spoiling(state, batch):
        if state.step == 5:
            spoil(state.model.stacked[0].weight[1])
        usual(state, batch)

    def observe(state):
        return {"accuracy": training.accuracy(state.model, X, Y)}

    options = {"steps": 40, "batches": lambda t: (X, Y), "observe": observe, "at": AT}
    expected = train(usual, ensemble_state(), **options)
    with pytest.warns(
        UserWarning, match=r"networks \[1\] of the ensemble have NaN .* at step 10 \(last obs"
    ) as said:
        run = train(spoiling, ensemble_state(), **options)
    assert len(said) == 1 and said[0].filename == __file__
    assert np.isnan(run["accuracy"]).tolist() == [[False, late, False] for late in run.steps > 5]
    np.testing.assert_array_equal(run["accuracy"][:, [0, 2]], expected["accuracy"][:, [0, 2]])
    for s in (0, 2):
        assert recordings.data_hash(run.state.model[s].state_dict()) == recordings.data_hash(
            expected.state.model[s].state_dict()
        )


def test_an_ensemble_without_a_finite_seed_has_diverged():
    def step(state, batch):
        spoil(state.model.stacked[2].bias)

    with pytest.raises(training.Diverged, match="at step 3 "):
        train(step, ensemble_state(), steps=40, observe=lambda state: {}, at=AT)


# --- ensembles


class Residual(nn.Module):
    """A network that is no plain sequence: two layers with tied weights, batch norm, a buffer."""

    def __init__(self, seed):
        super().__init__()
        self.body = models.mlp([2, 6, 6, 6], generator=generator(seed))
        self.body[4].weight = self.body[2].weight
        self.norm = nn.BatchNorm1d(6)
        self.head = models.mlp([6, 2], generator=generator(seed + 100))
        self.register_buffer("shift", torch.full((6,), float(seed)))

    def forward(self, x):
        h = self.body(x)
        return self.head(F.relu(self.norm(h + self.shift)) + h)


KINDS = {
    "layers": lambda seed: models.mlp([2, 6, 5, 2], generator=generator(seed)),
    "no bias": lambda seed: models.mlp(
        [2, 6, 2], generator=generator(seed), bias=False, activation=nn.LeakyReLU
    ),
    "residual": Residual,
}
kinds = pytest.mark.parametrize("kind", KINDS)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@kinds
@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("each", [False, True], ids=["one batch for all", "a batch for each"])
def test_an_ensemble_trains_each_network_as_if_alone(kind, loss, each):
    seeds, x = [3, 4, 5, 6], X.double()
    ensemble = Ensemble([KINDS[kind](seed).double() for seed in seeds])
    singles = [KINDS[kind](seed).double() for seed in seeds]
    orders = [10, 11, 12, 13] if each else [10] * 4

    def trained(model, order):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1, fused=True)
        batches = training.minibatches(x, Y, 16, seed=order)
        run = train(training.classification_step(loss), State(model, optimizer), steps=60, batches=batches)
        return run.state.model

    trained(ensemble, orders if each else orders[0])
    for s, single in enumerate(singles):
        trained(single, orders[s])
        for name, tensor in single.state_dict().items():
            close(ensemble[s].state_dict()[name], tensor)
        close(ensemble.eval()(x)[s], single.eval()(x))
        ensemble.train()


@kinds
def test_both_ways_through_an_ensemble_agree_with_the_networks(kind):
    networks_ = [KINDS[kind](seed).double().eval() for seed in range(3)]
    ensemble = Ensemble(networks_)
    assert len(ensemble) == 3
    x = torch.randn(3, 7, 2, dtype=torch.float64, generator=generator(0))
    for s, model in enumerate(networks_):
        close(ensemble(x)[s], model(x[s]))
        close(ensemble(x[0])[s], model(x[0]))
        close(ensemble._by_vmap(x, 0)[s], model(x[s]))


@pytest.mark.parametrize("where", ["", "0", "1"])
def test_hooks_act_in_an_ensemble_too(where):
    nets = [models.mlp([2, 8, 2], generator=generator(seed)) for seed in range(2)]
    for net in nets:
        net.get_submodule(where).register_forward_hook(lambda _, inputs, out: 2 * out + 1)
    for s, out in enumerate(Ensemble(nets)(X)):
        torch.testing.assert_close(out, nets[s](X))


@pytest.mark.parametrize("first", [nn.ReLU(inplace=True), nn.Identity()], ids=str)
def test_a_network_may_begin_in_place(first):
    nets = [nn.Sequential(first, nn.LeakyReLU(0.5, inplace=True), nn.Linear(2, 3)) for _ in range(2)]
    each, before = torch.stack([X, -X]), X.clone()
    for x in (X, each):
        out = Ensemble(nets)(x)
        for s in range(2):
            torch.testing.assert_close(out[s], nets[s]((each[s] if x.dim() == 3 else X).clone()))
    assert torch.equal(X, before) and torch.equal(each[0], before)


def test_images_go_through_an_ensemble():
    def convolutional(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))

    nets = [convolutional(seed) for seed in range(2)]
    x = torch.randn(2, 5, 1, 4, 4, generator=generator(0))
    ensemble = Ensemble(nets, sample_dims=3)
    for s in range(2):
        torch.testing.assert_close(ensemble(x)[s], nets[s](x[s]))
        torch.testing.assert_close(ensemble(x[0])[s], nets[s](x[0]))
    with pytest.raises(ValueError, match=r"expected x \(N, ...\) with 4 dimensions .* or \(2, N, ...\)"):
        ensemble(x[0, 0])


def test_dropout_differs_between_the_networks():
    net = nn.Sequential(nn.Linear(1, 200), nn.Dropout(0.5))
    out = Ensemble([net, net])(torch.ones(1, 1))
    assert not torch.equal(out[0], out[1])


@kinds
def test_a_member_is_a_plain_copy(kind):
    originals = [KINDS[kind](seed) for seed in range(3)]
    ensemble = Ensemble(originals)
    member = ensemble[-1]
    assert type(member) is type(originals[2]) and str(member) == str(originals[2])
    assert recordings.data_hash(member.state_dict()) == recordings.data_hash(originals[2].state_dict())
    assert networks.trace(member.eval()).n_out == 2
    for ours in (member, originals[2]):  # neither is tied to the ensemble
        spoil(next(ours.parameters()))
    assert all(parameter.isfinite().all() for parameter in ensemble.parameters())
    if kind == "residual":
        assert member.body[4].weight is member.body[2].weight
    with pytest.raises(IndexError, match="has the networks 0 to 2, got 3"):
        ensemble[3]
    assert len(list(ensemble)) == 3


def test_networks_that_are_unlike_are_refused():
    def make(**options):
        return models.mlp([2, 3, 2], **options)

    with pytest.raises(ValueError, match="at least one network, got none"):
        Ensemble([])
    for other in (make(activation=nn.Tanh), models.mlp([2, 4, 2]), make(bias=False), make().double()):
        with pytest.raises(
            ValueError, match="(?s)differ in their numbers alone, but network 1 is.*and network 0"
        ):
            Ensemble([make(), other])


@pytest.mark.parametrize("shape", [(2,), (4, 5, 2), (3, 1, 5, 2)])
def test_inputs_of_the_wrong_shape_are_refused(shape):
    ensemble = Ensemble([models.mlp([2, 3, 2]) for _ in range(3)])
    with pytest.raises(
        ValueError, match=r"expected x \(N, ...\) with 2 dim.*or \(3, N, ...\) .*got shape \("
    ):
        ensemble(torch.zeros(shape))


# --- losses and accuracy


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 99))
def test_losses_are_their_formulas(n, classes, seed):
    logits = torch.randn(3, n, classes, dtype=torch.float64, generator=generator(seed))
    y = torch.randint(classes, (3, n), generator=generator(seed + 1))
    z, labels = logits.numpy(), y.numpy()
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    entropy = -np.take_along_axis(log_p, labels[..., None], -1).mean((1, 2))
    square = ((z - np.eye(classes)[labels]) ** 2).sum((1, 2)) / (n * classes)
    for loss, expected in (("cross_entropy", entropy), ("squared_error", square)):
        np.testing.assert_allclose(training.classification_loss(logits, y, loss), expected)
        np.testing.assert_allclose(training.classification_loss(logits[1], y[1], loss), expected[1])
        shared = training.classification_loss(logits, y[0], loss)
        np.testing.assert_allclose(shared[0], expected[0])


@pytest.mark.parametrize(
    "call", [training.classification_step, lambda loss: training.classification_loss(X, Y, loss)]
)
def test_an_unknown_loss_is_refused(call):
    with pytest.raises(ValueError, match="'squared_error' or 'stablemax', got 'mse'"):
        call("mse")


def test_accuracy_counts_and_knows_no_answer_from_nan():
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 1.0]])
    y = torch.tensor([0, 1, 1, 1])
    assert training.accuracy(nn.Identity(), logits, y) == 0.75
    several = torch.stack([logits, 1 - logits, torch.full_like(logits, float("nan"))])
    np.testing.assert_array_equal(training.accuracy(nn.Identity(), several, y), [0.75, 0.25, np.nan])
    each = torch.stack([y, 1 - y, y])
    np.testing.assert_array_equal(training.accuracy(nn.Identity(), several, each), [0.75, 0.75, np.nan])


@pytest.mark.parametrize("shape", [(4, 1), (1,), (3,), (2, 4)])
def test_labels_that_would_be_compared_all_with_all_are_refused(shape):
    y = torch.zeros(shape, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"outputs \(4, 2\), y of shape \(4,\), got"):
        training.accuracy(nn.Identity(), torch.zeros(4, 2), y)


class SharedWeight(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(torch.sin(self.first(x)))


def twice_the_same_convolution():
    conv = nn.Conv2d(2, 2, 3, padding=1)
    return nn.Sequential(conv, nn.ReLU(), conv)


@pytest.mark.parametrize(
    ("make", "shape"), [(twice_the_same_convolution, (3, 2, 4, 4)), (SharedWeight, (5, 3))]
)
def test_what_a_network_uses_twice_stays_one_thing_in_an_ensemble(make, shape):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets, x = [make() for _ in range(3)], torch.randn(shape)
    ensemble = Ensemble(nets, sample_dims=len(shape) - 1)
    for _ in range(3):  # the first call used to leave the ensemble broken
        out = ensemble(x)
    for i, net in enumerate(nets):
        torch.testing.assert_close(out[i], net(x))
        torch.testing.assert_close(ensemble[i](x), net(x))
    out.sum().backward()
    nets[2](x).sum().backward()
    for together, alone in zip(ensemble.parameters(), nets[2].parameters(), strict=True):
        torch.testing.assert_close(together.grad[2], alone.grad)
