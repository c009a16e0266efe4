"""What the checks of all exercises share: values pass, and every way to be wrong is told in words."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from minigrok.course.exercises import (
    ExerciseError,
    call,
    expect_array,
    expect_close,
    expect_number,
    given,
    passed,
)


def refused(text):
    return pytest.raises(ExerciseError, match=re.escape(text))


def test_passed_prints_and_returns_nothing(capsys):
    assert passed("three lines") is None  # a value would be partial credit to nbgrader
    assert capsys.readouterr().out == "✓ three lines\n"


@pytest.mark.parametrize("nothing", [None, ...])
def test_an_untouched_stub_is_told(nothing):
    with refused("is still"):
        given(nothing)
    with refused("is still"):
        expect_number(nothing)
    with refused("is still"):
        expect_array(nothing, (1,))
    with refused("a `return` is missing"):
        call(lambda: nothing)


def test_call_returns_the_value_and_hands_over_copies():
    def spoil(x, values, array):
        x.zero_()
        values.clear()
        array[:] = 0
        return "done"

    x, values, array = torch.ones(3), [1, 2], np.ones(2)
    assert call(spoil, x, values, array) == "done"
    assert x.tolist() == [1, 1, 1] and values == [1, 2] and array.tolist() == [1, 1]


def test_call_keeps_gradients():
    x = torch.ones(3, requires_grad=True)
    assert call(lambda x: x.requires_grad, x)
    call(lambda x: (2 * x).sum(), 3 * x).backward()  # not a leaf: the copy hangs on the same graph
    assert x.grad.tolist() == [6, 6, 6]
    parameter = torch.nn.Parameter(torch.ones(1))
    assert call(lambda p: p, parameter) is parameter


def test_call_says_where_the_learners_function_failed():
    def divide(a):
        return a / 0

    with refused("your function `divide` raised ZeroDivisionError: float division by zero (line") as caught:
        call(divide, 1.0)
    assert "`return a / 0`" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with refused("your function `divide` raised TypeError"):
        call(divide)
    with refused("your function `my pgd` raised"):
        call(divide, 1.0, name="my pgd")


def test_call_refuses_what_is_no_function():
    with refused("expected a function, got int 3: hand over the function itself"):
        call(3)


def test_warnings_of_the_learner_become_notes(capfd):
    def root(x):
        return np.sqrt(x)

    with np.errstate(invalid="warn"):
        call(root, np.array([-1.0]))
    out, err = capfd.readouterr()
    assert "note: your function `root` warned: invalid value" in out
    assert err == ""  # nbgrader gives no points where a check writes to stderr


@pytest.mark.parametrize("value", [torch.ones(2, 3), np.ones((2, 3)), [[1, 1, 1]] * 2, [torch.ones(3)] * 2])
def test_expect_array_takes_tensors_arrays_and_lists(value):
    for shape in [(2, 3), (None, 3), (None, None)]:
        assert expect_array(value, shape).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_expect_array_detaches():
    assert expect_array(torch.ones(2, requires_grad=True), (2,)).tolist() == [1, 1]


@pytest.mark.parametrize(
    "got, shape, text",
    [
        ((3, 2), (2, 3), "should have shape (2, 3), got (3, 2): it looks transposed"),
        ((4,), (5,), "should have shape (5,), got (4,)"),
        ((5,), (5, 2), "an axis is missing"),
        ((5, 1), (5,), "an axis of size 1 too many"),
        ((5, 2), (5,), "an axis too many"),
        ((4, 3), (None, 2), "should have shape (any, 2), got (4, 3)"),
    ],
)
def test_a_wrong_shape_is_diagnosed(got, shape, text):
    with refused(text):
        expect_array(torch.ones(got), shape)


@pytest.mark.parametrize("value", ["seven", [[1], [1, 2]], {"a": 1}, [1j]])
def test_what_is_no_number_is_refused(value):
    with refused("should hold real numbers, got"):
        expect_array(value, (1,))


@pytest.mark.parametrize("bad, word", [(float("nan"), "nan"), (float("inf"), "inf")])
def test_nan_and_infinity_are_refused(bad, word):
    with refused(f"`loss` holds {word} at index (1,)"):
        expect_array([0.0, bad], (2,), "loss")
    with refused(word):
        expect_number(bad)


@drawn(st.integers(-(2**40), 2**40))
def test_expect_number_takes_every_kind_of_whole_number(n):
    for value in (n, float(n), np.int64(n), np.array([n]), torch.tensor(n), torch.tensor([[n]])):
        got = expect_number(value, whole=True)
        assert got == n and isinstance(got, int)


@pytest.mark.parametrize(
    "value, text",
    [(2.5, "should be a whole number, got 2.5"), ([1, 2], "one number, got 2 numbers"), (True, "got True")],
)
def test_expect_number_refuses(value, text):
    with refused(text):
        expect_number(value, whole=True)


@drawn(st.floats(-1e6, 1e6), st.floats(0, 1e-5))
def test_expect_close_takes_what_is_within_tolerance(want, error):
    expect_close(want + error * abs(want), want)


def test_expect_close_names_the_mistake_and_keeps_the_answer_to_itself():
    mistakes = {"you squared it": [1, 4], "you forgot the bias": [5, 6]}
    with refused("2 of 2 entries differ; at index (0,) you have 5: you forgot the bias") as caught:
        expect_close([5, 6], [77, 88], mistakes=mistakes)
    assert "77" not in str(caught.value)
    with refused("you have 5 where 77 is due"):
        expect_close([5, 6], [77, 88], reveal=True)
    with refused("1 of 2 entries differ; at index (1,) you have 4") as caught:
        expect_close([1, 4], [1, 5], mistakes={"of another shape": [1, 4, 5]})
    assert "another shape" not in str(caught.value)
    with refused("`n` is not right, you have 3"):
        expect_close(3, 4, "n")


def test_expect_close_looks_at_the_shape_first():
    with refused("should have shape (2,), got (2, 1): there is an axis of size 1 too many"):
        expect_close(torch.ones(2, 1), torch.ones(2))


def test_booleans_are_compared_as_numbers():
    expect_close([True, False], torch.tensor([True, False]))
    with refused("1 of 2 entries differ"):
        expect_close([True, True], [True, False])


def test_a_notebook_shows_the_words_alone(capsys):
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    shell.run_cell("from minigrok.course.exercises import given\ngiven(None, 'secret')")
    shown = "".join(capsys.readouterr())
    assert "Not yet: `secret` is still None" in shown
    assert "Traceback" not in shown and "\x1b" not in shown  # no frames, no colours
