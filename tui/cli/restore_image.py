"""`dipddpm restore-image`: restore a damaged picture whose truth nobody knows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from dipddpm.core import config as configs
from dipddpm.core.config import PICTURE_METHODS, TASKS, AnyRun
from dipddpm.core.launch import results
from dipddpm.core.launch.defaults import limit_images
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.command import command, option
from dipddpm.tui.cli.help import METHOD, PICTURE
from dipddpm.tui.cli.options import NewRun
from dipddpm.tui.cli.run import start


@dataclass(frozen=True, kw_only=True)
class RestoreImageOptions(NewRun):
    """The options of `dipddpm restore-image`."""

    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE|FOLDER...",
            help="Damaged pictures: PNG, JPEG, TIFF, .npy and others, or folders of them.",
            rich_help_panel=PICTURE,
        ),
    ]
    task: str | None = option(
        None,
        f"What happened to the picture: {', '.join(TASKS)}, with options as in denoise:sigma=25; a noise level "
        "that is not given is estimated.  [default: denoise; inpaint with --mask]",
        group=PICTURE,
        metavar="SPEC",
        complete=complete.tasks,
    )
    mask: str | None = option(
        None,
        "The missing pixels: an image as large as the picture, black where pixels are missing, white elsewhere.",
        group=PICTURE,
        metavar="FILE",
    )
    method: str | None = option(
        None,
        f"How to restore it: auto, or {', '.join(PICTURE_METHODS)}.",
        group=PICTURE,
        key="picture.method",
        metavar="NAME",
        complete=complete.picture_methods,
    )
    out: str | None = option(
        None,
        "Where the result goes: a file, or a folder.  [default: NAME-restored.png, .tif or .npy in the current folder]",
        group=PICTURE,
        key="picture.out",
        metavar="FILE|FOLDER",
    )
    force: bool = option(False, "Replace a result of the same name.", "--force", group=PICTURE)
    truth: list[str] | None = option(
        None,
        "The undamaged picture, if there is one, to measure the result; once for each FILE, in the same order.",
        group=PICTURE,
        metavar="FILE",
    )
    iterations: int | None = option(
        None, "Gradient steps of DIP, at most.", group=METHOD, key="dip.iterations", metavar="N"
    )
    data_dir: Path | None = field(default=None, init=False)
    processes: int | None = field(default=None, init=False)

    def config(self) -> AnyRun:
        """Return the complete config. Raises UserError if an option is wrong."""
        results.refuse_other_mask(self.task, self.mask)
        task = self.task or ("inpaint" if self.mask else None)
        given = self.config_settings()
        return limit_images(configs.build("image", preset="full", task=task, settings=given), given)

    def named_settings(self) -> dict[str, Any]:
        """Add the files."""
        return {
            **super().named_settings(),
            "images.given": tuple(self.files),
            "images.truth": tuple(self.truth or ()) or None,
            "task.mask": self.mask,
        }


@command(RestoreImageOptions)
def restore_image(options: RestoreImageOptions) -> int:
    """Restore a damaged picture of your own.

    Examples:
        dipddpm restore-image photo.png
        dipddpm restore-image scratched.png --mask scratches.png
        dipddpm restore-image scans/ --task superres:factor=2 --out large/

    Nothing else is needed: the kind and the strength of the noise are estimated, and several methods are tried on parts
    of the picture, which the best of them then restores. The result is a file of the same kind, with the same bits,
    transparency and colour profile; it also lies in the run's folder, beside what was found out about it. Ctrl-C asks
    the run to stop; dipddpm resume continues it.
    """
    config = options.config()
    if not options.dry_run and not options.force:
        results.refuse_existing(config, "Name another file with --out, or replace it with --force.")
    return start(config, options)
