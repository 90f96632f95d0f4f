from __future__ import annotations

import base64
import re
from pathlib import Path

from dipddpm.core import config
from dipddpm.core.events import ImageSaved, Message
from dipddpm.core.export.html import report, write
from dipddpm.core.export.snapshot import Record
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import RunsFolder
from tests.core.export.conftest import HOSTILE
from tests.core.report.test_document import ParsedPage


def test_html_report_is_one_file_with_results_and_pictures(record: Record, tmp_path: Path) -> None:
    write(record, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    text = ParsedPage(html).text
    for fact in (record.run.id, "hybrid calibrated", "finished", "0.3750", "24.25", "24.50", "denoise:sigma=25"):
        assert any(fact in part for part in text), fact
    assert 'dataset = "fashion-mini"' in html.replace("&quot;", '"')
    sources = re.findall(r'src="([^"]*)"', html)
    assert all(source.startswith("data:image/") for source in sources)
    pictures = {base64.b64decode(source.partition(",")[2]) for source in sources if source.startswith("data:image/png")}
    assert pictures == {path.read_bytes() for path in (record.run.folder / "images").glob("*.png")}
    assert sum(source.startswith("data:image/svg") for source in sources) == 6
    assert "default-src &#x27;none&#x27;" in html
    bare = re.sub(r'src="data:[^"]*"', "", html)
    assert not re.search(r"(src|href|url\()\s*=?\s*[\"']?(https?:|//|file:)", bare)


def test_html_report_escapes_text_of_run(record: Record) -> None:
    record.history[:] = [event for event in record.history if isinstance(event, Message | ImageSaved)]
    html = report(record).html()
    assert "<script" not in html
    assert "\x1b" not in html
    assert printable(HOSTILE) in ParsedPage(html).text, "the title is missing"
    assert not {name for name in ParsedPage(html).attributes if name.startswith("on")}


def test_html_report_marks_unfinished_run(runs: RunsFolder) -> None:
    html = report(Record.of(runs.create(config.build("ddpm")))).html()
    assert "class=notice" in html
    assert "what it has logged so far" in html
