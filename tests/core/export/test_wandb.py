"""Tests of the export to W&B; the offline run's file holds W&B's own messages in LevelDB's log format."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb.proto.wandb_internal_pb2 import Record as Message  # type: ignore[attr-defined]  # made at run time

from dipddpm.core.export import wandb
from dipddpm.core.export.snapshot import Record

BLOCK, HEAD, FILE_HEAD = 32_768, 7, 7
FULL, LAST = 1, 4


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Redirect W&B's server and all proxies to a local socket, and return the list of connections to it."""
    accepted: list[Any] = []
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setenv("WANDB_BASE_URL", address)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, address)

    def wait() -> None:
        while True:
            try:
                connection, peer = listening.accept()
            except OSError:
                return
            accepted.append(peer)
            connection.close()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield accepted
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def messages(path: Path) -> Iterator[Message]:
    """Yield the messages of a file, joined from the blocks that it is divided into."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    at, part = FILE_HEAD, b""
    while at + HEAD <= len(content):
        if BLOCK - at % BLOCK < HEAD:
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + HEAD])
        part += content[at + HEAD : at + HEAD + size]
        at += HEAD + size
        if kind in {FULL, LAST}:
            yield Message.FromString(part)
            part = b""


def values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def test_wandb_write_holds_whole_run_without_network(record: Record, tmp_path: Path, connections: list[Any]) -> None:
    export_folder = tmp_path / "export"
    export_folder.mkdir()
    before = dict(os.environ)
    wandb.write(record, export_folder)
    assert os.environ == before
    assert connections == []

    (folder,) = export_folder.iterdir()
    assert folder.name.startswith("offline-run-"), "wandb sync doesn't recognise the folder"
    (path,) = folder.glob("*.wandb")
    read = list(messages(path))
    (run,) = (message.run for message in read if message.HasField("run"))
    assert (run.run_id, run.project) == (record.run.id, "dipddpm")
    assert "\x1b" not in run.display_name
    config = values(run.config.update)
    assert config["data"]["dataset"] == "fashion-mini"

    history = [values(message.history.item) for message in read if message.HasField("history")]
    assert [row["_step"] for row in history] == sorted({row["_step"] for row in history})
    by_step = {row["_step"]: row for row in history}
    assert [(step, row["loss/step"]) for step, row in by_step.items() if "loss/step" in row] == [(10, 0.5), (15, 0.3)]
    assert by_step[15]["_timestamp"] == 111.0
    assert by_step[20]["loss/epoch"] == 0.25
    assert by_step[30]["images/restored/width"] == 56
    pictures = {path.read_bytes() for path in folder.rglob("*.png")}
    assert (record.run.folder / "images/samples-10.png").stat().st_size
    assert len(pictures) == 2
    summaries = {key: v for m in read if m.HasField("summary") for key, v in values(m.summary.update).items()}
    assert summaries["state"] == "finished"
    assert summaries["psnr_peak"] == pytest.approx(record.results()["psnr_peak"])
