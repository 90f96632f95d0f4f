from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from safetensors.torch import load_file

from dipddpm.core.compute import checkpoint
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError
from dipddpm.core.export import export
from dipddpm.core.export.snapshot import Record
from dipddpm.core.runs import Run


@pytest.fixture
def exported(finished: Run, tmp_path: Path) -> Path:
    (done,) = export([finished], ["model"], tmp_path / "out")
    return done.path


def copy(run: Run, folder: Path) -> Run:
    shutil.copytree(run.folder, folder / run.id)
    return Run(folder / run.id)


def test_model_card_is_valid_for_hub(exported: Path, finished: Run) -> None:
    card = ModelCard.load(exported / "README.md")
    assert card.data.library_name == "dipddpm"
    assert card.data.license == "unknown", "only the owner of the model can choose its licence"
    assert card.data.datasets == ["zalando-datasets/fashion_mnist"]
    (result,) = card.data.eval_results
    best = finished.status().summary.best_loss
    assert (result.metric_type, result.metric_value) == ("loss", best)
    assert "MIT, Zalando SE" in card.text
    assert checkpoint.digest(exported / "checkpoints/best.safetensors") in card.text


def test_model_card_code_loads_model_and_draws_samples(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = MarkdownIt().parse((exported / "README.md").read_text().split("---", 2)[2])
    load, sample = (token.content for token in tokens if token.type == "fence" and token.info == "python")
    assert len(load.strip().splitlines()) == 3
    monkeypatch.chdir(exported)
    names: dict[str, object] = {}
    exec(load, names)
    model = names["model"]
    assert isinstance(model, TrainedModel)
    original = checkpoint.load(exported / "checkpoints/best.safetensors").state_dict()
    assert all(torch.equal(tensor, original[name]) for name, tensor in model.network.state_dict().items())
    exec(sample, names)
    assert (exported / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_model_export_weights_are_plain_safetensors(exported: Path, finished: Run) -> None:
    tensors = load_file(exported / "checkpoints/best.safetensors")
    network = checkpoint.load(finished.folder / "checkpoints/best.safetensors")
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensors[f"network.{name}"], tensor)


def test_model_card_escapes_hostile_name(finished: Run, tmp_path: Path) -> None:
    run = copy(finished, tmp_path)
    path = run.folder / "config.toml"
    hostile = 'x: \\"\\n---\\n# <script> 😀'
    path.write_text(re.sub(r'^name = ".*"', lambda _: f'name = "{hostile}"', path.read_text(), flags=re.MULTILINE))
    (run.folder / "summary.json").unlink()
    (done,) = export([run], ["model"], tmp_path / "out")
    card = ModelCard.load(done.path / "README.md")
    assert card.data.model_name == 'x: " --- # <script> 😀'
    assert MarkdownIt().render(card.text).count("<h1>") == 1


def test_model_export_refuses_weights_other_than_logged(finished: Run, tmp_path: Path) -> None:
    run = copy(finished, tmp_path)
    with (run.folder / "checkpoints/best.safetensors").open("ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="differs from the model in the run's log"):
        export([run], ["model"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_model_export_refuses_run_without_model_before_work(run: Run, record: Record, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trained no prior"):
        export([run], ["csv", "model"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
