"""Names of files that aren't read as pictures, by their first bytes, so that a message can say what to do."""

from __future__ import annotations

from pathlib import Path

_RAW, _WEB_PAGE, _POINTER = "a camera's raw file", "a web page", "a pointer of Git LFS"
_ARRAYS = "an archive of NumPy arrays"
RAW_REMEDY = "Develop it to a 16-bit PNG or TIFF first."
_REMEDIES = {
    _RAW: RAW_REMEDY,
    _WEB_PAGE: "Download the picture itself.",
    _ARRAYS: "Save the picture alone, with numpy.save.",
    _POINTER: "Fetch the file itself with: git lfs pull",
}
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 file"),
    (4, b"jP  \r\n\x87\n", "a JPEG 2000 file"),
    (0, b"\xff\x0a", "a JPEG XL file"),
    (4, b"JXL \r\n\x87\n", "a JPEG XL file"),
    (0, b"II\xbc\x01", "a JPEG XR file"),
    (8, b"CR\x02\x00", _RAW),
    (0, b"IIRO", _RAW),
    (0, b"IIRS", _RAW),
    (0, b"IIU\x00", _RAW),
    (0, b"FUJIFILMCCD-RAW", _RAW),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"gimp xcf", "a GIMP file"),
    (0, b"%PDF", "a PDF file"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"v/1\x01", "an OpenEXR file"),
    (0, b"#?RADIANCE", "a Radiance file"),
    (0, b"PF\n", "a PFM file in colour"),
    (0, b"P7\n", "a PAM file"),
    (0, b"DDS ", "a DDS texture"),
    (0, b"SDPX", "a DPX file"),
    (0, b"XPDS", "a DPX file"),
    (0, b"qoif", "a QOI file"),
    (0, b"/* XPM", "an XPM file"),
    (0, b"SIMPLE  =", "a FITS file"),
    (128, b"DICM", "a DICOM file"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy file"),
    (0, b"\x00\x00\x01\x00", "an icon file"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x1aE\xdf\xa3", "a video"),
)
_BRANDS = {
    b"avif": "an AVIF file", b"avis": "an AVIF file", b"crx ": _RAW,
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "a HEIC file"),
}  # fmt: skip
_RAW_SUFFIXES = {".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"}


def recognize(path: Path, start: bytes) -> tuple[str, str] | None:
    """Return what a file is, such as "a HEIC file", and what to do; None for a picture and for an unknown file.

    `start` holds the first bytes of the file, at least 256 of them if it is that long.
    """
    if path.suffix.lower() == ".npz":
        name = _ARRAYS
    elif path.suffix.lower() in _RAW_SUFFIXES:  # most are TIFF files, whose first image is a small preview
        name = _RAW
    elif start[4:8] == b"ftyp":
        name = "an AVIF file" if b"avif" in start[8:64] else _BRANDS.get(start[8:12], "a video")
    elif start.startswith(b"\xff\xd8\xff"):
        name = _jpeg(start)
    else:
        name = next((name for offset, sign, name in _SIGNATURES if start.startswith(sign, offset)), "") or _text(start)
    if not start:
        return "an empty file", "Copy or save the file again."
    return (name, _REMEDIES.get(name, "Convert it to PNG first.")) if name else None


def _jpeg(start: bytes) -> str:
    """Return what a JPEG file of a rare kind is; an empty string for one that is read."""
    position = 2
    while (header := start[position : position + 5])[:1] == b"\xff" and len(header) == 5:
        marker = header[1]
        if marker == 0xF7:
            return "a JPEG-LS file"
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            lossless = marker & 3 == 3
            return "a lossless JPEG file" if lossless else f"a JPEG file of {header[4]} bits" if header[4] != 8 else ""
        # Fill bytes may precede a marker; each segment begins with its length.
        position += 1 if marker == 0xFF else 2 + int.from_bytes(header[2:4], "big")
    return ""


def _text(start: bytes) -> str:
    """Return what a text file is; an empty string if it is none that people take for a picture."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return _WEB_PAGE
    if text.startswith(b"version https://git-lfs"):
        return _POINTER
    return "an SVG drawing" if text.startswith(b"<") and b"<svg" in text else ""
