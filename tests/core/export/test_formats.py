from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from dipddpm.core import config
from dipddpm.core.errors import UserError
from dipddpm.core.export import OutputExistsError, export, scp_line
from dipddpm.core.runs import Run, RunsFolder


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_export_writes_each_format_and_run_to_its_own_path(runs: RunsFolder, tmp_path: Path) -> None:
    one, other = (runs.create(config.build("ddpm")) for _ in range(2))
    out = tmp_path / "out"
    done = export([one, other], ["html", "files"], out)
    assert [(each.run, each.path) for each in done] == [
        (one.id, out / f"html/{one.id}.html"),
        (one.id, out / f"files/{one.id}"),
        (other.id, out / f"html/{other.id}.html"),
        (other.id, out / f"files/{other.id}"),
    ]
    files = {f"files/{run.id}/{name}" for run in (one, other) for name in ("run.json", "config.toml")}
    pages = {f"html/{run.id}.html" for run in (one, other)}
    assert set(everything(out)) == files | pages, "a temporary file is left"


def test_export_replaces_existing_export_only_if_requested(run: Run, tmp_path: Path) -> None:
    export([run], ["csv"], tmp_path)
    mine = tmp_path / "csv" / run.id / "mine.txt"
    mine.write_text("kept")
    before = everything(tmp_path)
    with pytest.raises(OutputExistsError, match="exists already"):
        export([run], ["jsonl", "csv"], tmp_path)
    assert everything(tmp_path) == before, "the export has written files before its refusal"
    export([run], ["csv"], tmp_path, replace=True)
    assert not mine.exists()


def test_export_leaves_old_files_on_failure(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export([run], ["csv"], tmp_path)
    before = everything(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("csv.writer", full)
    with pytest.raises(UserError, match="No space left"):
        export([run], ["csv"], tmp_path, replace=True)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_export_refuses_missing_extra_before_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None if module == name else find_spec(module))
    with pytest.raises(UserError) as refused:
        export([run], ["csv", name], tmp_path / "out")
    assert f"pip install 'dipddpm[{name}]'" in refused.value.remedy
    assert not (tmp_path / "out").exists()


def test_export_suggests_nearest_format(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        export([run], ["figure"], tmp_path)
    assert "figures" in refused.value.remedy


def test_export_refuses_all_runs_if_one_has_no_numbers(run: Run, runs: RunsFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no numbers yet"):
        export([run, runs.create(config.build("ddpm"))], ["csv"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_export_sanitizes_strange_folder_name(run: Run, tmp_path: Path) -> None:
    strange = Run(run.folder.rename(run.folder.with_name("a b;$(touch x)\x1b[31m")))
    (done,) = export([strange], ["csv"], tmp_path / "out")
    assert done.path == tmp_path / "out/csv/a_b_touch_x_31m"
    assert b"\x1b" not in b"".join(everything(tmp_path / "out").values())


def test_export_reports_unwritable_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="can't be written"):
        export([run], ["csv"], tmp_path / "file" / "out")


def test_scp_line_quotes_for_shell(tmp_path: Path) -> None:
    line = scp_line(tmp_path / "my runs")
    assert line.startswith("scp -r '")
    assert line.endswith("my runs' .")
