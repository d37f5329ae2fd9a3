import hashlib
from pathlib import Path

import pytest

from wanworker.media.outputs.file_facts import file_facts, mime_of


def test_a_file_is_summed_up(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x" * 3_000_000)
    facts = file_facts(path)

    assert (path, "video", "video/mp4", 3_000_000) == (facts.path, facts.kind, facts.mime, facts.size_bytes)
    assert hashlib.sha256(b"x" * 3_000_000).hexdigest() == facts.sha256


@pytest.mark.parametrize(
    ("name", "expected"),
    [("A.MP4", "video/mp4"), ("a.webp", "image/webp"), ("a.flac", "audio/flac"), ("a", "application/octet-stream")],
)
def test_the_type_follows_from_the_ending(name: str, expected: str) -> None:
    assert expected == mime_of(Path(name))
