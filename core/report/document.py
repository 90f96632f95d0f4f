"""A page of text, tables and pictures, written as Markdown or as one self-contained HTML file.

All text is escaped: no text, whichever file it comes from, is ever read as markup.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dipddpm.core.io.sanitize import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 58rem; margin: 2.5rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.8rem; line-height: 1.2; } h2 { margin-top: 2.6rem; border-bottom: 1px solid #8884; }
h3 { margin-top: 1.8rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; display: block;
  overflow-x: auto; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #8883; }
th:first-child, td:first-child { text-align: left; }
table.facts td { text-align: left; } table.facts th { font-weight: normal; color: #777; }
pre { overflow-x: auto; padding: .8rem 1rem; background: #8881; font-size: .85rem; line-height: 1.4; }
figure { margin: 1.4rem 0; } figcaption { color: #777; font-size: .9rem; }
img { max-width: 100%; background: white; border-radius: 4px; }
.notice { border-left: 4px solid #c65102; padding: .4rem 1rem; background: #c6510218; }
""".strip()
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Content security policy: a browser may load nothing that isn't inside the page."""
MARKUP = re.compile(r"([\\`*_\[\]<>|~$&])")
TICKS = re.compile("`+")
LEADING = re.compile(r"^(\d*)([-+=.)#]+)(?=\s|$)")
"""Opening characters that turn a line of Markdown into a heading, a list or a rule."""


@dataclass(frozen=True)
class Heading:
    """A heading; level 2 opens a chapter, level 3 a section."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; a notice is highlighted."""

    text: str
    notice: bool = False


@dataclass(frozen=True)
class BulletList:
    """A bullet list of sentences."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells below a row of headings; all columns but the first hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class FigureBlock:
    """A figure; the Markdown file links to it as `images/NAME.png`."""

    name: str
    title: str
    figure: Figure


@dataclass(frozen=True)
class ImageBlock:
    """A PNG that a run in the same runs folder has stored."""

    file: Path
    title: str

    @property
    def link(self) -> str:
        """The path of the PNG, relative to the folder of another run."""
        return f"../{self.file.parents[1].name}/{self.file.parent.name}/{self.file.name}"


@dataclass(frozen=True)
class Facts:
    """Pairs of a name and a value, shown as a table of two columns."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Lines of code, shown unchanged; `language` names their syntax for highlighting."""

    text: str
    language: str = ""


Block: TypeAlias = Heading | Text | BulletList | Table | Facts | Code | FigureBlock | ImageBlock


@dataclass
class Page:
    """A title and the blocks below it."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def figure_blocks(self) -> list[FigureBlock]:
        """The figures; the Markdown links to each as `images/NAME.png`."""
        return [block for block in self.blocks if isinstance(block, FigureBlock)]

    def markdown(self) -> str:
        """Return the page as Markdown, with links that work from a file in the study's run folder."""
        return "\n\n".join([f"# {_literal(self.title)}", *map(_markdown, self.blocks)]) + "\n"

    def html(self) -> str:
        """Return the page as HTML that contains its pictures and its style."""
        body = "\n".join(map(_html, self.blocks))
        title = _escaped(self.title)
        return (
            f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_escaped(POLICY)}">\n'
            f"<title>{title}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
            f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
        )


