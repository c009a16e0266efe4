"""Citations and links of the book as plain Markdown, for notebooks that are read in JupyterLab.

The book's text cites with MyST roles, which Lab shows raw. Editions for Lab give author, year and a link.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Reference", "plain", "read_references"]

ACCENTS = {
    "'": "\u0301",
    "`": "\u0300",
    "^": "\u0302",
    '"': "\u0308",
    "~": "\u0303",
    "v": "\u030c",
    "c": "\u0327",
}

VALUE = r"[^{}]*"
for _ in range(4):  # braces within braces, which a regular expression cannot count by itself
    VALUE = rf"(?:[^{{}}]|\{{{VALUE}\}})*"
FIELD = rf"(\w+)\s*=\s*\{{({VALUE})\}}"


@dataclass(frozen=True)
class Reference:
    """What a citation needs: `Hanin and Rolnick`, `2019`, and where to read it ("" if nowhere)."""

    authors: str
    year: str
    url: str


def read_references(bibliography: str) -> dict[str, Reference]:
    """The entries of a BibTeX file, by key.

    >>> text = "@misc{k, author = {Mont{\\\\'u}far, Guido and Cho, K}, year = {2014}, eprint = {1402.1869}}"
    >>> read_references(text)["k"]
    Reference(authors='Montúfar and Cho', year='2014', url='https://arxiv.org/abs/1402.1869')
    """
    entries = re.findall(r"(?ms)^@\w+\{([^,\s]+),(.*?)(?=^@|\Z)", bibliography)
    return {key: _reference(dict(re.findall(FIELD, text))) for key, text in entries}


def plain(text: str, references: Mapping[str, Reference]) -> str:
    """Markdown with MyST's citations, terms and index entries in words; unknown keys stay as they are.

    >>> references = {"k": Reference("Tan and Huang", "2023", "https://arxiv.org/abs/2311.06597")}
    >>> plain("{cite:t}`k` measure {term}`grokking`; another did not {cite}`k`.", references)
    '[Tan and Huang (2023)](https://arxiv.org/abs/2311.06597) measure grokking; another did not \
([Tan and Huang, 2023](https://arxiv.org/abs/2311.06597)).'
    """

    def cited(match):
        keys = [key.strip() for key in match[2].split(",")]
        if not set(keys) <= set(references):
            return match[0]
        inside = match[1] == ":t"
        said = [_cited(references[key], inside) for key in keys]
        return ", ".join(said) if inside else f"({'; '.join(said)})"

    text = re.sub(r"\{cite(:[tp])?\}`([^`]+)`", cited, text)
    return re.sub(r"\{(?:term|index)\}`([^`<]*?)\s*(?:<[^`]*>)?`", r"\1", text)


def _cited(reference: Reference, inside: bool) -> str:
    form = "{} ({})" if inside else "{}, {}"
    label = form.format(reference.authors, reference.year)
    return f"[{label}]({reference.url})" if reference.url else label


def _reference(fields: dict[str, str]) -> Reference:
    names = [_unicode(name.split(",")[0]) for name in re.split(r"\s+and\s+", fields.get("author", ""))]
    authors = names[0] + " et al." if len(names) > 2 else " and ".join(names)
    places = {"eprint": "https://arxiv.org/abs/", "doi": "https://doi.org/", "url": ""}
    url = next((start + fields[field] for field, start in places.items() if field in fields), "")
    return Reference(authors, fields.get("year", ""), url)


def _unicode(text: str) -> str:
    """A name without TeX: `{\\v{Z}}unkovi{\\v{c}}` is Žunković."""
    text = re.sub(r"\\(['`^\"~vc])\s*\{?(\w)\}?", lambda match: match[2] + ACCENTS[match[1]], text)
    return unicodedata.normalize("NFC", re.sub(r"[{}]", "", text)).strip()
