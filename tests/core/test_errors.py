"""Limits of the machine or the shell are named in words."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from dipddpm.core import config as configs
from dipddpm.core.errors import system_error
from dipddpm.core.launch.failure import explain


@pytest.fixture
def limited_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report a limit of 1.5 GB, as `ulimit -v` sets it."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1_500_000_000, 1_500_000_000))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "Too many files"),
        (errno.EAGAIN, "ulimit -u"),
    ],
)
def test_system_error_names_limit_behind_error_number(number: int, words: str) -> None:
    error = OSError(number, os.strerror(number), "somewhere")
    limit = system_error(error)
    assert limit is not None
    assert words in str(limit)
    problem, hint = explain(error, configs.build("dip"))
    assert words in f"{problem} {hint}"
    assert "resume the run" in hint


LOADER = ImportError("libtorch_cpu.so: failed to map segment from shared object")


@pytest.mark.usefixtures("limited_memory")
@pytest.mark.parametrize(
    "error", [LOADER, MemoryError(), RuntimeError("std::bad_alloc"), OSError(errno.ENOMEM, "Cannot allocate memory")]
)
def test_system_error_names_memory_limit_of_shell(error: Exception) -> None:
    assert "(ulimit -v), 1.5 GB, is too low" in str(system_error(error))
    assert "(ulimit -v), 1.5 GB, is too low" in explain(error, configs.build("dip"))[0]


def test_system_error_names_full_memory_and_missing_threads() -> None:
    assert "ran out of memory" in str(system_error(MemoryError()))
    assert "ulimit -u" in str(system_error(RuntimeError("can't start new thread")))


@pytest.mark.parametrize("error", [LOADER, ImportError("no module"), RuntimeError("x"), OSError(errno.EIO, "x")])
def test_system_error_claims_no_other_error(error: Exception) -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert system_error(error) is None


def test_moved_folder_is_named(tmp_path: Path) -> None:
    for folder, problem in (
        (tmp_path, f"A file could not be read or written: [Errno 2] No such file or directory: '{tmp_path}/x'."),
        (tmp_path / "moved", f"The folder {tmp_path}/moved no longer exists."),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            (folder / "x").read_bytes()
        assert explain(caught.value, configs.build("dip"))[0] == problem
