"""Unusual machines, made by the kernel: users without a name, full and odd disks, limits of the shell, no /proc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DIPDDPM = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()"]
CONSOLE = [sys.executable, "-P", "-m", "dipddpm.tui.console", "--once"]
ROOT = Path(__file__).parents[2]
SMALL = ["run", "dip", "--iterations", "2", "--dataset", "fashion-mini", "--images", "0-0", "--now"]


def allowed(*command: str) -> bool:
    """Return whether this machine allows a command such as `unshare`."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


def output_of(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run a command that succeeds, in a folder with exactly this environment; return both its streams together."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    return done.stdout


def succeed(command: list[str], folder: Path, **environment: str) -> str:
    """Run a command in a folder with little more than this environment; return its output, both streams together."""
    return output_of(command, folder, {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", **environment})


@pytest.mark.durability
def test_program_works_without_home_and_user_name(tmp_path: Path) -> None:
    stranger = ["unshare", "--map-user=12345", "--map-group=12345"]
    if not allowed(*stranger):
        pytest.skip("this machine allows no user namespaces")
    slots = str(tmp_path / "slots")
    for command in ([*DIPDDPM, "ls"], [*DIPDDPM, "data"], [*DIPDDPM, *SMALL], CONSOLE):
        shown = succeed([*stranger, *command], tmp_path, PYTHONPATH=str(ROOT), DIPDDPM_SLOTS_DIR=slots)
    assert "finished" in shown  # in the console


@pytest.mark.durability
@pytest.mark.parametrize("more", [[], ["--gpus", "2", "--images", "0-1", "--device", "cpu"]], ids=["one", "two"])
def test_program_ignores_core_and_tui_of_others(more: list[str], tmp_path: Path) -> None:
    """Put one's own packages on the import path and into the current folder, also for the worker and torchrun."""
    project = tmp_path / "project"
    for name in ("core", "core/launch", "tui"):
        (project / name).mkdir(parents=True)
        (project / name / "__init__.py").write_text("raise SystemExit('foreign package')")
    here = tmp_path / "here"  # not on the import path
    here.mkdir()
    for name in ("core", "tui", "dipddpm", "json", "torch"):
        (here / f"{name}.py").write_text("raise SystemExit('foreign module')")
    environment = {"PYTHONPATH": f"{project}:{ROOT}", "HOME": str(tmp_path), "DIPDDPM_SLOTS_DIR": str(tmp_path / "s")}
    assert "Finished" in succeed([*DIPDDPM, *SMALL, *more], here, **environment)
    if not more:
        assert "finished" in succeed([*DIPDDPM, "ls"], here, **environment)
        assert "finished" in succeed(CONSOLE, here, **environment)


PYTHON = f"PYTHONPATH={ROOT} OMP_NUM_THREADS=1"
CLI = f"{sys.executable} -P -c 'from dipddpm.tui.cli.main import main; main()'"
LONG = "run dip --iterations 100000 --dataset fashion-mini --images 0-0 --set dip.stop=never --detach"


def shell(script: str, folder: Path) -> str:
    """Run a script in a mount namespace of its own, with `dipddpm` as a function; return its output, both streams."""
    if not allowed("unshare", "-m"):
        pytest.skip("this machine allows no mounts")
    text = f'export {PYTHON}\ndipddpm() {{ {CLI} "$@"; }}\nset -e\n{script}'
    environment = {name: value for name, value in os.environ.items() if name != "DIPDDPM_RUNS"}
    shown = output_of(["unshare", "-m", "bash", "-c", text], folder, environment)
    assert "eport" not in shown  # of "please report it"
    return shown


@pytest.mark.durability
@pytest.mark.parametrize(
    ("calls", "error", "warning"),
    [
        ("flock", "ENOLCK", "no file locks"),
        ("flock", "ENOSYS", "no file locks"),
        ("fsync", "EINVAL", ""),
        ("link,linkat", "EPERM", ""),
        ("chmod,fchmod,fchmodat", "EPERM", ""),
    ],
)
def test_run_finishes_on_disk_that_refuses_calls(calls: str, error: str, warning: str, tmp_path: Path) -> None:
    inject = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"]
    if not allowed(*inject):
        pytest.skip("strace is missing or not allowed")
    command = [*inject, *DIPDDPM, *(argument for argument in SMALL if argument != "--now")]
    slots = str(tmp_path / "slots")
    shown = succeed(command, tmp_path, PYTHONPATH=str(ROOT), HOME=str(tmp_path), DIPDDPM_SLOTS_DIR=slots)
    assert "Finished" in shown
    assert (slots in shown) == bool(warning)
    assert warning in shown


@pytest.mark.durability
@pytest.mark.parametrize("full", ["dd if=/dev/zero of=filler bs=4k", "for n in {1..99}; do echo > filler$n; done"])
def test_resume_on_full_disk_gives_reason(full: str, tmp_path: Path) -> None:
    shown = shell(
        f"""mount -t tmpfs -o size=14m,nr_inodes=60 none .; cd .; cd "$PWD"
        run=$(dipddpm {LONG}); until test -s runs/$run/checkpoints/last.safetensors; do sleep 1; done
        dipddpm stop $run
        ({full}) 2>/dev/null || true
        for more in "" --detach; do echo; dipddpm resume $run $more || echo code $?; done
        rm filler*; dipddpm resume $run --detach; sleep 1; dipddpm stop $run""",
        tmp_path,
    )
    assert shown.count("can't be started: No space left on device.\nFree some space") == 2
    assert shown.count("code 2") == 2
    assert shown.rstrip().endswith("is stopped")


@pytest.mark.durability
def test_logins_with_different_temporary_folders_share_queue(tmp_path: Path) -> None:
    """Fill the temporary folders afterwards: nothing is left in the current folder, and the run says what is wrong."""
    shown = shell(
        f"""mount --bind . /mnt; cd /mnt  # the test's own folder may lie in /tmp
        mount -t tmpfs -o size=64k none /tmp; mount -t tmpfs -o size=4k none /var/tmp; unset DIPDDPM_SLOTS_DIR
        mkdir a b
        first=$(TMPDIR=$PWD/a dipddpm {LONG}); sleep 1
        second=$(TMPDIR=$PWD/b XDG_RUNTIME_DIR=$PWD/b dipddpm {LONG})
        until grep -q '"step"' runs/$first/events.jsonl; do sleep 1; done; sleep 2
        dipddpm ls; dipddpm stop $second; dipddpm stop $first
        rm -r /tmp/dipddpm-*
        for folder in /tmp /var/tmp; do dd if=/dev/zero of=$folder/filler bs=1k 2>/dev/null || true; done
        dipddpm run dip --iterations 2 --dataset fashion-mini --images 0-0; ls""",
        tmp_path,
    )
    assert "queued" in shown
    assert "The folder of the queue, /tmp/dipddpm-" in shown
    assert "Finished" in shown
    assert shown.split()[-3:] == ["a", "b", "runs"]


@pytest.mark.durability
def test_nothing_hangs_without_proc(tmp_path: Path) -> None:
    shown = shell(
        f"""mkdir empty; mount --bind empty /proc; export DIPDDPM_SLOTS_DIR=$PWD/slots
        dipddpm run dip --iterations 2 --dataset fashion-mini --images 0-0
        first=$(dipddpm {LONG}); sleep 1; second=$(dipddpm {LONG}); sleep 9; dipddpm ls
        dipddpm stop $second; dipddpm stop $first; dipddpm doctor""",
        tmp_path,
    )
    assert "Finished" in shown
    assert "queued" in shown
    assert "running" in shown
    assert shown.count("is stopped") == 2


@pytest.mark.durability
@pytest.mark.parametrize(("limit", "words"), [("-v 1500000", "ulimit -v"), ("-f 200", "ulimit -f")])
def test_run_names_limit_of_shell(limit: str, words: str, tmp_path: Path) -> None:
    shown = shell(
        f"""export DIPDDPM_SLOTS_DIR=$PWD/slots
        ulimit {limit}
        dipddpm run ddpm --epochs 1 --dataset fashion-mini --set data.train_images=64 || echo code $?""",
        tmp_path,
    )
    assert words in shown
    assert "code 1" in shown
