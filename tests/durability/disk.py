"""A simulated failing disk: every write, sync, rename, link and removal below a folder may fail on request."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FAULTS = ("ENOSPC", "EIO", "EROFS", "short")
"""The faults: an error of this name, or a write of only half the data (`short`, which affects only writes)."""


class Disk:
    """A disk that counts the calls below `root` and fails call number `at`, or all calls from it on, until `mend`.

    Files opened for writing by name are Python's buffered writers on raw files of this disk, so the buffered writers
    must recover from short writes.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = str(root)
        self.calls: list[str] = []
        self.failed = ""
        """The call that failed first."""
        self._at = -1
        self._fault = ""
        self._lasting = False
        self._real: dict[str, Callable[..., Any]] = {}
        # These tests can't observe the effect of a sync, and hundreds of syncs take long.
        patch.setattr(os, "fsync", lambda descriptor: None)
        for name in ("write", "fsync", "open", "replace", "rename", "link", "unlink", "mkdir"):
            self._real[name] = getattr(os, name)
            patch.setattr(os, name, self._wrapped(name))
        self._open = io.open
        patch.setattr(io, "open", self._open_file)
        patch.setattr(builtins, "open", self._open_file)

    def fail(self, at: int, fault: str, *, lasting: bool = False) -> None:
        """Let the call of this number fail, counted from now on."""
        self.calls.clear()
        self.failed = ""
        self._at, self._fault, self._lasting = at, fault, lasting

    def mend(self) -> None:
        """Let all later calls succeed."""
        self._at = -1

    def write(self, descriptor: int, data: Any) -> int:
        """Write like `os.write`, or only half the data if the fault is a short write."""
        if self._is_ours(descriptor) and self._fails(f"write {self._name(descriptor)}"):
            data = memoryview(data)[: max(1, len(data) // 2)]
        written: int = self._real["write"](descriptor, data)
        return written

    def _wrapped(self, name: str) -> Callable[..., Any]:
        if name == "write":
            return self.write

        def call(first: Any, *others: Any, **options: Any) -> Any:
            reading = name == "open" and not others[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not reading and self._is_ours(first):
                self._fails(f"{name} {self._name(first)}")
            return self._real[name](first, *others, **options)

        return call

    def _fails(self, call: str) -> bool:
        """Count the call; raise its fault if it has one, and return whether a write must be short."""
        self.calls.append(call)
        number = len(self.calls) - 1
        if self._at < 0 or not (number == self._at or (self._lasting and number > self._at)):
            return False
        self.failed = self.failed or call
        if self._fault == "short":
            return True
        code = getattr(errno, self._fault)
        raise OSError(code, os.strerror(code), call)

    def _open_file(self, file: Any, mode: str = "r", *others: Any, **options: Any) -> Any:
        if not set(mode) & set("wxa+") or isinstance(file, int) or not self._is_ours(file):
            return self._open(file, mode, *others, **options)
        assert mode in {"xb", "wb", "ab"}, mode
        flags = {"x": os.O_EXCL, "w": os.O_TRUNC, "a": os.O_APPEND}[mode[0]]
        return io.BufferedWriter(_Raw(self, os.open(file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o666)))

    def _path(self, target: Any) -> str:
        return str(Path(f"/proc/self/fd/{target}").readlink()) if isinstance(target, int) else os.fspath(target)

    def _is_ours(self, target: Any) -> bool:
        return self._path(target).startswith(self.root)

    def _name(self, target: Any) -> str:
        return self._path(target).removeprefix(self.root).lstrip("/")


class _Raw(io.RawIOBase):
    """A raw file that writes through the disk."""

    def __init__(self, disk: Disk, descriptor: int) -> None:
        self._disk = disk
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Any) -> int:
        return self._disk.write(self._descriptor, data)

    def close(self) -> None:
        if not self.closed:
            try:
                super().close()
            finally:
                os.close(self._descriptor)
