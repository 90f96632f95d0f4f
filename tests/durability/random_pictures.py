"""Random picture files of every mode, format, depth, profile, orientation and transparency, from seeds."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms

from tests.core.io.profiles import ADOBE_RGB, DISPLAY_P3, PROPHOTO, SRGB, profile

MAX_SIDE, MAX_PIXELS = 4096, 1 << 15
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PROFILES: dict[str, bytes | None] = {
    "none": None,
    "sRGB": SRGB_PROFILE,
    "sRGB by table": profile(SRGB, None),
    "Display P3": profile(DISPLAY_P3, None),
    "Adobe RGB": profile(ADOBE_RGB, 563 / 256),
    "ProPhoto": profile(PROPHOTO, 1.80078125),
}
GREY_PROFILE = profile(None, 1.80078125)
MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "tif": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"),
    "jpg": ("L", "RGB", "CMYK"),
    "bmp": ("1", "L", "P", "RGB"),
    "gif": ("1", "L", "P"),
    "webp": ("L", "RGB", "RGBA"),
    "ppm": ("1", "L", "RGB", "I;16"),
}
COMMAND = shutil.which("magick") or shutil.which("convert") or ""
"""ImageMagick's program; empty if it isn't installed."""
TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "packbits", "tiff_deflate", "zstd")


@dataclass(frozen=True)
class Made:
    """A random picture file."""

    path: Path
    what: str
    """How it was made, in words."""
    managed: bool
    """True if colours are converted, by a profile other than sRGB or from YCbCr, which engines round differently."""
    embedded: bool
    """True if it has a colour profile."""
    orientation: int = 1
    """The EXIF orientation, if ImageMagick 6 doesn't read it: that of PNG and WebP."""


