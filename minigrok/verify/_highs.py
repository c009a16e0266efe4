"""One linear or mixed-integer program in HiGHS, whose objective may change from call to call."""

from dataclasses import dataclass

import numpy as np

try:
    import highspy
except ImportError as error:
    raise ImportError(
        "minigrok.verify needs HiGHS, which is not installed. Run `pip install highspy`, or install minigrok "
        "with the extra `verify`."
    ) from error

INFINITY = highspy.kHighsInf
_STATUS = highspy.HighsModelStatus
_TOO_LARGE = (_STATUS.kNotset, _STATUS.kModelError, _STATUS.kSolveError, _STATUS.kUnknown)


@dataclass(frozen=True)
class Answer:
    """status is "optimal", "infeasible", "reached" (the target was) or "stopped" (the time was up)."""

    status: str
    bound: float  # nothing feasible is larger than this
    x: np.ndarray | None = None
    duals: np.ndarray | None = None  # of the rows; None for a program with integers


class Program:
    """Maximise cost @ x over row_low <= rows @ x <= row_high, low <= x <= high; some x may be 0 or 1 only."""

    def __init__(
        self,
        rows: np.ndarray,
        row_low: np.ndarray,
        row_high: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        n_integers: int = 0,
    ):
        lp = highspy.HighsLp()
        lp.num_row_, lp.num_col_ = rows.shape
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(len(low)), low, high
        lp.row_lower_, lp.row_upper_ = row_low, row_high
        filled = rows != 0
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.concatenate([[0], filled.sum(1).cumsum()])
        lp.a_matrix_.index_ = np.nonzero(filled)[1]
        lp.a_matrix_.value_ = rows[filled]
        if n_integers:  # the last columns
            lp.integrality_ = [highspy.HighsVarType.kContinuous] * (len(low) - n_integers) + [
                highspy.HighsVarType.kInteger
            ] * n_integers
        lp.sense_ = highspy.ObjSense.kMaximize
        self.size, self.integers = len(low), n_integers > 0
        self.columns = np.arange(self.size, dtype=np.int32)
        self.highs = highspy.Highs()
        self.highs.HandleUserInterrupt = self.integers
        for option, value in {"output_flag": False, "threads": 1}.items():
            self.highs.setOptionValue(option, value)
        self.highs.passModel(lp)

    def maximise(
        self, cost: np.ndarray, constant: float = 0.0, *, seconds: float, target: float | None = None
    ) -> Answer:
        """The largest cost @ x + constant; a program with integers may stop where it reaches the target."""
        # HiGHS holds the limit against the time of all runs of this program together.
        self.highs.setOptionValue("time_limit", self.highs.getRunTime() + max(seconds, 0.0))
        if target is not None:
            self.highs.setOptionValue("objective_target", target)
        self.highs.changeObjectiveOffset(constant)
        self.highs.changeColsCost(len(cost), self.columns, cost)
        self._run()
        return self._answer()

    def _run(self) -> None:
        """Run HiGHS; where that may take long, beside this thread, which alone hears Ctrl-C."""
        if not self.integers:
            self.highs.run()
            return
        thread = self.highs.startSolve()
        try:
            while not self.highs.wait(0.1)[0]:
                pass
        except BaseException:
            self.highs.cancelSolve()
            thread.join()
            raise

    def _answer(self) -> Answer:
        status, info = self.highs.getModelStatus(), self.highs.getInfo()
        solution = self.highs.getSolution() if info.primal_solution_status == 2 else None
        x = np.array(solution.col_value) if solution is not None else None
        if status == _STATUS.kOptimal:
            bound = info.mip_dual_bound if self.integers else info.objective_function_value
            return Answer("optimal", bound, x, None if self.integers else np.array(solution.row_dual))
        if status in (_STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible):
            return Answer("infeasible", -np.inf)
        bound = info.mip_dual_bound if self.integers else np.inf
        if status == _STATUS.kObjectiveTarget:
            return Answer("reached", bound, x)
        if status in (_STATUS.kTimeLimit, _STATUS.kIterationLimit):
            return Answer("stopped", bound, x)
        if status in _TOO_LARGE:
            words = self.highs.modelStatusToString(status)
            raise ValueError(
                f"HiGHS ended with '{words}', as it does where outputs are too large for it, beyond 1e15 "
                "or so. Divide the last layer's weights and biases by a number: no decision changes by that."
            )
        raise RuntimeError(
            f"HiGHS ended with '{self.highs.modelStatusToString(status)}', which no program of minigrok "
            "should give. Please report it with the network and the call that led here."
        )
