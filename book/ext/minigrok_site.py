"""What makes the book a site: its address, a card for links to it, ways to mend a page, and no dead weight.

The address comes from the environment variable MINIGROK_SITE. Without it the book is the same, but for what
needs one: the map for search engines, each page's own address, and the card's picture.
"""

import html
import os
import re
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

REPOSITORY = "https://github.com/minigrok/minigrok"
ADDRESS = "MINIGROK_SITE"
CARD = "_static/card.png"
CARD_WORDS = (
    "minigrok: a square that a small network has cut into hundreds of tinted pieces. Many of their edges lie "
    "close to a black ring, its decision boundary."
)


# --- the address -------------------------------------------------------------------------------------------


def know_address(app, config) -> None:
    if given := os.environ.get(ADDRESS, "").strip():
        config.html_baseurl = checked_address(given)


def checked_address(given: str) -> str:
    """The address with one "/" at its end; ValueError where it is none of the web."""
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            f"{ADDRESS} should be the address at which the book will be read, such as "
            f"https://example.org/book/, got {given!r}"
        )
    return given.rstrip("/") + "/"


def write_sitemap(app, exception) -> None:
    """Write sitemap.xml, the list of all pages, where their addresses are known."""
    address = app.config.html_baseurl
    if exception is None and address:
        uris = [app.builder.get_target_uri(doc) for doc in sorted(app.env.found_docs)]
        Path(app.outdir, "sitemap.xml").write_text(sitemap(address, uris), encoding="utf-8")


def sitemap(address: str, uris: list[str]) -> str:
    pages = "".join(f"  <url><loc>{html.escape(address + quote(uri))}</loc></url>\n" for uri in uris)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{pages}</urlset>\n'
    )


# --- what a link to a page shows ---------------------------------------------------------------------------


def describe(app, pagename, templatename, context, doctree) -> None:
    """Say what the page is about, for search engines and for whatever shows a link to it."""
    if doctree is None:
        return
    tags = context["metatags"]
    own = re.search(r'<meta content="([^"]*)" name="description"|name="description" content="([^"]*)"', tags)
    text = html.unescape(own[1] or own[2]) if own else beginning(doctree) or app.config.html_title
    lines = [] if own else [("name", "description", text)]
    title = app.env.titles[pagename].astext()
    lines += [("property", f"og:{name}", value) for name, value in card(app, pagename, title, text).items()]
    lines += [("name", "twitter:card", "summary_large_image" if app.config.html_baseurl else "summary")]
    context["metatags"] = tags + "".join(
        f'<meta {kind}="{name}" content="{html.escape(value)}" />\n' for kind, name, value in lines
    )


def beginning(doctree: nodes.document, longest: int = 200) -> str:
    """The first paragraph, or as many of its words as go into `longest` letters."""
    first = next((p for p in doctree.findall(nodes.paragraph) if isinstance(p.parent, nodes.section)), None)
    text = " ".join(first.astext().split()) if first is not None else ""
    return text if len(text) <= longest else text[:longest].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def card(app, pagename: str, title: str, text: str) -> dict[str, str]:
    """The Open Graph's words for a page; a picture needs a whole address."""
    address = app.config.html_baseurl
    words = {"type": "article", "site_name": app.config.html_title, "title": title, "description": text}
    if not address:
        return words
    return words | {
        "url": address + app.builder.get_target_uri(pagename),
        "image": address + CARD,
        "image:type": "image/png",
        "image:width": "1200",
        "image:height": "630",
        "image:alt": CARD_WORDS,
    }


def put_card(app, exception) -> None:
    if exception is None and app.config.html_baseurl:
        draw_card(Path(app.outdir, CARD))


def draw_card(path: Path) -> None:
    """Draw the picture, 1200 by 630 pixels: a trained network's pieces, and the course's name."""
    import torch
    from matplotlib import pyplot as plt
    from torch.nn.functional import cross_entropy

    from minigrok import data, models, regions
    from minigrok.course import plots

    x, y = data.disc_and_ring(200, seed=0)
    model = models.mlp([2, 24, 24, 2], generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
    for _ in range(1000):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    with plt.rc_context({"font.size": 30}):
        figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="white")
        plots.regions(
            regions.partition(model), figure.add_axes((0.5, 0.04, 0.48, 0.92)), lines="plain", legend=False
        )
        figure.axes[0].set(xlabel="", ylabel="", xticks=[], yticks=[])
        figure.text(0.05, 0.66, "minigrok", size=66, weight="bold")
        promise = "See why networks\ngeneralise, and grow\nrobust, long after they\nhave memorised."
        figure.text(0.05, 0.2, promise, linespacing=1.35)
        figure.savefig(path, dpi=100)
        plt.close(figure)


# --- ways to mend a page -----------------------------------------------------------------------------------


def offer_to_mend(app, pagename, templatename, context, doctree) -> None:
    """Below a page: where it can be edited, and where an error can be reported."""
    if doctree is None:
        return
    where = mending(pagename, Path(app.env.doc2path(pagename)))
    report = f"{REPOSITORY}/issues/new?{urlencode({'title': f'Error on the page {pagename}'})}"
    report = f'<a href="{html.escape(report)}">report it</a>'
    context["body"] += f'<p class="mend">Something wrong here? {where} or {report}.</p>\n'


def mending(pagename: str, source: Path) -> str:
    """The words with the link to what a page is made from; the reference is made from docstrings."""
    text = source.read_text(encoding="utf-8") if source.suffix == ".md" else ""
    if modules := re.findall(r"\{entries\} ([\w.]+)", text):
        links = [
            f'<a href="{REPOSITORY}/tree/main/{code_of(name)}"><code>{name}</code></a>' for name in modules
        ]
        return f"Edit the docstrings of {' and '.join(links)}"
    included = re.match(r"```\{include\} \.\./(\S+)", text)
    path = included[1] if included else f"{pagename}{source.suffix}"
    return f'<a href="{REPOSITORY}/edit/main/{path}">Edit this page</a>'