def make(seed: int, folder: Path) -> Made:
    """Write the picture of a seed into the folder."""
    rng = np.random.default_rng(seed)
    width = int(np.exp(rng.uniform(0, np.log(MAX_SIDE + 1))))
    height = int(np.exp(rng.uniform(0, np.log(min(MAX_SIDE, MAX_PIXELS // width) + 1))))
    maker = (_by_pillow, _by_pillow, _by_tifffile, _by_imagemagick)[seed % 4]
    return maker(rng, folder / f"{seed}", max(1, width), max(1, height))


def content(rng: np.random.Generator, height: int, width: int, channels: int) -> np.ndarray:
    """Return smooth values in [0, 1], (H, W, C), with some noise."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [
        0.5 + 0.5 * np.sin(rng.uniform(1, 9) * x + rng.uniform(1, 9) * y + rng.uniform(0, 6)) for _ in range(channels)
    ]
    return np.clip(np.stack(waves, -1) + rng.normal(0, rng.choice([0, 0.02]), (height, width, channels)), 0, 1)


def _by_pillow(rng: np.random.Generator, stem: Path, width: int, height: int) -> Made:
    suffix = str(rng.choice(list(MODES)))
    mode = str(rng.choice(MODES[suffix]))
    values = content(rng, height, width, 4)
    options: dict[str, Any] = {}
    name = str(rng.choice(list(PROFILES))) if suffix in {"png", "tif", "jpg", "webp"} else "none"
    if mode in {"CMYK", "F", "1", "YCbCr"} or (mode in {"L", "LA", "I;16"} and name != "none"):
        name = "grey" if name != "none" and mode in {"L", "LA", "I;16"} else "none"
    if suffix == "webp" and name == "grey":
        name = "none"  # WebP stores grey as RGB
    embedded = GREY_PROFILE if name == "grey" else PROFILES[name]
    if embedded:
        options["icc_profile"] = embedded
    image = _pillow_image(mode, values, rng)
    if mode in {"P", "L", "RGB", "I;16"} and suffix in {"png", "gif"} and rng.random() < 0.5:
        options["transparency"] = _transparency(mode, image, rng)
    if suffix == "tif":
        options["compression"] = str(rng.choice(TIFF_COMPRESSIONS))
    elif suffix == "jpg":
        options |= {"quality": 97, "subsampling": 0, "progressive": bool(rng.random() < 0.5)}
    elif suffix == "webp":
        options["lossless"] = True
    orientation = int(rng.integers(1, 9))
    if suffix not in {"png", "tif", "jpg", "webp"} or rng.random() < 0.4:
        orientation = 1
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    path = stem.with_suffix(f".{suffix}")
    image.save(path, **options)
    shown = ", ".join(f"{k}={v if k in {'compression', 'transparency'} else ''}" for k, v in options.items())
    managed = mode == "YCbCr" or name not in {"none", "sRGB", "sRGB by table"}
    return Made(
        path,
        f"Pillow {suffix} {mode} {width}x{height} {name} {orientation} {shown}",
        managed,
        name != "none",
        orientation if suffix in {"png", "webp"} else 1,
    )


def _pillow_image(mode: str, values: np.ndarray, rng: np.random.Generator) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray((values[..., 0] * 65535).round().astype(np.uint16))
    if mode == "F":
        return Image.fromarray(values[..., 0].astype(np.float32))
    bands = {"L": 1, "LA": 2, "CMYK": 4, "RGBA": 4}.get(mode, 3)
    pixels = np.ascontiguousarray((values[..., :bands] * 255).round().astype(np.uint8))
    image = Image.frombytes({1: "L", 2: "LA"}.get(bands, mode if bands == 4 else "RGB"), values.shape[1::-1], pixels)
    if mode == "P":
        image = image.quantize(int(rng.integers(2, 257)), dither=Image.Dither.NONE)
    return image.convert(mode)


def _transparency(mode: str, image: Image.Image, rng: np.random.Generator) -> Any:
    pixel = image.getpixel((int(rng.integers(image.width)), int(rng.integers(image.height))))
    if mode == "P" and rng.random() < 0.5:
        return bytes(rng.integers(0, 256, 256, np.uint8))
    return pixel


def _by_tifffile(rng: np.random.Generator, stem: Path, width: int, height: int) -> Made:
    dtype = str(rng.choice(["u1", "u2", "u4", "f4", "f8"]))
    photometric = str(rng.choice(["minisblack", "miniswhite", "rgb"]))
    if photometric == "miniswhite" and dtype not in {"u1", "u2"}:
        photometric = "minisblack"  # ImageMagick inverts neither floats nor 32 bits
    extra = str(rng.choice(["none", "unassalpha", "assocalpha"])) if photometric != "miniswhite" else "none"
    channels = 3 if photometric == "rgb" else 1
    values = content(rng, height, width, channels + 1)
    colour, alpha = values[..., :-1], values[..., -1:]
    if extra != "none":
        colour = np.concatenate([colour * alpha if extra == "assocalpha" else colour, alpha], -1)
    white = 1.0 if dtype[0] == "f" else float(np.iinfo(dtype).max)
    stored = (colour * white if dtype[0] == "f" else np.floor(colour * white)).astype(dtype)
    planar = str(rng.choice(["contig", "separate"])) if channels == 3 else "contig"  # ImageMagick loses grey's alpha
    name = str(rng.choice(list(PROFILES))) if channels == 3 and dtype in {"u1", "u2"} else "none"
    orientation = int(rng.integers(1, 9))
    options: dict[str, Any] = {
        "byteorder": str(rng.choice(["<", ">"])),
        "bigtiff": bool(rng.random() < 0.2),
        "tile": (16, 32) if rng.random() < 0.3 else None,
        "compression": str(rng.choice(["none", "zlib", "packbits"])) if dtype[0] == "u" else "none",
    }
    path = stem.with_suffix(".tif")
    if options["compression"] == "packbits":  # tifffile has no encoder of its own
        options["compression"] = "zlib"
    data = stored if stored.shape[-1] > 1 else stored[..., 0]
    tifffile.imwrite(
        path, np.moveaxis(data, -1, 0) if planar == "separate" else data, photometric=photometric,
        planarconfig=planar if data.ndim == 3 else None, extrasamples=None if extra == "none" else [extra],
        iccprofile=PROFILES[name], extratags=[(274, "H", 1, orientation, True)], metadata=None,
        **{**options, "compression": None if options["compression"] == "none" else options["compression"]},
    )  # fmt: skip
    managed = name not in {"none", "sRGB", "sRGB by table"}
    what = f"tifffile {dtype} {photometric} {extra} {planar} {width}x{height} {name} {orientation} {options}"
    return Made(path, what, managed, name != "none")


def _by_imagemagick(rng: np.random.Generator, stem: Path, width: int, height: int) -> Made:
    source = stem.with_suffix(".ppm")
    alpha = rng.random() < 0.4
    Image.fromarray((content(rng, height, width, 3) * 255).round().astype(np.uint8)).save(source)
    suffix = str(rng.choice(["png", "tif", "jpg", "bmp", "gif", "webp", "ppm", "pgm", "pbm"]))
    kind = str(rng.choice(["TrueColor", "Grayscale", "Palette", "Bilevel"]))
    depth = str(rng.choice(["8", "16"]))
    commands = [str(source), "-seed", "1", "-depth", depth]
    if kind == "Bilevel":
        commands += ["-threshold", "50%"]
    if alpha:
        commands += ["-alpha", "set", "-channel", "A", "-evaluate", "set", f"{int(rng.integers(101))}%", "+channel"]
        kind = {"TrueColor": "TrueColorAlpha", "Grayscale": "GrayscaleAlpha", "Palette": "PaletteAlpha"}.get(kind, kind)
    commands += ["-type", kind, "-interlace", str(rng.choice(["None", "Plane"]))]
    if suffix == "tif":
        commands += ["-compress", str(rng.choice(["None", "LZW", "Zip", "RLE"]))]
        commands += ["-endian", str(rng.choice(["LSB", "MSB"]))]
        if not alpha and kind in {"Grayscale", "Bilevel"}:
            commands += ["-define", f"quantum:polarity={rng.choice(['min-is-black', 'min-is-white'])}"]
    if suffix == "webp":
        commands += ["-define", "webp:lossless=true"]
    if suffix == "jpg":
        commands += ["-quality", "97", "-sampling-factor", "1x1"]
    path = stem.with_suffix(f".{suffix}") if suffix != "ppm" else stem.with_name(f"{stem.name}-out.ppm")
    subprocess.run([COMMAND, *commands, str(path)], check=True, capture_output=True)
    return Made(path, f"ImageMagick {width}x{height} {' '.join(commands[3:])} {suffix}", False, False)
