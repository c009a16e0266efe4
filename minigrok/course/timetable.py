"""How long lessons and sessions take: tables for teachers, all numbers from the lessons' own metadata.

A plan (see `minigrok.course.plans`) is a list of steps. `check` says where a plan departs from the lessons:
minutes that do not add up, a figure or an exercise that is not there. The book prints the tables when it is
built; `python -m minigrok.course.timetable` checks the plans.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from minigrok.course.cells import exercises, part, read_lesson
from minigrok.course.editions import ROOT, lesson_files

__all__ = [
    "Card",
    "Lesson",
    "Plan",
    "Step",
    "agenda",
    "beforehand",
    "blocks",
    "check",
    "duration",
    "homework",
    "overview",
    "read_lessons",
    "six_weeks",
]


@dataclass(frozen=True)
class Card:
    """An exercise as its card announces it: `number` as it is printed (5.4), `minutes`, `points`."""

    number: str
    minutes: int
    points: int
    open: bool


@dataclass(frozen=True)
class Lesson:
    """What a plan needs to know of a lesson; minutes, and GB of memory, are those of its metadata."""

    number: str
    title: str
    file: str
    read: int
    run: float
    memory: float
    work: int
    device: str
    requires: tuple[str, ...]
    cards: Mapping[str, Card]
    figures: tuple[str, ...]
    predicts: bool


@dataclass(frozen=True)
class Step:
    """One step in class. An exercise takes the minutes of its card, everything else says its own."""

    lesson: str
    what: str
    minutes: int = 0
    figures: tuple[str, ...] = ()
    exercise: str = ""
    predict: bool = False
    player: bool = False


@dataclass(frozen=True)
class Plan:
    """A session: its title, the minutes it has, and its steps in their order."""

    title: str
    minutes: int
    steps: tuple[Step, ...]

    @property
    def lessons(self) -> list[str]:
        """The numbers of the lessons that the plan teaches, in order."""
        return list(dict.fromkeys(step.lesson for step in self.steps if step.lesson))


def read_lessons(root: str | Path = ROOT) -> dict[str, Lesson]:
    """All lessons in `root/lessons`, by number.

    >>> read_lessons()["01"].title
    'Folding the plane'
    """
    return {lesson.number: lesson for lesson in map(_read, lesson_files(root=root))}


def _read(path: Path) -> Lesson:
    notebook = read_lesson(path)
    about = notebook.metadata.minigrok
    figures = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in notebook.cells]
    cards = {
        name: Card(
            f"{int(about.lesson)}.{position}",
            parts["card"].metadata.minigrok.minutes,
            parts["card"].metadata.minigrok.points,
            "open-answer" in parts,
        )
        for position, (name, parts) in enumerate(exercises(notebook).items(), start=1)
    }
    return Lesson(
        about.lesson,
        about.title,
        path.stem,
        about.minutes.read,
        about.minutes.run,
        about.memory,
        about.minutes.exercises,
        about.device,
        tuple(about.requires),
        cards,
        tuple(filter(None, figures)),
        any(part(cell) == "prediction" for cell in notebook.cells),
    )


# ---- the tables -------------------------------------------------------------------------------------------


def overview(lessons: Mapping[str, Lesson]) -> str:
    """Every lesson with its minutes and what it asks for, as a Markdown table; the last row adds up."""
    rows = [
        (_link(x), *_times(x), x.memory, x.device.upper(), ", ".join(x.requires) or "nothing")
        for x in lessons.values()
    ]
    run = sum(x.run for x in lessons.values())
    read, work = (sum(getattr(x, name) for x in lessons.values()) for name in ("read", "work"))
    hours = f"{(read + work) / 60:.0f} hours of learning"
    rows.append(("**together**", read, work, f"{run:g}", "", "", hours))
    return _table(("lesson", "read", "exercises", "run", "GB", "device", "asks for"), rows)


def _times(lesson: Lesson) -> tuple[int, int, str]:
    return lesson.read, lesson.work, f"{lesson.run:g}"


def duration(step: Step, lessons: Mapping[str, Lesson]) -> int:
    """The minutes of a step: those of the exercise's card, or its own."""
    return lessons[step.lesson].cards[step.exercise].minutes if step.exercise else step.minutes


def agenda(plan: Plan, lessons: Mapping[str, Lesson]) -> str:
    """The plan minute by minute as a Markdown (MyST) table, with links to figures and exercises."""
    rows, clock = [], 0
    for step in plan.steps:
        end = clock + duration(step, lessons)
        shown = ", ".join([f"{{numref}}`{name}`" for name in step.figures] + ["player"] * step.player)
        if step.exercise:
            shown = (
                f"[Exercise {lessons[step.lesson].cards[step.exercise].number}](#exercise-{step.exercise})"
            )
        what = f"**Predict.** {step.what}" if step.predict else step.what
        rows.append((_clock(clock), end - clock, step.lesson or "–", what, shown))
        clock = end
    return _table(("from", "min", "lesson", "what happens", "on the screen"), rows)


def blocks(plan: Plan, lessons: Mapping[str, Lesson]) -> str:
    """The plan in few rows: the steps of one lesson that follow each other are one, its exercises named."""
    rows, clock = [], 0
    for _, group in groupby(plan.steps, key=lambda step: step.lesson or step.what):
        steps = list(group)
        number = steps[0].lesson
        names = [step.exercise for step in steps if step.exercise]
        done = [f"[exercise {lessons[number].cards[name].number}](#exercise-{name})" for name in names]
        what = ", with ".join([_link(lessons[number]), *done]) if number else steps[0].what
        minutes = sum(duration(step, lessons) for step in steps)
        rows.append((_clock(clock), minutes, what))
        clock += minutes
    return _table(("from", "min", "what"), rows)


