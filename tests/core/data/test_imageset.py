from __future__ import annotations

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from dipddpm.core.data import ImageSet, Split, check, hold_out, load
from dipddpm.core.data.catalogue import CATALOGUE
from dipddpm.core.errors import UserError

if TYPE_CHECKING:
    from tests.core.data.conftest import Published

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
needs_debian = pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")


def numbered(count: int) -> ImageSet:
    images = torch.arange(count, dtype=torch.int64).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).to(torch.uint8)
    return ImageSet("numbers", "train", images, torch.arange(count) % 10, tuple("0123456789"), source="here")


def test_data_import_loads_neither_torch_nor_numpy() -> None:
    use = "import sys; from dipddpm.core import data; data.locations()"
    code = f"{use}; print({{'torch', 'numpy', 'PIL'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_mini_set_is_complete_and_balanced() -> None:
    train, test = load("fashion-mini"), load("fashion-mini", "test")
    assert train.images.shape == (2000, 1, 28, 28) and test.images.shape == (500, 1, 28, 28)
    assert train.images.dtype == torch.uint8 and train.labels.dtype == torch.int64
    assert torch.bincount(train.labels).tolist() == [200] * 10
    assert torch.bincount(test.labels).tolist() == [50] * 10
    fit, validation = hold_out(train)
    assert torch.bincount(fit.labels).tolist() == [180] * 10
    assert torch.bincount(validation.labels).tolist() == [20] * 10


@needs_debian
def test_load_of_fashionmnist_matches_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import FashionMNIST

    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in DEBIAN.glob("*.gz"):
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    for split in ("train", "test"):
        ours, theirs = load("fashionmnist", split, root=tmp_path), FashionMNIST(tmp_path, train=split == "train")
        assert ours.source == str(raw)
        assert torch.equal(ours.images[:, 0], theirs.data)
        assert torch.equal(ours.labels, theirs.targets)
        assert list(ours.classes) == theirs.classes


@needs_debian
def test_mini_set_matches_script_that_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dipddpm.core.data import locate
    from scripts import make_fashion_mini

    monkeypatch.setattr(locate, "DEBIAN_FOLDER", DEBIAN.parent)
    make_fashion_mini.write(tmp_path)
    for file in CATALOGUE["fashion-mini"].files:
        drawn, shipped = (tmp_path / file.name).read_bytes(), (locate.MINI_FOLDER / file.name).read_bytes()
        assert gzip.decompress(drawn) == gzip.decompress(shipped)
        assert drawn[4:8] == bytes(4)  # no modification time, so that the script always writes the same file


@needs_debian
def test_mini_set_excludes_validation_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dipddpm.core.data.locate.DEBIAN_FOLDER", DEBIAN.parent)
    fit, validation = hold_out(load("fashionmnist"))
    assert len(fit) == 55_000

    def pictures(images: ImageSet) -> set[bytes]:
        return {image.numpy().tobytes() for image in images.images}

    mini = pictures(load("fashion-mini"))
    assert mini <= pictures(fit) and not mini & pictures(validation)
    assert pictures(load("fashion-mini", "test")) <= pictures(load("fashionmnist", "test"))


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("layout", ["", "fashionmnist", "FashionMNIST/raw"])
def test_load_reads_given_folder_in_any_layout(published: Published, tmp_path: Path, layout: str, packed: bool) -> None:
    folder = published.write(tmp_path / "given" / layout, packed=packed)
    splits: dict[Split, Any] = {"train": published.train, "test": published.test}
    for split, (images, labels) in splits.items():
        loaded = load("fashionmnist", split, root=tmp_path / "given")
        assert loaded.source == str(folder)
        np.testing.assert_array_equal(loaded.images[:, 0].numpy(), images)
        np.testing.assert_array_equal(loaded.labels.numpy(), labels)


def test_load_searches_folders_in_order(published: Published, tmp_path: Path, bare_machine: Path) -> None:
    debian = published.write(tmp_path / "debian" / "fashion-mnist")
    assert load("fashionmnist").source == str(debian)
    cached = published.write(bare_machine / "fashionmnist")
    assert load("fashionmnist").source == str(cached)
    given = published.write(tmp_path / "given" / "fashionmnist")
    assert load("fashionmnist", root=tmp_path / "given").source == str(given)


def test_image_set_digest_ignores_compression_level(published: Published, tmp_path: Path) -> None:
    one = load("fashionmnist", root=published.write(tmp_path / "one", level=1))
    nine = load("fashionmnist", root=published.write(tmp_path / "nine", level=9))
    assert one.sha256 == nine.sha256


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _tamper(data: bytes) -> bytes:
    contents = bytearray(gzip.decompress(data))
    contents[-1] ^= 1
    return gzip.compress(bytes(contents))


def _other_kind(data: bytes) -> bytes:
    return gzip.compress(b"\0\0\x0d\x03" + gzip.decompress(data)[4:])


def _flip_packed(data: bytes) -> bytes:
    return data[:-500] + bytes(byte ^ 255 for byte in data[-500:])


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("harm", [_cut, _tamper, _other_kind, lambda _: b"", lambda _: b"<html>not found</html>"])
def test_load_names_file_that_differs_from_published_file(
    published: Published, bare_machine: Path, harm: Callable[[bytes], bytes], file: str
) -> None:
    path = published.write(bare_machine / "fashionmnist") / file
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(UserError) as refused:
        load("fashionmnist")
    assert str(path) in refused.value.problem
    assert "dipddpm data fetch fashionmnist" in refused.value.remedy


