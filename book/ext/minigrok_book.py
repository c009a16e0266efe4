"""What the book does beyond Jupyter Book: offline formulas, glossary links, index, bibliography, Colab links.

The lessons stay plain Markdown that reads well in JupyterLab; everything that only a book needs happens here.
"""

import importlib.util
import re
from collections import defaultdict
from pathlib import Path

from docutils import nodes
from pybtex.plugin import register_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.labels import BaseLabelStyle
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

LESSONS, GLOSSARY = "lessons/", "book/glossary"
COLAB = "https://colab.research.google.com/github/minigrok/minigrok/blob/workbook/"
BINDER = "https://mybinder.org/v2/gh/minigrok/minigrok/workbook?labpath="


def add_mathjax(app, config) -> None:
    """Publish MathJax's one-file SVG bundle from the installed package; no page asks the network for it."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")    # a hyphen: found, never imported
    if package is None:
        raise RuntimeError("formulas need the package sphinx-mathjax-offline: pip install 'minigrok[book]'")
    bundle = Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js"
    config.html_static_path.append(str(bundle))


# --- glossary: emphasised terms become links, and the glossary links back ----------------------------------

def glossary_terms(source: str) -> dict[str, str]:
    """Map each lower-case term of a glossary page to its spelling there: its block's unindented lines."""
    block = source.split("{glossary}", 1)[1].split("\n```", 1)[0]
    terms = [line.strip() for line in block.splitlines()[1:] if line and not line[0].isspace()]
    return {term.lower(): term for term in terms}


