from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dipddpm.core.io.sanitize import printable
from dipddpm.core.report.document import (
    BulletList,
    Code,
    Facts,
    FigureBlock,
    Heading,
    ImageBlock,
    Page,
    Table,
    Text,
    fill,
)
from dipddpm.core.report.plots import Curve, LinePlot, draw

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=y> [a](javascript:b) ![c](d) `e` **f** $g$ | h & &lt; \x1b[31m"
)
ANY = st.text(min_size=1, max_size=40)


class ParsedPage(HTMLParser):
    """The tags, attributes and text that a browser reads from a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def everywhere(text: str) -> Page:
    """Return a page that contains the text in every field of every block."""
    table = Table([text, text], [[text, text]])
    blocks: list[Any] = [
        Heading(text),
        Text(text),
        Text(text, notice=True),
        BulletList([text]),
        table,
        Facts([(text, text)]),
    ]
    return Page(text, blocks)


@given(ANY | st.just(HOSTILE))
def test_page_html_escapes_any_text(text: str) -> None:
    parsed, reference = ParsedPage(everywhere(text).html()), ParsedPage(everywhere("x").html())
    assert parsed.tags == reference.tags
    assert parsed.attributes == reference.attributes
    assert parsed.text.count(printable(text)) == 12


@given(ANY | st.just(HOSTILE) | st.sampled_from(["# a", "1. a", "- a", "---", "---:", "+ a", "=="]))
def test_page_markdown_escapes_any_text(text: str) -> None:
    def parse(page: Page) -> tuple[list[str], list[str]]:
        tokens = MarkdownIt("commonmark").enable("table").parse(page.markdown())
        inline = [token for token in tokens if token.type == "inline"]
        kinds = [child.type for token in inline for child in token.children or [] if child.type != "text_special"]
        shown = ["".join(child.content for child in token.children or []) for token in inline]
        return [token.type for token in tokens] + [kind for kind in kinds if kind != "text"], shown

    if not printable(text).strip():
        return
    kinds, shown = parse(everywhere(text))
    assert kinds == parse(everywhere("x"))[0]
    assert {" ".join(line.split()) for line in shown if line} == {" ".join(printable(text).split())}


@given(st.lists(ANY | st.just(HOSTILE) | st.sampled_from(["```", "````python", "~~~"]), min_size=1, max_size=3))
def test_page_code_block_shows_lines_unchanged(lines: list[str]) -> None:
    shown = "\n".join(printable(part) for line in lines for part in line.split("\n"))
    page = Page("x", [Code("\n".join(lines), "toml"), Heading("after")])
    fence, *following = MarkdownIt("commonmark").parse(page.markdown())[3:]
    assert (fence.type, fence.info, fence.content) == ("fence", "toml", f"{shown}\n")
    assert [token.type for token in following] == ["heading_open", "inline", "heading_close"]
    parsed = ParsedPage(page.html())
    assert parsed.tags == ParsedPage(Page("x", [Code("x"), Heading("after")]).html()).tags
    assert shown in parsed.text


def test_page_html_needs_no_other_file(tmp_path: Path) -> None:
    png = tmp_path / "20261123-094512-dip-3f9a" / "images" / "samples.png"
    png.parent.mkdir(parents=True)
    png.write_bytes(b"\x89PNG not really")
    plot = FigureBlock("ddpm", "Loss", draw(LinePlot("Loss", "epoch", "loss", [Curve("ours", [1, 2], [0.2, 0.1])])))
    page = Page("Report", [plot, ImageBlock(png, "Samples")])
    html = page.html()
    sources = re.findall(r'src="([^"]*)"', html)
    assert [source.split(",")[0] for source in sources] == ["data:image/svg+xml;base64", "data:image/png;base64"]
    drawn, photo = (base64.b64decode(source.split(",")[1]) for source in sources)
    assert drawn.startswith(b"<svg")
    assert photo == png.read_bytes()
    assert "http" not in html.replace("http-equiv", "")
    assert "default-src &#x27;none&#x27;" in html
    assert "(<../20261123-094512-dip-3f9a/images/samples.png>)" in page.markdown()
    assert "(images/ddpm.png)" in page.markdown()
    assert page.figure_blocks == [plot]


def test_fill_returns_blocks_and_leaves_out_missing_values(tmp_path: Path) -> None:
    table = Table(["a"], [["1"]])
    template = """
The loss is {loss:.2f}.

The PSNR is {psnr:.2f} dB.

> Only {part[first]}.

### Numbers

{numbers}

{others}

- {loss}

- {part[second]}

- end

![Samples](samples)

![Gone](gone)
"""
    values = {"loss": 0.125, "part": {"first": HOSTILE}, "numbers": [table]}
    assert fill(template, values, {"samples": tmp_path / "samples.png"}) == [
        Text("The loss is 0.12."),
        Text(f"Only {HOSTILE}.", notice=True),
        Heading("Numbers", 3),
        table,
        BulletList(["0.125", "end"]),
        ImageBlock(tmp_path / "samples.png", "Samples"),
    ]
