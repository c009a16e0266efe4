"""What the checks of all exercises share.

A check is a function in `lessonNN.py` whose first argument is the learner's function or value. It looks at
the shape first, then at the value, then names the usual mistake in words. It never imports an answer: it
tests properties, or computes what must come out by another road.

    from minigrok.course.exercises import call, expect_array, expect_close, passed

    def affine(function, *, seed=0):
        x, w, b = ...
        y = expect_array(call(function, x, w, b), (5, 2), "the result")
        expect_close(y, x @ w.T + b, "the result", mistakes={"the bias is missing": x @ w.T})
        passed("your layer is affine")

A check returns nothing and writes nothing to stderr: nbgrader reads a value as partial credit, and any stderr
as a failure. `call` therefore prints the warnings of a learner's function as notes.
"""

import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

__all__ = ["ExerciseError", "call", "expect_array", "expect_close", "expect_number", "given", "passed"]


class ExerciseError(Exception):
    """A check that did not pass, told in words; a notebook shows these words and no traceback.

    >>> raise ExerciseError("`counts` should have shape (5,), got (4,)")
    Traceback (most recent call last):
    minigrok.course.exercises.ExerciseError: `counts` should have shape (5,), got (4,)

    Used in every lesson.
    """

    def _render_traceback_(self) -> list[str]:  # IPython asks for this before it formats a traceback
        return [f"Not yet: {self}"]


def passed(text: str) -> None:
    """Say that a check has passed.

    >>> passed("your sheet is folded along three lines")
    ✓ your sheet is folded along three lines

    Used in every lesson.
    """
    print(f"✓ {text}")


def given(value: Any, name: str = "answer") -> Any:
    """The learner's value; an ExerciseError if there is none yet (None or `...`).

    >>> given(3, "answer")
    3
    >>> given(None, "answer")
    Traceback (most recent call last):
    minigrok.course.exercises.ExerciseError: `answer` is still None: replace the line \
`...  # your code here`, then run the cell above again

    Used in every lesson.
    """
    if value is None or value is ...:
        raise ExerciseError(
            f"`{name}` is still {value}: replace the line `...  # your code here`, "
            "then run the cell above again"
        )
    return value


def call(function: Callable, *args: Any, name: str | None = None) -> Any:
    """What the learner's function returns for these arguments; whatever goes wrong in it is an ExerciseError.

    Tensors, arrays and lists are handed over as copies, so a function that changes its arguments cannot spoil
    the check's own data. `name` is how messages speak of the function (its own name if None).

    >>> call(lambda x: 2 * x, 3)
    6
    >>> def double(x):
    ...     2 * x
    >>> call(double, 3)
    Traceback (most recent call last):
    minigrok.course.exercises.ExerciseError: your function `double` returned None: a `return` is missing, or \
the line `...  # your code here` is still there

    Used in every lesson.
    """
    if not callable(function):
        raise ExerciseError(
            f"expected a function, got {_describe(function)}: hand over the function itself, "
            "by its name and without parentheses"
        )
    name = name or getattr(function, "__name__", type(function).__name__)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = function(*[_copy(arg) for arg in args])
    except Exception as error:
        raise ExerciseError(
            f"your function `{name}` raised {type(error).__name__}: {error}{_where(error)}"
        ) from error
    for warning in caught:
        print(f"note: your function `{name}` warned: {warning.message}")
    if value is None or value is ...:
        raise ExerciseError(
            f"your function `{name}` returned {value}: a `return` is missing, or the line "
            "`...  # your code here` is still there"
        )
    return value


def expect_array(value: Any, shape: tuple[int | None, ...], name: str = "the result") -> np.ndarray:
    """The learner's value as a NumPy array of this shape, free of NaN and infinity.

    Takes tensors, arrays, lists and numbers; None in `shape` fits any size.

    >>> expect_array(torch.ones(2, 3), (2, None), "slopes").shape
    (2, 3)
    >>> expect_array(torch.ones(3, 2), (2, 3), "slopes")
    Traceback (most recent call last):
    minigrok.course.exercises.ExerciseError: `slopes` should have shape (2, 3), got (3, 2): \
it looks transposed, try `.T`

    Used in every lesson.
    """
    array = _as_numbers(given(value, name), name)
    if len(array.shape) != len(shape) or any(
        n not in (None, m) for n, m in zip(shape, array.shape, strict=True)
    ):
        raise ExerciseError(
            f"`{name}` should have shape {_shape(shape)}, got {array.shape}"
            f"{_shape_diagnosis(array.shape, shape)}"
        )
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ExerciseError(
            f"`{name}` holds {array[first]} at index {first}: "
            "look for a division by zero, a log of zero or an overflow"
        )
    return array


