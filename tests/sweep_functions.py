"""Functions for tests of sweeps: other processes must be able to import them."""

import os
import time
from pathlib import Path


def product(a, b):
    return {"product": a * b, "process": os.getpid()}


def products(cells):
    return [{"product": cell["a"] * cell["b"], "size": len(cells)} for cell in cells]


def no_sevens(a, b):
    if a == 7:
        raise ArithmeticError(f"seven, with b = {b}")
    return {"product": a * b}


def no_sevens_together(cells):
    return [no_sevens(**cell) for cell in cells]


def dies_at_seven(a, b):
    if a == 7:
        os._exit(3)
    return {"product": a * b}


def leaves_a_mark(a, folder, wait):
    """Write down that the cell was begun, and by which process; then take its time."""
    with open(Path(folder, f"{a}.txt"), "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(wait)
    return {"square": a * a, "process": os.getpid()}
