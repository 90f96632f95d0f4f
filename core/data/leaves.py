"""Dead leaves in colour: endless training pictures that are drawn here, so that a prior needs no photographs.

Shapes of random size occlude each other; with radii distributed as r^-3 the pictures have the scale invariance, edges
and occlusions of natural images (Lee, Mumford & Huang 2001). Some shapes have a gradient, stripes or a grain, so that
a network also learns that not all fine detail is noise. Pictures are float32 (H, W, 3) in [0, 1].
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

FINE = 2
"""The factor by which pictures are drawn larger before they are averaged down, so that edges are antialiased."""
COVERED = 4.0
"""How often the shapes cover the picture on average; the part that is left uncovered, exp(-4), is a background."""
GREY_SHARE = 0.25
"""The share of grey pictures, whose three channels are equal."""

Floats: TypeAlias = NDArray[np.float32]


def radii(rng: np.random.Generator, count: int, smallest: float, largest: float) -> NDArray[np.float64]:
    """Draw radii with a density proportional to r^-3 between two bounds, by the inverse distribution function."""
    share = rng.random(count)
    drawn: NDArray[np.float64] = (smallest**-2 - share * (smallest**-2 - largest**-2)) ** -0.5
    return drawn


def dead_leaves(rng: np.random.Generator, side: int = 256) -> Floats:
    """Draw one picture (side, side, 3)."""
    fine = side * FINE
    smallest, largest = FINE * np.exp(rng.uniform(0, np.log(16))), fine / 2
    mean_area = 2 * np.pi * np.log(largest / smallest) / (smallest**-2 - largest**-2)
    count = int(COVERED * (fine + largest) ** 2 / mean_area)
    sizes, centres = radii(rng, count, smallest, largest), rng.uniform(-largest / 2, fine + largest / 2, (count, 2))
    owner = _shapes(rng, sizes, centres, fine)
    picture = _painted(rng, owner, np.append(largest, sizes), np.vstack([[fine / 2, fine / 2], centres]))
    if rng.random() < 0.6:
        picture = _blur(picture, np.exp(rng.uniform(np.log(0.5), np.log(5))))
    picture = picture.reshape(side, FINE, side, FINE, 3).mean((1, 3))
    if rng.random() < 0.8:
        # Bring all but the extremes into [0, 1], as exposure does; the other pictures are clipped as they are.
        low, high = np.percentile(picture, (1, 99))
        low, high = min(low, 0), max(high, 1)
        picture = (picture - low) / (high - low)
    if rng.random() < GREY_SHARE:
        picture = picture.mean(-1, keepdims=True).repeat(3, -1)
    drawn: Floats = picture.clip(0, 1).astype(np.float32)
    return drawn


def patches(rng: np.random.Generator, pictures: list[Floats], count: int, side: int) -> Floats:
    """Cut `count` random patches out of random pictures, turned and flipped at random: (count, 3, side, side)."""
    cut = np.empty((count, 3, side, side), np.float32)
    for patch in cut:
        picture = pictures[rng.integers(len(pictures))]
        top, left = rng.integers(0, np.array(picture.shape[:2]) - side + 1)
        turned = np.rot90(picture[top : top + side, left : left + side], int(rng.integers(4)))
        patch[:] = (turned[:, ::-1] if rng.random() < 0.5 else turned).transpose(2, 0, 1)
    return cut


def _shapes(
    rng: np.random.Generator, sizes: NDArray[np.float64], centres: NDArray[np.float64], side: int
) -> NDArray[np.int32]:
    """Return the number of the shape on top at each pixel, from 1; 0 where there is none."""
    image = Image.new("I", (side, side))
    draw = ImageDraw.Draw(image)
    kinds = rng.choice(4, len(sizes), p=(0.55, 0.15, 0.15, 0.15))
    angles, aspects = rng.uniform(0, np.pi, len(sizes)), np.exp(rng.uniform(0, np.log(4), len(sizes)))
    for number, (kind, size, (x, y), angle, aspect) in enumerate(
        zip(kinds, sizes, centres, angles, aspects, strict=True), 1
    ):
        if kind == 0:
            draw.ellipse((x - size, y - size, x + size, y + size), fill=number)
            continue
        # An ellipse, a rectangle (long and thin for a bar) or a triangle, with about the area of the disc.
        corners = (0, 24, 4, 3)[kind]
        turns = angle + 2 * np.pi * np.arange(corners) / corners + np.pi / corners
        stretch = aspect if kind == 2 else np.sqrt(aspect)
        u, v = size * stretch * np.cos(turns - angle), size / stretch * np.sin(turns - angle)
        points = np.stack([x + u * np.cos(angle) - v * np.sin(angle), y + u * np.sin(angle) + v * np.cos(angle)], 1)
        draw.polygon([tuple(point) for point in points.tolist()], fill=number)
    return np.asarray(image)


def _painted(
    rng: np.random.Generator, owner: NDArray[np.int32], sizes: NDArray[np.float64], centres: NDArray[np.float64]
) -> Floats:
    """Return the picture (H, W, 3): each shape's colour, and on some shapes a gradient, stripes or a grain."""
    side, count = len(owner), len(sizes)
    colours = _colours(rng, count)
    contrast = np.exp(rng.uniform(np.log(0.05), np.log(0.6)))
    tint = 1 + 0.2 * rng.standard_normal((count, 3))
    y, x = np.mgrid[:side, :side].astype(np.float32)
    x, y = x - centres[owner, 0].astype(np.float32), y - centres[owner, 1].astype(np.float32)

    def amplitude(share: float) -> Floats:
        """Return the contrast of one kind of texture on each shape, 0 on all but a share of them."""
        size = contrast * np.exp(0.8 * rng.standard_normal(count))
        return np.where(rng.random(count) < share, size, 0).astype(np.float32)

    def waves(period: NDArray[np.float64]) -> Floats:
        angle = rng.uniform(0, 2 * np.pi, count)
        u, v = ((2 * np.pi / period * f(angle)).astype(np.float32) for f in (np.cos, np.sin))
        phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)
        waved: Floats = np.sin(u[owner] * x + v[owner] * y + phase[owner])
        return waved

    busy = rng.random() * 0.5
    detail = amplitude(0.5)[owner] * waves(4 * sizes)
    detail += amplitude(0.5 * busy)[owner] * waves(FINE * np.exp(rng.uniform(np.log(3), np.log(16), count)))
    for _ in range(2):
        detail += amplitude(busy)[owner] * _grain(rng, side)
    picture: Floats = colours[owner] + detail[..., None] * tint[owner].astype(np.float32)
    return picture


