"""Timing for all benchmarks: functions run in turn in one process, and only ratios are worth quoting."""

import statistics
import time
from collections.abc import Callable, Mapping


def compare(
    functions: Mapping[str, Callable[[], object]],
    repeats: int = 7,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Time functions in turn, `repeats` rounds after one warm-up each, and print them as ratios to the first.

    A ratio is the median over the rounds of (first function's time / this one's time) in the same round, so
    that a machine that is busy for a while slows both sides. Returns the median seconds of each function.
    `clock=time.process_time` counts this process alone, for a machine shared with others.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            begin = clock()
            function()
            seconds[name].append(clock() - begin)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    _print(seconds, medians)
    return medians


def _print(seconds: dict[str, list[float]], medians: dict[str, float]) -> None:
    first, *_ = seconds
    width = max(map(len, seconds))
    print(f"{'':{width}}  {'median':>10}  {'best':>10}  times as fast as {first!r} (range over rounds)")
    for name, times in seconds.items():
        ratios = sorted(a / b for a, b in zip(seconds[first], times, strict=True))
        ratio = f"{statistics.median(ratios):6.2f}"
        if name != first:
            ratio += f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        best, middle = 1e3 * min(times), 1e3 * medians[name]
        print(f"{name:{width}}  {middle:7.1f} ms  {best:7.1f} ms  {ratio}")
