"""Each restored image and each sample of a run as a PNG file of its own size."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipddpm.core.config import DdpmRun, DipRun, HybridRun, ImageRun, RestoreRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModelStored, RestoredSaved
from dipddpm.core.export.snapshot import Record, safe_name
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import BEST_FILE

if TYPE_CHECKING:
    from torch import Tensor

SAMPLES = "samples"
"""The picture of the samples of a run that trains a diffusion model."""
SCALED = "samples-scaled"
"""The picture of samples that have left the range of images, each scaled to its own range."""
OLD_COLUMNS = 8
"""The columns of the samples in logs that don't name them."""
RESTORED = "restored"
"""The picture that shows each restored image beside the degraded one."""
CELL = "cell-"
"""The beginning of the names of the pictures of a head-to-head."""
MEASUREMENT = "measurement.safetensors"


def refuse(record: Record) -> None:
    """Raise UserError for a run that has neither restored images nor samples."""
    if not _given(record) and not _has_restored(record) and not _pictures(record):
        problem = f"The run {printable(record.run.id)} has no restored images and no samples."
        remedy = "Export it once it has finished." if record.status.state.live else "Export another run."
        raise UserError(problem, remedy)


def write(record: Record, folder: Path) -> None:
    """Write the restored images with the degraded ones, or else the samples, or a head-to-head's pictures, in parts.

    A restored image is the tensor of `best.safetensors`, rounded to 8 bits; a map of its spread, if it has one, has its
    scale in its name. Samples and a head-to-head's images exist
    only in pictures, enlarged by a whole factor, as do the restored images of a run that was copied without its
    checkpoints; here they have their own size again. Restorations of given files are copied, as files of their kind.
    """
    refuse(record)
    if files := _given(record):
        for path in files:
            shutil.copyfile(path, folder / path.name)
        return
    images = _restored(record) if _has_restored(record) else _parts(record)
    from dipddpm.core.images import save_png

    for name, image in images:
        save_png(folder / f"{name}.png", image)


def _given(record: Record) -> list[Path]:
    """Return the files of a run that restores given files: the restorations and copies of the given ones."""
    config = record.status.config
    if not isinstance(config, DipRun | HybridRun | ImageRun) or not config.images.given:
        return []
    names = {name for event in record.all(RestoredSaved) for name in (*event.files, *event.degraded)}
    return [path for path in record.run.files("images/*") if path.relative_to(record.run.folder).as_posix() in names]


def _has_restored(record: Record) -> bool:
    config = record.status.config
    return isinstance(config, DipRun | HybridRun) and bool(record.run.files(BEST_FILE)) and _restores(record)


def _restores(record: Record) -> bool:
    """Return whether the stored best model is a restoration, rather than a model that the run has trained so far."""
    stored = record.last(BestModelStored)
    return stored is not None and stored.measure not in {"loss", "held_out"}


def _restored(record: Record) -> Iterator[tuple[str, Tensor]]:
    from dipddpm.core.compute import checkpoint
    from dipddpm.core.data.names import image_names
    from dipddpm.core.images import spread_map, spread_name, spread_white

    config = record.status.config
    assert isinstance(config, DipRun | HybridRun)
    names = image_names(config.images)
    best = checkpoint.load_state(record.run.folder / BEST_FILE)
    restored: Sequence[Any] = best.get("restored", ())
    maps: dict[str, Sequence[Any]] = {}
    if (spread := best.get("spread")) is not None:
        white = spread_white(spread)
        maps[safe_name(spread_name(white))] = list(spread_map(spread, white))
    degraded: Sequence[Any] = ()
    if record.run.files(MEASUREMENT):
        degraded = checkpoint.load_state(record.run.folder / MEASUREMENT).get("y", ())
    for kind, tensors in {"restored": restored, "degraded": degraded, **maps}.items():
        for name, image in zip(names, tensors, strict=False):
            yield f"{name}-{kind}", image


def _pictures(record: Record) -> dict[str, tuple[Path, int, tuple[str, ...]]]:
    """Return the files of the pictures to take apart, with their columns and the names of their panels."""
    config = record.status.config
    wanted: dict[str, tuple[Path, int, tuple[str, ...]]] = {}
    for event, path in record.pictures():
        is_cell = isinstance(config, RestoreRun) and event.name.startswith(CELL)
        is_cell |= isinstance(config, DipRun | HybridRun) and event.name == RESTORED and bool(event.panels)
        is_grid = isinstance(config, DdpmRun | HybridRun) and event.name in {SAMPLES, SCALED}
        if is_grid or (is_cell and event.columns):
            wanted[event.name] = path, event.columns or OLD_COLUMNS, tuple(event.panels)
    return wanted


def _parts(record: Record) -> Iterator[tuple[str, Tensor]]:
    from dipddpm.core.data.names import image_names
    from dipddpm.core.images import load_image, split_picture

    config = record.status.config
    pictures = _pictures(record)
    if RESTORED in pictures:
        pictures = {RESTORED: pictures[RESTORED]}
    for name, (path, columns, panels) in pictures.items():
        rows: list[str] = []
        count = None
        if name == RESTORED and isinstance(config, DipRun | HybridRun):
            rows = image_names(config.images)
            count = len(rows) * len(panels)
        elif isinstance(config, DdpmRun | HybridRun):
            count = config.ddpm.samples
        try:
            images = split_picture(load_image(path)[0], columns, count and -(-count // columns))[:count]
        except ValueError:
            problem = f"The picture {printable(str(path))} isn't the one in the run's log."
            raise UserError(problem, "Copy the run again from the machine that made it.") from None
        ending = "-scaled" if name == SCALED else ""
        for index, image in enumerate(images):
            row, column = divmod(index, len(panels) or 1)
            title = rows[row] if rows else f"{safe_name(name)}-{row}"
            yield f"{title}-{safe_name(panels[column])}" if panels else f"sample-{index}{ending}", image
