"""Weights on disk: atomic, self-describing, and enough for an exact resume. Safetensors and JSON, no pickle.

A file holds a nested state. Its tensors are stored by dotted path; everything else is JSON in the header, beside the
name and arguments of the network whose weights stand under `network`. Loading imports registered networks only.
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
"""Marks a mapping whose keys were integers, as those of an optimiser's state are; JSON knows only strings."""


MAX_ARGUMENT = 1 << 16
"""That a size or a count may be with which a network is built."""


def save(path: Path, state: StateDict, network: nn.Module | None = None) -> str:
    """Put a state on disk, synced, in place of what was there, and return the file's sha256 in hex.

    With `network`, its weights are stored too, with what is needed to build it again. Raises OSError.
    """
    network_spec: dict[str, Any] = {}
    if network is not None:
        network_spec = {"name": network.name, "arguments": network.arguments}
        state = {**state, "network": network.state_dict()}
    content = serialize(state, network_spec)
    atomic.write_atomic(path, content)
    return hashlib.sha256(content).hexdigest()


def serialize(state: StateDict, network_spec: Mapping[str, Any] | None = None) -> bytes:
    """The bytes of the file that holds a state; `network_spec` says how its network is built. Raises TypeError."""
    tensors: dict[str, torch.Tensor] = {}
    header = {"format": FORMAT, "network": network_spec or {}, "values": _flatten(state, "", tensors)}
    # One entry, because safetensors writes several in any order, and the same state shall have the same digest.
    return safetensors.save(tensors, {HEADER: json.dumps(header)})


def deserialize(content: bytes) -> dict[str, Any]:
    """The state that `serialize` was given, on the CPU; tuples have become lists."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][HEADER])
    state: dict[str, Any] = _rebuild(header["values"], "", safetensors.load(content))
    return state


def load(path: Path | str, device: torch.device | str = "cpu") -> nn.Module:
    """The network that a checkpoint holds, in eval mode. Raises UserError for a file that is damaged or holds none."""
    header, tensors = _read(Path(path), device)
    network_spec = header.get("network")
    if not network_spec:
        raise UserError(f"{path} holds no network.", "Give a best.safetensors or last.safetensors of a run.")
    try:
        network_class = registry.network(str(network_spec["name"]))
        with torch.device("meta"), _limit_parameters(2 * len(tensors)):
            network: nn.Module = network_class(**_checked_arguments(network_spec["arguments"]))
        weights = {key.removeprefix("network."): t for key, t in tensors.items() if key.startswith("network.")}
        network.load_state_dict(weights, assign=True)
    except UserError:
        raise
    except Exception as error:  # a constructor given somebody's arguments may raise anything
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} does not fit its network: {first_line.rstrip('.:')}.", _REMEDY) from None
    return network.eval()


def load_state(path: Path | str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The nested state that was saved, the network's weights under `network`. Raises UserError for a damaged file."""
    header, tensors = _read(Path(path), device)
    try:
        state = _rebuild(header["values"], "", tensors)
    except (KeyError, ValueError, AttributeError, RecursionError):
        state = None
    if not isinstance(state, dict):
        raise UserError(f"The header of {path} is damaged.", _REMEDY)
    return state


def digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_REMEDY = "Take another checkpoint of the run, or train it again."


def _read(path: Path, device: torch.device | str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    if not atomic.is_file(path):
        raise UserError(f"There is no checkpoint at {path}.", "Check the path, or see the files with dipddpm show.")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = _header((file.metadata() or {}).get(HEADER, ""))
            # Clones, because what lies in the mapped file isn't aligned as torch's own memory is: other code paths of
            # the processor would compute with it, to other last bits. And the file may be cut while it is mapped.
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is not a whole checkpoint: {error}.", _REMEDY) from None
    if header is None:
        raise UserError(f"{path} is no checkpoint of this program.", "Give a file that a run has stored.")
    return header, tensors


@contextlib.contextmanager
def _limit_parameters(count: int) -> Iterator[None]:
    """Meanwhile, raise ValueError in a constructor that registers more weights than so many, lest it never ends."""
    registered = itertools.count(1)

    def refuse(*_: object) -> None:
        if next(registered) > count:
            raise ValueError("it asks for more weights than the file holds")

    handle = register_module_parameter_registration_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


def _checked_arguments(arguments: Any) -> dict[str, Any]:
    """Arguments of a network as ours have them. Raises ValueError for other ones."""
    if not isinstance(arguments, dict):
        raise ValueError("its arguments are none")
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
    """Move the tensors of a nested value into `tensors`; what remains is JSON. Raises TypeError for what can't be."""
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
