"""An offline run read back from its file: LevelDB's log format, with W&B's own messages in it."""

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
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Who tries to reach W&B, or anything else by way of a proxy, comes here and is noted."""
    came: list[Any] = []
    listening = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setenv("WANDB_BASE_URL", address)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, address)

    def wait() -> None:
        while True:
            try:
                caller, where = listening.accept()
            except OSError:
                return
            came.append(where)
            caller.close()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield came
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def messages(path: Path) -> Iterator[Message]:
    """The records of a file, put together from the blocks that they were cut to fit."""
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


def test_wandb_write_holds_whole_run_without_network(record: Record, tmp_path: Path, gate: list[Any]) -> None:
    place = tmp_path / "place"
    place.mkdir()
    before = dict(os.environ)
    wandb.write(record, place)
    assert os.environ == before
    assert gate == []

    (folder,) = place.iterdir()
    assert folder.name.startswith("offline-run-"), "what wandb sync takes for a run that is not yet there"
    (path,) = folder.glob("*.wandb")
    told = list(messages(path))
    (run,) = (message.run for message in told if message.HasField("run"))
    assert (run.run_id, run.project) == (record.run.id, "dipddpm")
    assert "\x1b" not in run.display_name
    config = values(run.config.update)
    assert config["data"]["dataset"] == "fashion-mini"

    history = [values(message.history.item) for message in told if message.HasField("history")]
    assert [row["_step"] for row in history] == sorted({row["_step"] for row in history})
    by_step = {row["_step"]: row for row in history}
    assert [(step, row["loss/step"]) for step, row in by_step.items() if "loss/step" in row] == [(10, 0.5), (15, 0.3)]
    assert by_step[15]["_timestamp"] == 111.0
    assert by_step[20]["loss/epoch"] == 0.25
    assert by_step[30]["images/restored/width"] == 56
    pictures = {path.read_bytes() for path in folder.rglob("*.png")}
    assert (record.run.folder / "images/samples-10.png").stat().st_size
    assert len(pictures) == 2
    summaries = {key: v for m in told if m.HasField("summary") for key, v in values(m.summary.update).items()}
    assert summaries["state"] == "finished"
    assert summaries["psnr_peak"] == pytest.approx(record.results()["psnr_peak"])
