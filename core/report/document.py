"""A page of text, tables and pictures, written as Markdown or as one HTML file that needs no other.

All text is taken literally: what stands in it, from whatever file it came, is never markup.
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
"""What a browser may load for the page: nothing that doesn't stand in it."""
MARKUP = re.compile(r"([\\`*_\[\]<>|~$&])")
TICKS = re.compile("`+")
LEADING = re.compile(r"^(\d*)([-+=.)#]+)(?=\s|$)")
"""What makes a heading, a list or a rule of a line that begins with it."""


@dataclass(frozen=True)
class Heading:
    """Level 2 begins a chapter, level 3 a section of one."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; a notice is one that must not be missed."""

    text: str
    notice: bool = False


@dataclass(frozen=True)
class BulletList:
    """A list of sentences."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; all but the first column are numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class FigureBlock:
    """A figure; `name` is that of its PNG beside the Markdown."""

    name: str
    title: str
    figure: Figure


@dataclass(frozen=True)
class ImageBlock:
    """A PNG that a run of the same runs folder has stored."""

    file: Path
    title: str

    @property
    def link(self) -> str:
        """From the folder of another run."""
        return f"../{self.file.parents[1].name}/{self.file.parent.name}/{self.file.name}"


@dataclass(frozen=True)
class Facts:
    """What is so, and how: pairs of a name and words or a number."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Lines for a machine, as they stand; `language` helps whoever colours them."""

    text: str
    language: str = ""


Block: TypeAlias = Heading | Text | BulletList | Table | Facts | Code | FigureBlock | ImageBlock


@dataclass
class Page:
    """A title and what stands under it."""

    title: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def figure_blocks(self) -> list[FigureBlock]:
        """The figures, which the Markdown expects as `images/NAME.png`."""
        return [block for block in self.blocks if isinstance(block, FigureBlock)]

    def markdown(self) -> str:
        """For a file in the study's run folder."""
        return "\n\n".join([f"# {_literal(self.title)}", *map(_markdown, self.blocks)]) + "\n"

    def html(self) -> str:
        """The whole page, pictures and style in it."""
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
    """The blocks of a template in plain Markdown: paragraphs, `- ` bullets, `> ` notices and `### ` headings.

    `{loss:.3f}` is replaced as `str.format` does it, and a paragraph that names a missing value is left out, as a
    picture is that is missing. A paragraph that is one `{name}` becomes the blocks of that name. The template is
    trusted; all that it names is taken literally.
    """
    blocks: list[Block] = []
    for paragraph in filter(None, map(str.strip, template.split("\n\n"))):
        mark = next((mark for mark in ("- ", "> ", "### ") if paragraph.startswith(mark)), "")
        if match := re.fullmatch(r"!\[(.+)\]\((.+)\)", paragraph):
            title, name = match.groups()
            found = (pictures or {}).get(name)
            if found is not None:
                blocks.append(ImageBlock(found, title) if isinstance(found, Path) else FigureBlock(name, title, found))
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
            return _markdown(Table(["", ""], block.pairs)).replace("---:", "---")
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
    """Markdown that shows just this text."""
    return LEADING.sub(r"\1\\\2", MARKUP.sub(r"\\\1", printable(text).strip()))


def _escaped(text: str) -> str:
    """HTML that shows just this text."""
    return html.escape(printable(text))