def fill(template: str, values: Mapping[str, Any], pictures: Mapping[str, Figure | Path] | None = None) -> list[Block]:
    """Return the blocks of a Markdown template of paragraphs, `- ` bullets, `> ` notices and `### ` headings.

    `str.format` replaces fields such as `{loss:.3f}`. A paragraph that names a missing value is left out, and so is a
    missing picture. A paragraph that consists of one `{name}` becomes the blocks of that name. The template is
    trusted; the values are escaped.
    """
    blocks: list[Block] = []
    for paragraph in filter(None, map(str.strip, template.split("\n\n"))):
        mark = next((mark for mark in ("- ", "> ", "### ") if paragraph.startswith(mark)), "")
        if match := re.fullmatch(r"!\[(.+)\]\((.+)\)", paragraph):
            title, name = match.groups()
            picture = (pictures or {}).get(name)
            if isinstance(picture, Path):
                blocks.append(ImageBlock(picture, title))
            elif picture is not None:
                blocks.append(FigureBlock(name, title, picture))
            continue
        if match := re.fullmatch(r"\{(\w+)\}", paragraph):
            blocks += values.get(match[1], ())
            continue
        try:
            text = paragraph.removeprefix(mark).format_map(values)
        except LookupError:
            continue
        if mark == "- ":
            if blocks and isinstance(before := blocks[-1], BulletList):
                blocks[-1] = BulletList([*before.texts, text])
            else:
                blocks.append(BulletList([text]))
        else:
            blocks.append(Heading(text, 3) if mark == "### " else Text(text, notice=mark == "> "))
    return blocks


def _markdown(block: Block) -> str:  # noqa: PLR0911
    match block:
        case Heading():
            return f"{'#' * block.level} {_literal(block.text)}"
        case Text():
            return f"> **{_literal(block.text)}**" if block.notice else _literal(block.text)
        case BulletList():
            return "\n".join(f"- {_literal(text)}" for text in block.texts)
        case Table():
            rules = ["---", *["---:"] * (len(block.head) - 1)]
            rows = [[_literal(cell) for cell in row] for row in (block.head, *block.rows)]
            return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rules, *rows[1:]))
        case Facts():
            return _markdown(Table(["", ""], block.pairs)).replace("---:", "---", 1)  # only the rule, no value
        case Code():
            lines = _lines(block)
            longest = max((len(ticks) for ticks in TICKS.findall(lines)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}{block.language}\n{lines}\n{fence}"
        case FigureBlock():
            return f"![{_literal(block.title)}](images/{block.name}.png)"
        case ImageBlock():
            return f"![{_literal(block.title)}](<{block.link}>)"


def _html(block: Block) -> str:  # noqa: PLR0911
    match block:
        case Heading():
            return f"<h{block.level}>{_escaped(block.text)}</h{block.level}>"
        case Text():
            return f"<p{' class=notice' if block.notice else ''}>{_escaped(block.text)}</p>"
        case BulletList():
            return f"<ul>{''.join(f'<li>{_escaped(text)}</li>' for text in block.texts)}</ul>"
        case Table():
            head = "".join(f"<th>{_escaped(cell)}</th>" for cell in block.head)
            rows = ["".join(f"<td>{_escaped(cell)}</td>" for cell in row) for row in block.rows]
            body = "\n".join(f"<tr>{row}</tr>" for row in rows)
            return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        case Facts():
            rows = [f"<tr><th>{_escaped(name)}</th><td>{_escaped(value)}</td></tr>" for name, value in block.pairs]
            return "<table class=facts>\n" + "\n".join(rows) + "\n</table>"
        case Code():
            return f"<pre>{html.escape(_lines(block))}</pre>"
        case FigureBlock():
            from dipddpm.core.report.plots import svg

            return _figure(block.title, "image/svg+xml", svg(block.figure).encode())
        case ImageBlock():
            return _figure(block.title, "image/png", block.file.read_bytes())


def _figure(title: str, kind: str, content: bytes) -> str:
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    image = f'<img alt="{_escaped(title)}" src="{source}">'
    return f"<figure>{image}<figcaption>{_escaped(title)}</figcaption></figure>"


def _lines(code: Code) -> str:
    return "\n".join(printable(line) for line in code.text.split("\n"))


def _literal(text: str) -> str:
    """Return Markdown that shows exactly this text."""
    return LEADING.sub(r"\1\\\2", MARKUP.sub(r"\\\1", printable(text).strip()))


def _escaped(text: str) -> str:
    """Return HTML that shows exactly this text."""
    return html.escape(printable(text))
