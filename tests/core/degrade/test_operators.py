"""Properties that every operator has for images of any size, and a comparison with the operators of deepinv."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dipddpm.core.config.tasks import TASKS, Deblur, Inpaint, Superres, TaskOptions
from dipddpm.core.degrade import BlockMean, CircularBlur, Degradation, Identity, Mask, Operator
from dipddpm.core.degrade.measure import gaussian_kernel, motion_kernel

TASK_OPTIONS: list[TaskOptions] = [
    TASKS["denoise"](),
    Inpaint(missing=0.7),
    Inpaint(box=3),
    Superres(factor=2),
    Superres(factor=4),
    Deblur(kernel="gaussian", width=1.2),
    Deblur(kernel="gaussian", width=9),
    Deblur(kernel="motion", width=5, angle=30),
]


def operator(task: TaskOptions, size: tuple[int, int]) -> Operator:
    return Degradation.from_task(task, size, torch.Generator().manual_seed(0)).operator


def normal(shape: torch.Size | tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


any_case = given(
    st.sampled_from(TASK_OPTIONS), st.integers(4, 23), st.integers(4, 23), st.integers(1, 3), st.integers(0, 2**32)
)


@settings(max_examples=60, deadline=None)
@any_case
def test_operator_adjoint_satisfies_inner_product(
    task: TaskOptions, height: int, width: int, channels: int, seed: int
) -> None:
    a = operator(task, (height, width))
    x = normal((2, channels, height, width), seed)
    y = normal(a.A(x).shape, seed + 1)
    assert torch.allclose((a.A(x) * y).sum(), (x * a.adjoint(y)).sum())


@settings(max_examples=60, deadline=None)
@any_case
def test_operator_pinv_satisfies_moore_penrose(
    task: TaskOptions, height: int, width: int, channels: int, seed: int
) -> None:
    a = operator(task, (height, width))
    x = normal((2, channels, height, width), seed)
    y, v = normal(a.A(x).shape, seed + 1), normal(a.A(x).shape, seed + 2)
    assert torch.allclose(a.A(a.pinv(a.A(x))), a.A(x), atol=1e-8)
    assert torch.allclose(a.pinv(a.A(a.pinv(y))), a.pinv(y), atol=1e-6, rtol=1e-6)
    assert torch.allclose((a.A(a.pinv(y)) * v).sum(), (y * a.A(a.pinv(v))).sum(), atol=1e-6)
    w = normal(x.shape, seed + 3)
    assert torch.allclose((a.pinv(a.A(x)) * w).sum(), (x * a.pinv(a.A(w))).sum(), atol=1e-6)


@settings(max_examples=60, deadline=None)
@any_case
def test_operator_prox_solves_normal_equations(
    task: TaskOptions, height: int, width: int, channels: int, seed: int
) -> None:
    a = operator(task, (height, width))
    v = normal((2, channels, height, width), seed)
    y = normal(a.A(v).shape, seed + 1)
    rho = 0.05 + seed % 7
    x = a.prox(v, y, rho)
    assert torch.allclose(a.adjoint(a.A(x)) + rho * x, a.adjoint(y) + rho * v, atol=1e-8)


@settings(max_examples=60, deadline=None)
@any_case
def test_spectral_filter_applies_function_of_singular_values(
    task: TaskOptions, height: int, width: int, channels: int, seed: int
) -> None:
    a = operator(task, (height, width))
    x = normal((2, channels, height, width), seed)
    assert torch.allclose(a.spectral_filter(x, torch.ones_like), x)
    assert torch.allclose(a.spectral_filter(x, torch.square), a.adjoint(a.A(x)))
    assert torch.allclose(a.spectral_filter(x, lambda s: (s > 1e-12).to(s.dtype)), a.pinv(a.A(x)), atol=1e-8)
    assert torch.allclose(
        a.spectral_filter(a.spectral_filter(x, torch.sqrt), torch.sqrt), a.spectral_filter(x, lambda s: s)
    )
    each = torch.tensor([2.0, 3.0], dtype=x.dtype).view(2, 1, 1, 1)
    assert torch.allclose(a.spectral_filter(x, lambda s: each * s), each * a.spectral_filter(x, lambda s: s))


def test_operator_measured_marks_measured_values() -> None:
    mask = (torch.arange(12).view(1, 1, 3, 4) % 2).float()
    y = torch.ones(2, 3, 3, 4)
    assert torch.equal(Mask(mask).measured(y)[1, 2], mask[0, 0])
    assert torch.equal(Identity().measured(y), y)


def test_mask_select_returns_mask_of_each_image() -> None:
    masks = (torch.rand(3, 1, 5, 5) > 0.5).float()
    x = torch.rand(3, 1, 5, 5)
    assert torch.equal(Mask(masks).select([2, 0]).A(x[[2, 0]]), Mask(masks).A(x)[[2, 0]])


@pytest.mark.parametrize("task", TASK_OPTIONS, ids=str)
def test_degradation_to_leaves_original_on_its_device(task: TaskOptions) -> None:
    degradation = Degradation.from_task(task, (8, 9), torch.Generator().manual_seed(0))
    moved = degradation.to("meta")
    original = [value for value in vars(degradation.operator).values() if isinstance(value, Tensor)]
    copied = [value for value in vars(moved.operator).values() if isinstance(value, Tensor)]
    assert type(moved.operator) is type(degradation.operator)
    assert [value.device.type for value in original] == ["cpu"] * len(original)
    assert [value.device.type for value in copied] == ["meta"] * len(original)
    x = torch.ones(1, 1, 8, 9)
    assert degradation.operator.A(x).device.type == "cpu"


def test_block_mean_averages_partial_blocks_at_edge() -> None:
    x = torch.arange(15.0).view(1, 1, 3, 5)
    expected = torch.tensor([[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]])
    assert torch.equal(BlockMean(2, (3, 5)).A(x)[0, 0], expected)


@pytest.mark.parametrize("kernel", [gaussian_kernel(1.5), motion_kernel(7, 30), motion_kernel(1, 0)])
def test_blur_kernels_preserve_mean_and_centre(kernel: Tensor) -> None:
    assert kernel.sum().item() == pytest.approx(1)
    assert torch.allclose(kernel, kernel.flip(0, 1))
    x = torch.rand(1, 1, 9, 12, dtype=torch.float64)
    assert CircularBlur(kernel, (9, 12)).A(x).mean().item() == pytest.approx(x.mean().item())


def test_horizontal_motion_kernel_blurs_rows_only() -> None:
    kernel = motion_kernel(5, 0)
    assert kernel.sum(0).gt(0).sum() == 5
    assert kernel.sum(1).gt(1e-12).sum() == 1


@pytest.mark.parametrize("name", ["mask", "blur", "blocks"])
def test_operators_match_deepinv(name: str) -> None:
    physics = pytest.importorskip("deepinv.physics")
    x = torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(1))
    mask = (torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    kernel = gaussian_kernel(0.7).float()
    box = torch.full((1, 1, 4, 4), 1 / 16)
    make: dict[str, Callable[[], tuple[Operator, object]]] = {
        "mask": lambda: (Mask(mask), physics.Inpainting(img_size=(1, 12, 16), mask=mask)),
        "blur": lambda: (
            CircularBlur(kernel, (12, 16)),
            physics.BlurFFT(img_size=(1, 12, 16), filter=kernel.view(1, 1, *kernel.shape)),
        ),
        "blocks": lambda: (
            BlockMean(4, (12, 16)),
            physics.Downsampling(img_size=(1, 12, 16), filter=box, factor=4, padding="valid"),
        ),
    }
    ours, theirs = make[name]()
    y = ours.A(x)
    assert torch.allclose(theirs.A(x), y, atol=1e-5)  # type: ignore[attr-defined]
    assert torch.allclose(theirs.A_adjoint(y), ours.adjoint(y), atol=1e-5)  # type: ignore[attr-defined]
    assert torch.allclose(theirs.A_dagger(y), ours.pinv(y), atol=1e-3)  # type: ignore[attr-defined]
    v = torch.rand_like(x)
    rho = 0.3
    prox = theirs.prox_l2(v, y, gamma=1 / rho)  # type: ignore[attr-defined]
    assert torch.allclose(prox, ours.prox(v, y, rho), atol=1e-4)
