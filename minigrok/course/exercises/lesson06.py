"""The checks of lesson 06, The clock inside a transformer."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigrok.course.exercises import call, expect_array, expect_close, expect_number, passed


def _pairs(p: int) -> tuple[Tensor, Tensor]:
    """a and b of all pairs, in the order a * p + b, each (p*p,)."""
    a, b = torch.cartesian_prod(torch.arange(p), torch.arange(p)).T
    return a, b


def _clock(p: int, frequencies: Sequence[int], turn: Callable = lambda a, b, c: a + b - c) -> Tensor:
    a, b = (part[:, None] for part in _pairs(p))
    angle = 2 * torch.pi * turn(a, b, torch.arange(p)).double() / p
    return sum(torch.cos(k * angle) for k in frequencies).expand(p * p, p)


def clock(function: Callable) -> None:
    """`clock(p, frequencies)` is (p*p, p): the sum over k of cos(2 pi k (a + b - c) / p)."""
    for p, frequencies in [(7, [2]), (11, [1, 3, 4])]:
        got = expect_array(call(function, p, frequencies), (p * p, p), "the scores")
        mistakes = {
            "c should be subtracted, not added": _clock(p, frequencies, lambda a, b, c: a + b + c),
            "that is the clock of a - b": _clock(p, frequencies, lambda a, b, c: a - b - c),
            "that is the mean over the frequencies; take the sum": _clock(p, frequencies) / len(frequencies),
            "only the first frequency is in it": _clock(p, frequencies[:1]),
            "those are sines, 0 at the right answer: take cosines": sum(
                _clock(p, [k], lambda a, b, c, late=p / (4 * k): a + b - c - late) for k in frequencies
            ),
            "there is no 2 pi": sum(
                torch.cos(k * (a[:, None] + b[:, None] - torch.arange(p)).double() / p)
                for a, b in [_pairs(p)]
                for k in frequencies
            ),
            "the pairs and the answers are exchanged: c is the last axis, (a, b) the first": _clock(
                p, frequencies
            )
            .reshape(p, p, p)
            .permute(2, 0, 1)
            .reshape(p * p, p),
        }
        expect_close(got, _clock(p, frequencies), "the scores", atol=1e-4, mistakes=mistakes)
    passed("that is a clock: its best answer is a + b for every pair")


def _waves(logits: Tensor, frequencies: Sequence[int], *, sine: bool = True, turn: int = 1) -> Tensor:
    """The projection onto waves of a + turn * b, one wave at a time."""
    a, b = _pairs(math.isqrt(len(logits)))
    angle = 2 * torch.pi * (a + turn * b).to(logits.dtype) / math.isqrt(len(logits))
    found = torch.zeros_like(logits)
    for k in frequencies:
        for wave in (torch.cos(k * angle), torch.sin(k * angle))[: 1 + sine]:
            found += 2 * torch.outer(wave, wave @ logits) / len(logits)
    return found


def restricted(function: Callable) -> None:
    """`restricted(logits, frequencies)`: the waves of a + b at these frequencies, with the mean."""
    for p, m, frequencies, seed in [(7, 3, [2], 0), (11, 11, [1, 4], 1), (13, 2, [3, 5, 6], 2)]:
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(p * p, m, generator=generator, dtype=torch.float64) + 3
        got = expect_array(call(function, logits, frequencies), (p * p, m), "the logits that are kept")
        mean, waves = logits.mean(0), _waves(logits, frequencies)
        mistakes = {
            "each output's mean is missing": waves,
            "the mean is there twice": waves + 2 * mean,
            "the waves are half as high as they should be: the mean of cos^2 is 1/2": mean + waves / 2,
            "the sines are missing, so a shifted wave is not seen": mean
            + _waves(logits, frequencies, sine=False),
            "each coefficient is a mean over all pairs, not a sum": mean + waves * p * p,
            "those are waves of a - b": mean + _waves(logits, frequencies, turn=-1),
            "that is what should be removed; keep the waves": logits - waves,
            "that is what should be removed, without its mean": logits - waves - mean,
            "the mean should be taken of each output by itself": logits.mean() + waves,
            "only the first frequency is in it": mean + _waves(logits, frequencies[:1]),
        }
        expect_close(got, mean + waves, "the logits that are kept", atol=1e-5, mistakes=mistakes)
    passed("only the waves of a + b are left, and the mean")


def excluded_loss(function: Callable) -> None:
    """`excluded_loss(logits, y, rows, frequencies)`: the cross-entropy on rows without the key waves."""
    for p, frequencies, seed in [(7, [2], 0), (11, [1, 4], 1)]:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(p * p, p, generator=generator, dtype=torch.float64)
        logits = noise + 2 * _clock(p, frequencies) + torch.linspace(0, 2, p).double()
        a, b = _pairs(p)
        y, rows = (a + b) % p, torch.randperm(p * p, generator=generator)[: p * p // 4]
        got = expect_number(call(function, logits, y, rows, frequencies), "the excluded loss")
        rest, waves = logits - _waves(logits, frequencies), _waves(logits, frequencies)

        def loss(z: Tensor, at: Tensor = rows, y: Tensor = y) -> float:
            return F.cross_entropy(z[at], y[at]).item()

        every = torch.arange(p * p)
        mistakes = {
            "that is the loss of the logits as they are": loss(logits),
            "the mean is gone too: only the waves should be": loss(rest - logits.mean(0)),
            "that is the restricted loss, of the waves with the mean": loss(waves + logits.mean(0)),
            "that is the loss on all pairs: choose the rows": loss(rest, every),
            "that is the loss of the other rows": loss(rest, every[~torch.isin(every, rows)]),
            "that is the sum over the rows, not the mean": loss(rest) * len(rows),
        }
        expect_close(got, loss(rest), "the excluded loss", rtol=1e-3, mistakes=mistakes)
    passed("the loss without the key waves, on the rows that count")


def _hidden(seed: int) -> list[int]:
    """The class's frequencies: four of the clock, one of a - b, one of a alone."""
    return [int(k) for k in np.random.default_rng([6, seed]).choice(29, 6, replace=False) + 1]


