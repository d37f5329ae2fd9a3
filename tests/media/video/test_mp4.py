import struct
import time
import tracemalloc
from pathlib import Path

import pytest

from fakes.clips import clip, converted, with_sound
from wanworker.errors import NoOutput
from wanworker.media.video import mp4

PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("mp4") / "clip.mp4", frames=17, width=64, height=48, fps=16)


@pytest.fixture(scope="module")
def index_last(made: Path) -> Path:
    return converted(made, made.with_name("last.mp4"), "-c", "copy")


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "changed.mp4"
    path.write_bytes(data)
    return path


def test_an_mp4_is_read_from_its_index(made: Path) -> None:
    facts = mp4.facts(made)

    assert mp4.VideoFacts(64, 48, 16.0, 17, 17 / 16, made.stat().st_size, "h264", False) == facts


def test_a_sound_track_is_seen(made: Path, tmp_path: Path) -> None:
    assert mp4.facts(with_sound(made, tmp_path / "sound.mp4")).has_audio


def test_a_sound_alone_is_no_video(made: Path, tmp_path: Path) -> None:
    sound = converted(with_sound(made, tmp_path / "sound.mp4"), tmp_path / "only.mp4", "-vn", "-c", "copy")

    with pytest.raises(NoOutput, match="has no video track"):
        mp4.facts(sound)


def test_a_rotated_video_has_the_size_that_players_show(made: Path, tmp_path: Path) -> None:
    data = bytearray(made.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    facts = mp4.facts(written(tmp_path, bytes(data)))

    assert (48, 64) == (facts.width, facts.height)


def test_an_index_at_the_end_gives_the_same(made: Path, index_last: Path) -> None:
    data = index_last.read_bytes()

    assert data.index(b"mdat") < data.index(b"moov")
    assert mp4.facts(made).frames == mp4.facts(index_last).frames


def test_a_box_with_a_64_bit_size_is_read(index_last: Path, tmp_path: Path) -> None:
    data = bytearray(index_last.read_bytes())
    free = data.index(b"free") - 4
    (size,) = struct.unpack_from(">I", data, free + 8)
    data[free : free + 16] = struct.pack(">I4sQ", 1, b"mdat", size + 8)
    facts = mp4.facts(written(tmp_path, bytes(data)))

    assert 17 == facts.frames


def test_64_bit_chunk_offsets_are_read(index_last: Path, tmp_path: Path) -> None:
    path = written(tmp_path, with_wide_offsets(index_last.read_bytes()))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(with_wide_offsets(index_last.read_bytes(), further=2**33))

    assert 17 == mp4.facts(path).frames
    with pytest.raises(NoOutput, match="frames end at byte 85899"):
        mp4.facts(cut)


def with_wide_offsets(data: bytes, further: int = 0) -> bytes:
    """Turn the only `stco` of a file whose index comes last into a `co64`."""
    at = data.index(b"stco") - 4
    size, _, _, count = struct.unpack_from(">I4sII", data, at)
    offsets = struct.unpack_from(f">{count}I", data, at + 16)
    wide = struct.pack(f">I4sII{count}Q", 16 + 8 * count, b"co64", 0, count, *(offset + further for offset in offsets))
    changed = bytearray(data[:at] + wide + data[at + size :])
    for name in PARENTS:
        parent = changed.rindex(name, 0, at) - 4
        struct.pack_into(">I", changed, parent, struct.unpack_from(">I", changed, parent)[0] + len(wide) - size)
    return bytes(changed)


def test_a_fragmented_file_is_left_to_ffmpeg(made: Path, tmp_path: Path) -> None:
    pieces = converted(made, tmp_path / "pieces.mp4", "-c", "copy", "-movflags", "frag_keyframe+empty_moov")

    with pytest.raises(mp4.Fragmented):
        mp4.facts(pieces)


def test_a_missing_and_an_empty_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NoOutput, match=r"gone\.mp4 was not written"):
        mp4.facts(tmp_path / "gone.mp4")
    with pytest.raises(NoOutput, match="is empty"):
        mp4.facts(written(tmp_path, b""))


@pytest.mark.parametrize("data", [b"no video at all", b"\x00\x00", b"{}" * 40], ids=["text", "two bytes", "json"])
def test_other_files_named_mp4_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(NoOutput, match="is not an mp4 file"):
        mp4.facts(written(tmp_path, data))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9, 0.99])
