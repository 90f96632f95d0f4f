"""The feed: best models stand out, texts are never markup, and the number of entries is limited."""

from __future__ import annotations

from dipddpm.core import events
from dipddpm.tui.console.widgets.feed import MAX_ENTRIES, Feed, FeedEntry, feed_entries
from tests.tui.console.widgets.conftest import OpenStage

BEST = events.BestModelStored(
    time=1000.0, epoch=58, step=5800, value=0.0359, measure="held_out", file="checkpoints/best.safetensors", sha256="a"
)
FAILED = events.RunFailed(
    time=1001.0, error="CUDA out of memory.", hint="Use a smaller batch with --set ddpm.batch_size=64."
)


def test_feed_entries_merge_best_model_with_its_epoch() -> None:
    finished = events.EpochFinished(time=1000.0, epoch=58, step=5800, loss=0.036, best=True)
    (entry,) = feed_entries([BEST, finished])
    assert entry.tone == "best"
    assert entry.text == "Held-out at epoch 58: 0.0359 --> Best model ever (stored)  checkpoints/best.safetensors"


def test_feed_entries_put_hint_after_error() -> None:
    assert [(entry.tone, entry.text) for entry in feed_entries([FAILED])] == [
        ("bad", "Failed: CUDA out of memory."),
        ("hint", FAILED.hint),
    ]


def test_feed_entries_skip_events_without_line() -> None:
    log = [
        events.Message(text="careful", level="warning"),
        events.RunFinished(seconds=61.0),
        events.EpochFinished(epoch=1, step=1, loss=0.5),
        events.CheckpointStored(step=1, file="f", sha256=""),
    ]
    assert [(entry.tone, entry.text) for entry in feed_entries(log)] == [
        ("warning", "Warning: careful"),
        ("good", "Finished in 1:01"),
        ("plain", "Loss at epoch 1: 0.500"),
    ]


def test_feed_entries_neutralize_escapes() -> None:
    best = events.BestModelStored(step=1, value=1.0, file="a\x1b]0;x\x07[red]", sha256="")
    (entry,) = feed_entries([best])
    assert entry.text.isprintable()
    assert "[red]" in entry.text


async def test_feed_shows_newest_last_and_best_model_bold(stage: OpenStage) -> None:
    feed = Feed()
    async with stage(feed, (100, 4)) as (app, _):
        feed.add([FeedEntry(1000.0, f"line {number}") for number in range(9)])
        feed.add(feed_entries([BEST]))
        lines = app.lines()
        assert [line[9:15] for line in lines[:3]] == ["line 6", "line 7", "line 8"]
        assert "Best model ever" in lines[3]
        (best,), (plain,) = app.styled("Best model ever"), app.styled("line 8")
        assert best.bold
        assert best.color != plain.color
        feed.clear()
        assert not any(app.lines())


async def test_feed_cuts_long_lines_except_hints(stage: OpenStage) -> None:
    feed = Feed()
    async with stage(feed, (40, 6)) as (app, _):
        feed.add([FeedEntry(1000.0, "word " * 30), *feed_entries([FAILED])])
        lines = [line[9:] for line in app.lines() if line]
        assert lines[0].endswith("…")
        assert "".join(lines[2:]).replace(" ", "") == FAILED.hint.replace(" ", "")


async def test_feed_wraps_errors_at_words_and_by_the_width_of_letters(stage: OpenStage) -> None:
    feed = Feed()
    async with stage(feed, (29, 5)) as (app, _):
        feed.add([FeedEntry(0.0, "one file of seventeen is damaged: " + "写" * 14, tone="bad")])
        assert [line[9:].strip() for line in app.lines()] == [
            "one file of",
            "seventeen is",
            "damaged:",
            "写" * 10,
            "写" * 4,
        ]


async def test_feed_shows_markup_literally(stage: OpenStage) -> None:
    feed = Feed()
    async with stage(feed, (60, 3)) as (app, _):
        feed.add([FeedEntry(1000.0, "[bold red]loud[/] [link=x]")])
        assert app.lines()[0].endswith("[bold red]loud[/] [link=x]")


async def test_feed_keeps_limited_entries(stage: OpenStage) -> None:
    feed = Feed()
    async with stage(feed):
        feed.add(FeedEntry(0.0, str(number)) for number in range(MAX_ENTRIES + 50))
        assert len(feed._entries) == MAX_ENTRIES
