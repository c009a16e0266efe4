"""The reference: every public name of the library, written by Sphinx's autodoc from the docstrings.

The docstrings are plain text, made to be read in a notebook: `code` in single backticks, formulas as indented
lines, and the sections Args, Returns, Raises, Attributes, Example. Here they become reStructuredText.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

from docutils import nodes
from docutils.statemachine import StringList
from numpy.typing import ArrayLike
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import stringify_annotation

MODULES = (
    "minigrok.networks",
    "minigrok.regions",
    "minigrok.attacks",
    "minigrok.naps",
    "minigrok.measures",
    "minigrok.models",
    "minigrok.data",
    "minigrok.training",
    "minigrok.sweep",
    "minigrok.recordings",
    "minigrok.verify",
    "minigrok.theory",
    "minigrok.course.plots",
    "minigrok.course.player",
)
PAGES = "book/reference"  # of all pages of the reference, the beginning of their names
REPOSITORY = "https://github.com/minigrok/minigrok/blob/main/"
ROOT = Path(importlib.import_module("minigrok").__file__).parents[1]


# --- what is public ----------------------------------------------------------------------------------------


@cache
def public(module: ModuleType) -> dict[str, object]:
    """The functions and classes of a module for everybody: `__all__`, else what it defines without a "_"."""
    if names := getattr(module, "__all__", None):
        found = {name: getattr(module, name) for name in names}
    else:
        found = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    home = re.compile(rf"{re.escape(module.__name__)}(\._\w+)?")
    own = {
        n: v
        for n, v in found.items()
        if inspect.isroutine(v) or inspect.isclass(v)
        if home.fullmatch(v.__module__)
    }
    return dict(sorted(own.items(), key=_place))


def _place(item: tuple[str, object]) -> tuple[bool, str, int]:
    """Functions come before classes, and each in the order of the files and their lines."""
    value = inspect.unwrap(item[1])
    return inspect.isclass(value), value.__module__, inspect.getsourcelines(value)[1]


def members(cls: type) -> list[str]:
    """The methods and properties of a class that it explains, in their order."""
    return [
        name
        for name, value in vars(cls).items()
        if isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)
        if not re.match(r"_[^_]|__(init|new|repr|getnewargs)__", name) and value.__doc__
        if _home(value) in (None, cls.__module__)
    ]


def _home(value: object) -> str | None:
    value = value.fget if isinstance(value, property) else value
    return getattr(value, "__module__", None)


@cache
def targets() -> frozenset[str]:
    """The full name of everything that has an entry of its own."""
    return frozenset(_targets())


def _targets() -> Iterator[str]:
    for module in map(importlib.import_module, MODULES):
        yield module.__name__
        for name, value in public(module).items():
            yield f"{module.__name__}.{name}"
            if inspect.isclass(value):
                yield from (f"{module.__name__}.{name}.{member}" for member in members(value))


def first_sentence(value: object) -> str:
    """The first paragraph of a docstring as one line."""
    return " ".join(inspect.getdoc(value).split("\n\n")[0].split())


# --- the directives ----------------------------------------------------------------------------------------


class Entries(SphinxDirective):
    """`{entries} minigrok.x`: the module's own words, then an entry for each of its public names."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        lines = ["```{eval-rst}", f".. automodule:: {module.__name__}", ""]
        for name, value in public(module).items():
            kind = "autoclass" if inspect.isclass(value) else "autofunction"
            lines.append(f".. {kind}:: {module.__name__}.{name}")
            if inspect.isclass(value) and (own := members(value)):
                lines.append(f"   :members: {', '.join(own)}")
                lines.append("   :special-members: " + ", ".join(m for m in own if m.startswith("__")))
            lines.append("")
        return parsed(self, [*lines, "```"])


class Names(SphinxDirective):
    """`{names} minigrok.x`: the public names of a module, each with its first sentence."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = importlib.import_module(self.arguments[0])
        lines = ["```{list-table}", ":header-rows: 1", ":class: names", "", "* - name", "  - what it is"]
        for name, value in public(module).items():
            lines += [f"* - {{py:obj}}`{name} <{module.__name__}.{name}>`", f"  - {first_sentence(value)}"]
        return parsed(self, [*lines, "```"])


class AllNames(SphinxDirective):
    """`{all-names}`: every module on one line, with the names that are in it."""

    def run(self) -> list[nodes.Node]:
        lines = ["```{list-table}", ":header-rows: 1", ":class: names every-name", ""]
        lines += ["* - module", "  - names"]
        for full in MODULES:
            names = public(importlib.import_module(full))
            links = ", ".join(f"{{py:obj}}`{name} <{full}.{name}>`" for name in names)
            lines += [f"* - {{py:mod}}`{full.removeprefix('minigrok.')} <{full}>`", f"  - {links}"]
        return parsed(self, [*lines, "```"])


def parsed(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    box = nodes.container()
    directive.state.nested_parse(StringList(lines, source=directive.env.docname), 0, box)
    return box.children


# --- docstrings --------------------------------------------------------------------------------------------

SECTIONS = {
    "Args": "Parameters",
    "Returns": "Returns",
    "Raises": "Raises",
    "Attributes": "Attributes",
    "Example": "Example",
    "Source": "Source",
}


def rewrite(app, what, name, value, options, lines) -> None:
    """Turn a docstring of minigrok into reStructuredText, in place."""

    def target(word: str) -> str | None:
        return find_target(word, name, targets())

    docstring = "\n".join(lines)
    if what == "module":
        docstring = listed(docstring, {full.removeprefix(f"{name}.") for full in targets()})
    lines[:] = to_rst(docstring, target).split("\n") + [""]


def listed(docstring: str, names: set[str]) -> str:
    """The columns in a module's docstring, names and what they are, as a list with links."""

    def item(row: re.Match) -> str:
        text = f"- {row[1]}: {' '.join(row[2].split())}"
        return re.sub(r"\w+", lambda word: f"`{word[0]}`" if word[0] in names else word[0], text)

    return re.sub(r"(?m)^ {4}(\S.*?) {2,}(.*(?:\n {8,}.*)*)", item, docstring)