def test_a_cut_file_is_found_wherever_its_index_is(made: Path, index_last: Path, tmp_path: Path, share: float) -> None:
    for whole in (made, index_last):
        data = whole.read_bytes()

        with pytest.raises(NoOutput, match="cut short or damaged"):
            mp4.facts(written(tmp_path, data[: int(len(data) * share)]))


def test_a_file_that_lost_its_last_frames_is_found_by_its_index(index_last: Path, tmp_path: Path) -> None:
    data = bytearray(index_last.read_bytes())
    offset = data.index(b"stco") + 12
    struct.pack_into(">I", data, offset, struct.unpack_from(">I", data, offset)[0] + len(data))

    with pytest.raises(NoOutput, match="is cut short: its frames end at byte"):
        mp4.facts(written(tmp_path, bytes(data)))


def test_a_video_track_without_frames_is_no_output(made: Path, tmp_path: Path) -> None:
    data = bytearray(made.read_bytes())
    struct.pack_into(">I", data, data.index(b"stts") + 8, 0)

    with pytest.raises(NoOutput, match="without frames"):
        mp4.facts(written(tmp_path, bytes(data)))


def test_every_single_damaged_index_byte_ends_in_facts_or_no_output(made: Path, tmp_path: Path) -> None:
    data = made.read_bytes()
    start = data.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", data, start)
    path = tmp_path / "damaged.mp4"
    outcomes = set()
    for at in range(start, start + size):
        path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
        try:
            outcomes.add(type(mp4.facts(path)).__name__)
        except NoOutput as error:
            outcomes.add(type(error).__name__)

    assert {"VideoFacts", "NoOutput"} == outcomes


def test_reading_takes_milliseconds(made: Path) -> None:
    started = time.thread_time()  # what else the machine does in the meantime is not counted
    for _ in range(20):
        mp4.facts(made)

    assert (time.thread_time() - started) / 20 < 0.01


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def many_samples(entries: int) -> bytes:
    """Return an mp4 whose video track names *entries* samples of one byte, a chunk for each."""
    table = struct.pack(">II", 0, entries)
    tables = (
        box(b"stsd", bytes(4) + struct.pack(">I", 1) + struct.pack(">I4s", 86, b"avc1") + bytes(24) + b"\0\x40\0\x30"),
        box(b"stts", struct.pack(">IIII", 0, 1, entries, 1)),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, 1, 1)),
        box(b"stsz", struct.pack(">III", 0, 0, entries) + b"\0\0\0\x01" * entries),
        box(b"stco", table + b"\0\0\0\x08" * entries),
    )
    matrix = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 0)
    head = box(b"tkhd", bytes(40) + matrix), box(b"mdhd", bytes(12) + struct.pack(">II", 25, entries))
    media = box(b"mdia", head[1] + box(b"hdlr", bytes(8) + b"vide") + box(b"minf", box(b"stbl", b"".join(tables))))
    return box(b"ftyp", b"isom") + box(b"moov", box(b"trak", head[0] + media))


def test_an_index_of_many_samples_is_read_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "long.mp4").write_bytes(many_samples(1_000_000))

    tracemalloc.start()
    found = mp4.facts(tmp_path / "long.mp4")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert 1_000_000 == found.frames
    assert peak_bytes < 40_000_000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (many_samples(3_000_000), "its tables have more than 16 MiB"),
        (box(b"ftyp", b"isom") + box(b"free", b"") * 100_001, "it has more than 100,000 boxes"),
    ],
    ids=["tables", "boxes"],
)
def test_an_index_larger_than_any_films_is_damage(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "large.mp4").write_bytes(content)

    tracemalloc.start()
    with pytest.raises(NoOutput, match=said):
        mp4.facts(tmp_path / "large.mp4")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 40_000_000


def test_boxes_nested_as_deep_as_the_file_is_long_are_no_recursion(tmp_path: Path) -> None:
    inner = b""
    for _ in range(5000):
        inner = box(b"mdia", inner)
    (tmp_path / "deep.mp4").write_bytes(box(b"ftyp", b"isom") + box(b"moov", box(b"trak", inner)))

    with pytest.raises(NoOutput, match="a track has no"):
        mp4.facts(tmp_path / "deep.mp4")


def test_a_table_that_ends_in_the_middle_is_damage(tmp_path: Path) -> None:
    whole = many_samples(10)
    at = whole.index(b"stco") + 8
    (tmp_path / "short.mp4").write_bytes(whole[:at] + b"\xff\xff\xff\xff" + whole[at + 4 :])

    with pytest.raises(NoOutput, match=r"4,294,967,295 entries ends in the middle"):
        mp4.facts(tmp_path / "short.mp4")
