"""How fast `regions.partition` is: regions per second, at a million regions, and against relucent.

Run by `make bench`, or: python bench/bench_partition.py [--no-peer] (relucent takes most of the time).
"""

import argparse
import multiprocessing
import resource
import sys
import time

import torch
from torch import nn

from minigrok.regions import partition


def network(widths: tuple[int, ...], he: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    layers = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        if he:
            nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
    return nn.Sequential(*layers[:-1])


def window(half: float) -> tuple[tuple[float, float], tuple[float, float]]:
    return ((-half, half), (-half, half))


def regions_per_second() -> None:
    cases = {
        "128 x 3, default initialisation": network((2, 128, 128, 128, 2)),
        "128 x 4, default initialisation": network((2, 128, 128, 128, 128, 2)),
        "128 x 4, He initialisation": network((2, 128, 128, 128, 128, 2), he=True),
    }
    print("regions per second on [-1, 1]^2, one thread (median of 5; in processor time)")
    for name, model in cases.items():
        times = []
        for _ in range(6):
            begin = time.process_time()
            cut = partition(model)
            times.append(time.process_time() - begin)
        median = sorted(times[1:])[2]
        print(f"  {name}: {cut.n_regions:,} regions, {cut.n_regions / median:,.0f} a second (target 100,000)")


def a_million() -> None:
    """In a process of its own, so that the largest memory is this one's."""
    model = network((2, 320, 320, 320, 320, 320, 2), he=True)
    times = {}
    for half in (0.045, 1.4):
        begin = time.process_time()
        cut = partition(model, window(half))
        times[half] = (time.process_time() - begin) / cut.n_regions
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            2**20 if sys.platform == "linux" else 2**30
        )
        print(f"  window +-{half}: {cut.n_regions:,} regions, V - E + F = {cut.euler}")
        print(f"    {1e6 * times[half]:.1f} microseconds a region, largest memory so far {memory:.2f} GiB")
    print(f"  time per region, large over small: {times[1.4] / times[0.045]:.2f} (target: at most 2)")


def processor_seconds() -> float:
    """Of this process and of the workers it has waited for: relucent searches in processes of its own."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def against_relucent() -> None:
    import relucent

    model = network((2, 64, 64, 1))
    begin, wall = processor_seconds(), time.perf_counter()
    complex_ = relucent.Complex(model)
    complex_.bfs(nworkers=1, verify=False, verbose=0)
    theirs, their_wall = processor_seconds() - begin, time.perf_counter() - wall
    times = []
    for _ in range(5):
        begin = processor_seconds()
        cut = partition(model, window(1e5))
        times.append(processor_seconds() - begin)
    ours = sorted(times)[2]
    print("64 x 2, the whole plane (ours: a window of +-1e5), processor time")
    print(f"  relucent, once: {len(complex_):,} regions, {theirs:.1f} s ({their_wall:.1f} s by the clock)")
    print(f"  minigrok, median of 5: {cut.n_regions:,} regions, {1e3 * ours:.1f} ms")
    print(f"  ratio {theirs / ours:.0f} (target: at least 300, the same count)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-peer", action="store_true", help="leave out relucent")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    regions_per_second()
    print("over a million regions: 320 x 5, He initialisation, one network, two windows")
    process = multiprocessing.get_context("spawn").Process(target=a_million)
    process.start()
    process.join()
    if not arguments.no_peer:
        against_relucent()


if __name__ == "__main__":
    main()
