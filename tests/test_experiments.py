"""experiments/transformer.py: its measures on tables built by hand, and a short run with its recording."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from minigrok import data, measures, recordings

SCRIPT = Path(__file__).parents[1] / "experiments" / "transformer.py"


@pytest.fixture(scope="module")
def transformer():
    spec = importlib.util.spec_from_file_location("transformer", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wave(p, k, turn):
    a, b, c = torch.meshgrid(*[torch.arange(p, dtype=torch.float64)] * 3, indexing="ij")
    return torch.cos(2 * torch.pi * k * turn(a, b, c) / p).flatten(0, 1)


def test_the_dial_of_a_clock_is_its_hands_and_nothing_else(transformer):
    p = 11
    clock = wave(p, 2, lambda a, b, c: a + b - c) + 0.5 * wave(p, 4, lambda a, b, c: a + b - c)
    noise = wave(p, 3, lambda a, b, c: a - b - c) + wave(p, 1, lambda a, b, c: a)
    angle = 2 * np.pi * np.arange(p) / p
    expected = torch.as_tensor(np.cos(2 * angle) + 0.5 * np.cos(4 * angle))
    torch.testing.assert_close(transformer.dial(clock + noise + 7), expected)


def test_clock_power_is_the_share_of_each_frequency(transformer):
    p = 11
    clock = 2 * wave(p, 2, lambda a, b, c: a + b - c) + wave(p, 4, lambda a, b, c: a + b - c)
    common = 5 * wave(p, 1, lambda a, b, c: a)  # the same for all answers: the softmax forgets it
    expected = torch.zeros(6, dtype=torch.float64)
    expected[2], expected[4] = 4 / 5, 1 / 5
    torch.testing.assert_close(transformer.clock_power(clock + common), expected)
    other = 5**0.5 * wave(p, 3, lambda a, b, c: a - b - c)  # as much variance as the clock
    torch.testing.assert_close(transformer.clock_power(clock + other), expected / 2)


@pytest.fixture(scope="module")
def untrained(transformer):
    return transformer.new_state(3).model.requires_grad_(False)


def test_the_norms_of_the_parts_make_up_the_whole(transformer, untrained):
    norms = transformer.norms(untrained)
    torch.testing.assert_close(norms[0], measures.weight_norm(untrained))
    rest = untrained.position.square().sum()  # the one part that has no curve of its own
    torch.testing.assert_close(norms[1:].square().sum() + rest, norms[0].square())


def test_losses_are_those_of_the_network_itself(transformer, untrained):
    task = transformer.problem(3)
    assert len(task.x_train) == 3831 and len(task.x_train) + len(task.x_test) == 113**2
    logits = untrained(data.table("add", 113)[0])
    seen, again = transformer.look(untrained, task), transformer.cross_entropies(logits, task)
    for part in ("train", "test"):
        assert math.isclose(seen[f"{part}_loss"], again[part], rel_tol=1e-5)


def test_units_that_read_one_frequency_are_seen(transformer):
    model = transformer.new_state(0).model.requires_grad_(False)
    random = transformer.neuron_share(model)
    angle = 2 * torch.pi * 5 * torch.arange(113) / 113
    model.token.zero_()
    model.token[:113, 0], model.token[:113, 1] = angle.cos(), angle.sin()
    for weight in (model.query.weight, model.key.weight):
        weight.zero_()  # attention to all three alike: the stream is linear in the tokens
    assert transformer.neuron_share(model) > 0.999 > 0.3 > random


def test_the_telling_moments(transformer):
    steps = np.arange(0, 1001, 100)
    found = {"steps": steps, "train_accuracy": steps / 200, "test_accuracy": steps / 800}
    assert transformer.telling(found) == [200, 500, 800, 1000]
    found["test_accuracy"] = 0 * steps
    assert transformer.telling(found) == [200, 600, 1000, 1000], "not understood by the end"


@pytest.fixture(scope="module")
def run(transformer, tmp_path_factory):
    """Two seeds, one of them stopped and taken up again, and their recording."""
    folder = tmp_path_factory.mktemp("transformer")
    old, transformer.RUNS = transformer.RUNS, folder
    transformer.train(0, 1)
    transformer.train(0, 2)
    transformer.train(1, 1)
    yield transformer.record([0, 1], folder / "two.npz"), folder / "two.npz"
    transformer.RUNS = old


def test_a_run_goes_on_and_is_recorded(transformer, run):
    saved, path = run
    recording = recordings.load(path)
    assert recording["steps"].tolist() == [0, 1, 2]
    assert recording.provenance["seed"] == [0, 1]
    assert recording.provenance["command"] == "python experiments/transformer.py --seeds 0 1 --steps 2"
    assert recording["train_loss"].shape == (2, 3) and recording["complexity"].shape == (2, 3, 3, 3)
    assert np.isnan(recording["train_loss"]).tolist() == [[False] * 3, [False, False, True]]
    assert (recording["train_loss"][0, 1:] < recording["train_loss"][0, :-1]).all(), "it learns"
    assert path.stat().st_size < 2.5e6


def test_the_kept_weights_give_the_recorded_losses(transformer, run):
    recording, _ = run
    model, task = transformer.new_state(0).model.requires_grad_(False), transformer.problem(0)
    flat = torch.tensor(recording["kept_weights"][-1]).float()
    torch.nn.utils.vector_to_parameters(flat, model.parameters())
    assert recording["kept_steps"][-1] == 2
    assert math.isclose(
        transformer.look(model, task)["train_loss"], recording["train_loss"][0, -1], rel_tol=1e-4
    )
    keys = [int(k) for k in recording["keys"][0] if not np.isnan(k)]
    waves = transformer.waves(model(data.table("add", 113)[0]), keys, task)
    np.testing.assert_allclose(waves, recording["waves"][0, -1], rtol=1e-3)
