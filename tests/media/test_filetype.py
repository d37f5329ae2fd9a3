import pytest

from wanworker.media._filetype import describe, serves_as, sniff

FTYP = b"\x00\x00\x00\x20ftyp"


@pytest.mark.parametrize(
    ("head", "suffix", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", ".png", "picture"),
        (b"\xff\xd8\xff\xe0..JFIF", ".jpg", "picture"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", ".webp", "picture"),
        (b"GIF89a....", ".gif", "picture"),
        (b"GIF87a....", ".gif", "picture"),
        (b"BM......", ".bmp", "picture"),
        (b"II*\x00....", ".tiff", "picture"),
        (b"MM\x00*....", ".tiff", "picture"),
        (FTYP + b"avif\x00\x00\x00\x00mif1", ".avif", "picture"),
        (FTYP + b"mif1\x00\x00\x00\x00mif1avif", ".avif", "picture"),
        (b"RIFF\x10\x00\x00\x00WAVEfmt ", ".wav", "sound"),
        (b"RF64\xff\xff\xff\xffWAVEds64", ".wav", "sound"),
        (b"ID3\x04....", ".mp3", "sound"),
        (b"\xff\xfb\x90\x00", ".mp3", "sound"),
        (b"\xff\xf3\x90\x00", ".mp3", "sound"),
        (b"fLaC....", ".flac", "sound"),
        (b"OggS....", ".ogg", "sound"),
        (b"\xff\xf1\x50\x80", ".aac", "sound"),
        (b"\xff\xf9\x50\x80", ".aac", "sound"),
        (FTYP + b"M4A \x00\x00\x00\x00", ".m4a", "sound"),
        (FTYP + b"isom\x00\x00\x02\x00isomiso2", ".mp4", "film"),
        (FTYP + b"mp42\x00\x00\x00\x00", ".mp4", "film"),
        (FTYP + b"qt  \x00\x00\x00\x00", ".mov", "film"),
        (b"\x00\x00\x00\x08wide\x00\x00", ".mov", "film"),
        (b"\x1aE\xdf\xa3\x01\x00B\x82\x84webm", ".webm", "film"),
        (b"\x1aE\xdf\xa3\x01\x00B\x82\x88matroska", ".mkv", "film"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", ".avi", "film"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head: bytes, suffix: str, kind: str) -> None:
    found = sniff(head)

    assert found is not None
    assert (suffix, kind) == (found.suffix, found.kind)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "an empty file"),
        (b"\xef\xbb\xbf\n <!DOCTYPE HTML><p>", "an HTML page"),
        (b"<html lang=en>", "an HTML page"),
        (b"<?xml version='1.0'?><Error>", "an XML document"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b'{"detail": "not found"}', "a JSON document"),
        (b"#EXTM3U\nhttp://127.0.0.1/", "a playlist"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"%PDF-1.7", "a PDF document"),
        (b"PK\x03\x04....", "a zip archive"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (FTYP + b"heic\x00\x00\x00\x00mif1heic", "a HEIC picture"),
        (b"ffconcat version 1.0\nfile /etc/passwd", "plain text"),
        ("Gr\u00fc\u00dfe".encode()[:-1], "plain text"),
        (b"\xff\xfe\x00\x01\x02\x03", "data of an unknown type"),
        (b"\x00" * 64, "data of an unknown type"),
        (b"RIFF\x10\x00\x00\x00ACON", "data of an unknown type"),
    ],
)
def test_what_we_cannot_read_is_described(head: bytes, words: str) -> None:
    assert sniff(head) is None
    assert words == describe(head)


def test_what_we_can_read_is_described_by_its_name() -> None:
    assert describe(b"RIFF\x10\x00\x00\x00WAVEfmt ") == "a WAV sound"


@pytest.mark.parametrize(
    ("head", "kinds"),
    [
        (b"\x89PNG\r\n\x1a\n", {"picture"}),
        (b"GIF89a", {"picture", "film"}),
        (b"fLaC", {"sound"}),
        (FTYP + b"isom", {"film", "sound"}),
    ],
)
def test_a_film_serves_for_its_sound_and_a_gif_as_a_film(head: bytes, kinds: set[str]) -> None:
    found = sniff(head)

    assert found is not None
    assert kinds == {kind for kind in ("picture", "sound", "film") if serves_as(found, kind)}
