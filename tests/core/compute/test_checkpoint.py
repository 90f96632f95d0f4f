"""Tests of checkpoints: states are read back bit for bit, damaged files are refused, and a kill leaves a whole file."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes
from safetensors.torch import save_file

from dipddpm.core.compute import checkpoint
from dipddpm.core.ddpm.networks.tutorial import TutorialNetwork
from dipddpm.core.errors import UserError
from tests.helpers import PATIENCE_SECONDS

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]


@pytest.fixture(autouse=True)
def quick_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "kill" not in request.node.name:
        monkeypatch.setattr(os, "fsync", lambda _: None)


def tensor_of(shape: list[int], dtype: torch.dtype, seed: int) -> torch.Tensor:
    return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


tensors = st.builds(tensor_of, st.lists(st.integers(0, 3), max_size=3), st.sampled_from(DTYPES), st.integers(0, 2**31))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"))
keys = st.text(st.characters(codec="utf-8", exclude_characters="."), min_size=1, max_size=5)
states = st.dictionaries(
    keys,
    st.recursive(
        scalars | tensors,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(keys, inner, max_size=3)
            | st.dictionaries(st.integers(), inner, max_size=3)
        ),
        max_leaves=10,
    ),
    max_size=4,
)


def same(a: Any, b: Any) -> bool:
    """Return whether two states are equal bit for bit, where a tuple may have become a list."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or repr(a) == repr(b) == "nan")


@given(states)
def test_checkpoint_round_trips_every_state(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("state") / "last.safetensors"
    sha256 = checkpoint.save(path, state)
    assert same(state, checkpoint.load_state(path))
    assert sha256 == checkpoint.digest(path)


def test_checkpoint_digest_is_same_for_same_state(tmp_path: Path) -> None:
    state = {"weights": torch.arange(5.0), "epoch": 3, "more": {"half": torch.ones(2, dtype=torch.bfloat16)}}
    assert len({checkpoint.save(tmp_path / str(n), state) for n in range(20)}) == 1


def test_checkpoint_round_trips_views_and_shared_memory(tmp_path: Path) -> None:
    whole = torch.arange(12.0).view(3, 4)
    state = {"whole": whole, "column": whole[:, 1], "turned": whole.t(), "again": whole, "wide": whole[:1].expand(5, 4)}
    checkpoint.save(tmp_path / "f", state)
    assert same(state, checkpoint.load_state(tmp_path / "f"))


def test_checkpoint_restores_optimizer_state(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.1)
    for _ in range(3):
        (weight**2).sum().backward()
        optimizer.step()
    checkpoint.save(tmp_path / "f", {"optimizer": optimizer.state_dict(), "generator": torch.get_rng_state()})
    state = checkpoint.load_state(tmp_path / "f")
    again = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))], lr=0.5)
    again.load_state_dict(state["optimizer"])
    assert same(optimizer.state_dict()["state"], again.state_dict()["state"])
    assert again.param_groups[0]["lr"] == 0.1
    torch.set_rng_state(state["generator"])


@pytest.mark.parametrize(
    "state",
    [
        {"a": object()},
        {"a": {1: 2, "b": 3}},
        {"a": {True: 1}},
        {"a.b": torch.ones(1), "a": {"b": torch.ones(1)}},
        {"a": "__tensor__"},
        {"a": {"__integer_keys__": {}}},
    ],
)
def test_checkpoint_save_refuses_state_it_cannot_restore(state: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="can't hold"):
        checkpoint.save(tmp_path / "f", state)
    assert list(tmp_path.iterdir()) == [] or not (tmp_path / "f").exists()


def test_checkpoint_load_rebuilds_network_from_file_alone(tmp_path: Path) -> None:
    network = TutorialNetwork(timesteps=50)
    checkpoint.save(tmp_path / "best.safetensors", {"epoch": 3}, network)
    again = checkpoint.load(tmp_path / "best.safetensors")
    assert isinstance(again, TutorialNetwork)
    assert not again.training
    xt, t = torch.randn(2, 1, 28, 28), torch.tensor([0, 49])
    with torch.no_grad():
        assert torch.equal(again(xt, t), network.eval()(xt, t))
    assert checkpoint.load_state(tmp_path / "best.safetensors")["epoch"] == 3


def test_checkpoint_load_leaves_global_generator_alone(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "f", {}, TutorialNetwork(timesteps=5))
    before = torch.get_rng_state()
    checkpoint.load(tmp_path / "f")
    assert torch.equal(before, torch.get_rng_state())