def expect_number(value: Any, name: str = "answer", *, whole: bool = False) -> float | int:
    """The learner's value as one number: a float, or an int with `whole=True`.

    >>> expect_number(torch.tensor(7.), "answer", whole=True)
    7
    >>> expect_number([1, 2], "answer")
    Traceback (most recent call last):
    minigrok.course.exercises.ExerciseError: `answer` should be one number, got 2 numbers of shape (2,)

    Used in every lesson.
    """
    if isinstance(value, bool):
        raise ExerciseError(f"`{name}` should be one number, got {value}")
    array = _as_numbers(given(value, name), name)
    if array.size != 1:
        raise ExerciseError(f"`{name}` should be one number, got {array.size} numbers of shape {array.shape}")
    number = float(expect_array(array.reshape(()), (), name))
    if whole and number != round(number):
        raise ExerciseError(f"`{name}` should be a whole number, got {number:g}")
    return round(number) if whole else number


def expect_close(
    got: Any,
    want: Any,
    name: str = "the result",
    *,
    rtol: float = 1e-4,
    atol: float = 1e-6,
    mistakes: Mapping[str, Any] | None = None,
    reveal: bool = False,
) -> None:
    """Refuse a value unless |got - want| <= atol + rtol |want| everywhere; say which mistake it looks like.

    `mistakes` maps a sentence to the value that this mistake gives; the first that fits `got` is said. The
    wanted value is told with `reveal=True` only: a check must not give away a number that was asked for.

    >>> expect_close(2., 2. + 1e-9, "answer")
    >>> expect_close(3., 2., "answer", mistakes={"you counted the border too": 3.})
    Traceback (most recent call last):
    minigrok.course.exercises.ExerciseError: `answer` is not right, you have 3: you counted the border too

    Used in every lesson.
    """
    got, want = (_as_numbers(value, name).astype(float) for value in (got, want))
    if got.shape != want.shape:
        raise ExerciseError(
            f"`{name}` should have shape {want.shape}, got {got.shape}"
            f"{_shape_diagnosis(got.shape, want.shape)}"
        )
    wrong = ~np.isclose(got, want, rtol=rtol, atol=atol)
    if not wrong.any():
        return
    text = f"`{name}` is not right, {_first_wrong(got, want, wrong, reveal)}"
    for sentence, value in (mistakes or {}).items():
        value = _as_numbers(value, "a mistake")
        if value.shape == got.shape and np.allclose(got, value, rtol=rtol, atol=atol):
            text += f": {sentence}"
            break
    raise ExerciseError(text)


def _first_wrong(got: np.ndarray, want: np.ndarray, wrong: np.ndarray, reveal: bool) -> str:
    first = tuple(int(i) for i in np.argwhere(wrong)[0]) if got.ndim else ()
    text = f"you have {got[first]:g}" + (f" where {want[first]:g} is due" if reveal else "")
    if got.ndim:
        text = f"{int(wrong.sum())} of {got.size} entries differ; at index {first} {text}"
    return text


def _as_numbers(value: Any, name: str) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    elif isinstance(value, (list, tuple)) and any(isinstance(item, torch.Tensor) for item in value):
        value = [_as_numbers(item, name) for item in value]
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise ExerciseError(f"`{name}` should hold real numbers, got {_describe(value)}")
    return array


def _describe(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _shape(shape: tuple[int | None, ...]) -> str:
    return (
        "("
        + ", ".join("any" if n is None else str(n) for n in shape)
        + ("," if len(shape) == 1 else "")
        + ")"
    )


def _shape_diagnosis(got: tuple[int, ...], want: tuple[int | None, ...]) -> str:
    if len(got) == 2 and got[::-1] == want:
        return ": it looks transposed, try `.T`"
    if len(got) < len(want):
        return ": an axis is missing, did you sum or index one away?"
    if tuple(n for n in got if n != 1) == tuple(n for n in want if n != 1):
        return ": there is an axis of size 1 too many, try `.squeeze()`"
    if len(got) > len(want):
        return ": there is an axis too many, did you forget a sum or a mean?"
    return ""


def _copy(arg: Any) -> Any:
    if isinstance(arg, torch.nn.Parameter):
        return arg
    if isinstance(arg, torch.Tensor):
        return arg.detach().clone().requires_grad_(arg.requires_grad) if arg.is_leaf else arg.clone()
    return arg.copy() if isinstance(arg, (np.ndarray, list)) else arg


def _where(error: Exception) -> str:
    """The learner's own line that failed: the deepest frame in the file of the function that was called."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first frame is `call` itself
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    if not own:
        return ""
    return f" (line {own[-1].lineno}" + (f": `{own[-1].line}`)" if own[-1].line else ")")