def code_of(module: str) -> str:
    """The file of a module, or the folder of a package, in the repository."""
    import minigrok

    path = Path(*module.split("."))
    return path.as_posix() + ("" if (Path(minigrok.__file__).parents[1] / path).is_dir() else ".py")


# --- running times -----------------------------------------------------------------------------------------


class RunningTimesHere(nodes.General, nodes.Element):
    """Stands where the table of running times goes until all lessons have run."""


class RunningTimes(SphinxDirective):
    """`{running-times}`: each lesson, and how long it ran while the book was built."""

    def run(self) -> list[nodes.Node]:
        from myst_nb.ext.execution_tables import METADATA_KEY
        from myst_nb.sphinx_ import NbMetadataCollector

        NbMetadataCollector.set_doc_data(self.env, self.env.docname, METADATA_KEY, True)  # written again
        return [RunningTimesHere()]


def fill_times(app, doctree, docname) -> None:
    from myst_nb.sphinx_ import NbMetadataCollector

    for here in list(doctree.findall(RunningTimesHere)):
        ran = {
            doc: NbMetadataCollector.get_exec_data(app.env, doc)
            for doc in sorted(app.env.found_docs)
            if doc.startswith("lessons/")
        }
        rows = [
            (
                nodes.reference(
                    "", app.env.titles[doc].astext(), refuri=app.builder.get_relative_uri(docname, doc)
                ),
                f"{about['runtime']:.1f}",
                "complete" if about["succeeded"] else "failed",
            )
            for doc, about in ran.items()
            if about
        ]
        total = sum(about["runtime"] for about in ran.values() if about)
        rows.append((nodes.strong("", "together"), f"{total:.1f}", f"{total / 60:.1f} minutes"))
        here.replace_self(table(("lesson", "seconds", "result"), rows))


def table(head: tuple[str, ...], rows: list[tuple]) -> nodes.table:
    group = nodes.tgroup("", *[nodes.colspec(colwidth=1) for _ in head], cols=len(head))
    group += nodes.thead("", row(head))
    group += nodes.tbody("", *map(row, rows))
    return nodes.table("", group, classes=["colwidths-auto", "running-times"])


def row(entries: tuple) -> nodes.row:
    texts = [entry if isinstance(entry, nodes.Node) else nodes.Text(entry) for entry in entries]
    return nodes.row("", *[nodes.entry("", nodes.paragraph("", "", text)) for text in texts])


# --- lines that break where they should --------------------------------------------------------------------


def wrap_messages(app, doctree, docname) -> None:
    """What a check says is a sentence and breaks where the page ends; a table of numbers must not."""
    for block in doctree.findall(nodes.literal_block):
        if "output" in block["classes"] and block.astext().startswith("✓"):
            block["classes"].append("said")


def hold_percents(app, doctree, docname) -> None:
    """Never break a line between a number and its percent sign."""
    for text in list(doctree.findall(nodes.Text)):
        if re.search(r"\d %", text) and not isinstance(
            text.parent, nodes.FixedTextElement | nodes.literal | nodes.raw
        ):
            text.parent.replace(text, nodes.Text(re.sub(r"(?<=\d) %", "\u00a0%", text)))


# --- figures on a phone ------------------------------------------------------------------------------------

LEGIBLE = (
    0.576  # of a figure's width at 100 dots to the inch: its letters of 10 points are then 8 pixels high
)
FIGURE = re.compile(r'(<img [^>]*src="[^"]*_images/[^"]+" style=")(width: (\d+)px;)')


def keep_legible(app, pagename, templatename, context, doctree) -> None:
    """Say how wide each figure must be for its letters to be read; where a page is narrower, it scrolls.

    A figure that only just fits no phone is made smaller after all: its letters lose less than a pixel.
    """

    def with_width(tag: re.Match) -> str:
        legible = LEGIBLE * int(tag[3])
        return f"{tag[1]}--legible: {legible:.0f}px; {tag[2]}" if legible > 425 else tag[0]

    context["body"] = FIGURE.sub(with_width, context.get("body", ""))


# --- no dead weight ----------------------------------------------------------------------------------------

# The theme publishes its icons twice: as fonts, and as a script of 1.5 MB that every page would run first.
ICON_SCRIPT = re.compile(r'\s*<script src="[^"]*/vendor/fontawesome/[^"]*\.js[^"]*"></script>')
UNUSED = (
    "vendor/fontawesome/*/js/*",
    "vendor/fontawesome/*/webfonts/*.ttf",  # each is there as woff2 too
    "**/*.map",
    "locales/**/*.*",
    "images/logo_*",  # of programs that the theme could launch
    "*webpack-macros.html",
)


def trim(app, exception) -> None:
    """Leave out what the theme publishes and no page of this book uses."""
    if exception is not None:
        return
    for pattern in UNUSED:
        for path in Path(app.outdir, "_static").glob(pattern):
            path.unlink()
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        if ICON_SCRIPT.search(text):
            path.write_text(ICON_SCRIPT.sub("", text), encoding="utf-8")


def setup(app) -> dict:
    app.connect("config-inited", know_address)
    app.add_node(RunningTimesHere)
    app.add_directive("running-times", RunningTimes)
    app.connect("doctree-resolved", fill_times)
    app.connect("doctree-resolved", wrap_messages)
    app.connect("doctree-resolved", hold_percents)
    app.connect("html-page-context", describe)
    app.connect("html-page-context", offer_to_mend)
    app.connect("html-page-context", keep_legible)
    for finish in (write_sitemap, put_card, trim):
        app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
