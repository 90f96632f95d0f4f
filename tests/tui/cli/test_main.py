"""The command line in real processes: its output on stdout and stderr, and its exit codes."""

from __future__ import annotations

import codecs
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.launch import local
from dipddpm.core.runs import CONFIG_FILE, EVENTS_FILE, EventLog, RunsFolder, RunState
from tests.helpers import PATIENCE_SECONDS, Build, Until

COMMAND = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()"]
TINY = ["ddpm", "--preset", "quick", "--set", "data.train_images=256", "--set", "ddpm.samples=0", "--device", "cpu"]


def dipddpm(*arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, **more
    )


def refused(*arguments: str | Path, **more: Any) -> str:
    """Return the error of a command that must fail before it makes anything: two lines and exit code 2."""
    done = dipddpm(*arguments, **more)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2
    return done.stderr


class Terminal:
    """A command on a terminal of its own, so that Ctrl-C reaches it as a signal."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execv(COMMAND[0], [*COMMAND, *arguments])
        self.shown = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end in the middle of a character

    def until(self, pattern: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not re.search(pattern, self.shown):
            assert time.monotonic() < end, self.shown
            assert self._read(), f"the command ended without {pattern!r}: {self.shown}"

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> int:
        """Wait for the command to end and return its exit code."""
        while self._read():
            pass
        os.close(self.master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self) -> bool:
        if not select.select([self.master], [], [], 1.0)[0]:
            return True
        try:
            block = os.read(self.master, 65536)
        except OSError:  # the terminal's other end is closed
            return False
        self.shown += self._decoder.decode(block)
        return bool(block)


def test_run_show_watch_and_ls_agree_in_pipe(runs: RunsFolder) -> None:
    done = dipddpm("run", *TINY, "--epochs", "3", "--name", "mine", "--set", "threads=1")
    assert done.returncode == 0, done
    assert "\x1b" not in done.stdout + done.stderr
    lines = done.stdout.splitlines()
    (run,) = runs.runs()
    finished = [event for event in run.events() if isinstance(event, events.EpochFinished)]
    expected = [
        f"Loss at epoch {e.epoch}: {e.loss:.3f}{' --> Best model ever (stored)' if e.best else ''}" for e in finished
    ]
    assert [line for line in lines if line.startswith("Loss at epoch")] == expected
    assert re.fullmatch(r"Loss at epoch 1: \d\.\d{3} --> Best model ever \(stored\)", expected[0])
    assert lines[-1].startswith("Finished in ")
    assert run.config().name == "mine"

    shown = dipddpm("show", "last")
    assert shown.returncode == 0
    assert expected[-1] in shown.stdout
    assert configs.to_toml(run.config()).strip() in shown.stdout
    watched = dipddpm("watch")
    assert (watched.returncode, watched.stdout) == (0, done.stdout)
    streamed = dipddpm("watch", "last", "--json")
    assert [json.loads(line) for line in streamed.stdout.splitlines()] == [
        json.loads(line) for line in (run.folder / EVENTS_FILE).read_text().splitlines()
    ]
    (listed,) = [run for run in json.loads(dipddpm("ls", "--json").stdout) if not run["reference"]]
    assert (listed["id"], listed["state"], listed["name"]) == (run.id, "finished", "mine")
    assert run.id in dipddpm("ls").stdout


def test_run_stores_checkpoint_on_ctrl_c(runs: RunsFolder) -> None:
    terminal = Terminal("run", *TINY, "--epochs", "500", "--set", "threads=1")
    terminal.until(r"Loss at epoch 1: .* --> Best model ever \(stored\)")
    terminal.until(r"epoch \d+/500.*left")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    assert "stops after its current step" in terminal.shown
    assert "Traceback" not in terminal.shown
    (run,) = runs.runs()
    stopped = run.events()[-2:]
    assert isinstance(stopped[0], events.CheckpointStored)
    assert isinstance(stopped[1], events.RunStopped)
    assert stopped[0].step == stopped[1].step
    assert run.status().state is RunState.stopped


def test_watch_leaves_run_alive_on_ctrl_c(runs: RunsFolder, tiny: Build, until: Until) -> None:
    run = runs.create(tiny(ddpm__epochs=500))
    local.start(run)
    terminal = Terminal("watch", "last")
    terminal.until("Loss at epoch 1")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    assert run.status().state is RunState.running
    stopped = dipddpm("stop", run.id)
    assert (stopped.returncode, stopped.stdout) == (0, f"{run.id} is stopped\n")
    assert "is not running" in refused("stop", "last")


def test_watch_exits_1_for_failed_run(tmp_path: Path, runs: RunsFolder, tiny: Build) -> None:
    run = runs.create(tiny(data__dataset=f"folder:{tmp_path}"))
    local.start(run)
    done = dipddpm("watch", "last")
    assert done.returncode == 1
    assert "Failed: " in done.stdout


def test_run_detached_prints_id_and_watch_json_streams_events(runs: RunsFolder, until: Until) -> None:
    done = dipddpm("run", *TINY, "--epochs", "1", "--set", "threads=1", "--detach")
    run = runs.find(done.stdout.strip())
    streamed = dipddpm("watch", run.id, "--json")
    read = [json.loads(line)["event"] for line in streamed.stdout.splitlines()]
    assert read[:2] == ["run_queued", "run_started"]
    assert read[-1] == "run_finished"
    assert streamed.returncode == 0
    assert f"The run {run.id} is finished" in refused("resume", run.id)


@pytest.mark.parametrize("kind", configs.KINDS)
def test_run_dry_run_prints_loadable_config(kind: str, tmp_path: Path, runs: RunsFolder) -> None:
    done = dipddpm("run", kind, "--dry-run", "--seed", "7", "--name", "x [b]\n", "--set", "data.train_images=5")
    assert done.returncode == 0
    (tmp_path / "config.toml").write_text(done.stdout)
    read = configs.load(tmp_path / "config.toml")
    assert (read.kind, read.seed, read.name, read.data.train_images) == (kind, 7, "x [b]\n", 5)
    assert runs.runs() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "dpdm"], "Did you mean ddpm?"),
        (["run", "ddpm", "--dataset", "fasionmnist"], "Did you mean fashionmnist?"),
        (["run", "hybrid", "--method", "substitutoin"], "Did you mean substitution?"),
        (["run", "ddpm", "--preset", "tutorail"], "Did you mean tutorial?"),
        (["run", "dip", "--task", "denoize"], "Did you mean denoise?"),
        (["run", "ddpm", "--set", "ddpm.epoch=3"], "Did you mean ddpm.epochs?"),
        (["run", "ddpm", "--set", "ddpm.epochs"], "has no value"),
        (["run", "ddpm", "--epoch", "3"], "Did you mean --epochs?"),
        (["run", "ddpm", "--epochs", "0"], "at least 1"),
        (["run", "ddpm", "--epochs", "many"], "not valid|valid integer"),
        (["run", "dip", "--epochs", "3"], "Give --iterations 3"),
        (["run", "hybrid", "--method", "self-diffusion", "--epochs", "3"], "Give --iterations 3"),
        (["run", "hybrid", "--method", "self-diffusion", "--from", "reference"], "takes no trained prior"),
        (["run", "ddpm", "--from", "reference"], "ddpm takes no trained prior"),
        (["run", "hybrid", "--epochs", "3", "--from", "reference"], "Leave out one of the two"),
        (["run", "hybrid", "--preset", "published", "--from", "reference"], "takes no trained prior"),
        (["run", "hybrid", "--from", "nonesuch"], "no runs.*\n.*or take one that ships: --from reference or leaves."),
        (["run", "dip", "--dataset", "/tmp"], "no data set '/tmp'.\nFor the images of a folder write folder:/tmp"),
        (["restore", "--task", "inpant"], "Did you mean inpaint?"),
        (["restore", "--method", "guidd"], "Did you mean guided?"),
        (["restore", "--set-of-images", "glyfs"], "glyfs"),
        (["restore", "--set-of-images", "fashion-mini", "--images", "501"], "500 test images"),
        (["run", "ddpm", "--iterations", "3"], "Give --epochs"),
        (["run", "ddpm", "--images", "3"], "takes no --images"),
        (["run", "ddpm", "--task", "denoise"], "no task"),
        (["run", "dip", "--images", "0"], "leaves no image"),
        (["run", "dip", "--images", "501", "--dataset", "fashion-mini"], "no image 500"),
        (["run", "dip", "--image", "/nowhere.png"], "no image file /nowhere.png"),
        (["run", "dip", "--image", "https://example.org/a.png"], "https://example.org/a.png is an address"),
        (["run", "dip", "--image", "a.png", "b.png"], "b.png.*\nWrite --image before each image file"),
        (["run", "dip", "--image", "/tmp"], "/tmp is a folder, not an image file.*\nName the files in it"),
        (["run", "dip", "--task", "inpaint:mask=/nowhere.png"], "no image file /nowhere.png"),
        (["run", "ddpm", "--dataset", "fashion-mini", "--set", "data.train_images=2001"], "2,000 images"),
        (["run", "ddpm", "--device", "cuda:63"], "no device cuda:63"),
        (["run", "ddpm", "--device", "gpu"], "device can't be 'gpu'.\nGive a value of this form: auto, cpu"),
        (["run", "ddpm", "--data-dir", "/nowhere"], "no data folder /nowhere"),
        (["run", "ddpm", "--dataset", "folder:/nowhere"], "/nowhere"),
        (["run"], "Missing argument"),
        (["rnu"], "There is no command 'rnu'.\nDid you mean run?"),
        (["rnu", "--json"], "Did you mean run?"),
        (["queue"], "Did you mean ls?"),
        (["remove", "last"], "Did you mean rm?"),
        (["xyz"], "Choose one of: bench, compare"),
        (
            ["run", "dip", "--sigma", "25"],
            "no option --sigma.\nIt is an option of the task: --task denoise:sigma=",
        ),
        (["run", "dip", "--missing", "1"], "--task inpaint:missing=VALUE"),
        (["run", "ddpm", "--batch-size", "3"], "Write --set ddpm.batch_size=VALUE."),
        (["ls", "--sigma", "25"], "See dipddpm ls --help."),
        (["data", "fetc"], "Did you mean fetch?"),
        (["show"], "For example: dipddpm show last"),
        (["ls", "extra"], "For example: dipddpm ls"),
        (["ls", "--limit", "many"], "it must be a valid integer.\n-n, --limit N: List the newest N runs."),
        (["ls", "--limit"], "requires an argument.\nWrite a value after it: --limit VALUE."),
        (["sample", "--sampler", "euler"], "'euler' is not one of 'ancestral'.*\n--sampler "),
        (["bench", "--device", "tpu"], "There is no device 'tpu'.\nUse auto, cpu"),
        (["bench", "--device", "cuda:x"], "There is no device 'cuda:x'"),
        (["run", "dip", "--zzz"], "There is no option --zzz.\nSee dipddpm run --help."),
        (["show", "20260101"], "There are no runs"),
        (["ls", "--limit", "0"], "--limit"),
    ],
)
def test_cli_refuses_bad_arguments_before_work_starts(
    arguments: Sequence[str], words: str, runs: RunsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIPDDPM_SLOTS_DIR", "/dev/null/never")
    assert re.search(words, refused(*arguments))
    assert not runs.root.exists()


def test_run_refuses_unreadable_image_file(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    assert "is not a readable image" in refused("run", "dip", "--image", tmp_path / "text.png")
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    assert re.search("damaged|no image", refused("run", "dip", "--image", tmp_path / "cut.png"))


def test_sweep_refuses_mask_that_misses_every_pixel(tmp_path: Path) -> None:
    Image.new("L", (28, 28)).save(tmp_path / "black.png")
    task = f"inpaint:mask={tmp_path / 'black.png'}"
    assert "leaves no pixel: every value is 0 of 255" in refused("sweep", "dip", "--seeds", "2", "--task", task)


def test_run_refuses_unwritable_runs_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", "/proc/runs", tmp_path / "file" / "below"):
        assert "can't be written" in refused("run", *TINY, "--runs-dir", folder)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert "can't be written" in refused("run", *TINY, "--runs-dir", tmp_path / "dangling")


def test_run_leaves_no_files_on_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this test may not mount a small disk")
    try:
        with (disk / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
            while True:
                file.write(b"\0" * 4096)
        assert "No space left" in refused("run", *TINY, "--runs-dir", disk)
        assert [path.name for path in disk.iterdir()] == ["filler"]
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


EVIL = "\x1b]0;owned\x07\x1b[31m[red]x[/red]\x9b2J\u202e:boom:"


def test_cli_neutralizes_escapes_and_markup_of_run(runs: RunsFolder, tiny: Build) -> None:
    folder = runs.root / f"evil \x1b]52;c;eA==\x07 {os.fsdecode(bytes([0xFF]))}"
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(configs.to_toml(tiny(name=EVIL, data__dataset=EVIL)))
    log = EventLog(folder)
    for event in (
        events.RunStarted(kind=EVIL, method=EVIL, device=EVIL, device_name=EVIL),
        events.DataLoaded(dataset=EVIL, split=EVIL, images=1, sha256=EVIL),
        events.BestModelStored(step=1, value=0.5, file=EVIL, sha256="", epoch=1),
        events.Message(text=EVIL),
        events.RunFailed(error=EVIL, hint=EVIL),
    ):
        log.append(event)
    log.close()
    (runs.root / "20260101-000000-broken-0000").mkdir()
    results = [dipddpm("ls"), dipddpm("show", "evil"), dipddpm("watch", "evil"), dipddpm("resume", EVIL)]
    results += [dipddpm("ls", "--json"), dipddpm("show", "evil", "--json"), dipddpm("show", "2026")]
    assert [done.returncode for done in results] == [0, 0, 1, 2, 0, 0, 0], results
    for done in results:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", done.stdout + done.stderr)
    assert "[red]x[/red]" in results[0].stdout
    terminal = Terminal("watch", "evil")
    assert terminal.end() == 1
    assert "[red]x[/red]" in terminal.shown
    assert ":boom:" in terminal.shown
    assert not re.search(r"\x1b\]|\x07|\x9b|\u202e|\x1b\[31m\[red", terminal.shown)


def test_ls_exits_0_when_pipe_closes(runs: RunsFolder) -> None:
    for n in range(300):
        (runs.root / f"20260101-000000-ddpm-{n:04x}").mkdir(parents=True)
    process = subprocess.Popen([*COMMAND, "ls", "--all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_cli_prints_version_and_lists_commands_in_help() -> None:
    version = dipddpm("--version")
    assert (version.returncode, version.stderr) == (0, "")
    bare, explicit = dipddpm(), dipddpm("--help")
    assert (bare.stdout, bare.returncode) == (explicit.stdout, 0)
    for command in ("run", "ls", "show", "watch", "stop", "resume", "data"):
        assert re.search(rf"^  {command} ", explicit.stdout, re.MULTILINE)
        assert dipddpm(command, "-h").returncode == 0


def test_cli_shows_traceback_only_with_debug(runs: RunsFolder) -> None:
    broken = [
        sys.executable,
        "-P",
        "-c",
        "import dipddpm.core.runs as r; r.RunsFolder.runs = None; from dipddpm.tui.cli.main import main; main()",
    ]
    for debug in ([], ["--debug"]):
        done = subprocess.run([*broken, *debug, "ls"], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert ("Traceback" in done.stderr) == bool(debug)
