"""Checkpoints: atomic, self-describing files from which work resumes exactly. Safetensors and JSON, no pickle.

A file holds a nested state. Its tensors are stored by dotted path, everything else as JSON in the header. The header
also names the network whose weights are stored under `network`, and its constructor arguments. Loading imports only
registered networks.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from dipddpm.core import registry
from dipddpm.core.errors import UserError
from dipddpm.core.events import StateDict
from dipddpm.core.io import atomic

HEADER = "dipddpm"
FORMAT = 1
_TENSOR = "__tensor__"
_INTEGER_KEYS = "__integer_keys__"
"""The key that marks a mapping with integer keys, such as an optimiser's state; JSON has only string keys."""

MAX_ARGUMENT = 1 << 16
"""Largest integer accepted among a network's constructor arguments."""


def save(path: Path, state: StateDict, network: nn.Module | None = None) -> str:
    """Write a state to disk atomically and synced, and return the file's sha256 in hex.

    With `network`, the file also holds its weights, its name and its constructor arguments. Raises OSError.
    """
    network_spec: dict[str, Any] = {}
    if network is not None:
        network_spec = {"name": network.name, "arguments": network.arguments}
        state = {**state, "network": network.state_dict()}
    content = serialize(state, network_spec)
    atomic.write_atomic(path, content)
    return hashlib.sha256(content).hexdigest()


def serialize(state: StateDict, network_spec: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes of a checkpoint file; `network_spec` holds the network's name and constructor arguments.

    Raises TypeError for a value that a checkpoint can't hold.
    """
    tensors: dict[str, torch.Tensor] = {}
    header = {"format": FORMAT, "network": network_spec or {}, "values": _flatten(state, "", tensors)}
    # One entry, because safetensors writes several entries in any order, and equal states must have equal digests.
    return safetensors.save(tensors, {HEADER: json.dumps(header)})


def deserialize(content: bytes) -> dict[str, Any]:
    """Return the state that `serialize` wrote, on the CPU; tuples have become lists."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER])
    state: dict[str, Any] = _rebuild(header["values"], "", safetensors.load(content))
    return state


def load(path: Path | str, device: torch.device | str = "cpu") -> nn.Module:
    """Build the network of a checkpoint, with its weights, in eval mode, on `device`.

    Raises UserError for a file that is missing, is damaged, isn't a checkpoint of this program, or holds no network.
    """
    header, tensors = _read(Path(path), device)
    network_spec = header.get("network")
    if not network_spec:
        raise UserError(f"{path} holds no network.", "Give a run's best.safetensors or last.safetensors.")
    try:
        network_class = registry.network(str(network_spec["name"]))
        with torch.device("meta"), _limit_parameters(2 * len(tensors)):
            network: nn.Module = network_class(**_checked_arguments(network_spec["arguments"]))
        weights = {key.removeprefix("network."): t for key, t in tensors.items() if key.startswith("network.")}
        network.load_state_dict(weights, assign=True)
    except UserError:
        raise
    except Exception as error:  # a constructor with untrusted arguments may raise any exception
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"The weights in {path} don't fit their network: {first_line.rstrip('.:')}.", _REMEDY) from None
    return network.eval()


def load_state(path: Path | str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Return the nested state that was saved, with the network's weights under `network`, on `device`.

    Raises UserError for a file that is missing, is damaged, or isn't a checkpoint of this program.
    """
    header, tensors = _read(Path(path), device)
    try:
        state = _rebuild(header["values"], "", tensors)
    except (KeyError, ValueError, AttributeError, RecursionError):
        state = None
    if not isinstance(state, dict):
        raise UserError(f"The header of {path} is damaged.", _REMEDY)
    return state


def digest(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_REMEDY = "Take another checkpoint of the run, or train it again."


def _read(path: Path, device: torch.device | str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not atomic.is_file(path):
        raise UserError(f"There is no checkpoint at {path}.", "Check the path, or see the files with dipddpm show.")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = _header((file.metadata() or {}).get(HEADER, ""))
            # Clones, because a mapped file isn't aligned like torch's own memory: other code paths of the processor
            # would compute with it and round differently. And the file may be truncated while it is mapped.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a complete checkpoint: {error}.", _REMEDY) from None
    if header is None:
        raise UserError(f"{path} is not a checkpoint of this program.", "Give a checkpoint that a run has stored.")
    return header, tensors


@contextlib.contextmanager
def _limit_parameters(count: int) -> Iterator[None]:
    """Within the block, raise ValueError in a constructor that registers more than `count` weights.

    Untrusted arguments could otherwise make it build weights without end.
    """
    registered = itertools.count(1)

    def refuse(*_: object) -> None:
        if next(registered) > count:
            raise ValueError("the network has more weights than the file holds")

    handle = register_module_parameter_registration_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


def _checked_arguments(arguments: Any) -> dict[str, Any]:
    """Return a network's constructor arguments. Raises ValueError if they aren't a table or hold a huge number."""
    if not isinstance(arguments, dict):
        raise ValueError("its constructor arguments are not a table")
    for value in arguments.values():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > MAX_ARGUMENT:
                raise ValueError(f"{number} is too large")
    return arguments


def _header(text: str) -> dict[str, Any] | None:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) and header.get("format") == FORMAT else None


def _flatten(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Move the tensors of a nested value into `tensors`, and return the remainder, which is JSON.

    Raises TypeError for a value that is neither.
    """
    if isinstance(value, torch.Tensor):
        if path in tensors:
            raise TypeError(f"a checkpoint can't hold two tensors at {path}")
        # Copies, because safetensors refuses views and shared memory.
        tensors[path] = value.detach().to("cpu", copy=True).contiguous()
        return _TENSOR
    if isinstance(value, Mapping) and value and all(type(key) is int for key in value):
        return {_INTEGER_KEYS: _flatten({str(k): v for k, v in value.items()}, path, tensors)}
    if isinstance(value, Mapping) and all(type(key) is str for key in value) and _INTEGER_KEYS not in value:
        return {k: _flatten(v, f"{path}.{k}" if path else k, tensors) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_flatten(v, f"{path}.{i}", tensors) for i, v in enumerate(value)]
    if value is None or (isinstance(value, bool | int | float | str) and value != _TENSOR):
        return value
    raise TypeError(f"a checkpoint can't hold {type(value).__name__} at {path}")


def _rebuild(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    if value == _TENSOR:
        return tensors[path]
    if isinstance(value, dict) and value.keys() == {_INTEGER_KEYS}:
        return {int(k): v for k, v in _rebuild(value[_INTEGER_KEYS], path, tensors).items()}
    if isinstance(value, dict):
        return {k: _rebuild(v, f"{path}.{k}" if path else k, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_rebuild(v, f"{path}.{i}", tensors) for i, v in enumerate(value)]
    return value
