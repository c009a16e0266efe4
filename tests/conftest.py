"""What every test starts from: one thread, no window, Ctrl-C heard, the same examples each time."""

import gzip
import os
import signal
import sys

os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
import torch
from hypothesis import settings

# A job in the background of a shell begins with Ctrl-C ignored, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Small tensors gain nothing from a second thread, and the lessons run in a process beside the tests.
torch.set_num_threads(1)

# A first call compiles and warms up, and CI machines pause: a time limit per example would tell nothing.
settings.register_profile("minigrok", deadline=None, derandomize=True)
settings.load_profile("minigrok")


@pytest.fixture(autouse=True)
def figures_closed():
    """No test hands its open figures to the next: matplotlib warns at the twenty-first, wherever that is."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


# How many of MNIST's images show each digit, in training and in testing.
MNIST_COUNTS = {
    "train": (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
    "t10k": (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
}


@pytest.fixture(scope="session")
def mnist_folder(tmp_path_factory):
    """MNIST's layout, sizes and label counts with invented pixels: image i has the brightness i mod 256.

    Labels are those of `mixed_labels`.
    """
    root = tmp_path_factory.mktemp("data")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, counts in MNIST_COUNTS.items():
        n = sum(counts)
        pixels = np.repeat((np.arange(n) % 256).astype(np.uint8), 784).tobytes()
        header = np.array([0x803, n, 28, 28], dtype=">u4").tobytes()
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels, 1))
        header = np.array([0x801, n], dtype=">u4").tobytes()
        labels = mixed_labels(counts).tobytes()
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels, 1))
    return root


def mixed_labels(counts):
    """Each label as often as `counts` says, in a fixed random order, one byte each."""
    labels = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    return np.random.default_rng(0).permutation(labels)