def mystery(*, seed: int = 0) -> Tensor:
    """The class's network modulo 59, as the logits of all its pairs, float32 (59*59, 59)."""
    p, frequencies = 59, _hidden(seed)
    generator = torch.Generator().manual_seed(seed)
    logits = 0.5 * torch.randn(p * p, p, generator=generator, dtype=torch.float64)
    for k, strength in zip(frequencies, (1.0, 0.8, 0.6, 0.5), strict=False):
        logits += strength * _clock(p, [k])
    logits += 1.5 * _clock(p, frequencies[4:5], lambda a, b, c: a - b - c)
    logits += 1.5 * _clock(p, frequencies[5:], lambda a, b, c: a + 0 * c)
    known = torch.randperm(p * p, generator=generator)[: p * p * 2 // 5]  # learnt by heart
    logits[known, (_pairs(p)[0] + _pairs(p)[1])[known] % p] += 4
    return logits.float()


def hands(answer: int, *, seed: int = 0) -> None:
    """The sum of the frequencies of the clock's four hands."""
    frequencies = _hidden(seed)
    right = sum(frequencies[:4])
    mistakes = {
        "a wave of a - b is among yours: it does not turn with a + b": right + frequencies[4],
        "a wave of a alone is among yours: it has nothing to do with the answer": right + frequencies[5],
        "waves of a alone and of a - b are among yours": right + sum(frequencies[4:]),
        "that is how many hands there are; add up their frequencies": 4,
        "the weakest hand is missing": right - frequencies[3],
        "each is one too low: without frequency 0 the first entry is that of frequency 1": right - 4,
        "you took some hands for p - k: frequencies run from 1 to 29": 59 * 4 - right,
    }
    got = expect_number(answer, "sum_of_frequencies", whole=True)
    expect_close(got, right, "sum_of_frequencies", mistakes=mistakes)
    passed("those are the hands of your class's clock")
