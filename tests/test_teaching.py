"""The teachers' pages agree with the lessons: rubrics add up, answers to exam questions are right."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from minigrok import attacks, regions, theory
from minigrok.course import timetable

BOOK = Path(__file__).resolve().parents[1] / "book"
GUIDE = (BOOK / "teaching_lessons.md").read_text(encoding="utf-8")
EXAM = (BOOK / "exam.md").read_text(encoding="utf-8")
LESSONS = timetable.read_lessons()
RUBRIC = (
    r"\*\*Rubric, \[exercise (\d+\.\d+)\]\(#exercise-([\w-]+)\), (\d+) points\.\*\*\n\n"
    r"((?:- .*\n(?:  .*\n)*)+)"
)


def points(text: str) -> float:
    return 0.5 if text == "½" else float(text)


def test_every_open_answer_has_a_rubric_and_no_other():
    found = {name: number for number, name, *_ in re.findall(RUBRIC, GUIDE)}
    cards = {name: card for lesson in LESSONS.values() for name, card in lesson.cards.items()}
    assert found == {name: card.number for name, card in cards.items() if card.open}
    assert len(found) == GUIDE.count("**Rubric,")


@pytest.mark.parametrize(("number", "name", "total", "items"), re.findall(RUBRIC, GUIDE))
def test_a_rubric_adds_up_to_the_points_of_its_card(number, name, total, items):
    given = [points(p) for p in re.findall(r"(?m)^- (½|\d) points?: ", items)]
    assert len(given) == len(re.findall(r"(?m)^- ", items))
    assert sum(given) == float(total) == LESSONS[number.split(".")[0].zfill(2)].cards[name].points


def test_the_guide_has_every_lesson_with_all_its_parts():
    sections = re.split(r"(?m)^## ", GUIDE)[1:]
    titles = [section.split("\n")[0] for section in sections]
    assert titles == [f"{lesson.number} · {lesson.title}" for lesson in LESSONS.values()]
    for section in sections:
        for part in ("Say first", "Usual misconceptions", "To discuss", "Short of time"):
            assert f"**{part}.**" in section, section.split("\n")[0]
        beliefs = section.split("**Usual misconceptions.**")[1].split("\n**")[0]
        assert 2 <= len(re.findall(r"(?m)^- \*\"", beliefs)) <= 3


def test_every_question_has_points_and_a_closed_answer():
    questions = re.findall(r"\*\*Question (\d+)\*\* \((\d) points\)\.", EXAM)
    assert [int(number) for number, _ in questions] == list(range(1, len(questions) + 1))
    assert len(questions) >= 20
    assert (
        EXAM.count("<details><summary>Answer</summary>\n\n") == EXAM.count("\n\n</details>") == len(questions)
    )


def test_the_proposed_exams_add_up():
    points = {int(n): int(p) for n, p in re.findall(r"\*\*Question (\d+)\*\* \((\d) points\)", EXAM)}
    rows = re.findall(r"(?m)^\| ([\w ]+) \| ([\d, ]+) \| (\d+) \| (\d+) \|$", EXAM)
    assert len(rows) == 4
    for name, questions, total, minutes in rows:
        assert sum(points[int(number)] for number in questions.split(", ")) == int(total), name
        assert int(minutes) == 5 * math.ceil(2.5 * int(total) / 5), name


def test_every_project_says_what_it_needs():
    projects = re.split(r"(?m)^### ", EXAM.split("## Projects")[1])[1:]
    assert len(projects) >= 10
    for project in projects:
        for part in ("Question", "In the course", "A good result", "Pitfalls"):
            assert f"**{part}.**" in project, project.split("\n")[0]


# --- the answers, worked out another way -------------------------------------------------------------------


def answer(number: int) -> str:
    block = EXAM.split(f"**Question {number}**")[1]
    return " ".join(block.split("<summary>Answer</summary>")[1].split("</details>")[0].split())


def signs(lines: np.ndarray) -> int:
    """How many regions lines a x + b y + c = 0 make, by the patterns of very many points."""
    rng = np.random.default_rng(0)
    at = rng.standard_cauchy((400_000, 2)) * 3
    return len(np.unique(at @ lines[:, :2].T + lines[:, 2] > 0, axis=0))


def test_question_1_counts_regions():
    general = np.array([[1, 0, 0], [0, 1, 0.3], [1, 1, -1], [1, -2, 0.7]])
    parallel = general.copy()
    parallel[1] = [1, 0, 1]
    assert (signs(general), signs(parallel)) == (11, 10)
    assert "= 11$" in answer(1) and "so 10." in answer(1)


def test_question_2_bends_where_it_says():
    z = lambda x, y: max(x, 0) + max(y, 0) - 1  # noqa: E731
    on = [(1, -5), (1, 0), (0.5, 0.5), (0, 1), (-5, 1)]
    assert all(z(*point) == 0 for point in on) and z(-1, -1) == -1
    assert "$(1, 0)$" in answer(2) and "$(0, 1)$" in answer(2)


def test_question_7_phases():
    """The mean over random phases is largest at the answer, with the phase that the question asks for."""
    rng, p, k, a, b = np.random.default_rng(1), 31, np.arange(1, 16).repeat(300), 5, 11
    u, v = rng.uniform(0, 2 * np.pi, (2, len(k)))
    theta, c = 2 * np.pi * k / p, np.arange(p)[:, None]
    unit = (np.cos(theta * a + u) + np.cos(theta * b + v)) ** 2
    for w, right in ((u + v, (a + b) % p), (u - v, (a - b) % p)):
        assert (unit * np.cos(theta * c + w)).sum(1).argmax() == right
    assert "$w = u + v$ for the sum and with $w = u - v$ for the difference" in answer(7)


def test_questions_8_and_9_the_linear_student():
    losses = lambda t: np.array([1, 0.01]) @ (0.5 * np.exp(-0.04 * np.array([1, 0.01]) * t))  # noqa: E731
    tests = lambda t: 0.5 * np.exp(-0.04 * np.array([1, 0.01]) * t).sum()  # noqa: E731
    assert tests(20_000) / losses(20_000) == pytest.approx(100)
    assert tests(20_000 + 11_513) == pytest.approx(losses(20_000), rel=1e-3)
    assert "11{,}500" in answer(8)
    assert special.erf(math.sqrt(0.001 / (2 * 0.5))) == pytest.approx(0.036, abs=5e-4) and "0.036" in answer(
        9
    )


def test_questions_10_and_11():
    assert 0.99**69 <= 0.5 < 0.99**68 and "$t = 69$" in answer(10)
    never = np.inf
    assert np.median([300, never, 420, never, 350]) == 420 and answer(11).startswith("420")
    assert np.median([300, never, 420, never, never]) == never


def test_questions_13_and_15():
    v = np.array([3.0, -4.0])
    for norm, direction in ((2, np.array([-3, 4]) / 5), (np.inf, np.array([-1, 1]))):
        length = 10 / -(v @ direction)
        assert np.linalg.norm(direction, norm) == pytest.approx(1)
        assert f"{length:.3g}" in answer(13)
    assert f"{0.1 * 0.25 * 255:.1f}" in answer(15)


def test_question_18_folds():
    h = np.linspace(-3, 3, 7)
    assert np.allclose(2 * ((2 * h + 1) - 3) / 4 + 1, h)


def test_question_20_counts_all_units_and_not_those_that_are_fixed():
    """The pattern's units are chosen by the images that it was mined from: their number bounds nothing."""
    odd = 1 / 60
    fixed = (1 - odd) ** 119
    broken = 1 - (1 - fixed * odd) ** 60
    assert round(60 * fixed) == 8 and 8 / 120 < broken < 60 / 120
    assert f"{100 * broken:.0f} % of new images" in answer(20)
    assert "60/120 = 1/2" in answer(20) and r"$8/120 \approx 7$ %" in answer(20)