def find_term(text: str, terms: dict[str, str]) -> str | None:
    """Return the glossary's spelling of `text`, a plural allowed, or None."""
    word = " ".join(text.lower().split())
    singulars = [word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"]
    return next((terms[s] for s in singulars if s in terms), None)


def read_terms(app) -> None:
    app.env.glossary_terms = glossary_terms((Path(app.srcdir) / f"{GLOSSARY}.md").read_text(encoding="utf-8"))


class LinkTerms(SphinxTransform):
    """In a lesson, link the first *emphasised* use of each glossary term, and enter each term into the index.

    A term that is never emphasised is entered where a paragraph first mentions it, and not linked.
    """

    default_priority = 300

    def apply(self) -> None:
        if self.env.docname.startswith(LESSONS):
            self.enter_mentions(self.link_emphasised())

    def link_emphasised(self) -> set[str]:
        seen: set[str] = set()
        for node in list(self.document.findall(nodes.emphasis)):
            term = find_term(node.astext(), self.env.glossary_terms)
            if term is None or term in seen or inside(node, (nodes.title, nodes.caption, nodes.reference)):
                continue
            seen.add(term)
            link = addnodes.pending_xref(
                "", node.deepcopy(), reftype="term", refdomain="std", reftarget=term,
                refdoc=self.env.docname, refexplicit=True, refwarn=True)
            node.replace_self([*self.index_entry(term), link])
        return seen

    def enter_mentions(self, seen: set[str]) -> None:
        written = [p for p in self.document.findall(nodes.paragraph) if inside(p, (nodes.section,))]
        paragraphs = [(p, p.astext().lower()) for p in written]    # the notebook's metadata stand outside
        for term in sorted(set(self.env.glossary_terms.values()) - seen):
            mention = re.compile(rf"\b{re.escape(term.lower())}s?\b")
            place = next((p for p, text in paragraphs if mention.search(text)), None)
            if place is not None:
                place[0:0] = self.index_entry(term)

    def index_entry(self, term: str) -> list[nodes.Node]:
        anchor = f"term-here-{self.env.new_serialno('term')}"
        return [addnodes.index(entries=[("single", term, anchor, "", None)]),
                nodes.target("", "", ids=[anchor])]


def inside(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node is not None and not isinstance(node, kinds):
        node = node.parent
    return node is not None


def places(env) -> dict[str, list[tuple[str, str]]]:
    """Where each index entry stands: entry -> (page, anchor), one place per page, in the contents' order."""
    order = {doc: i for i, doc in enumerate(env.toctree_includes.get(env.config.master_doc, []))}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for doc, entries in env.get_domain("index").entries.items():
        if doc.startswith("book/reference"):    # the names of the library have an index of their own
            continue
        for _, text, anchor, *_ in entries:
            found[text.replace("; ", ", ")].setdefault(doc, anchor)

    def place(entry: tuple[str, str]) -> int:
        return order.get(entry[0], len(order))

    return {text: sorted(docs.items(), key=place) for text, docs in found.items()}


def page_links(app, here: str, where: list[tuple[str, str]]) -> list[nodes.Node]:
    links: list[nodes.Node] = []
    for doc, anchor in where:
        uri = app.builder.get_relative_uri(here, doc) + (f"#{anchor}" if anchor else "")
        title = app.env.titles[doc].astext()
        links += [nodes.Text(" · " if links else ""), nodes.reference("", title, refuri=uri)]
    return links


def link_back(app, doctree, docname) -> None:
    """Below each definition of the glossary: the lessons that use the word."""
    if docname != GLOSSARY:
        return
    known = places(app.env)
    for item in doctree.findall(nodes.definition_list_item):
        terms = item.findall(nodes.term)
        words = [term.astext().replace("’", "'") for term in terms]    # by now Sphinx has turned apostrophes
        where = {doc: anchor for w in words for doc, anchor in known.get(w, []) if doc.startswith(LESSONS)}
        if where:
            links = page_links(app, docname, sorted(where.items()))
            item[-1] += nodes.paragraph("", "Lessons: ", *links, classes=["used-in"])


# --- the index page ----------------------------------------------------------------------------------------

class IndexHere(nodes.General, nodes.Element):
    """Stands where the index goes until all pages are read."""


class GeneralIndex(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return [IndexHere()]


def fill_index(app, doctree, docname) -> None:
    for here in list(doctree.findall(IndexHere)):
        letters = defaultdict(nodes.bullet_list)
        for text, where in sorted(places(app.env).items(), key=lambda entry: entry[0].lower()):
            links = page_links(app, docname, where)
            entry = nodes.paragraph("", "", nodes.strong("", text), nodes.Text("  "), *links)
            letters[text[0].upper()] += nodes.list_item("", entry)
        here.replace_self([n for letter, entries in letters.items()
                           for n in (nodes.paragraph("", letter, classes=["index-letter"]), entries)])


# --- the bibliography --------------------------------------------------------------------------------------

class AuthorYear(BaseLabelStyle):
    """Labels as the text cites, "Hanin and Rolnick, 2019", with a letter where two works share one."""

    def format_labels(self, entries):
        labels = [self.author_year(entry) for entry in entries]
        for i, label in enumerate(labels):
            yield label + ("abcdefgh"[labels[:i].count(label)] if labels.count(label) > 1 else "")

    def author_year(self, entry) -> str:
        names = [str(person.rich_last_names[0]) for person in entry.persons["author"]]
        who = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        return f"{who}, {entry.fields['year']}"


class ByAuthor(Style):
    default_label_style = AuthorYear
    default_sorting_style = "author_year_title"


def cited_in(app, doctree, docname) -> None:
    """Below each work of the bibliography: the lessons that cite it."""
    domain = app.env.get_domain("cite")
    keys = {citation.citation_id: citation.key for citation in domain.citations}
    for entry in doctree.findall(nodes.citation):
        key = next((keys[i] for i in entry["ids"] if i in keys), None)
        pages = sorted({ref.docname for ref in domain.citation_refs
                        for k in ref.targets if k.key == key and ref.docname.startswith(LESSONS)})
        if pages:
            links = page_links(app, docname, [(page, "") for page in pages])
            entry += nodes.paragraph("", "Lessons: ", *links, classes=["used-in"])


# --- what each page gets -----------------------------------------------------------------------------------

def offer_to_run(app, doctree, docname) -> None:
    """Behind a lesson's link to its workbook, the same notebook on machines that others lend."""
    for link in list(doctree.findall(addnodes.download_reference)):
        if docname.startswith(LESSONS) and "_workbook/" in link["reftarget"]:
            name = Path(link["reftarget"]).name
            colab = nodes.reference("", "open it in Colab", refuri=COLAB + name)
            binder = nodes.reference("", "on Binder", refuri=BINDER + name)
            link.parent["classes"].append("workbook")
            link.parent += [nodes.Text(" Or "), colab, nodes.Text(", or "), binder, nodes.Text(".")]


def mend_roles(app, pagename, templatename, context, doctree) -> None:
    """docutils gives the bibliography's entries a role that is withdrawn and that a list may not hold."""
    context["body"] = context.get("body", "").replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app) -> dict:
    register_plugin("pybtex.style.formatting", "minigrok", ByAuthor)
    app.connect("config-inited", add_mathjax)
    app.connect("builder-inited", read_terms)
    app.add_transform(LinkTerms)
    app.add_node(IndexHere)
    app.add_directive("general-index", GeneralIndex)
    for finish in (link_back, fill_index, cited_in, offer_to_run):
        app.connect("doctree-resolved", finish)
    app.connect("html-page-context", mend_roles)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
