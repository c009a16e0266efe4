"""The reference holds every public name, and leads to lessons that exist. Nothing is built here."""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path
from types import GenericAlias, ModuleType

import docutils.core
import docutils.nodes
import pytest
import yaml
from numpy.typing import ArrayLike
from sphinx.util.inspect import stringify_signature

import minigrok
import minigrok.course

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
_LESSONS_ARE = 17  # a private default, for a test below
# For those who write lessons, not for those who use the library; instructor.md gives the commands.
OF_THE_COURSE = {
    *("cells", "citations", "editions", "exercises", "frame", "grading", "sync"),
    *("plans", "slides", "timetable"),
}


@pytest.fixture(scope="module")
def extension() -> ModuleType:
    """The Sphinx extension that writes the reference."""
    spec = importlib.util.spec_from_file_location(
        "minigrok_reference", BOOK / "ext" / "minigrok_reference.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contents() -> list[str]:
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


def directives(name: str) -> list[str]:
    """The argument of every directive `name` on the pages of the reference, in the contents' order."""
    pages = [BOOK / f"{Path(page).name}.md" for page in contents() if page.startswith("book/reference")]
    return [
        a for page in pages for a in re.findall(rf"```{{{name}}} (\S+)", page.read_text(encoding="utf-8"))
    ]


# --- every public name has its entry -----------------------------------------------------------------------


def test_every_public_module_has_its_entries_and_its_list_of_names(extension):
    library = {f"minigrok.{m.name}" for m in pkgutil.iter_modules(minigrok.__path__) if m.name[0] != "_"}
    course = {m.name for m in pkgutil.iter_modules(minigrok.course.__path__) if m.name[0] != "_"}
    expected = library - {"minigrok.course"} | {f"minigrok.course.{name}" for name in course - OF_THE_COURSE}
    assert set(extension.MODULES) == expected
    assert directives("entries") == directives("names") == list(extension.MODULES)


def test_what_a_module_calls_public_is_public_in_the_reference(extension):
    for module in map(importlib.import_module, extension.MODULES):
        listed = {name for name in getattr(module, "__all__", []) if callable(getattr(module, name))}
        listed -= {name for name in listed if isinstance(getattr(module, name), GenericAlias)}
        assert listed <= set(extension.public(module)), module.__name__
        assert extension.public(module), f"{module.__name__} has no public names"


def test_what_lessons_call_by_its_public_name_has_an_entry(extension):
    known = extension.targets()
    sources = [*(ROOT / "lessons").glob("*.ipynb"), *(ROOT / "minigrok").rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    called = {
        f"{module}.{name}"
        for module in extension.MODULES
        for name in re.findall(rf"(?<![\w.]){module.split('.')[-1]}\.(\w+)(?=\()", text)
        if hasattr(importlib.import_module(module), name)  # else a variable of the module's name
    }
    assert len(called) > 40 and "minigrok.networks.trace" in called
    assert called <= known, called - known


def test_help_shows_every_name_on_one_screen(extension):
    """`help(minigrok)`: each module's line is followed by the names in it, which the reference has too."""
    shown = re.findall(r"^ {4}minigrok\.(\S+) +\S.*\n((?: {8}.*\n)+)", minigrok.__doc__, re.MULTILINE)
    listed = {f"minigrok.{name}": re.findall(r"\w+", names) for name, names in shown}
    modules = map(importlib.import_module, extension.MODULES)
    assert listed == {module.__name__: list(extension.public(module)) for module in modules}
    lines = minigrok.__doc__.splitlines()
    assert len(lines) <= 70 and max(map(len, lines)) <= 110


def test_help_shows_what_only_lessons_need():
    named = re.findall(r"^ {4}(\w+) ", minigrok.course.__doc__, re.MULTILINE)
    assert sorted(named) == sorted(
        module.name for module in pkgutil.iter_modules(minigrok.course.__path__) if module.name[0] != "_"
    )


def test_private_names_have_no_entry(extension):
    for target in extension.targets():
        last = target.split(".")[-1]
        assert not last.startswith("_") or re.fullmatch(r"__(call|getitem|and)__", last), target
        assert "._" not in target.removesuffix(last), target


def test_public_names_are_those_of_the_module_itself(extension):
    module = ModuleType("minigrok.made_up")
    exec(
        "from math import tau\nfrom functools import partial\nimport math\n"
        "def shown(): 'x'\ndef _hidden(): 'x'\nclass Shown: 'x'\n",
        vars(module),
    )
    with pytest.raises(OSError, match="source"):  # it has no file, so no order
        extension.public(module)
    names = set(extension.public(importlib.import_module("minigrok.sweep")))
    assert {"run", "grid", "Table"} <= names and not {"Callable", "Sequence", "torch", "Path"} & names


def test_everything_public_says_in_one_sentence_what_it_is(extension):
    for module in map(importlib.import_module, extension.MODULES):
        for name, value in extension.public(module).items():
            sentence = extension.first_sentence(value)
            assert re.match(r"\S.{15,}\S$", sentence), f"{module.__name__}.{name}: {sentence!r}"


# --- lessons -----------------------------------------------------------------------------------------------


def docstrings(extension) -> list[tuple[str, str]]:
    found = []
    for module in map(importlib.import_module, extension.MODULES):
        found.append((module.__name__, module.__doc__))
        for name, value in extension.public(module).items():
            found.append((f"{module.__name__}.{name}", inspect.getdoc(value)))
            own = extension.members(value) if inspect.isclass(value) else []
            found += [(f"{module.__name__}.{name}.{m}", inspect.getdoc(getattr(value, m))) for m in own]
    return found


def test_every_lesson_that_uses_a_name_is_in_the_contents(extension):
    lessons = {Path(page).name[:2] for page in contents() if page.startswith("lessons/")}
    sentences = {
        name: s
        for name, text in docstrings(extension)
        for s in re.findall(r"^Used in (?:.|\n)*", text, re.MULTILINE)
    }
    assert len(sentences) > 100
    for name, sentence in sentences.items():
        numbers = extension.lesson_numbers(sentence)
        assert numbers or re.match("Used in (every|most|the) lesson", sentence), f"{name}: {sentence}"
        assert set(numbers) <= lessons, f"{name}: {sentence}"


@pytest.mark.parametrize(
    ("sentence", "numbers"),
    [
        ("Used in lesson 08.", ["08"]),
        ("Used in lessons 04, 06 and 09.", ["04", "06", "09"]),
        ("Used in lessons 12 to 14.", ["12", "13", "14"]),
        ("Used in lesson 11 (its recording).", ["11"]),
        ("Used in every lesson.", []),
    ],
)
def test_the_lessons_of_a_sentence(extension, sentence, numbers):
    assert extension.lesson_numbers(sentence) == numbers


# --- from docstring to page --------------------------------------------------------------------------------


def tree(source: str) -> docutils.nodes.document:
    """reStructuredText as docutils reads it; whatever it complains about is an error."""
    source = re.sub(r":py:obj:`([^`<]+) <[^`]+>`", r":literal:`\1`", source)
    return docutils.core.publish_doctree(source, settings_overrides={"halt_level": 2, "report_level": 2})


def test_every_docstring_is_read_without_complaint(extension):
    for name, text in docstrings(extension):
        doc = tree(extension.to_rst(inspect.cleandoc(text)))
        words = " ".join(p.astext() for p in doc.findall(docutils.nodes.paragraph))
        for word in ("Args:", "Returns:", "`"):
            assert word not in words, f"{name}: {word} is left in the text"


def test_an_indented_formula_is_kept_as_it_is(extension):
    (block,) = tree(extension.to_rst("First.\n\n    H = |a*b|_F\n\n      + c_\n\nLast.")).findall(
        docutils.nodes.literal_block
    )
    assert block.astext() == "H = |a*b|_F\n\n  + c_"
    assert "formula" in block["classes"]


def test_columns_of_a_module_become_a_list_with_links(extension):
    known = {"prove": "m.prove", "ask": "m.ask"}
    words = "Proofs.\n\n    prove      the label wins,\n               always\n    two words  ask\n\nEnd."
    text = extension.listed(words, set(known))
    assert text == "Proofs.\n\n- `prove`: the label wins, always\n- two words: `ask`\n\nEnd."
    doc = tree(extension.to_rst(text, known.get))
    assert len(list(doc.findall(docutils.nodes.list_item))) == 2
    assert ":py:obj:`prove <m.prove>`" in extension.to_rst(text, known.get)


def test_each_parameter_is_an_item_with_its_name_in_bold(extension):
    doc = tree(
        extension.to_rst("One.\n\nArgs:\n    x, y: (N, d), as `f` takes\n        them.\n    **look: kept.\n")
    )
    (body,) = doc.findall(docutils.nodes.field_body)
    assert [" ".join(item.astext().split()) for item in body.findall(docutils.nodes.list_item)] == [
        "x, y: (N, d), as f takes them.",
        "**look: kept.",
    ]
    assert [node.astext() for node in body.findall(docutils.nodes.strong)] == ["x, y", "**look"]


def test_stars_bars_and_lines_mean_themselves_and_emphasis_stays(extension):
    doc = tree(extension.to_rst(r"A *needed* a * b, |x|, y_ and (N, *shape); `c_d*`s end \ here."))
    assert doc.astext() == r"A needed a * b, |x|, y_ and (N, *shape); c_d*s end \ here."
    assert [node.astext() for node in doc.findall(docutils.nodes.emphasis)] == ["needed"]


def test_an_example_keeps_its_prompts(extension):
    doc = tree(extension.to_rst("One.\n\nExample:\n    >>> 1 + 1\n    2\n\nUsed in lesson 01."))
    assert [b.astext() for b in doc.findall(docutils.nodes.doctest_block)] == [">>> 1 + 1\n2"]
    assert doc[-1].astext() == "Used in lesson 01."


def test_a_word_in_backticks_leads_to_its_neighbour_first(extension):
    known = extension.targets()
    find = extension.find_target
    assert find("trace", "minigrok.networks.Network", known) == "minigrok.networks.trace"
    assert find("walk", "minigrok.networks.Network.linearise", known) == "minigrok.networks.Network.walk"
    assert find("networks.trace", "minigrok.naps.mine", known) == "minigrok.networks.trace"
    assert find("Ensemble", "minigrok.measures.gram", known) == "minigrok.training.Ensemble"
    assert find("minigrok.verify", "minigrok", known) == "minigrok.verify"
    assert find("trace", "minigrok.networks.trace", known) is None  # not to itself
    assert find("no_such_name", "minigrok.naps.mine", known) is None


def test_a_private_default_is_shown_as_its_value(extension):
    def f(n=_LESSONS_ARE): ...

    shown = extension.readable(None, "function", "f", f, {}, "(n: int = _LESSONS_ARE)", "int")
    assert shown == ("(n: int = 17)", "int")


def test_array_like_is_shown_by_its_name(extension):
    def f(x: ArrayLike, n: int = 2): ...

    text = stringify_signature(inspect.signature(f), unqualified_typehints=True)
    assert "Sequence" in text
    shown, _ = extension.readable(None, "function", "f", f, {}, text, "")
    assert shown == "(x: ~numpy.typing.ArrayLike, n: int = 2)"


def test_every_private_default_has_a_value_to_show(extension):
    for module in map(importlib.import_module, extension.MODULES):
        functions = {n: f for n, f in extension.public(module).items() if inspect.isfunction(f)}
        for name, function in functions.items():
            (made,) = ast.parse(inspect.getsource(inspect.unwrap(function))).body
            defaults = [
                d.id for d in [*made.args.defaults, *made.args.kw_defaults] if isinstance(d, ast.Name)
            ]
            for default in [d for d in defaults if d.startswith("_")]:
                shown, _ = extension.readable("", "", name, function, {}, f"(x = {default})", "")
                assert default not in shown and " at 0x" not in shown, f"{module.__name__}.{name}{shown}"


def test_a_source_link_names_the_lines(extension):
    link = extension.source_of("py", {"module": "minigrok.networks", "fullname": "Network.layers"})
    path, first, last = re.fullmatch(r".*/blob/main/(\S+)#L(\d+)-L(\d+)", link).groups()
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()[int(first) - 1 : int(last)]
    assert "def layers(self)" in "\n".join(lines) and "def units(self)" not in "\n".join(lines)


def test_a_long_signature_is_no_list_inside_a_term(extension):
    term = '<dt class="sig sig-object py" id="f">f(<dl>\n<dd>x,</dd>\n</dl>\n)</dt>'
    context = {"body": f"<dl>{term}<dd>What f does.</dd></dl>"}
    extension.mend_signatures(None, "page", "page.html", context, None)
    assert (
        context["body"].startswith('<dl><dt class="sig') and "<dd>What f does.</dd></dl>" in context["body"]
    )
    inside = context["body"].split("</dt>")[0]
    assert "<dd>" not in inside and inside.count("<span") == inside.count("</span>") == 2