def homework(plan: Plan, lessons: Mapping[str, Lesson]) -> str:
    """What a plan leaves for home: reading each lesson, and the exercises not done in class."""
    done = {step.exercise for step in plan.steps}
    rows = []
    for lesson in (lessons[number] for number in plan.lessons):
        left = {name: card for name, card in lesson.cards.items() if name not in done}
        named = ", ".join(f"[{card.number}](#exercise-{name})" for name, card in left.items())
        rows.append((_link(lesson), lesson.read, named, sum(card.minutes for card in left.values())))
    rows.append(("**together**", sum(row[1] for row in rows), "", sum(row[3] for row in rows)))
    return _table(("lesson", "read again", "exercises left", "their minutes"), rows)


def six_weeks(weeks: Sequence[Sequence[str]], lessons: Mapping[str, Lesson]) -> str:
    """A session of 90 minutes a week: what is read before it, discussed in it, and done after it.

    Groups take the week's last "Find the confound" that needs no computer.
    """
    rows = []
    for week, numbers in enumerate(weeks, start=1):
        held = [lessons[number] for number in numbers]
        cards = [entry for x in held for entry in x.cards.items()]
        name, card = [(n, card) for n, card in cards if n.endswith("-confound") and card.open][-1]
        story = 90 - 10 - card.minutes  # ten minutes for questions from last week's homework
        after = sum(x.work for x in held) - card.minutes
        titles = ", ".join(_link(x) for x in held)
        link = f"[{card.number}](#exercise-{name}), {card.minutes} min"
        rows.append((week, titles, sum(x.read for x in held), 10, link, story, after))
    rows.append(("", "**together**", *_sums(rows, 2, 3), "", *_sums(rows, 5, 6)))
    head = ("week", "lessons", "read before", "questions", "in groups", "story", "exercises after")
    return _table(head, rows)


def _sums(rows: Sequence[tuple], *columns: int) -> list[int]:
    return [sum(row[column] for row in rows) for column in columns]


def _link(lesson: Lesson) -> str:
    return f"[{lesson.number} · {lesson.title}](../lessons/{lesson.file}.ipynb)"


def _clock(minutes: int) -> str:
    """Hours and minutes since the beginning.

    >>> _clock(75)
    '1:15'
    """
    return f"{minutes // 60}:{minutes % 60:02d}"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(entry) for entry in line) + " |" for line in lines)


def beforehand(numbers: Sequence[str], lessons: Mapping[str, Lesson]) -> list[str]:
    """The lessons that these ask for and that do not come before them in the list.

    >>> beforehand(["04", "05", "07"], read_lessons())
    ['00', '01']
    """
    missing = {
        asked
        for place, number in enumerate(numbers)
        for asked in lessons[number].requires
        if asked not in numbers[:place]
    }
    return sorted(missing)


# ---- is a plan true to the lessons? -----------------------------------------------------------------------


def check(plan: Plan, lessons: Mapping[str, Lesson]) -> list[str]:
    """Everything in which a plan departs from the lessons, in words; an empty list where it keeps to them."""
    problems = [problem for step in plan.steps for problem in _step(step, lessons)]
    if problems:
        return problems
    if (total := sum(duration(step, lessons) for step in plan.steps)) != plan.minutes:
        problems.append(f"{plan.title}: the steps take {total} minutes, the session has {plan.minutes}")
    for lesson in (lessons[number] for number in plan.lessons):
        told = sum(step.minutes for step in plan.steps if step.lesson == lesson.number)
        if told > 2 * lesson.read:  # to draw, guess and talk takes longer than to read, but not for ever
            problems.append(f"lesson {lesson.number}: told in {told} minutes, but read in {lesson.read}")
    return problems


def _step(step: Step, lessons: Mapping[str, Lesson]) -> Iterator[str]:
    if not step.lesson:
        if step.figures or step.exercise or step.predict:
            yield f"{step.what!r}: figures, exercises and predictions need a lesson; this step names none"
        return
    if step.lesson not in lessons:
        yield f"{step.what!r}: there is no lesson {step.lesson}"
        return
    lesson = lessons[step.lesson]
    yield from (f"lesson {lesson.number} has no figure {n}" for n in step.figures if n not in lesson.figures)
    if step.exercise and step.exercise not in lesson.cards:
        yield f"lesson {lesson.number} has no exercise {step.exercise}"
    if bool(step.exercise) == bool(step.minutes):
        yield f"{step.what!r}: an exercise takes its card's minutes, any other step needs minutes of its own"
    if step.predict and not lesson.predicts:
        yield f"lesson {lesson.number} asks for no prediction"


def main() -> int:
    """Print where the course's plans depart from its lessons; 1 if they do."""
    from minigrok.course import plans  # which imports this module

    lessons = read_lessons()
    problems = [p for plan in (*plans.MODULES.values(), plans.HALF_DAY) for p in check(plan, lessons)]
    late = beforehand([number for week in plans.SIX_WEEKS for number in week], lessons)
    problems += [f"six weeks: lesson {number} is asked for before it comes" for number in late]
    print("\n".join(problems) or "all plans keep to the lessons")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
