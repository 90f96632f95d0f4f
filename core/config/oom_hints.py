"""Which option to lower, and to what, where memory ran out."""

from __future__ import annotations

from dipddpm.core.config.run import (
    AnyRun,
    DdpmRun,
    DipRun,
    ExplanationRun,
    HybridRun,
    ImagesConfig,
    RestoreRun,
    StudyRun,
)


def lower_memory(config: AnyRun) -> str:
    """What to change in a run like this, to take about half as much memory where it takes most; a sentence."""
    match config:
        case DipRun():
            together = min(config.dip.batch or _count(config.images), _count(config.images))
            return _halved("dip.batch", together) or _halved("dip.channels", config.dip.channels) or _SMALLER
        case HybridRun() if not config.trains and not config.hybrid.learns:
            return _fewer(config.images) or _SMALLER
        case DdpmRun() | HybridRun():
            return _halved("ddpm.batch_size", config.ddpm.batch_size) or _SMALLER
        case RestoreRun():
            return _halved("restore.images", config.restore.images) or _SMALLER
        case ExplanationRun():
            return _halved("explanation.train_images", config.explanation.train_images, least=40) or _SMALLER
        case StudyRun():
            return "The run of the stage that it came to says what to lower."


_SMALLER = "Choose a smaller network."


def _halved(option: str, value: int, least: int = 1) -> str:
    lower = max(value // 2, least)
    return f"Lower {option} from {value} to {lower}." if lower < value else ""


def _fewer(images: ImagesConfig) -> str:
    count = _count(images)
    return f"Give {count // 2} images at a time, instead of {count}." if count > 1 else ""


def _count(images: ImagesConfig) -> int:
    return len(images.files) or len(images.image_indices())