def to_rst(docstring: str, target=lambda word: None) -> str:
    """A docstring as reStructuredText; `target(word)` is the entry to which a word in backticks links."""
    blocks = re.split(r"\n\s*\n", docstring.strip("\n"))
    return "\n\n".join(_block(block, target) for block in _joined(blocks))


def _joined(blocks: list[str]) -> list[str]:
    """The blocks between blank lines, with all that belongs to a section or to a formula in one piece."""
    joined: list[str] = []
    for block in blocks:
        inside = (
            joined
            and block.startswith(" ")
            and (joined[-1].startswith(" ") or re.match(rf"({'|'.join(SECTIONS)}):\n", joined[-1]))
        )
        if inside:
            joined[-1] += "\n\n" + block
        else:
            joined.append(block)
    return joined


def _block(block: str, target) -> str:
    head, _, body = block.partition("\n")
    section = re.fullmatch(rf"({'|'.join(SECTIONS)}):( .*)?", head)
    if section is None:
        return _formula(block) if block.startswith(" ") else marked(block, target)
    title, rest = SECTIONS[section[1]], section[2]
    if rest:  # a section of one paragraph, which begins on the line of its name
        return f":{title}: " + _indented(marked(f"{rest.strip()}\n{body}".rstrip(), target)).lstrip()
    body = inspect.cleandoc("\n" + body)
    if title == "Example":
        return f".. rubric:: Example\n\n{_example(body, target)}"
    if title == "Returns":
        return f":{title}:\n{_indented(to_rst(body, target))}"
    items = re.split(r"\n(?=\S)", body)
    return f":{title}:\n" + "\n".join(_indented(_item(item, target)) for item in items)


def _example(body: str, target) -> str:
    blocks = re.split(r"\n\s*\n", body)
    return "\n\n".join(b if b.startswith(">>>") else marked(b, target) for b in blocks)


def _item(item: str, target) -> str:
    """`name: what it is`, over several lines, as an item of a list."""
    name, colon, text = item.partition(": ")
    if not (colon and re.fullmatch(r"[\w*, ]+", name)):
        name, text = "", item
    text = to_rst(inspect.cleandoc(text), target)
    start = f"**{_prose(name)}**: " if name else ""
    return "* " + _indented(start + text, 2).lstrip()


def _formula(block: str) -> str:
    return ".. code-block:: text\n   :class: formula\n\n" + _indented(inspect.cleandoc("\n" + block), 3)


def _indented(text: str, by: int = 4) -> str:
    return re.sub(r"(?m)^(?=.)", " " * by, text)


def marked(text: str, target=lambda word: None) -> str:
    """Prose for reStructuredText: `code` is a link or literal, *emphasis* is kept, all else means itself."""
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(_code(p[1:-1], target) if p.startswith("`") else _prose(p) for p in pieces)


def _code(code: str, target) -> str:
    code = " ".join(code.split())
    full = target(code) if re.fullmatch(r"[\w.]+", code) else None
    return f"\\ :py:obj:`{code} <{full}>`\\ " if full else f"\\ ``{code}``\\ "


def _prose(text: str) -> str:
    emphasis = re.compile(r"((?<![\w*])\*\w(?:[^*\n]*\w)?\*(?![\w*]))")
    pieces = emphasis.split(text)
    return "".join(p if emphasis.fullmatch(p) else re.sub(r"([\\*|_])", r"\\\1", p) for p in pieces)


def find_target(word: str, where: str, known: frozenset[str]) -> str | None:
    """The entry that a word means in the docstring of `where`: its neighbours first, then all of minigrok."""
    parts = where.split(".")
    places = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    candidates = [f"{place}.{word}" for place in places] + [word]
    if word[0].isupper():  # a class is known everywhere by its bare name
        alike = [full for full in known if full.endswith(f".{word}")]
        candidates += alike if len(alike) == 1 else []
    return next((full for full in candidates if full in known and full != where), None)


