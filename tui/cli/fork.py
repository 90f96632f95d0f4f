"""`dipddpm fork`: a new run like one that there is."""

from __future__ import annotations

from dipddpm.tui.cli.options import (
    Detach,
    Device,
    DryRun,
    Group,
    Json,
    Name,
    Now,
    On,
    RunArgument,
    RunsDir,
    Seed,
    Settings,
    find_run,
    parse_settings,
)
from dipddpm.tui.cli.run import start
from dipddpm.tui.shared.draft import Draft


def fork(
    run: RunArgument,
    *,
    settings: Settings = None,
    device: Device = None,
    seed: Seed = None,
    name: Name = None,
    group: Group = None,
    on: On = None,
    detach: Detach = False,
    now: Now = False,
    dry_run: DryRun = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    """Start a run like another one, but for what is given here. It begins anew; resume goes on with the old one."""
    draft = Draft.fork(find_run(run, runs_dir).config())
    named = {"device": device, "seed": None if seed is None else str(seed), "name": name, "group": group}
    draft.set_values(parse_settings(settings) | {key: text for key, text in named.items() if text is not None})
    return start(draft.config(), runs_dir, on=on, dry_run=dry_run, detach=detach, now=now, as_json=json)
