"""Texts from a run folder are shown as plain text: no markup, link or escape sequence reaches the terminal."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from dipddpm.core import config, events
from dipddpm.core.runs import ENVIRONMENT_FILE, EVENTS_FILE, LOG_FILE, RunsFolder
from dipddpm.tui.cli.main import main
from dipddpm.tui.shared.draft import Draft
from dipddpm.tui.shared.marks import NOTES_FILE
from tests.tui.driving import Driver, Maker, Opener

EVIL = (
    "\x1b]0;title\x07\x1b]52;c;Y2xpcA==\x07\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\\x1bP1$r\x1b\\\x9b31m"
    "[bold red]m[/][/nothing][@click=app.quit]c[/][link=http://evil]l[/link]$(x)`x`\u202eo\u2066i\u200bz\r\x08\x7f"
)
HARMFUL = {*map(chr, [*range(32), *range(127, 160)]), "\u202e", "\u2066", "\u200b"}


def write_evil(maker: Maker) -> None:
    """Write a run in which every text is hostile, also its folder's name."""
    run = maker("hybrid", name=EVIL)
    log: list[events.Event] = [
        events.RunStarted(kind=EVIL, method=EVIL, device=EVIL, device_name=EVIL, steps=9, time=1e9),
        events.RunQueued(device=EVIL, ahead=1),
        events.DataLoaded(dataset=EVIL, split=EVIL, images=1, sha256=EVIL, source=EVIL),
        events.PriorLoaded(run=EVIL, sha256=EVIL),
        events.Message(text=EVIL),
        events.Message(text=EVIL, level="warning"),
        events.Step(step=1, loss=0.5),
        events.PsnrMeasured(step=1, psnr=[20.0, 21.0], mean=20.5, loss=[0.1]),
        events.EarlyStopped(step=1, image=0, at=1, rule=EVIL, psnr=20.0),
        events.ImageSaved(file="images/a.png", name=EVIL, title=EVIL, panels=[EVIL]),
        events.ImageSaved(file=f"images/{EVIL}.png", name="restored", title=EVIL),
        events.SamplesEvaluated(step=1, measure=EVIL, value=1.0, samples=1, protocol=EVIL),
        events.RestorationScored(task=EVIL, method=EVIL, psnr=[20.0], ssim=[0.5], set=EVIL, budget_of=EVIL),
        events.RestorationScored(task=EVIL, method="dip", psnr=[19.0], set=EVIL),
        events.RestorationMissing(task=EVIL, method=EVIL, why=EVIL, set=EVIL),
        events.BestModelStored(step=1, value=0.5, file=EVIL, sha256=EVIL, measure=EVIL),
        events.RunFailed(error=EVIL, hint=EVIL, step=1),
    ]
    (run.folder / EVENTS_FILE).write_bytes(b"".join(map(events.encode, log)))
    Image.new("L", (8, 8), 90).save(run.folder / "images" / "a.png")
    (run.folder / LOG_FILE).write_bytes(EVIL.encode() + b"\n\xff\xfe\n" + EVIL.encode("latin-1", "replace") + b"\n")
    (run.folder / NOTES_FILE).write_bytes(msgspec.toml.encode({"tags": [EVIL, "[b]t"], "note": EVIL}))
    (run.folder / ENVIRONMENT_FILE).write_text(json.dumps({"command": EVIL, "host": EVIL, "packages": {EVIL: EVIL}}))
    run.folder.rename(run.folder.with_name(EVIL.replace("/", "")))


def check_screen(driver: Driver, where: str) -> None:
    """Assert that every cell of the screen is a harmless character, without a link or a click action."""
    for strip in driver.app.screen._compositor.render_strips():
        for text, style, control in strip:
            assert control is None
            assert not HARMFUL & set(text), f"{where}: {text!r}"
            if style is not None:
                assert style.link is None, f"{where}: {text!r}"
                assert "@click" not in style.meta, f"{where}: {text!r}"


async def test_panes_and_dialogs_neutralize_hostile_text(opened: Opener, make: Maker) -> None:
    write_evil(make)
    async with opened() as driver:
        check_screen(driver, "the list")
        for pane in "12345":
            await driver.press(pane)
            check_screen(driver, f"pane {pane}")
            for key in ("right", "m") if pane == "2" else ():
                await driver.press(key)
                check_screen(driver, f"pane {pane}, {key}")
        await driver.press("0")
        check_screen(driver, "all columns")
        await driver.press("0")
        for key in "dtefDQ":
            await driver.press(key)
            check_screen(driver, f"key {key}")
            await driver.press("escape")


@pytest.mark.parametrize("words", [["ls", "--all"], ["show", "last"], ["watch", "last"], ["show", "last", "--json"]])
def test_commands_print_no_control_characters(
    runs: RunsFolder, make: Maker, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_evil(make)
    with pytest.raises(SystemExit):
        main(words)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert not HARMFUL - {"\n"} & set(text), ascii(text)
    assert "title" in printed.out


def test_draft_command_quotes_hostile_name(tmp_path: Path) -> None:
    name = "'; touch x; echo $(touch y) `touch z` \" \\ #\n\t&"
    draft = Draft.from_config(config.build("hybrid", settings={"name": name}))
    assert name in " ".join(shlex.split(draft.command()))
    assert shlex.split(draft.command())[:2] == ["dipddpm", "run"]
    assert any(word == name or word.endswith(f"={name}") for word in shlex.split(draft.command()))
