"""Slides of a module, made from its executed lessons: predictions, figures with captions, what was seen.

    python -m minigrok.course.slides DEST geometry grokking      (no name: all modules)

Each module becomes one page, DEST/NAME.html, that runs from a memory stick: arrow keys, light and dark, every
figure with its text for those who cannot see it, and no request to any other machine. What a slide shows is
named by the steps of a plan (`minigrok.course.plans`); nothing is written twice.
"""

import argparse
import html
import importlib.util
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from minigrok.course import plans
from minigrok.course.cells import exercises, part, read_lesson, tags
from minigrok.course.citations import plain, read_references
from minigrok.course.editions import ROOT, lesson_files
from minigrok.course.timetable import Plan, Step

__all__ = ["Slide", "deck", "execute", "main", "page", "write"]

FORMULAS = "tex-svg.js"
SETTINGS = "<script>MathJax = {options: {enableMenu: false}};</script>"


@dataclass(frozen=True)
class Slide:
    """One slide: its title, its body in HTML, where it comes from, and its kind (a class of the page)."""

    title: str
    body: str
    where: str = ""
    kind: str = ""


# ---- from executed lessons to slides ----------------------------------------------------------------------


def execute(notebook: NotebookNode, folder: str | Path, *, timeout: int = 300) -> NotebookNode:
    """Run a lesson from its first to its last cell, with figures fine enough for a projector.

    Without its controls, which no slide shows: nbclient may wait for their cells although they have ended.
    """
    fine = new_code_cell("%matplotlib inline\n%config InlineBackend.figure_format = 'retina'")
    notebook.cells = [fine, *(cell for cell in notebook.cells if "widget" not in tags(cell))]
    client = NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(folder)}})
    return client.execute()


def deck(plan: Plan, lessons: Mapping[str, NotebookNode], references: Mapping | None = None) -> list[Slide]:
    """The slides of a plan from its executed lessons (number -> notebook); the bibliography is optional.

    Raises ValueError that names a figure without a picture.
    """
    about = " · ".join(f"lesson {number}" for number in plan.lessons)
    slides = [Slide(plan.title, f"<p>{html.escape(about)} · {plan.minutes} minutes</p>", kind="cover")]
    for number in plan.lessons:
        held = _Lesson(lessons[number], references or {})
        slides.append(Slide(held.title, held.render(held.promise), kind="cover"))
        steps = [step for step in plan.steps if step.lesson == number]
        slides += [slide for step in steps for slide in held.slides(step)]
        slides.append(Slide("What you saw", held.render(held.seen), held.title))
    return slides


class _Lesson:
    """An executed lesson, asked for the parts that slides show."""

    def __init__(self, notebook: NotebookNode, references: Mapping) -> None:
        self.cells, self.references = notebook.cells, references
        texts = [cell.source for cell in self.cells if cell.cell_type == "markdown"]
        self.title = re.search(r"(?m)^# (.+)$", texts[0])[1]
        self.promise = texts[0].split(self.title, 1)[1].split("\n## ")[0]
        self.seen = "\n".join(texts).split("## What you saw\n", 1)[1].split("\n## ")[0]
        self.seen = "\n".join(f"- {line}" for line in self.seen.strip().split("\n"))

    def slides(self, step: Step) -> Iterator[Slide]:
        if step.predict:
            yield self.prediction()
        yield from (self.figure(name) for name in step.figures)
        if step.player:
            yield self.player()
        if step.exercise:
            yield self.exercise(step.exercise)

    def prediction(self) -> Slide:
        source = next(cell.source for cell in self.cells if part(cell) == "prediction")
        body = re.sub(r"(?m)^## .+$", "", source)
        return Slide("What do you expect?", self.render(body), self.title, "predict")

    def figure(self, name: str) -> Slide:
        heading = ""
        for cell in self.cells:
            if part(cell) == "prediction":
                heading = "What happened"
            elif cell.cell_type == "markdown" and part(cell) != "card":
                heading = (re.findall(r"(?m)^###? (.+)$", cell.source) or [heading])[-1]
            about = cell.metadata.get("mystnb", {})
            if about.get("figure", {}).get("name") == name:
                picture = _picture(cell, name, about["image"]["alt"])
                caption = self.render(about["figure"]["caption"], inline=True)
                body = f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"
                return Slide(heading, body, self.title)
        raise ValueError(f"{self.title} has no figure {name}")

    def player(self) -> Slide:
        shown = (output.get("data", {}).get("text/html", "") for cell in self.cells for output in _out(cell))
        return Slide("Watch it", next(text for text in shown if "mgp" in text), self.title)

    def exercise(self, name: str) -> Slide:
        heading, text = exercises(NotebookNode(cells=self.cells))[name]["card"].source.split("\n", 1)
        return Slide(heading.lstrip("# "), self.render(text), self.title)

    def render(self, source: str, *, inline: bool = False) -> str:
        text = plain(source, self.references) if self.references else source
        return MARKDOWN.renderInline(text) if inline else f'<div class="body">{MARKDOWN.render(text)}</div>'