def test_question_21_the_triangle():
    for least, most, error in ((-1, 3, 3 / 4), (-0.5, 1.5, 3 / 8)):
        z = np.linspace(least, most, 10_001)
        gap = most / (most - least) * (z - least) - np.maximum(z, 0)
        assert gap.min() == pytest.approx(0, abs=1e-12) and gap.max() == pytest.approx(error)
        assert z[gap.argmax()] == pytest.approx(0, abs=1e-3)
    assert r"\tfrac34(z + 1)" in answer(21) and r"\tfrac38" in answer(21)


def test_questions_23_to_25():
    yes, no = np.array([0.9, 0.7, 0.4]), np.array([0.5, 0.2])
    area = stats.mannwhitneyu(yes, no).statistic / 6
    assert f"{area:.2f}" in answer(23)
    spectrum = np.array([1.0] + 99 * [0.01])
    for k, name in enumerate(("r_0", "r_1")):
        assert re.search(rf"\${name} = .* = ?{spectrum[k:].sum() / spectrum[k]:.4g}\$", answer(24)), name
    assert stats.wasserstein_distance([0, 2, 5], [1, 1, 9]) == 2 and "= 2$" in answer(25)


# --- and by the library ------------------------------------------------------------------------------------


def test_question_24_by_simulation():
    rng, spread = np.random.default_rng(0), np.sqrt(np.array([1.0] + 99 * [0.01]))
    learnt = [
        np.linalg.pinv(rng.standard_normal((20, 100)) * spread) @ rng.standard_normal(20) for _ in range(1000)
    ]
    carried = ((np.array(learnt) * spread) ** 2).sum(1).mean()
    assert f"carry {carried:.1f} of the noise's variance" in answer(24)


def layers(weight, bias):
    first, last = nn.Linear(2, len(weight)), nn.Linear(len(weight), 1)
    with torch.no_grad():
        first.weight[:], first.bias[:] = torch.tensor(weight), torch.tensor(bias)
    return nn.Sequential(first, nn.ReLU(), last).double()


def test_question_1_by_exact_regions():
    box = ((-50.0, 50.0), (-50.0, 50.0))
    for weight, due in (([[1.0, 0], [0, 1], [1, 1], [1, -2]], 11), ([[1.0, 0], [1, 0], [1, 1], [1, -2]], 10)):
        assert regions.partition(layers(weight, [0.0, 0.3, -1, 0.7]), box).n_regions == due


def test_question_13_by_an_attack():
    margin = nn.Linear(2, 2).double()
    with torch.no_grad():
        margin.weight[:], margin.bias[:] = torch.tensor([[3.0, -4], [0, 0]]), torch.tensor([10.0, 0])
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])
    for norm, due in (("l2", 2.0), ("linf", 10 / 7)):
        chance = torch.Generator().manual_seed(0)
        options = {"bounds": (-5.0, 5.0), "steps": 100, "restarts": 3, "generator": chance}
        far = attacks.adversarial_distance(margin, x, y, norm=norm, **options).item()
        assert due < far < 1.01 * due or far == pytest.approx(due)  # an attack comes from outside


def test_questions_9_24_and_25_by_theory():
    assert f"{theory.linear_accuracy(0.5, 0.001):.3f}" in answer(9)
    spectrum = np.array([1.0] + 99 * [0.01])
    assert [theory.effective_rank(spectrum, k) for k in (0, 1)] == pytest.approx([1.99, 99])
    assert theory.wasserstein(np.array([0.0, 2, 5]), np.array([1.0, 1, 9])) == 2