def stored(path: Path, header: str, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    """Write a checkpoint file with this header."""
    save_file(tensors or {}, path, metadata={checkpoint.HEADER: header})
    return path


@pytest.mark.parametrize(
    "values",
    [
        "[]",
        "3",
        "null",
        '"__tensor__"',
        '{"a": "__tensor__"}',
        '{"a": {"__integer_keys__": 3}}',
        '{"a": {"__integer_keys__": {"x": 1}}}',
    ],
)
def test_checkpoint_refuses_tampered_header(values: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="damaged"):
        checkpoint.load_state(stored(tmp_path / "f", f'{{"format": 1, "values": {values}}}'))


@pytest.mark.parametrize("header", ["", "no json", "[" * 100_000, "[]", "{}", '{"format": 99, "values": {}}'])
def test_checkpoint_refuses_foreign_header(header: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a checkpoint of this program"):
        checkpoint.load_state(stored(tmp_path / "f", header))


@pytest.mark.parametrize("read", [checkpoint.load, checkpoint.load_state])
def test_checkpoint_refuses_foreign_missing_and_truncated_files(read: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint at"):
        read(tmp_path / "none")
    with pytest.raises(UserError, match="not a checkpoint of this program"):
        save_file({"w": torch.ones(2)}, tmp_path / "foreign")
        read(tmp_path / "foreign")
    checkpoint.save(tmp_path / "whole", {"a": torch.ones(100)}, TutorialNetwork(timesteps=5))
    whole = (tmp_path / "whole").read_bytes()
    for cut in (0, 1, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:cut])
        with pytest.raises(UserError, match="not a complete checkpoint"):
            read(tmp_path / "cut")


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_checkpoint_load_raises_only_user_error_for_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    path = tmp_path_factory.mktemp("noise") / "f"
    header = {"format": 1, "network": {}, "values": {"a": {"b": "__tensor__", "c": [1, 2]}}}
    content = safetensors_bytes({"a.b": torch.ones(300)}, {checkpoint.HEADER: json.dumps(header)})
    path.write_bytes(content[:at] + noise + content[at + len(noise) :])
    try:
        checkpoint.load_state(path)
        checkpoint.load(path)
    except UserError as error:
        assert error.remedy
        assert "\n" not in error.problem


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("{}", "holds no network"),
        ('{"name": "os:system", "arguments": {}}', "no network named 'os:system'"),
        ('{"name": "tutorial"}', "don't fit their network"),
        ('{"name": "tutorial", "arguments": {"code": "x"}}', "don't fit their network"),
        ('{"name": "tutorial", "arguments": {"timesteps": "x"}}', "don't fit their network"),
        ('{"name": "tutorial", "arguments": {"timesteps": 5}}', "don't fit their network"),
        ('{"name": "tutorial", "arguments": null}', "don't fit their network"),
    ],
)
def test_checkpoint_load_refuses_network_that_does_not_fit(network: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        checkpoint.load(stored(tmp_path / "f", f'{{"format": 1, "values": {{}}, "network": {network}}}'))


def test_checkpoint_load_never_imports_network_named_in_file(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    stored(tmp_path / "f", '{"format": 1, "network": {"name": "evil:Network", "arguments": {}}}')
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from dipddpm.core.compute import checkpoint\nfrom dipddpm.core.errors import UserError\n"
        "try: checkpoint.load(sys.argv[1] + '/f')\n"
        "except UserError: assert 'evil' not in sys.modules\n"
        "else: raise SystemExit('the network was loaded')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert not (tmp_path / "ran").exists()


def test_checkpoint_save_leaves_whole_file_after_kill(tmp_path: Path) -> None:
    """A child process saves without pause and is killed at a random moment, until some kills came in a save."""
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, {"n": 0, "weights": torch.zeros(300_000)})
    trial = cut = 0
    reading, writing = os.pipe()
    end = time.monotonic() + PATIENCE_SECONDS
    while trial < 12 or not cut:
        assert time.monotonic() < end, "no kill came in the middle of a save, so the test proved nothing"
        trial += 1
        child = os.fork()
        if child == 0:
            n = 1000 * trial
            os.write(writing, b"saving")
            while True:
                n += 1
                checkpoint.save(path, {"n": n, "weights": torch.full((300_000,), float(n % 1000))})
        os.read(reading, 100)
        time.sleep(random.uniform(0.01, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        state = checkpoint.load_state(path)
        assert torch.all(state["weights"] == state["n"] % 1000)
        cut += len(list(tmp_path.glob(".*.tmp")))
    for descriptor in (reading, writing):
        os.close(descriptor)
