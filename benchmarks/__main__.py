"""The command `python -m benchmarks BENCHMARK ...`; without a benchmark it lists them."""

from __future__ import annotations

import sys

import typer

from benchmarks import (
    ablation,
    acceleration_page,
    averages,
    board_page,
    checkpoints,
    classics,
    console,
    degraded_only,
    given,
    given_page,
    growth,
    large,
    learning,
    map_page,
    noise_levels,
    original,
    original_pictures,
    patch_prior,
    posterior,
    predictions,
    program,
    published,
    quality,
    stops,
    works,
)
from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable

app = typer.Typer(
    help="Benchmarks for developers; users have `dipddpm bench`. Each benchmark has --help.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("board-page")(board_page.measure)
app.command("acceleration-page")(acceleration_page.measure)
app.command("map-page")(map_page.measure)
app.command("averages")(averages.measure)
app.command("start-up")(program.measure_start_up)
app.command("log")(program.measure_log)
app.command("checkpoints")(checkpoints.measure)
app.command("ablation")(ablation.measure)
app.command("classics")(classics.measure)
app.command("console")(console.measure)
app.command("degraded-only")(degraded_only.measure)
app.command("rates")(works.measure)
app.command("growth")(growth.measure)
app.command("quality")(quality.measure)
app.command("given-page")(given_page.measure)
app.command("large")(large.measure)
app.command("learning")(learning.measure)
app.command("stops")(stops.measure)
app.command("noise-levels")(noise_levels.measure)
app.command("given")(given.measure)
app.command("original")(original.measure)
app.command("original-pictures")(original_pictures.measure)
app.command("patch-prior")(patch_prior.measure)
app.command("posterior")(posterior.measure)
app.command("published")(published.measure)
app.command("predictions")(predictions.measure)


def main(arguments: list[str] | None = None) -> None:
    """Run one benchmark and exit with code 0, or with 2 after a usage error."""
    try:
        app(arguments, prog_name="python -m benchmarks")
    except UserError as error:
        print(printable(error.problem), printable(error.remedy), sep="\n", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