def test_load_names_file_with_damaged_gzip_stream(published: Published, bare_machine: Path) -> None:
    path = published.write(bare_machine / "fashionmnist") / "train-images-idx3-ubyte.gz"
    path.write_bytes(_flip_packed(path.read_bytes()))
    with pytest.raises(UserError, match=f"{path.name} is not the published file of fashionmnist: it is damaged"):
        load("fashionmnist")


def test_load_ignores_files_of_another_set(published: Published, tmp_path: Path) -> None:
    published.write(tmp_path / "given")
    with pytest.raises(UserError, match="mnist is not on this machine"):
        load("mnist", root=tmp_path / "given")


def test_load_checks_packed_digest_of_file_itself(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published.write(tmp_path / "kmnist")
    files = tuple(
        replace(file, sha256=hashlib.sha256((folder / file.name).read_bytes()).hexdigest(), packed=True)
        for file in published.dataset.files
    )
    monkeypatch.setitem(CATALOGUE, "kmnist", replace(CATALOGUE["kmnist"], files=files, train=30, test=20))
    np.testing.assert_array_equal(load("kmnist", root=tmp_path).images[:, 0].numpy(), published.train[0])
    published.write(folder, level=1)
    with pytest.raises(UserError, match="its contents differ"):
        load("kmnist", root=tmp_path)


def test_load_reads_cifar_from_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    records = {
        name: random.integers(0, 10, (4, 3073), np.uint8)
        for name in [*(f"data_batch_{number}.bin" for number in (3, 1, 2, 5, 4)), "test_batch.bin"]
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, values in records.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = values.size
            archive.addfile(member, io.BytesIO(values.tobytes()))
    cifar = CATALOGUE["cifar10"]
    file = replace(cifar.files[0], sha256=hashlib.sha256(buffer.getvalue()).hexdigest())
    monkeypatch.setitem(CATALOGUE, "cifar10", replace(cifar, files=(file,)))
    (tmp_path / file.name).write_bytes(buffer.getvalue())

    train, test = load("cifar10", root=tmp_path), load("cifar10", "test", root=tmp_path)
    assert train.images.shape == (20, 3, 32, 32) and len(test) == 4
    for index in range(20):
        record = records[f"data_batch_{index // 4 + 1}.bin"][index % 4]
        assert train.labels[index] == record[0]
        for channel in range(3):
            for row in (0, 31):
                start = 1 + channel * 1024 + row * 32
                np.testing.assert_array_equal(train.images[index, channel, row].numpy(), record[start : start + 32])
    (tmp_path / file.name).write_bytes(buffer.getvalue()[:-1])
    with pytest.raises(UserError, match=r"cifar-10-binary\.tar\.gz is not the published file"):
        load("cifar10", root=tmp_path)


def test_load_and_check_suggest_three_ways_to_get_missing_set(tmp_path: Path) -> None:
    for refuse in (lambda: load("fashionmnist"), lambda: check("fashionmnist")):
        with pytest.raises(UserError) as refused:
            refuse()
        assert refused.value.problem == "The data set fashionmnist is not on this machine."
        for way in ("dataset-fashion-mnist", "dipddpm data fetch fashionmnist", "--data-dir", "fashion-mini"):
            assert way in refused.value.remedy
        assert refused.value.remedy.count(".") == 1


def test_check_suggests_nearest_set_name() -> None:
    for wrong, right in {"fashonmnist": "fashionmnist", "FashionMNIST": "fashionmnist", "cifar": "cifar10"}.items():
        with pytest.raises(UserError, match=f"Did you mean {right}"):
            check(wrong)


def test_load_refuses_missing_data_folder(published: Published, tmp_path: Path, bare_machine: Path) -> None:
    published.write(bare_machine / "fashionmnist")
    with pytest.raises(UserError, match="There is no data folder"):
        load("fashionmnist", root=tmp_path / "typo")


def test_image_set_digest_covers_contents() -> None:
    images = numbered(12)
    expected = hashlib.sha256(images.images.numpy().tobytes() + images.labels.numpy().astype("<i8").tobytes())
    assert images.sha256 == expected.hexdigest()
    assert images.take(range(12)).sha256 == images.sha256
    assert images.take([1, 0]).sha256 != images.take([0, 1]).sha256
    assert replace(images, labels=images.labels.flip(0)).sha256 != images.sha256


def test_image_set_take_preserves_order_and_refuses_missing_index() -> None:
    taken = numbered(12).take([7, 3, 3])
    assert taken.images[:, 0, 0, 0].tolist() == [7, 3, 3] and taken.labels.tolist() == [7, 3, 3]
    for index in (12, -1):
        with pytest.raises(UserError, match=f"no image {index} in the train images of numbers"):
            numbered(12).take([0, index])


@pytest.mark.parametrize(("count", "held"), [(60_000, 5000), (50_000, 5000), (2000, 200), (19, 1), (2, 1)])
def test_hold_out_takes_last_images(count: int, held: int) -> None:
    labels = torch.arange(count)
    train = ImageSet("set", "train", labels.view(-1, 1, 1, 1), labels, (), source="")
    fit, validation = hold_out(train)
    assert torch.equal(torch.cat([fit.labels, validation.labels]), labels)
    assert torch.equal(torch.cat([fit.images, validation.images]), train.images)
    assert len(validation) == held
    assert (fit.split, validation.split) == ("fit", "validation")


def test_hold_out_refuses_one_image() -> None:
    with pytest.raises(UserError, match="too few images"):
        hold_out(numbered(1))


def test_image_set_to_moves_images_and_labels() -> None:
    moved = numbered(3).to("meta")
    assert moved.images.device.type == moved.labels.device.type == "meta"
