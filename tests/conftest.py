"""What every test starts from: one thread for torch, no window for figures, the same examples each time."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import torch
from hypothesis import settings

# Small tensors gain nothing from a second thread, and the lessons run in a process beside the tests.
torch.set_num_threads(1)

# A first call compiles and warms up, and CI machines pause: a time limit per example would tell nothing.
settings.register_profile("minigrok", deadline=None, derandomize=True)
settings.load_profile("minigrok")
