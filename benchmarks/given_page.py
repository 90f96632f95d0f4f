"""Markdown tables and a picture of the results of `python -m benchmarks given` and `original-pictures`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageDraw, ImageFont

from benchmarks.damage import DAMAGES, Pixels, damaged
from benchmarks.given import Row, Table, quality
from benchmarks.original_pictures import NOTEBOOKS
from benchmarks.rivals import RIVALS
from dipddpm.core.errors import UserError

PARTS = {"camera": (70, 180), "astronaut": (70, 150)}
"""The first row and column of the part of each picture that is shown: both faces."""
SIDE = 160
LABEL = 22
STRIPS = (
    ("camera", "noise", ("auto", "patch-prior", "bm3d")),
    ("astronaut", "noise", ("auto", "patch-prior", "bm3d-known")),
    ("astronaut", "text", ("kriging", "skimage-biharmonic")),
    ("astronaut", "random", ("kriging", "skimage-biharmonic")),
)
"""The rows of the picture: a damaged picture, the truth, and the results of methods."""
NAMES = {
    "bm3d-known": "BM3D's own code, with the noise level given",
    "bm3d-corrected": "BM3D with the level given, and with our correction of clipped noise",
    "skimage-best": "best of scikit-image, strength chosen by the truth",
    "skimage-biharmonic": "scikit-image's `inpaint_biharmonic`",
}


def measure(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The --out of `python -m benchmarks given`.")],
    *,
    original: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The --out of `python -m benchmarks original-pictures`.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to draw the results (PNG).")] = None,
) -> None:
    """Print the measurements of given pictures as tables in Markdown, and draw some of the results."""
    rows = Table(folder / "given.csv").rows
    if not rows:
        raise UserError(f"{folder} has no measurements.", "Make them first: python -m benchmarks given")
    rows += list(original_rows(original)) if original else []
    for size in sorted({row.size for row in rows}):
        for damage in DAMAGES:
            chosen = [row for row in rows if (row.size, row.damage) == (size, damage)]
            if chosen:
                print(f"\n**{DAMAGES[damage]}, {f'the middle {size}x{size}' if size else '512x512'}**\n")
                print("\n".join(markdown(chosen)))
    if picture is not None:
        drawing = draw(folder / "pictures")
        drawing.quantize(256, dither=Image.Dither.NONE).save(picture, optimize=True)


def original_rows(folder: Path) -> Iterator[Row]:
    """Return the results of the original's fits so far."""
    for file in sorted(folder.glob("*.csv")):
        with file.open(newline="") as stream:
            last = list(csv.DictReader(stream))[-1]
        picture, damage, size = last["picture"], last["damage"], int(last["size"])
        result = np.asarray(Image.open(file.with_suffix(".png")))
        psnr, ssim = quality(result, damaged(picture, damage, size).truth)
        name = f"DIP, original code, {NOTEBOOKS[damage].source}"
        cpu, note = float(last["cpu_seconds"]), f"{last['iteration']} of {last['of']} iterations"
        yield Row(picture, damage, size, name, psnr=psnr, ssim=ssim, cpu_seconds=cpu, note=note)


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    """Return a table of one damage: a line for each method, the best first, and three columns for each picture."""
    pictures = sorted({row.picture for row in rows}, reverse=True)  # camera has always been first
    pictures.sort(key=lambda name: name != "camera")
    columns = [f"{name} {what}" for name in pictures for what in ("PSNR", "SSIM", "CPU s")]
    yield "| method | " + " | ".join([*columns, "MiB"]) + " |"
    yield "|---|" + "---:|" * (len(columns) + 1)
    by_method: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_method.setdefault(row.method, {})[row.picture] = row
    for method, found in sorted(by_method.items(), key=lambda pair: -max(row.psnr for row in pair[1].values())):
        cells = [cell for name in pictures for cell in _cells(found.get(name))]
        peak = max(row.peak_mib for row in found.values())
        cells.append(f"{peak:.0f}" if peak else "")
        notes = sorted({_note(row) for row in found.values() if _note(row)})
        name = NAMES.get(method, f"`{method}`" if method not in RIVALS and "," not in method else method)
        suffix = f" ({'; '.join(notes)})" if notes else ""
        yield f"| {name}{suffix} | " + " | ".join(cells) + " |"


def _cells(row: Row | None) -> list[str]:
    if row is None:
        return [""] * 3
    if not row.psnr:
        return ["-", "-", f"> {row.seconds:.0f}"]
    return [f"{row.psnr:.2f}", f"{row.ssim:.3f}", f"{row.cpu_seconds:.0f}"]


def _note(row: Row) -> str:
    if row.method == "auto" and row.chosen:
        return f"{row.picture}: {row.chosen}"
    return f"{row.picture}: {row.note}" if row.note else ""


def draw(folder: Path) -> Image.Image:
    """Draw the strips of damaged, true and restored parts under their names."""
    columns = 2 + max(len(methods) for _, _, methods in STRIPS)
    page = Image.new("RGB", (columns * (SIDE + 4) - 4, len(STRIPS) * (SIDE + LABEL)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for strip, (picture, damage, methods) in enumerate(STRIPS):
        given = damaged(picture, damage)
        images = {"damaged": given.pixels, "truth": given.truth}
        for method in methods:
            file = folder / f"{picture}-{damage}-{method}.png"
            if file.is_file():
                images[method] = np.asarray(Image.open(file))
        for column, (name, pixels) in enumerate(images.items()):
            left, top = column * (SIDE + 4), strip * (SIDE + LABEL)
            text = name if name in {"damaged", "truth"} else f"{name} {quality(pixels, given.truth)[0]:.2f} dB"
            draw.text((left + 2, top + 3), text.replace("skimage-", ""), font=font, fill="black")
            page.paste(Image.fromarray(part(pixels, picture)).convert("RGB"), (left, top + LABEL))
    return page


def part(pixels: Pixels, picture: str) -> Pixels:
    """Return the part of a picture that is shown."""
    top, left = PARTS[picture]
    return pixels[top : top + SIDE, left : left + SIDE]