ARRAY_LIKE = stringify_annotation(ArrayLike, "smart")  # three lines of unions of private types


def readable(app, what, name, value, options, signature, returns):
    """Show a private default by its value, for `_DEGREES` says nothing, and ArrayLike by its name."""
    if signature is None:
        return None
    names = getattr(inspect.unwrap(value), "__globals__", {})
    shown = re.sub(r"(?<== )_\w+", lambda word: repr(names.get(word[0], word[0])), signature)
    return shown.replace(ARRAY_LIKE, "~numpy.typing.ArrayLike"), returns


# --- links -------------------------------------------------------------------------------------------------


def without_private(app, env, node, contnode):
    """A type in a signature is named where it is defined, regions._partition.Partition; link its entry."""
    public_name = re.sub(r"\._\w+(?=\.)", "", node.get("reftarget", ""))
    if node.get("refdomain") == "py" and public_name != node["reftarget"]:
        domain, here = env.get_domain("py"), node.get("refdoc", env.docname)
        return domain.resolve_xref(env, here, app.builder, node["reftype"], public_name, node, contnode)
    return None


def short_prefix(app, domain, objtype, content) -> None:
    """Show a name as a notebook writes it: regions.partition."""
    for signature in content.parent[0:1]:
        for prefix in signature.findall(lambda n: n.__class__.__name__ == "desc_addname"):
            prefix[:] = [nodes.Text(prefix.astext().removeprefix("minigrok."))]


def lesson_numbers(sentence: str) -> list[str]:
    """The lessons that a docstring's last line names: "Used in lessons 12 to 14." are 12, 13 and 14."""
    found = re.findall(r"\b(\d\d)(?: to (\d\d))?\b", sentence)
    return [f"{n:02d}" for low, high in found for n in range(int(low), int(high or low) + 1)]


def link_lessons(app, doctree, docname) -> None:
    """In "Used in lesson 08.", link the number to the lesson."""
    if not docname.startswith(PAGES):
        return
    lessons = {Path(doc).name[:2]: doc for doc in app.env.found_docs if doc.startswith("lessons/")}
    for sentence in doctree.findall(nodes.paragraph):
        if sentence.astext().startswith("Used in ") and not isinstance(sentence.parent, nodes.entry):
            sentence["classes"].append("used-in")
            for text in list(sentence.findall(nodes.Text)):
                text.parent.replace(text, _linked(app, docname, text.astext(), lessons))


def _linked(app, docname: str, text: str, lessons: dict[str, str]) -> list[nodes.Node]:
    text = re.sub(r"\b\d\d to \d\d\b", lambda m: _listed(lesson_numbers(m[0])), text)
    pieces: list[nodes.Node] = []
    for piece in re.split(r"(\b\d\d\b)", text):
        if piece in lessons:
            uri = app.builder.get_relative_uri(docname, lessons[piece])
            title = app.env.titles[lessons[piece]].astext()
            pieces.append(nodes.reference("", piece, refuri=uri, reftitle=title))
        elif piece:
            pieces.append(nodes.Text(piece))
    return pieces


def _listed(numbers: list[str]) -> str:
    return " and ".join([", ".join(numbers[:-1]), numbers[-1]])


def source_of(domain: str, info: dict[str, str]) -> str | None:
    """The lines of the repository in which a name is defined."""
    value = importlib.import_module(info["module"])
    for name in info["fullname"].split("."):
        value = inspect.getattr_static(value, name)
    value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    value = inspect.unwrap(value)
    lines, start = inspect.getsourcelines(value)
    path = Path(inspect.getsourcefile(value)).relative_to(ROOT).as_posix()
    return f"{REPOSITORY}{path}#L{start}-L{start + len(lines) - 1}"


def mend_signatures(app, pagename, templatename, context, doctree) -> None:
    """Sphinx puts the parameters of a long signature into a list that HTML does not allow inside a term."""
    lines = {"<dl>": '<span class="sig-lines">', "<dd>": '<span class="sig-line">',
             "</dl>": "</span>", "</dd>": "</span>"}  # fmt: skip

    def mended(term: re.Match) -> str:
        return re.sub("</?d[ld]>", lambda tag: lines[tag[0]], term[0])

    context["body"] = re.sub(r'<dt class="sig .*?</dt>', mended, context.get("body", ""), flags=re.DOTALL)


def set_source_links(app, config) -> None:
    config.linkcode_resolve = source_of


def setup(app) -> dict:
    for extension in ("sphinx.ext.autodoc", "sphinx.ext.linkcode"):
        app.setup_extension(extension)
    app.add_directive("entries", Entries)
    app.add_directive("names", Names)
    app.add_directive("all-names", AllNames)
    app.connect("config-inited", set_source_links)
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", readable)
    app.connect("object-description-transform", short_prefix)
    app.connect("missing-reference", without_private)
    app.connect("doctree-resolved", link_lessons)
    app.connect("html-page-context", mend_signatures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
