"""The cascade: bounds, a walk, linear programs, a mixed-integer program; each settles what it can.

Counterexamples of every stage are run through the model before they count.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from minigrok.networks import Network
from minigrok.verify._affine import Affine, pre_activations
from minigrok.verify._bounds import Empty, Region
from minigrok.verify._highs import Answer
from minigrok.verify._program import Expressions, exact, relaxation, tighten
from minigrok.verify._walk import Rooms

SLACK = 1e-5  # a counterexample keeps this distance from the walls of its pattern, so that float32 agrees
GOAL = 1e-3  # a climb stops at this margin: clearly misclassified
# Why nothing was decided.
LATE = "the time was up"
TIE = "what the program found is too close to a tie, or to a wall, for the model to agree"


@dataclass
class Question:
    """A region of a network, with what every stage of the cascade needs."""

    model: nn.Module | Network
    network: Network
    maps: list[Affine]
    low: np.ndarray
    high: np.ndarray
    phases: list[np.ndarray]
    tol: float
    deadline: float
    starts: Sequence[np.ndarray] = ()  # inputs from which a walk may begin

    def left(self) -> float:
        return self.deadline - time.perf_counter()

    def follows(self, x: np.ndarray) -> Tensor | None:
        """x as the model takes it, if it is then in the box and follows, in its precision and in float64."""
        point = self._rounded_inside(x)
        if point is None:
            return None
        exactly = point.flatten().double().cpu().numpy()
        as_the_model = self.network.pre_activations(point[None])
        for z, precise, phase in zip(
            as_the_model, pre_activations(self.maps, exactly), self.phases, strict=True
        ):
            for active in ((z[0] > 0).cpu().numpy(), precise > 0):
                if (~active[phase > 0]).any() or active[phase < 0].any():
                    return None
        return point

    def counterexample(self, x: np.ndarray, label: int, rival: int) -> tuple[Tensor, float] | None:
        """x and its margin, if the model itself prefers the rival there and all demands are met."""
        point = self.follows(x)
        if point is None:
            return None
        with torch.no_grad():
            outputs = self.model(point[None]).flatten().double()
        margin = float(outputs[rival] - outputs[label])
        return (point, margin) if margin > 0 else None

    def _rounded_inside(self, x: np.ndarray) -> Tensor | None:
        dtype = torch.empty(0, dtype=self.network.dtype).numpy().dtype
        low, high = self.low.astype(dtype), self.high.astype(dtype)
        low = np.where(low < self.low, np.nextafter(low, np.inf, dtype=dtype), low)
        high = np.where(high > self.high, np.nextafter(high, -np.inf, dtype=dtype), high)
        if (low > high).any():
            return None
        point = torch.from_numpy(np.clip(x.astype(dtype), low, high))
        return point.reshape(self.network.input_shape).to(self.network.device)


@dataclass(frozen=True)
class Found:
    """What the cascade found; `x` is an input of the region, or a counterexample if "falsified"."""

    status: str
    stage: str
    x: Tensor | None = None
    rival: int | None = None
    margin: float = float("inf")
    note: str = ""


def certify(question: Question, label: int, rivals: Sequence[int]) -> Found:
    """Is the output of the label larger than that of every rival, on the whole region?"""
    try:
        return _Cascade(question, label, rivals).run()
    except Empty as empty:
        return Found("empty", empty.stage)


def inside(question: Question) -> Found:
    """Status "inside" with an input of the region, "empty", or "unknown"."""
    try:
        return _Cascade(question, 0, []).witness()
    except Empty as empty:
        return Found("empty", empty.stage)


class _Cascade:
    def __init__(self, question: Question, label: int, rivals: Sequence[int]):
        self.question, self.label = question, label
        self.region = Region.of(question.maps, question.low, question.high, question.phases)
        self.rooms = Rooms(self.region, SLACK)
        self.open = dict.fromkeys(rivals, np.inf)  # what is not proved, with its upper bound
        self.top, self.stage = -np.inf, "bounds"  # of what is proved: the largest bound, the last prover
        self.inside: np.ndarray | None = None  # an input of the region, checked
        self.inside_by = ""  # what found it: "start" (it was given), "walk" or "milp"
        self.note = ""

    def run(self) -> Found:
        self._bound()
        falsified = self._walk()
        for settle in (self._relax, self._tighten, self._search):
            if falsified or not self.open or self.question.left() <= 0:
                break
            falsified = settle()
        if falsified:
            return falsified
        if self.open:
            return Found("unknown", "", margin=max(self.top, *self.open.values()), note=self.note or LATE)
        return self._verified()

    def witness(self) -> Found:
        """An input of the region: given, by a walk, or by the mixed-integer program."""
        if self.inside is None:
            self._enter()
        for slack in (SLACK, 0.0):  # an input off the walls; or is there none even on them?
            if self.inside is None:
                answer = self._solve_exactly(None, slack)
                if answer.status == "infeasible" and not slack:
                    raise Empty("milp")
                if answer.x is not None:
                    self._enter(answer.x[: len(self.region.low)])
        if self.inside is None:
            note = LATE if self.question.left() <= 0 else "all inputs found lie on the pattern's walls"
            return Found("unknown", "", note=note)
        return Found("inside", self.inside_by, self.question.follows(self.inside))

    def _verified(self) -> Found:
        found = self.witness()
        if found.status == "unknown":
            note = "no counterexample exists, but no input of the region was found either: " + found.note
            return Found("unknown", "", margin=self.top, note=note)
        return Found("verified", self.stage, margin=self.top)

    def _close(self, rival: int, bound: float, stage: str) -> None:
        self.open[rival] = min(self.open[rival], bound)
        if self.open[rival] < -self.question.tol:
            self.top, self.stage = max(self.top, self.open.pop(rival)), stage

    def _bound(self) -> None:
        rivals = list(self.open)
        if rivals:
            _, most = self.region.linear_bounds(self._margin(rivals))
            for rival, bound in zip(rivals, most.tolist(), strict=True):
                self._close(rival, bound, "bounds")

    def _enter(self, *solved: np.ndarray) -> None:
        """Look for an input of the region: what the program found, a start, or by a walk from these."""
        middle = (self.region.low + self.region.high) / 2
        by_program = [(x, "milp") for x in solved]
        for x, stage in (*by_program, *((x, "start") for x in self.question.starts)):
            if self.question.follows(x) is not None:
                self.inside, self.inside_by = x, stage
                return
        for x, stage in (*by_program, *((x, "walk") for x in (*self.question.starts[:3], middle))):
            found = self.rooms.enter(x, deadline=self.question.deadline)
            if found is not None and self.question.follows(found) is not None:
                self.inside, self.inside_by = found, stage
                return

    def _walk(self) -> Found | None:
        if self.open:
            self._enter()
        if self.inside is None:
            return None
        return self._climb(self.inside, max(self.open, key=self.open.get), "walk")

    def _climb(self, x: np.ndarray, rival: int, stage: str) -> Found | None:
        """A walk from x; a counterexample if the model agrees that it is one."""
        margin = self._margin([rival])
        deadline = self.question.deadline
        top, value = self.rooms.climb(x, margin, goal=GOAL, deadline=deadline)
        if value > 0:
            return self._checked(top, rival, stage)
        return None

    def _checked(self, x: np.ndarray, rival: int, stage: str) -> Found | None:
        found = self.question.counterexample(x, self.label, rival)
        return Found("falsified", stage, found[0], rival, found[1]) if found else None

    def _relax(self) -> Found | None:
        """The linear relaxation, for each rival; its best input is tried as it is, and as a start."""
        program, found = relaxation(self.region, len(self.region.maps))
        for rival in sorted(self.open, key=self.open.get, reverse=True):
            row, constant = self._row(found, rival)
            answer = program.maximise(row, constant, seconds=self.question.left())
            if answer.status == "infeasible":
                raise Empty("lp")
            if answer.status != "optimal":
                return None
            self._close(rival, answer.bound, "lp")
            if rival in self.open:
                x = answer.x[: len(self.region.low)]
                falsified = self._checked(x, rival, "lp") or self._climb_from(x, rival, "walk")
                if not falsified and self.inside is not None:
                    falsified = self._climb(self.inside, rival, "walk")
                if falsified:
                    return falsified
        return None

    def _climb_from(self, x: np.ndarray, rival: int, stage: str) -> Found | None:
        """Climb from the room of x; where nothing in it has the demanded phases, from where a walk enters."""
        falsified = self._climb(x, rival, stage)
        entered = None if falsified else self.rooms.enter(x, deadline=self.question.deadline)
        if entered is None:
            return falsified
        if self.inside is None and self.question.follows(entered) is not None:
            self.inside, self.inside_by = entered, stage
        return self._climb(entered, rival, stage)

    def _tighten(self) -> Found | None:
        try:
            paid = tighten(self.region, self.question.deadline)
        except Empty:
            raise Empty("lp") from None
        self.rooms = Rooms(self.region, SLACK)
        return self._relax() if paid and self.question.left() > 0 else None

    def _search(self) -> Found | None:
        """The mixed-integer program, for each rival: no input within tolerance of a tie is a proof.

        If its input lies on the pattern's walls, it is asked again for one that keeps away from them.
        """
        for rival in list(self.open):
            for slack in (0.0, SLACK):
                answer = self._solve_exactly(rival, slack)
                if answer.x is None:
                    break
                falsified = self._climb_from(answer.x[: len(self.region.low)], rival, "milp")
                if falsified:
                    return falsified
                self.note = TIE
            if slack == 0.0:
                bound = np.nextafter(-self.question.tol, -np.inf)
                self._close(rival, bound if answer.status == "infeasible" else answer.bound, "milp")
        return None

    def _solve_exactly(self, rival: int | None, slack: float) -> Answer:
        """The mixed-integer program against a rival, or for any input of the region."""
        found = Expressions.of(self.region, len(self.region.maps))
        if rival is None:
            row, constant, least = np.zeros(found.size), 0.0, -1.0
        else:
            row, constant = self._row(found, rival)
            least = -self.question.tol - constant
        program = exact(self.region, row, least, slack)
        cost = np.concatenate([row, np.zeros(program.size - found.size)])
        target = GOAL if rival is not None else None
        return program.maximise(cost, constant, seconds=self.question.left(), target=target)

    def _margin(self, rivals: Sequence[int]) -> Affine:
        """Outputs of the rivals less that of the label."""
        last, label = self.question.maps[-1], self.label
        parts = {s: part[rivals] - part[label] for s, part in last.parts.items()}
        return Affine(last.bias[rivals] - last.bias[label], parts)

    def _row(self, found: Expressions, rival: int) -> tuple[np.ndarray, float]:
        """The same for one rival, over the program's variables."""
        rows, constants = found.rows[-1], found.constants[-1]
        return rows[rival] - rows[self.label], float(constants[rival] - constants[self.label])
