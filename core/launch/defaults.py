"""The parts of a config that depend on files: how many images there are, and how results are named. Loads no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Container

from msgspec.structs import replace

from dipddpm.core.config import AnyRun, DataConfig, DipRun, HybridRun, ImageRun, ImagesConfig, StudyRun
from dipddpm.core.data import folder
from dipddpm.core.errors import UserError
from dipddpm.core.launch import results


def limit_images(config: AnyRun, given: Container[str]) -> AnyRun:
    """Return the config with fewer images to restore if its folder of images has fewer than it names by default.

    `given` holds the dotted keys of the options that the user has set; these never change. The pictures of given
    folders take the place of the folders.
    """
    if isinstance(config, ImageRun):
        return results.with_files(config)
    if (
        isinstance(config, DipRun | HybridRun)
        and "images.indices" not in given
        and not (config.images.files or config.images.given)
    ):
        return replace(config, images=_limited(config.images, config.data))
    if isinstance(config, StudyRun) and "study.images" not in given:
        images = _limited(ImagesConfig(indices=config.study.images), config.data)
        return replace(config, study=replace(config.study, images=images.indices))
    return config


def _limited(images: ImagesConfig, data: DataConfig) -> ImagesConfig:
    if not data.dataset.startswith(folder.PREFIX):
        return images
    with contextlib.suppress(UserError):  # the checks before the start report it
        count = len(folder.parse(str(data.dataset)).split(images.split))
        if count < images.count:
            return replace(images, indices=f"0-{count - 1}")
    return images
