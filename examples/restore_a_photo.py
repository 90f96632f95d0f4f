"""Restore a photo of which 70% of the pixels are missing.

Usage: python examples/restore_a_photo.py PHOTO RESTORED.png [ITERATIONS]
"""

from __future__ import annotations

import sys

import dipddpm as dd
from dipddpm.core.images import save_png

x = dd.load_images(sys.argv[1])
y, degradation = dd.degrade("inpaint:missing=0.7,sigma=10", x, seed=0)
restored = dd.restore(y, degradation, method="dip", settings={"dip.iterations": int((sys.argv[3:] or ["1000"])[0])})
save_png(sys.argv[2], restored.images[0])
print(f"PSNR {dd.psnr(restored.images, x).item():.2f} dB after {restored.seconds:.0f} s")