def _grain(rng: np.random.Generator, side: int) -> Floats:
    """Return filtered noise of deviation about 0.5, fine or coarse, often with a preferred direction."""
    frequency = np.fft.fftfreq(side)[:, None] * side, np.fft.rfftfreq(side)[None] * side
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(0, np.log(6)))
    u = np.cos(angle) * frequency[0] + np.sin(angle) * frequency[1]
    v = np.cos(angle) * frequency[1] - np.sin(angle) * frequency[0]
    squared = u**2 * stretch + v**2 / stretch
    # Nothing finer than the final pixels, nothing much coarser than a random scale.
    coarse = np.exp(rng.uniform(np.log(4), np.log(side / 16)))
    gain = (squared + coarse**2) ** (-rng.uniform(0.8, 2.2) / 2) * (squared < (side / FINE / 1.5) ** 2)
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) * gain, s=(side, side))
    grain: Floats = (noise * (0.5 / noise.std())).astype(np.float32)
    return grain


def _colours(rng: np.random.Generator, count: int) -> Floats:
    """Return a colour (count, 3) for each shape.

    Each picture has a few colours of its own, which its shapes vary; brightness varies more than the opponent colours.
    The contrast, colourfulness and gamma differ from picture to picture. Values may leave [0, 1].
    """
    kinds = int(rng.integers(2, 10))
    contrast, chroma = np.exp(rng.uniform(np.log(0.06), np.log(0.4))), np.exp(rng.uniform(np.log(0.01), np.log(0.2)))
    deviation = np.array([contrast, chroma, 0.6 * chroma])
    centre = np.array([rng.uniform(0.1, 0.9), *(0.5 * deviation[1:] * rng.standard_normal(2))])
    family = centre + deviation * rng.standard_normal((kinds, 3))
    chosen = family[rng.choice(kinds, count, p=rng.dirichlet(np.ones(kinds)))]
    vary = np.exp(rng.uniform(np.log(0.1), np.log(1.0)))
    opponent = chosen + vary * deviation * rng.standard_normal((count, 3))
    # Luminance, red against blue, green against magenta.
    to_rgb = np.array([[1, 1, 1], [1, 0, -1], [-0.5, 1, -0.5]])
    rgb = opponent @ to_rgb
    gamma = np.exp(rng.uniform(np.log(0.6), np.log(1.6)))
    colours: Floats = (np.sign(rgb) * np.abs(rgb) ** gamma).astype(np.float32)
    return colours


def _blur(picture: Floats, deviation: float) -> Floats:
    """Blur a picture by a Gaussian with circular ends."""
    side = len(picture)
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    gain = np.exp(-2 * (np.pi * deviation) ** 2 * (rows**2 + columns**2))[..., None]
    blurred = np.fft.irfft2(np.fft.rfft2(picture, axes=(0, 1)) * gain, s=(side, side), axes=(0, 1))
    result: Floats = blurred.astype(np.float32)
    return result
