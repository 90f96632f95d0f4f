"""Tests of `trained_config`: it accepts runs with their own diffusion model, and says why others have none."""

from __future__ import annotations

from typing import Any

import pytest

from dipddpm.core.config import build
from dipddpm.core.errors import UserError
from dipddpm.core.runs import BEST_FILE, Run, RunsFolder, trained


def run_of(runs: RunsFolder, kind: str, *, best: bool = True, **settings: Any) -> Run:
    run = runs.create(build(kind, settings={key.replace("__", "."): value for key, value in settings.items()}))
    if best:
        (run.folder / BEST_FILE).write_bytes(b"")
    return run


@pytest.mark.parametrize("method", ["calibrated", "guided", "prior-init"])
def test_trained_config_accepts_ddpm_and_hybrid_that_trained_prior(method: str, runs: RunsFolder) -> None:
    assert trained.trained_config(run_of(runs, "ddpm").folder).kind == "ddpm"
    own = trained.trained_config(run_of(runs, "hybrid", hybrid__method=method, prior__run="").folder)
    assert own.method == method


def test_trained_config_names_run_of_borrowed_prior(runs: RunsFolder) -> None:
    first = run_of(runs, "ddpm")
    second = run_of(runs, "hybrid", prior__run=str(first.folder))
    with pytest.raises(UserError, match=f"it used the prior of {first.id}. Name {first.id} instead"):
        trained.trained_config(second.folder)


@pytest.mark.parametrize(
    ("kind", "method"),
    [("dip", ""), ("restore", ""), *[("hybrid", name) for name in ("substitution", "conditioned", "self-diffusion")]],
)
def test_trained_config_refuses_runs_that_cannot_sample_alone(kind: str, method: str, runs: RunsFolder) -> None:
    settings: dict[str, Any] = {"hybrid__method": method} if method else {}
    run = run_of(runs, kind, **settings)
    with pytest.raises(UserError, match="no network that can sample by itself"):
        trained.trained_config(run.folder)


def test_trained_config_refuses_run_before_first_epoch(runs: RunsFolder) -> None:
    with pytest.raises(UserError, match="no best model yet"):
        trained.trained_config(run_of(runs, "hybrid", best=False, prior__run="").folder)
