"""ICC profiles of known primaries and curves, built by the specification."""

from __future__ import annotations

import struct

import numpy as np

# Columns are the red, green and blue primaries in XYZ, adapted to D50.
DISPLAY_P3 = ((0.5151, 0.2920, 0.1571), (0.2412, 0.6922, 0.0666), (-0.0011, 0.0419, 0.7841))
ADOBE_RGB = ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457))
PROPHOTO = ((0.79767, 0.13519, 0.03134), (0.28804, 0.71188, 0.00009), (0.0, 0.0, 0.82491))
SRGB = ((0.43607, 0.38515, 0.14307), (0.22249, 0.71687, 0.06061), (0.01392, 0.09708, 0.71410))
D50 = (0.9642, 1.0, 0.8249)


def srgb_curve(values: np.ndarray) -> np.ndarray:
    """Return linear light of sRGB values."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def profile(primaries: tuple[tuple[float, ...], ...] | None, gamma: float | None) -> bytes:
    """Return a profile with these primaries, grey if None, and a gamma, or sRGB's curve if None."""
    if gamma is not None:
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    else:
        table = (srgb_curve(np.arange(1024) / 1023) * 65535).round().astype(">u2").tobytes()
        curve = b"curv" + bytes(4) + struct.pack(">I", 1024) + table
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [(b"desc", text), (b"cprt", b"text" + bytes(4) + b"none\0"), (b"wtpt", _xyz(D50))]
    if primaries is None:
        tags.append((b"kTRC", curve))
    else:
        columns = np.array(primaries).T
        tags += [(b"rgb"[i : i + 1] + b"XYZ", _xyz(tuple(columns[i]))) for i in range(3)]
        tags += [(name + b"TRC", curve) for name in (b"r", b"g", b"b")]
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags:
        padded = content + bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += padded
    space = b"GRAY" if primaries is None else b"RGB "
    header = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x02400000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _fixed(D50) + bytes(48)
    return header + table + body


def to_srgb(values: np.ndarray, primaries: tuple[tuple[float, ...], ...], gamma: float | None) -> np.ndarray:
    """Return sRGB values of colours (..., 3) with these primaries, by the formula."""
    linear = srgb_curve(values) if gamma is None else values**gamma
    light = (linear @ np.array(primaries).T @ np.linalg.inv(np.array(SRGB)).T).clip(0, 1)
    encoded: np.ndarray = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return encoded


def _fixed(values: tuple[float, ...]) -> bytes:
    return struct.pack(">3i", *(round(value * 65536) for value in values))


def _xyz(values: tuple[float, ...]) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(values)
