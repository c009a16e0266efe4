"""Tables for teachers: minutes are those of the lessons, plans add up, and one that does not is told so."""

import re
from dataclasses import replace

import pytest

from minigrok.course import plans, timetable
from minigrok.course.editions import read_lesson
from minigrok.course.timetable import Plan, Step, check

LESSONS = timetable.read_lessons()
PLANS = {**plans.MODULES, "half a day": plans.HALF_DAY}


def cells(table: str) -> list[list[str]]:
    return [[entry.strip() for entry in line.strip("|").split(" | ")] for line in table.splitlines()]


def test_a_lesson_is_what_its_notebook_says():
    for lesson in LESSONS.values():
        about = read_lesson(timetable.ROOT / "lessons" / f"{lesson.file}.ipynb").metadata.minigrok
        assert (lesson.read, lesson.work) == (about.minutes.read, about.minutes.exercises)
        assert sum(card.minutes for card in lesson.cards.values()) == lesson.work
        assert lesson.title == about.title and lesson.requires == tuple(about.requires)


def test_cards_have_the_numbers_that_lessons_print():
    for lesson in LESSONS.values():
        text = "\n".join(c.source for c in read_lesson(f"{timetable.ROOT}/lessons/{lesson.file}.ipynb").cells)
        printed = re.findall(r"### Exercise (\d+\.\d+): ", text)
        assert [card.number for card in lesson.cards.values()] == printed


def test_the_overview_has_every_lesson_and_adds_up():
    head, _, *rows, last = cells(timetable.overview(LESSONS))
    assert [row[0][1:3] for row in rows] == list(LESSONS)
    for column in ("read", "exercises"):
        place = head.index(column)
        assert sum(int(row[place]) for row in rows) == int(last[place])
    assert sum(float(row[head.index("run")]) for row in rows) == pytest.approx(float(last[head.index("run")]))


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_keeps_to_the_lessons(name):
    assert check(PLANS[name], LESSONS) == []


def test_the_modules_are_those_of_the_course_and_have_90_minutes():
    taught = {name: plan.lessons for name, plan in plans.MODULES.items()}
    assert taught == {
        "geometry": ["01", "02", "03"],
        "grokking": ["04", "05", "07"],
        "robustness": ["08", "10", "12", "13"],
    }
    assert {plan.minutes for plan in plans.MODULES.values()} == {90}


@pytest.mark.parametrize("table", [timetable.agenda, timetable.blocks])
@pytest.mark.parametrize("name", PLANS)
def test_an_agenda_runs_without_gaps_from_nought_to_the_end(name, table):
    _, _, *rows = cells(table(PLANS[name], LESSONS))
    clock = 0
    for begin, minutes, *_ in rows:
        hours, rest = begin.split(":")
        assert int(hours) * 60 + int(rest) == clock and int(minutes) > 0
        clock += int(minutes)
    assert clock == PLANS[name].minutes


def test_half_a_day_is_two_modules_two_breaks_and_two_exercises():
    _, _, *rows = cells(timetable.blocks(plans.HALF_DAY, LESSONS))
    breaks = [(start, what) for start, _, what in rows if "break" in what]
    assert breaks == [("1:30", "A break."), ("3:10", "A second break.")]
    assert [what[:3] for _, _, what in rows if what.startswith("[")] == [
        f"[{n}" for n in "01 02 03 04 05 07 02 04".split()
    ]


@pytest.mark.parametrize("name", PLANS)
def test_every_lesson_of_a_plan_has_its_prediction_read_aloud_once(name):
    asked = [step.lesson for step in PLANS[name].steps if step.predict]
    assert asked == PLANS[name].lessons


@pytest.mark.parametrize("name", plans.MODULES)
def test_class_and_homework_together_are_all_exercises(name):
    plan = plans.MODULES[name]
    total = int(cells(timetable.homework(plan, LESSONS))[-1][-1])
    done = sum(timetable.duration(step, LESSONS) for step in plan.steps if step.exercise)
    assert done > 0 and total + done == sum(LESSONS[number].work for number in plan.lessons)


def test_six_weeks_ask_for_nothing_that_comes_later():
    order = [number for week in plans.SIX_WEEKS for number in week]
    assert len(plans.SIX_WEEKS) == 6 and len(set(order)) == len(order)
    assert timetable.beforehand(order, LESSONS) == []
    assert timetable.beforehand(order[::-1], LESSONS) != []


def test_the_sessions_of_six_weeks_have_90_minutes_each():
    _, _, *rows, last = cells(timetable.six_weeks(plans.SIX_WEEKS, LESSONS))
    for row, week in zip(rows, plans.SIX_WEEKS, strict=True):
        group = int(re.search(r"(\d+) min", row[4])[1])
        name = re.search(r"#exercise-([\w-]+)", row[4])[1]
        assert LESSONS[name[:2]].cards[name].open, "groups talk, and need no computer"
        assert int(row[3]) + group + int(row[5]) == 90
        assert int(row[2]) == sum(LESSONS[number].read for number in week)
        assert group + int(row[6]) == sum(LESSONS[number].work for number in week)
    assert int(last[2]) == sum(int(row[2]) for row in rows)


# --- a plan that is wrong is told so -----------------------------------------------------------------------

GOOD = Plan("a plan", 20, (Step("01", "fold", 10, ("fig-01-one",)), Step("01", "draw", exercise="01-pencil")))


def test_the_small_plan_is_good():
    assert check(GOOD, LESSONS) == []


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Step("99", "dream", 5), "no lesson 99"),
        (Step("01", "look", 5, ("fig-02-phases",)), "lesson 01 has no figure fig-02-phases"),
        (Step("01", "work", exercise="02-pencil"), "lesson 01 has no exercise 02-pencil"),
        (Step("01", "work", 5, exercise="01-lines"), "takes its card's minutes"),
        (Step("01", "talk"), "needs minutes of its own"),
        (Step("", "guess", 5, predict=True), "need a lesson"),
        (Step("01", "talk", 60), "told in 70 minutes, but read in 25"),
        (Step("02", "talk", 5), "the steps take 25 minutes, the session has 20"),
    ],
)
def test_a_wrong_step_is_named(step, words):
    problems = "\n".join(check(replace(GOOD, steps=(*GOOD.steps, step)), LESSONS))
    assert words in problems


def test_a_prediction_needs_a_lesson_that_asks_for_one():
    silent = {**LESSONS, "01": replace(LESSONS["01"], predicts=False)}
    plan = replace(GOOD, steps=(Step("01", "guess", 20, predict=True),))
    assert check(plan, LESSONS) == []
    assert check(plan, silent) == ["lesson 01 asks for no prediction"]


def test_a_lesson_that_grows_longer_breaks_the_plan():
    card = LESSONS["01"].cards["01-pencil"]
    longer = replace(LESSONS["01"], cards={**LESSONS["01"].cards, "01-pencil": replace(card, minutes=15)})
    assert check(GOOD, {**LESSONS, "01": longer}) == ["a plan: the steps take 25 minutes, the session has 20"]


def test_the_command_says_that_all_is_well(capsys):
    assert timetable.main() == 0
    assert "keep to the lessons" in capsys.readouterr().out
