from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import classics
from benchmarks.results import load
from dipddpm.core.errors import UserError
from dipddpm.core.methods.classical.table import CLASSICS


def test_measure_prints_means_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(classics, "PICTURES", ("coins", "coffee"))
    monkeypatch.setattr(classics, "DAMAGES", ("text", "blur 1.5, sigma 2"))
    monkeypatch.setattr(classics, "CLASSICS", {name: CLASSICS[name] for name in ("biharmonic", "wiener")})
    out = tmp_path / "rows.json"
    classics.measure(out, 32)
    first = out.read_bytes()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["text", "biharmonic"], ["blur", "1.5,"]]
    classics.measure(out, 32)
    assert out.read_bytes() == first
    results = load(out, classics.Results)
    assert results
    assert len(results.rows) == 4
    assert all(row.psnr > 20 for row in results.rows)
    with pytest.raises(UserError, match="crops of 32 pixels"):
        classics.measure(out, 64)
