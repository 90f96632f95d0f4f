"""The examples: notebooks executed with small settings, shell scripts run as they are, and the stored outputs."""

from __future__ import annotations

import base64
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dipddpm.core.launch import local
from dipddpm.core.runs import RunsFolder, RunState
from scripts import notebooks

EXAMPLES = notebooks.EXAMPLES
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.sh"))
MAX_PICTURE = 100_000
"""The largest size of a picture in a notebook, in bytes."""
STANDINS = {
    "sbatch": 'cat "$1" >>"$SUBMITTED"\necho "Submitted batch job 7"',
    "squeue": "exit 0",
    "srun": "exit 1",
}
"""Stand-ins for the commands of Slurm; sbatch records the batch scripts."""


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "parameters", "check"),
    [
        (
            "restore_a_photo",
            {"SIDE": 48, "ITERATIONS": 80},
            "assert after > before + 5\n"
            "assert first.shape == damaged.shape\n"
            "assert 1 < deviation < 50\n"
            "assert hidden > visible",
        ),
        (
            "train_and_sample",
            {"IMAGES": 512, "EPOCHS": 3, "SAMPLES": 128},
            "assert epochs[-1][1] < epochs[0][1]\n"
            "assert len(steps) == 48\n"
            "assert distances['reference'] < distances['this notebook']",
        ),
        (
            "hybrid_against_baselines",
            {"COUNT": 2, "ITERATIONS": 40, "SAMPLES": 1},
            "assert len(differences) == 4\n"
            "assert all(low <= middle <= high for middle, low, high in differences.values())\n"
            "for domain, images in shown.items():\n"
            "    measured = dd.psnr(images['measured'], images['truth']).mean()\n"
            "    assert psnr[domain, 'calibrated'].mean() > measured + 3",
        ),
        (
            "runs_into_pandas",
            {},
            "assert len(table) == 13\n"
            "assert curves.keys() == {'unet', 'tutorial'}\n"
            "assert all(len(curve) == 20 for curve in curves.values())\n"
            "assert len(gains) == 24\n"
            "assert gains['gain in dB'].min() < 0 < gains['gain in dB'].max()",
        ),
    ],
)
def test_notebook_runs_and_gives_its_results(
    name: str, parameters: dict[str, Any], check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    executed = notebooks.execute(EXAMPLES / f"{name}.ipynb", tmp_path, parameters=parameters, check=check)
    assert not [output for cell in executed.cells for output in cell.get("outputs", []) if is_trouble(output)]


def is_trouble(output: Any) -> bool:
    """Return whether an output is an error or a warning."""
    return bool(output["output_type"] == "error" or output.get("name") == "stderr")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stored_notebook_is_executed_small_and_without_traces_of_the_machine(name: str) -> None:
    notebook = notebooks.read(EXAMPLES / name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if is_trouble(output)]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    assert all(len(base64.b64decode(picture)) < MAX_PICTURE for picture in pictures)
    text = re.sub(r'"image/png": "[^"]*"', "", (EXAMPLES / name).read_text())
    assert str(Path.home()) not in text
    assert not re.search(r"/(?:tmp|work|home|root|usr)/|0x[0-9a-f]{8}", text)
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


def test_every_example_is_listed() -> None:
    examples = {*NOTEBOOKS, *SCRIPTS}
    assert len(examples) == 7
    for page in (EXAMPLES / "README.md", EXAMPLES.parent / "docs/examples.md"):
        assert set(re.findall(r"[\w-]+\.(?:ipynb|sh)\b", page.read_text())) == examples


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that runs an example script in a temporary folder, with the checkout's `dipddpm`."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    commands = {"dipddpm": f'exec "{sys.executable}" -c "from dipddpm.tui.cli.main import main; main()" "$@"'}
    for name, body in (commands | STANDINS).items():
        (binaries / name).write_text(f"#!/bin/sh\n{body}\n")
        (binaries / name).chmod(0o755)
    environment = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "PYTHONPATH": str(EXAMPLES.parent),
        "SUBMITTED": str(tmp_path / "submitted"),
    }

    def run(name: str, *arguments: str, **variables: str) -> str:
        done = subprocess.run(
            [EXAMPLES / name, *arguments],
            cwd=tmp_path,
            env=os.environ | environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.slow
@pytest.mark.process
def test_sweep_script_queues_runs_and_report_script_writes_their_results(
    shell: Any, runs: RunsFolder, tmp_path: Path, until: Any
) -> None:
    small = ("--images", "2", "--iterations", "20", "--device", "cpu", "--set", "threads=1")
    printed = shell("overnight_sweep.sh", *small, GROUP="few", RATES="0.01,0.03", SEEDS="1")
    assert "dipddpm compare --group few --by dip.lr" in printed
    made = runs.runs()
    assert len(made) == 2
    until(lambda: all(run.status().state is RunState.finished for run in made), seconds=300)
    printed = shell("report.sh", "few", "paper", "dip.lr")
    paper = tmp_path / "paper"
    assert (paper / "comparison.txt").read_text() in printed
    assert [line.split()[0] for line in (paper / "comparison.txt").read_text().splitlines()] == ["LR", "0.01", "0.03"]
    for run in made:
        assert (paper / "html" / f"{run.id}.html").is_file()
        assert (paper / "figures" / run.id / "psnr.pdf").is_file()
        assert (paper / "csv" / run.id / "psnr.csv").is_file()


@pytest.mark.slow
@pytest.mark.process
def test_slurm_script_submits_a_job_for_each_seed(shell: Any, tmp_path: Path) -> None:
    options = ("--dataset", "fashion-mini")
    assert len(shell("slurm.sh", "--dry-run", *options).splitlines()) > 4
    assert not (tmp_path / "submitted").exists()
    printed = shell("slurm.sh", *options, SEEDS="2", JOB="partition=long,time=1:00:00")
    assert "dipddpm watch cluster" in printed
    submitted = (tmp_path / "submitted").read_text()
    assert submitted.count("#SBATCH --partition=long") == 2
    assert submitted.count("--requeue") >= 2
    assert len(RunsFolder(local.runs_root(None)).runs()) == 2


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_can_be_executed_and_stops_at_errors(name: str) -> None:
    path = EXAMPLES / name
    lines = path.read_text().splitlines()
    assert os.access(path, os.X_OK)
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert all(line.startswith("#") for line in lines[: lines.index("set -euo pipefail")])
