"""Tell what a file is from its first bytes; names and content types are ignored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: How many bytes from the start are needed to tell the type.
HEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class FileType:
    """
    Describe one type of file.

    `reader` is the name by which Pillow (for a picture) or ffmpeg (for a sound or a film) reads it. So neither has to
    guess; by guessing, a playlist that names other files could be opened.
    """

    name: str
    kind: Literal["picture", "sound", "film"]
    suffix: str
    reader: str

    @property
    def demuxer(self) -> str | None:
        """The name under which ffmpeg reads it: of pictures only those that move."""
        return _MOVING.get(self.reader) if self.kind == "picture" else self.reader


#: Pillow's name of a picture that may move -> ffmpeg's.
_MOVING = {"GIF": "gif", "PNG": "apng", "WEBP": "webp_anim"}

_PNG = FileType("a PNG picture", "picture", ".png", "PNG")
_JPEG = FileType("a JPEG picture", "picture", ".jpg", "JPEG")
_WEBP = FileType("a WebP picture", "picture", ".webp", "WEBP")
#: A GIF is a picture that can also be used as a film: see `serves_as`.
_GIF = FileType("a GIF picture", "picture", ".gif", "GIF")
_BMP = FileType("a BMP picture", "picture", ".bmp", "BMP")
_TIFF = FileType("a TIFF picture", "picture", ".tiff", "TIFF")
_AVIF = FileType("an AVIF picture", "picture", ".avif", "AVIF")
_WAV = FileType("a WAV sound", "sound", ".wav", "wav")
_MP3 = FileType("an MP3 sound", "sound", ".mp3", "mp3")
_FLAC = FileType("a FLAC sound", "sound", ".flac", "flac")
_OGG = FileType("an Ogg sound", "sound", ".ogg", "ogg")
_AAC = FileType("an AAC sound", "sound", ".aac", "aac")
_M4A = FileType("an M4A sound", "sound", ".m4a", "mov")
_MP4 = FileType("an MP4 video", "film", ".mp4", "mov")
_MOV = FileType("a QuickTime video", "film", ".mov", "mov")
_WEBM = FileType("a WebM video", "film", ".webm", "matroska")
_MKV = FileType("a Matroska video", "film", ".mkv", "matroska")
_AVI = FileType("an AVI video", "film", ".avi", "avi")

_BY_START: tuple[tuple[bytes, FileType], ...] = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"BM", _BMP),
    (b"II*\x00", _TIFF),
    (b"MM\x00*", _TIFF),
    (b"fLaC", _FLAC),
    (b"OggS", _OGG),
    (b"ID3", _MP3),
)
_BY_RIFF_FORM = {b"WAVE": _WAV, b"AVI ": _AVI, b"WEBP": _WEBP}
_BY_BRAND = {b"qt  ": _MOV, b"M4A ": _M4A, b"M4B ": _M4A, b"avif": _AVIF, b"avis": _AVIF}
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
#: The first atoms of QuickTime files that are older than the `ftyp` atom.
_OLD_MOV_ATOMS = frozenset({b"moov", b"mdat", b"wide", b"pnot"})

_OTHERS: tuple[tuple[bytes, str], ...] = (
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<head", "an HTML page"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document"),
    (b"{", "a JSON document"),
    (b"[", "a JSON document"),
    (b"#extm3u", "a playlist"),
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"%pdf", "a PDF document"),
    (b"pk\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)


def sniff(head: bytes) -> FileType | None:
    """Return the type of a file that begins with *head* (HEAD_BYTES of it are enough), or None if it is unknown."""
    for start, file_type in _BY_START:
        if head.startswith(start):
            return file_type
    if head[:4] in {b"RIFF", b"RF64"}:
        return _BY_RIFF_FORM.get(head[8:12])
    if head.startswith(b"\x1aE\xdf\xa3"):
        return _WEBM if b"webm" in head[:64] else _MKV
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if head[4:8] in _OLD_MOV_ATOMS:
        return _MOV
    return _by_sync_word(head)


def type_of(path: Path) -> FileType | None:
    """Return the type of the file *path*, or None if it is unknown or the file cannot be read."""
    try:
        with path.open("rb") as file:
            return sniff(file.read(HEAD_BYTES))
    except OSError:
        return None


def serves_as(file_type: FileType, kind: Literal["picture", "sound", "film"]) -> bool:
    """Say whether such a file can be used as *kind*. A film can be used for its sound, a GIF as a film."""
    return (
        file_type.kind == kind
        or (kind == "sound" and file_type.kind == "film")
        or (kind == "film" and file_type is _GIF)
    )


def describe(head: bytes) -> str:
    """Say in words what a file that begins with *head* looks like, also if we cannot read it."""
    if not head:
        return "an empty file"
    known = sniff(head)
    if known is not None:
        return known.name
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return "a HEIC picture"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:32].lower()
    for beginning, name in _OTHERS:
        if start.startswith(beginning):
            return name
    return "plain text" if _is_text(head) else "data of an unknown type"


def _by_brand(head: bytes) -> FileType | None:
    """Tell the relatives of MP4 apart by their brand. A HEIF picture may be AVIF by a compatible brand."""
    brand = head[8:12]
    if brand in _HEIF_BRANDS:
        size = min(int.from_bytes(head[:4], "big"), len(head))
        compatible = {head[at : at + 4] for at in range(16, size, 4)}
        return _AVIF if b"avif" in compatible else None
    return _BY_BRAND.get(brand, _MP4)


def _by_sync_word(head: bytes) -> FileType | None:
    """Recognise the frame headers of bare AAC (ADTS) and MP3 (MPEG layer III): eleven ones or more, then the layer."""
    if len(head) < 4 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0:
        return _AAC
    return _MP3 if head[1] & 0xE6 == 0xE2 else None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")  # The head ends in the middle of a character.
    return all(character.isprintable() or character.isspace() for character in text)
