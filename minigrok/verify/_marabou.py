"""A second opinion: the same question put to Marabou, another solver with a search of its own.

Marabou takes variables with bounds, linear equations and ReLU constraints, and answers "sat" with values or
"unsat". Its solver runs in a process of its own: while it searches, Python in the same process hears no
Ctrl-C and keeps no time limit. This file is that process's program too, so it imports nothing of minigrok.
"""

import importlib.util
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from minigrok.verify._affine import Affine

Objective = tuple[np.ndarray, float]


def solve(
    maps: "list[Affine]",
    low: np.ndarray,
    high: np.ndarray,
    phases: list[np.ndarray],
    objective: Objective | None,
    *,
    timeout: float,
    slack: float = 0.0,
) -> tuple[str, np.ndarray | None]:
    """Ask Marabou for an input of the region with c @ output + d >= 0.

    Args:
        maps: the network, one `Affine` for each layer of ReLU and one for the output.
        low, high: (d,) the box of inputs.
        phases: for each layer (units,): 1 where z >= 0 is demanded, -1 where z <= 0, 0 where nothing is.
        objective: (c, d), or None when any input of the region will do.
        timeout: seconds for everything, the start of the process (about 0.2 s) included.
        slack: the distance from zero that is demanded, z >= slack or z <= -slack.

    Returns:
        ("sat", x (d,)), ("unsat", None) or ("timeout", None). Marabou computes in floating point: x holds
        up to its tolerance (1e-6 or so), and the caller checks it.

    Raises:
        ImportError: maraboupy is not installed.
        RuntimeError: the solver gave up for another reason than time; its last words are in the message.

    Source: the encoding of the programs beside Geng et al. 2023, "Towards Reliable Neural Specifications".
    """
    status, x, _ = solve_timed(maps, low, high, phases, objective, timeout=timeout, slack=slack)
    return status, x


def solve_timed(
    maps: "list[Affine]",
    low: Any,
    high: Any,
    phases: Any,
    objective: Any,
    *,
    timeout: float,
    slack: float = 0.0,
) -> tuple[str, np.ndarray | None, float]:
    """What `solve` returns, and the processor seconds inside Marabou alone, without start and encoding."""
    if importlib.util.find_spec("maraboupy") is None:
        raise ImportError(
            "solver='marabou' needs maraboupy, which is not installed. Run `pip install maraboupy` (there "
            "are wheels for Python 3.8 to 3.11 on Linux x86-64 and Intel Macs), or leave solver='cascade'."
        )
    layers = [(np.asarray(m.bias), {s: np.asarray(w) for s, w in m.parts.items()}) for m in maps]
    query = pickle.dumps((timeout, (layers, low, high, phases, objective, slack)))
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-P", __file__]
    limit = timeout if math.isfinite(timeout) else None
    try:  # killed when time is up and on Ctrl-C
        ended = subprocess.run(
            command, input=query, capture_output=True, timeout=limit, env=os.environ | one_thread
        )
    except subprocess.TimeoutExpired:
        return "timeout", None, timeout
    status, x, seconds = pickle.loads(ended.stdout) if ended.returncode == 0 else ("", None, math.nan)
    if status not in ("sat", "unsat", "timeout"):
        words = ended.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise RuntimeError(f"Marabou gave no answer ({status or f'exit {ended.returncode}'}): {words}")
    return status, x, seconds


def _encode(core: Any, layers: Any, low: Any, high: Any, phases: Any, objective: Any, slack: float) -> Any:
    """Inputs first, then for each layer its z and its ReLU(z), then the outputs."""
    sizes = [len(bias) for bias, _ in layers]
    firsts = np.cumsum([len(low), *(2 * n for n in sizes[:-1])]).tolist()  # of each layer's z, of the outputs
    values = {-1: 0} | {k: first + n for k, (first, n) in enumerate(zip(firsts, sizes, strict=True))}
    # Marked inputs let Marabou bound the network layer by layer. Version 2.0 is wrong there when a connection
    # skips a layer: it says "unsat" even where low = high is a solution.
    skips = any(source != k - 1 for k, (_, parts) in enumerate(layers) for source in parts)
    query = core.InputQuery()
    query.setNumberOfVariables(firsts[-1] + sizes[-1])
    for i in range(len(low)):
        query.setLowerBound(i, float(low[i]))
        query.setUpperBound(i, float(high[i]))
        if not skips:
            query.markInputVariable(i, i)

    def relate(kind: Any, terms: list[tuple[float, int]], scalar: float) -> None:
        equation = core.Equation(kind)
        for factor, variable in terms:
            equation.addAddend(factor, variable)
        equation.setScalar(scalar)
        query.addEquation(equation)

    for first, (bias, parts) in zip(firsts, layers, strict=True):
        for i in range(len(bias)):
            terms = [(1.0, first + i)]
            for source, weight in parts.items():
                terms += [(-float(weight[i, j]), values[source] + int(j)) for j in np.flatnonzero(weight[i])]
            relate(core.Equation.EQ, terms, float(bias[i]))
    for first, n, phase in zip(firsts, sizes, phases, strict=False):
        for i in range(n):
            core.addReluConstraint(query, first + i, first + n + i)
            if phase[i] > 0:
                query.setLowerBound(first + i, slack)
            elif phase[i] < 0:
                query.setUpperBound(first + i, -slack)
                query.setUpperBound(first + n + i, 0.0)
    for i in range(sizes[-1]):
        query.markOutputVariable(firsts[-1] + i, i)
    if objective is not None:
        terms = [(float(objective[0][i]), firsts[-1] + int(i)) for i in np.flatnonzero(objective[0])]
        relate(core.Equation.GE, terms, -float(objective[1]))
    return query


def _main() -> None:
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Marabou prints must not get into the answer
    timeout, question = pickle.load(sys.stdin.buffer)
    _, low, high, *_ = question
    from maraboupy import MarabouCore  # not `Marabou`, which warns of parsers that nobody needs here

    options = MarabouCore.Options()
    options._verbosity, options._numWorkers, options._numBlasThreads = 0, 1, 1
    if math.isfinite(timeout):  # if the parent is gone, nobody kills this process: the alarm does
        options._timeoutInSeconds = max(1, math.ceil(timeout))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(math.ceil(timeout) + 2)
    query = _encode(MarabouCore, *question)
    begin = time.process_time()
    status, found, _ = MarabouCore.solve(query, options, "")
    seconds = time.process_time() - begin
    x = np.clip([found[i] for i in range(len(low))], low, high) if status == "sat" else None
    pickle.dump((status.lower(), x, seconds), answer)


if __name__ == "__main__":
    _main()
