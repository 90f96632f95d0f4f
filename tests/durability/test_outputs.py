"""Tests of outputs on real full and read-only disks, by a user without permission, and with a kill in the middle."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.export import FORMATS
from dipddpm.core.launch.recorder import Recorder
from dipddpm.core.runs import EventLog, Run, RunsFolder, reference
from tests.durability.test_machines import DIPDDPM, ROOT, allowed

pytestmark = pytest.mark.durability
MOUNTS = ["unshare", "--map-root-user", "--mount"]
STRANGER = ["unshare", "--map-user=12345", "--map-group=12345"]
NEEDS_MODEL = "model"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run with losses, PSNR, scores, pictures and restored images."""
    run = RunsFolder(tmp_path / "runs").create(configs.build("dip", settings={"images.indices": "0-3"}))
    log = EventLog(run.folder)
    recorder = Recorder(run.folder, log)
    restored = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    names = [f"test-{index}" for index in range(4)]
    recorder.record(events.RunStarted(kind="dip", method="skip", device="cpu", steps=40))
    for step in range(1, 41):
        recorder.record(
            events.PsnrMeasured(step=step, psnr=[20.0 + step / 9] * 4, mean=20.0 + step / 9, loss=[0.1] * 4)
        )
    recorder.record(
        events.BestModel(network=None, step=40, value=1.0, measure="variance", tensors={"restored": restored})
    )
    recorder.record(events.Pictures(name="restored", images=restored, columns=2, panels=("degraded", "restored")))
    recorder.record(events.RestoredImages(names=names, restored=list(restored), degraded=list(restored)))
    recorder.flush()
    recorder.record(events.RunFinished(seconds=1.0, step=40))
    log.close()
    return run


def dipddpm(before: list[str], *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(folder / "matplotlib")}
    command = [*before, *DIPDDPM, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", FORMATS)
def test_export_to_small_disk_is_complete_or_absent(name: str, run: Run, tmp_path: Path) -> None:
    if not allowed(*MOUNTS):
        pytest.skip("this machine allows no mount namespaces")
    source = Run(ROOT / "core/assets/reference-runs" / reference.PRIOR) if name == NEEDS_MODEL else run
    (tmp_path / "disk").mkdir()
    script = [sys.executable, Path(__file__).with_name("small_disk.py"), tmp_path / "disk", source.folder, name]
    done = subprocess.run(
        [*MOUNTS, *map(str, script)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    attempts: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    complete = attempts[-1]
    assert not complete["problem"], complete
    for attempt in attempts:
        assert attempt["printed"] == ""
        if attempt["problem"]:
            assert "can't be written: No space left on device. Free some space" in attempt["problem"]
            assert attempt["left"] == []
        else:
            assert attempt["files"] == complete["files"], attempt
    assert attempts[0]["problem"], "nothing fits on a full disk"
    kinds = [bool(attempt["problem"]) for attempt in attempts]
    assert kinds == sorted(kinds, reverse=True), "with more space an export that fitted fails"


@pytest.mark.parametrize("name", ["csv", "mlflow", "wandb"])
def test_killed_export_leaves_store_usable(name: str, run: Run, tmp_path: Path) -> None:
    """Kill an export at many moments; what it leaves never stops the next one, which is complete."""
    out = tmp_path / "out"
    command = [*DIPDDPM, "export", str(run.folder), "--to", name, "--out", str(out), "--force"]
    command[command.index(str(run.folder))] = run.id
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DIPDDPM_RUNS": str(run.folder.parent)}
    began = time.monotonic()
    subprocess.run(command, env=environment, capture_output=True, check=True)
    seconds = time.monotonic() - began
    count = len(visible(out))
    for share in (0.6, 0.75, 0.85, 0.95):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(share * seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(visible(out)) == count


def visible(folder: Path) -> list[Path]:
    """Return the files that are no temporary ones."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in paths if not any(part.endswith(".tmp") for part in path.parts)]


def test_commands_refuse_folder_without_permission(run: Run, tmp_path: Path) -> None:
    if not allowed(*STRANGER):
        pytest.skip("this machine allows no user namespaces")
    for folder in (tmp_path, *tmp_path.parents):
        if not os.access(folder, os.X_OK):
            pytest.skip("the temporary folder isn't open to other users")
    locked = tmp_path / "locked"
    locked.mkdir()
    shutil.copy(run.folder / "checkpoints/best.safetensors", run.folder / "checkpoints/last.safetensors")
    locked.chmod(0o555)
    (run.folder / "checkpoints").chmod(0o555)
    runs = ["--runs-dir", run.folder.parent]
    try:
        for command in (
            *(["export", run.id, "--to", name, "--out", locked, *runs] for name in FORMATS if name != NEEDS_MODEL),
            ["sample", "reference", "--n", "1", "--steps", "2", "--grid", locked / "s.png"],
            ["sample", "reference", "--n", "1", "--trajectory", locked / "t.png", "--grid", tmp_path / "s.png"],
            ["prune", run.id, "--yes", *runs],
        ):
            done = dipddpm(STRANGER, *command, folder=tmp_path)
            assert done.returncode == 2, (command, done.stderr)
            assert len(done.stderr.splitlines()) == 2, (command, done.stderr)
            assert "can't be" in done.stderr
            assert "report" not in done.stderr
    finally:
        locked.chmod(0o755)
        (run.folder / "checkpoints").chmod(0o755)
    assert list(locked.iterdir()) == []
    assert not (tmp_path / "s.png").exists()


def test_commands_on_read_only_disk_say_so(run: Run, tmp_path: Path) -> None:
    if not allowed(*MOUNTS):
        pytest.skip("this machine allows no mount namespaces")
    shutil.copy(run.folder / "checkpoints/best.safetensors", run.folder / "checkpoints/last.safetensors")
    folder = run.folder.parent
    shutil.copytree(folder, tmp_path / "copy")
    commands = itertools.chain(
        (f"export {run.id} --to {name}" for name in FORMATS if name != NEEDS_MODEL),
        ("sample reference --n 1 --steps 2", "prune --yes", f"rm {run.id} --yes", f"fork {run.id}"),
    )
    script = f"mount -t tmpfs -o size=8m none {folder} && cp -r {tmp_path}/copy/. {folder} && cd {folder} && "
    script += f"mount -o remount,ro {folder} || exit 99\n"
    program = " ".join(map(repr, DIPDDPM))
    for command in commands:
        script += f"{program} {command} --runs-dir . >/dev/null 2>error || true\n".replace(
            "2>error", f"2>>{tmp_path}/e"
        )
        script += f"echo -- >> {tmp_path}/e\n"
    done = subprocess.run(
        [*MOUNTS, "bash", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    messages = (tmp_path / "e").read_text().split("--\n")[:-1]
    assert len(messages) == len(FORMATS) - 1 + 4
    for message in messages:
        assert "ead-only" in message, message
        assert len(message.splitlines()) == 2, message
