"""experiments/cifar10.py on invented pictures: killed and resumed, on two processes, and its recording."""

import importlib.util
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from minigrok import data, models, recordings, regions, training

SCRIPT = Path(__file__).parents[1] / "experiments" / "cifar10.py"

# Runs the script in front of pictures that need no download: each class has a brightness of its own.
RUNNER = """
import importlib.util, sys, torch
from minigrok import data

def invented(n_train=None, *, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(600) % 10
    x = (y[:, None, None, None] / 10 + 0.1 * torch.rand(600, 3, 32, 32, generator=generator)).clamp(0, 1)
    return data.Images(x[:n_train], y[:n_train], x[:40], y[:40])

data.cifar10 = invented
sys.argv = sys.argv[1:]
spec = importlib.util.spec_from_file_location("cifar10", sys.argv[0])
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
script.PROBED = script.SEARCHED = script.QUERIES = 4  # looking is tested below, in front of more pictures
script.attacked_hard = lambda *_: {}
train = script.training.train
script.training.train = lambda *given, **options: train(*given, **options | {"every": 40})
script.main()
"""
TINY = ["--width", "1", "--train", "40", "--batch", "20", "--device", "cpu"]


@pytest.fixture
def house(tmp_path):
    """A copy of the script in folders of its own, so that what it writes stays there."""
    (tmp_path / "experiments").mkdir()
    shutil.copy(SCRIPT, tmp_path / "experiments" / "cifar10.py")
    (tmp_path / "runner.py").write_text(RUNNER)
    return tmp_path


def command(house, *options, launch=()):
    script = house / "experiments" / "cifar10.py"
    return [sys.executable, *launch, str(house / "runner.py"), str(script), *TINY, *options]


def run(house, *options, launch=()):
    done = subprocess.run(
        command(house, *options, launch=launch), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def last_weights(house):
    saved = torch.load(next(house.glob("experiments/runs/*/checkpoint.pt")), weights_only=True)
    return saved["step"], saved["model"]


def wait_for(what, seconds=120):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_killed_in_the_middle_it_goes_on_to_the_same_end(house, tmp_path):
    options = ["--steps", "400", "--looks", "3"]
    process = subprocess.Popen(command(house, *options), stderr=subprocess.DEVNULL)
    wait_for(lambda: any(house.glob("experiments/runs/*/checkpoint.pt")) and last_weights(house)[0])
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    reached, _ = last_weights(house)
    assert 0 < reached < 400
    assert "wrote" in run(house, *options)
    step, resumed = last_weights(house)

    other = tmp_path / "other"
    shutil.copytree(house / "experiments", other / "experiments", ignore=shutil.ignore_patterns("runs"))
    shutil.copy(house / "runner.py", other)
    run(other, *options)
    whole_step, whole = last_weights(other)
    assert step == whole_step == 400
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    first, second = (
        recordings.load(next(where.glob("lessons/recordings/*.npz"))) for where in (house, other)
    )
    for name in set(first.arrays) - {"seconds"}:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_two_processes_share_a_batch_and_find_what_one_finds(house, tmp_path):
    options = ["--steps", "6", "--looks", "3"]
    run(house, *options)
    _, alone = last_weights(house)
    shutil.rmtree(house / "experiments" / "runs")
    shutil.rmtree(house / "lessons")
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert run(house, *options, launch=torchrun).count("wrote") == 1
    step, together = last_weights(house)
    assert step == 6
    for name, weight in alone.items():  # the mean of two halves' gradients, rounded differently
        torch.testing.assert_close(together[name], weight, rtol=1e-3, atol=1e-5)
    assert recordings.load(next(house.glob("lessons/recordings/*.npz")))["steps"].tolist() == [0, 1, 6]


def test_a_small_recording_has_no_weights_and_says_so(house):
    run(house, "--steps", "1", "--looks", "2", "--no-weights")
    found = recordings.load(next(house.glob("lessons/recordings/*.npz")))
    assert not [name for name in found.arrays if name.startswith(("weights.", "adam."))]
    assert found["trained_steps"] == 1 and found.provenance["command"].endswith("--no-weights")


# --- what it measures, in this process ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("cifar10", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def images(script):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(700, 3, 32, 32, generator=generator), torch.arange(700) % 10
    return data.Images(script.scaled(x[:100]), y[:100], script.scaled(x[100:]), y[100:])


def network(batch_norm=False):
    return models.cnn(2, batch_norm=batch_norm, generator=torch.Generator().manual_seed(0)).eval()


def test_one_level_of_a_pixel_is_four_255ths_of_an_input(script):
    dark, light = torch.tensor([100.0, 101.0]) / 255
    assert script.scaled(torch.tensor([0.0, 1.0])).tolist() == list(script.BOUNDS)
    assert float(script.scaled(light) - script.scaled(dark)) == pytest.approx(4 / 255, rel=1e-4)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_look_agrees_with_the_library(script, images, batch_norm):
    model = network(batch_norm)
    seen = script.look(model, images)
    assert seen["test_accuracy"] == pytest.approx(
        float(training.accuracy(model, images.x_test, images.y_test))
    )
    for loss in ("margin", "plain_cross_entropy"):
        robust = seen[f"robust_{loss}"]
        assert len(robust) == len(script.LEVELS) and robust == sorted(robust, reverse=True)
        assert robust[0] <= seen["test_accuracy"] + 0.05
    frame = script.frame_of(3072, torch.Generator().manual_seed(5))
    counted = regions.local_complexity(
        model, images.x_train[: script.PROBED], radius=script.RADIUS, frame=frame
    )
    assert sum(seen["complexity_train"]) == pytest.approx(float(counted.total.double().mean()), rel=0.25)


@pytest.mark.parametrize(
    ("n", "batch", "world", "smallest"), [(5001, 128, 10, 9), (129, 128, 2, 1), (6, 3, 4, 3)]
)
def test_a_batch_too_small_for_all_processes_is_refused(script, n, batch, world, smallest):
    parts = [len(torch.arange(n)[k : k + batch][world - 1 :: world]) for k in range(0, n, batch)]
    assert min(parts) == 0  # the last process would go without
    with pytest.raises(
        ValueError, match=rf"{n} training.*--batch {batch} .* has {smallest}, .*{world} processes"
    ):
        script.all_have_work(n, batch, world)


@pytest.mark.parametrize(("n", "batch", "world"), [(5000, 128, 8), (130, 128, 2), (128, 64, 64), (5, 5, 1)])
def test_a_batch_with_a_picture_for_each_process_is_taken(script, n, batch, world):
    parts = [len(torch.arange(n)[k : k + batch][world - 1 :: world]) for k in range(0, n, batch)]
    assert min(parts) > 0
    script.all_have_work(n, batch, world)


def test_the_command_makes_the_run_again(script):
    words = "--width 8 --batch-norm --train 5000 --steps 100000 --device cpu".split()
    options = script.parsed(words)
    again = script.parsed([*script.command_of(options).split()[2:], "--device", "cpu"])
    assert vars(again) == vars(options)
    assert script.name_of(options) == "cifar10_cnn8_bn_5000"
    assert script.name_of(script.parsed(["--seed", "3"])) != script.name_of(script.parsed([]))