def _formula(content: str, options: Mapping) -> str:
    opening, closing = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
    return f"{opening}{html.escape(content)}{closing}"


MARKDOWN = MarkdownIt("commonmark").enable("table").use(dollarmath_plugin, renderer=_formula)


def _out(cell: NotebookNode) -> list[NotebookNode]:
    return cell.get("outputs", [])


def _picture(cell: NotebookNode, name: str, alt: str) -> str:
    pictures = [output.data["image/png"] for output in _out(cell) if "image/png" in output.get("data", {})]
    if len(pictures) != 1:
        raise ValueError(f"the cell of {name} should show one picture, it shows {len(pictures)}")
    data = pictures[0].replace("\n", "")
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'


# ---- the page ---------------------------------------------------------------------------------------------


def page(title: str, slides: Sequence[Slide]) -> str:
    """One HTML page of all slides. Where it has formulas it loads `tex-svg.js`, which must lie beside it."""
    sections = "\n".join(map(_section, slides))
    script = (
        f'{SETTINGS}<script defer src="{FORMULAS}"></script>'
        if r"\(" in sections or r"\[" in sections
        else ""
    )
    template = Template(Path(__file__).with_name("slides.html").read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), slides=sections, formulas=script)


def _section(slide: Slide) -> str:
    where = f'<p class="where">{html.escape(slide.where)}</p>' if slide.where else ""
    title = MARKDOWN.renderInline(slide.title)
    body = f'<div class="predict">{slide.body}</div>' if slide.kind == "predict" else slide.body
    kind = ' class="cover"' if slide.kind == "cover" else ""
    return f'<section{kind} tabindex="-1">{where}<h1>{title}</h1>{body}</section>'


def write(name: str, dest: str | Path, *, root: str | Path = ROOT) -> Path:
    """Run the lessons of a module and write its slides; the path of the page."""
    plan = plans.MODULES[name]
    files = {path.name[:2]: path for path in lesson_files(plan.lessons, root=root)}
    lessons = {}
    for number, path in files.items():
        print(f"running {path.stem}", flush=True)
        lessons[number] = execute(read_lesson(path), path.parent)
    references = read_references(Path(root, "book", "references.bib").read_text(encoding="utf-8"))
    path = Path(dest, f"{name}.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(plan.title, deck(plan, lessons, references)), encoding="utf-8")
    shutil.copyfile(_formulas(), path.with_name(FORMULAS))
    return path


def _formulas() -> Path:
    package = importlib.util.find_spec("sphinx-mathjax-offline")  # a hyphen: found, never imported
    if package is None:
        raise RuntimeError("formulas need the package sphinx-mathjax-offline: pip install 'minigrok[book]'")
    return Path(package.origin).parent / "static" / "mathjax" / FORMULAS


def main(argv: Sequence[str] | None = None) -> None:
    """The command line: slides of the named modules, or of all."""
    parser = argparse.ArgumentParser(prog="python -m minigrok.course.slides")
    parser.add_argument("dest")
    parser.add_argument("module", nargs="*", metavar="module", help=", ".join(plans.MODULES))
    asked = parser.parse_args(argv)
    if unknown := set(asked.module) - set(plans.MODULES):
        parser.error(f"there is no module {', '.join(sorted(unknown))}; there are {', '.join(plans.MODULES)}")
    for name in asked.module or plans.MODULES:
        print(f"slides: {write(name, asked.dest)}", flush=True)


if __name__ == "__main__":
    main()
