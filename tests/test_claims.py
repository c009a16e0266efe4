"""The page of claims can be followed: its links lead to what measured, its verdicts are those it explains.

That the works it names are in the bibliography is asked of every page by tests/test_book.py.
"""

import re
from pathlib import Path

import nbformat
from myst_parser.mdit_to_docutils.base import default_slugify as slug

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "lessons").glob("*.ipynb"))
PAGE = (ROOT / "book" / "claims.md").read_text(encoding="utf-8")
LINKS = re.findall(r"\]\(\.\./lessons/(\w+)\.ipynb#([\w-]+)\)", PAGE)
ROWS = [[cell.strip() for cell in row.split("|")] for row in re.findall(r"(?m)^\|(.+)\|$", PAGE)]


def text_of(lesson: Path) -> str:
    cells = nbformat.read(lesson, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_every_link_leads_to_a_heading_of_a_lesson():
    titles = {path.stem: re.findall(r"(?m)^#+ (.+)$", text_of(path)) for path in LESSONS}
    known = {(name, slug(title.replace("*", ""))) for name, some in titles.items() for title in some}
    assert PAGE.count("](") == len(LINKS) and set(LINKS) <= known, set(LINKS) - known


def test_every_lesson_that_cites_one_of_the_three_papers_is_linked():
    three = re.compile("humayun2024grok|tan2023robustness|geng2023nap")
    citing = {path.stem for path in LESSONS[1:] if three.search(text_of(path))}
    assert len(citing) >= 10 and citing <= {name for name, _ in LINKS}


def test_each_claim_has_a_verdict_and_a_link_unless_nobody_tried_it():
    explained = re.findall(r"(?m)^\| \*\*([\w ]+)\*\* \|", PAGE)
    assert explained == ["held", "held in part", "did not hold here", "not tried"]
    claims = [row for row in ROWS if len(row) == 3 and row[0] not in ("claim", ":--")]
    assert len(claims) > 80
    for claim, tried, verdict in claims:
        word = re.match(r"\*\*([\w ]+)\*\*", verdict)
        assert word and word[1] in explained, f"{claim}: {verdict}"
        assert "../lessons/" in tried or word[1] == "not tried", f"{claim}: where was it tried?"
        assert word[1] == "held" or verdict != f"**{word[1]}**", f"{claim}: which part, or why not?"
