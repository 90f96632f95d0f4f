"""Tests of `fetch`, against a web server on this machine."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torchvision.datasets

from dipddpm.core.data import fetch, load, locations
from dipddpm.core.data.catalogue import CATALOGUE
from dipddpm.core.data.locate import _mirrors
from dipddpm.core.errors import UserError

if TYPE_CHECKING:
    from tests.core.data.conftest import Published

IMAGES = "train-images-idx3-ubyte.gz"


@dataclass
class Mirror:
    """A web server on this machine; it breaks the connection in the middle of the files in `cut`."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    def publish(self, published: Published) -> None:
        for name, contents in published.contents.items():
            self.files[f"/fashionmnist/{name}"] = gzip.compress(contents)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Start a mirror and make it the only address to fetch from."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append(self.path)
            if self.path not in served.files:
                self.send_error(404)
                return
            data = served.files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if self.path in served.cut else data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Mirror(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("DIPDDPM_MIRROR", served.url + "/")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetch_verifies_and_stores_download(published: Published, mirror: Mirror, bare_machine: Path) -> None:
    mirror.publish(published)
    reports: list[tuple[str, int, int]] = []
    folder = fetch("fashionmnist", progress=lambda *report: reports.append(report))
    assert folder == bare_machine / "fashionmnist"
    assert sorted(path.name for path in folder.iterdir()) == sorted(published.contents)
    assert load("fashionmnist").images.shape == (30, 1, 28, 28)
    size = len(mirror.files[f"/fashionmnist/{IMAGES}"])
    assert [report for report in reports if report[0] == IMAGES][-1] == (IMAGES, size, size)
    assert {name for name, _, _ in reports} == set(published.contents)

    mirror.requests.clear()
    assert fetch("fashionmnist") == folder
    assert mirror.requests == []


def test_load_never_downloads(published: Published, mirror: Mirror) -> None:
    mirror.publish(published)
    with pytest.raises(UserError, match="not on this machine"):
        load("fashionmnist")
    assert mirror.requests == []


def test_load_reads_set_fetched_into_given_folder(published: Published, mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish(published)
    fetch("fashionmnist", root=tmp_path / "new")
    images = load("fashionmnist", "test", root=tmp_path / "new")
    assert len(images) == 20 and images.source == str(tmp_path / "new" / "fashionmnist")


def test_fetch_replaces_only_damaged_file(published: Published, mirror: Mirror, bare_machine: Path) -> None:
    mirror.publish(published)
    path = published.write(bare_machine / "fashionmnist") / IMAGES
    path.write_bytes(path.read_bytes()[:-9])
    fetch("fashionmnist")
    assert mirror.requests == [f"/fashionmnist/{IMAGES}"]
    assert gzip.decompress(path.read_bytes()) == published.contents[IMAGES]


def test_fetch_uses_debian_set_without_download(published: Published, mirror: Mirror, tmp_path: Path) -> None:
    debian = published.write(tmp_path / "debian" / "fashion-mnist")
    assert fetch("fashionmnist") == debian
    assert mirror.requests == []


def test_fetch_leaves_nothing_after_broken_connection(published: Published, mirror: Mirror, bare_machine: Path) -> None:
    mirror.publish(published)
    mirror.cut.add(f"/fashionmnist/{IMAGES}")
    with pytest.raises(UserError, match="the connection broke after") as refused:
        fetch("fashionmnist")
    assert f"{mirror.url}/fashionmnist/{IMAGES}" in refused.value.problem
    assert "fashion-mini" in refused.value.remedy
    assert list((bare_machine / "fashionmnist").iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [b"<html>hello</html>", gzip.compress(b"another", mtime=0), gzip.compress(b"x" * 99, mtime=0)[:-9]],
    ids=["web page", "other file", "truncated file"],
)
def test_fetch_never_writes_unpublished_content(
    published: Published, mirror: Mirror, bare_machine: Path, wrong: bytes
) -> None:
    mirror.publish(published)
    mirror.files[f"/fashionmnist/{IMAGES}"] = wrong
    with pytest.raises(UserError, match=f"The file at {mirror.url}/fashionmnist/{IMAGES} is not the published file"):
        fetch("fashionmnist")
    assert list((bare_machine / "fashionmnist").iterdir()) == []


def test_fetch_after_failure_requests_only_missing_files(
    published: Published, mirror: Mirror, bare_machine: Path
) -> None:
    mirror.publish(published)
    last = f"/fashionmnist/{published.dataset.files[-1].name}"
    whole = mirror.files.pop(last)
    with pytest.raises(UserError, match="the server answers 404"):
        fetch("fashionmnist")
    assert len(list((bare_machine / "fashionmnist").iterdir())) == 3
    assert locations()["fashionmnist"] is None
    mirror.files[last] = whole
    mirror.requests.clear()
    fetch("fashionmnist")
    assert mirror.requests == [last]


def test_fetch_tries_next_mirror(published: Published, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror.publish(published)
    monkeypatch.delenv("DIPDDPM_MIRROR")
    mirrors = ["http://127.0.0.1:9/", f"{mirror.url}/fashionmnist/"]
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "mirrors", mirrors)
    assert (fetch("fashionmnist") / IMAGES).is_file()


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "no address at all"])
def test_fetch_names_other_ways_without_network(
    published: Published, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DIPDDPM_MIRROR", address)
    with pytest.raises(UserError, match="cannot be fetched from") as refused:
        fetch("fashionmnist")
    assert "dataset-fashion-mnist" in refused.value.remedy


def test_fetch_refuses_folder_it_cannot_write(published: Published, mirror: Mirror, tmp_path: Path) -> None:
    mirror.publish(published)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        fetch("fashionmnist", root=tmp_path / "file")


def test_fetch_of_shipped_set_needs_no_network(mirror: Mirror) -> None:
    assert fetch("fashion-mini").name == "fashion-mini"
    assert mirror.requests == []


def test_fetch_of_missing_shipped_set_suggests_reinstall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dipddpm.core.data.locate.MINI_FOLDER", tmp_path)
    with pytest.raises(UserError, match="Reinstall dipddpm"):
        fetch("fashion-mini")


def test_fetch_refuses_file_over_size_limit(
    published: Published, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.publish(published)
    monkeypatch.setattr("dipddpm.core.data.locate.MAX_BYTES", 1000)
    with pytest.raises(UserError, match="it is larger than any published file"):
        fetch("fashionmnist")


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "fashion-mini"])
def test_mirrors_cover_every_published_set(name: str) -> None:
    for address in _mirrors(CATALOGUE[name]):
        assert address.startswith("http") and address.endswith("/")
