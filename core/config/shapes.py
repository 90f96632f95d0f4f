"""Sizes of images, (channels, height, width), in words; and the refusals of images that a network can't take."""

from __future__ import annotations

from collections.abc import Sequence

from dipddpm.core.errors import UserError

TUTORIAL = (1, 28, 28)
"""The only images that the tutorial network and the classifier take."""


def shape_text(shape: Sequence[int]) -> str:
    """Return a shape in words, such as `28x28 grey`; the height comes first."""
    if len(shape) != 3:
        return "x".join(map(str, shape))
    channels, height, width = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"


def refuse_for_tutorial(shape: Sequence[int], grey_option: str = "") -> None:
    """Raise UserError unless the tutorial network takes images of this shape; an option may convert them to grey."""
    if tuple(shape) == TUTORIAL:
        return
    problem = f"The tutorial network takes {shape_text(TUTORIAL)} images only, and these are {shape_text(shape)}."
    remedy = "Add --preset cpu, or --set ddpm.network=unet: our U-Net takes images of any size."
    if grey_option and tuple(shape) == (3, *TUTORIAL[1:]):
        remedy = f"Convert them to grey with --set {grey_option}=true, or a{remedy[1:]}"
    raise UserError(problem, remedy)


def refuse_other_shape(
    images: Sequence[int], prior: Sequence[int], *, files: bool = False, grey_option: str = ""
) -> None:
    """Raise UserError unless the images have the shape of the prior's images.

    `files` says that they are image files, and `grey_option` is an option that converts them to grey.
    """
    if tuple(images) == tuple(prior):
        return
    problem = f"The prior is trained on {shape_text(prior)} images, and these are {shape_text(images)}."
    remedy = (
        f"Train one on {shape_text(images)} images, with --preset cpu, or use dipddpm run dip, which needs no prior."
    )
    if grey_option and images[0] == 3 and tuple(prior) == (1, *images[1:]):
        remedy = f"Convert them to grey with --set {grey_option}=true, or t{remedy[1:]}"
    elif images[0] == prior[0] and prior[1] == prior[2] and not files:
        remedy = f"Take images of this size (a folder's as folder:PATH@{prior[1]}), or t{remedy[1:]}"
    raise UserError(problem, remedy)


def refuse_for_evaluation(shape: Sequence[int]) -> None:
    """Raise UserError unless the quality of samples of this shape can be measured."""
    if tuple(shape) != TUTORIAL:
        problem = (
            f"Sample quality is measured on {shape_text(TUTORIAL)} images only, and these are {shape_text(shape)}."
        )
        raise UserError(problem, "Leave out --evaluate, or set ddpm.evaluate=0.")
