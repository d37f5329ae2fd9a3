import asyncio
import base64
import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from PIL import Image

from fakes.files import FileServer, file_server
from fakes.network import Names
from fakes.recordings import film, sound
from wanworker.errors import InputRefused, InputUnavailable, RequestError
from wanworker.media.inputs._fetch import Network
from wanworker.media.inputs.reader import InputLimits, InputReader, Source


def png(width: int = 20, height: int = 10) -> bytes:
    written = io.BytesIO()
    Image.new("RGBA", (width, height), (255, 0, 0, 0)).save(written, "png")
    return written.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with file_server() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "inputs").mkdir()
    return tmp_path / "inputs"


@pytest.fixture
def reader(root: Path) -> InputReader:
    return InputReader(allow_hosts=("127.0.0.1",), roots=(root,))


async def test_a_reader_below_other_folders_keeps_the_hosts_and_the_limits(server: FileServer, folder: Path) -> None:
    server.files["large"] = bytes(2001)
    (folder / "a.txt").touch()
    first = InputReader(allow_hosts=("127.0.0.1",), limits=InputLimits(document_bytes=2000))
    reader = first.below(folder)

    assert await reader.document(Source("path", "a.txt"), folder, "b.txt") == folder / "b.txt"
    with pytest.raises(InputRefused, match="outside the allowed input folders"):
        await first.document(Source("path", "a.txt"), folder, "c.txt")
    with pytest.raises(InputRefused, match="2,000 bytes"):
        await reader.document(Source("url", server.url("/files/large")), folder, "d.txt")


def assert_clean(picture: Path) -> None:
    with Image.open(picture) as clean:
        assert (clean.format, clean.mode, clean.size) == ("PNG", "RGB", (20, 10))
        assert clean.getpixel((0, 0)) == (255, 255, 255)


async def test_a_picture_comes_from_a_url_base64_a_data_uri_or_a_path(
    reader: InputReader, server: FileServer, root: Path, folder: Path
) -> None:
    server.files["cat.png"] = png()
    (root / "cat.png").write_bytes(png())
    sources = {
        "url": Source("url", server.url("/files/cat.png")),
        "base64": Source("base64", text(png())),
        "data": Source("base64", f"data:image/png;base64,{text(png())}"),
        "data_in_url": Source("url", f"data:image/png;base64,{text(png())}"),
        "absolute": Source("path", str(root / "cat.png")),
        "relative": Source("path", "cat.png"),
    }

    for name, source in sources.items():
        assert await reader.image(source, folder, name) == folder / f"{name}.png"
        assert_clean(folder / f"{name}.png")
    assert {path.name for path in folder.iterdir()} == {f"{name}.png" for name in sources}
    assert (root / "cat.png").read_bytes() == png()


async def test_a_sound_gets_the_suffix_of_its_content(reader: InputReader, root: Path, folder: Path) -> None:
    sound(root / "voice.wav").rename(root / "called.mp3")
    film(root / "talk.mp4", with_sound=True)

    voice = await reader.audio(Source("path", "called.mp3"), folder, "voice")
    talk = await reader.audio(Source("path", "talk.mp4"), folder, "talk")

    assert (voice, talk) == (folder / "voice.wav", folder / "talk.mp4")
    assert voice.read_bytes() == (root / "called.mp3").read_bytes()
    assert len(list(folder.iterdir())) == 2


async def test_a_film_gets_the_suffix_of_its_content(
    reader: InputReader, server: FileServer, root: Path, folder: Path
) -> None:
    server.files["dance"] = film(root / "dance.mp4").read_bytes()
    wave = film(root / "wave.gif").read_bytes()

    dance = await reader.video(Source("url", server.url("/files/dance")), folder, "dance")
    waved = await reader.video(Source("base64", text(wave)), folder, "wave")

    assert (dance, waved) == (folder / "dance.mp4", folder / "wave.gif")
    assert waved.read_bytes() == wave


def test_a_prepared_folder_is_used_where_it_lies(reader: InputReader, root: Path) -> None:
    (root / "prepared").mkdir()

    assert reader.directory("prepared") == root / "prepared"
    with pytest.raises(InputRefused, match=r"^prepared folder: '/etc' is outside") as caught:
        reader.directory("/etc", label="prepared folder", field="prepared_path")
    assert caught.value.field == "prepared_path"


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (Source("base64", "no base64!"), InputUnavailable, "the base64 text is broken"),
        (Source("base64", ""), InputUnavailable, "the base64 text is empty"),
        (Source("base64", text(b"a text file")), InputUnavailable, "it looks like plain text, not a picture"),
        (Source("base64", text(png()[:-30])), InputUnavailable, "damaged or cut off"),
        (Source("base64", text(bytes(2001))), InputRefused, "2,001 bytes; at most 2,000"),
        (Source("base64", text(png(200, 100))), InputRefused, "200 x 100"),
        (Source("path", "empty"), InputUnavailable, "it looks like an empty file"),
        (Source("path", "large"), InputRefused, "2,001 bytes; at most 2,000"),
        (Source("path", "missing"), InputUnavailable, "does not exist"),
        (Source("path", "../secret"), InputRefused, "it is empty or has '..' in it"),
        (Source("path", "/etc/passwd"), InputRefused, "is outside"),
        (Source("url", "{server}/missing?sig=secret"), InputUnavailable, "{server}/missing answered 404."),
        (Source("url", "{server}/html?secret"), InputUnavailable, "it looks like an HTML page, not a picture"),
        (Source("url", "{server}/files/empty"), InputUnavailable, "it looks like an empty file"),
        (Source("url", "{server}/endless"), InputRefused, "larger than 2,000 bytes"),
        (Source("url", "{server}/slow"), InputUnavailable, "did not arrive within 0.3 s"),
        (Source("url", "{server}/redirect?to=http://[::1]/"), InputRefused, "private or reserved"),
        (Source("url", "http://127.0.0.2/"), InputRefused, "private or reserved"),
        (Source("url", "http://169.254.169.254/latest/"), InputRefused, "private or reserved"),
        (Source("url", "http://inside.example/"), InputRefused, "private or reserved"),
        (Source("url", "file:///etc/passwd"), InputRefused, "only http and https"),
    ],
)
async def test_a_bad_picture_is_named_by_its_label_and_field_and_leaves_nothing(
    source: Source, kind: type[RequestError], said: str, server: FileServer, root: Path, folder: Path
) -> None:
    server.files["empty"] = b""
    (root / "empty").touch()
    (root / "large").write_bytes(bytes(2001))
    reader = InputReader(
        allow_hosts=("127.0.0.1",),
        roots=(root,),
        limits=InputLimits(
            image_bytes=2000, image_pixels=10_000, fetch_timeout_s=0.3 if "/slow" in source.value else 30
        ),
        network=Network(Names({"inside.example": [["10.0.0.1"]]})),
    )
    source = Source(source.kind, source.value.format(server=server.url("")), "image_url")

    with pytest.raises(RequestError) as caught:
        await reader.image(source, folder, "reference", label="reference image")

    assert type(caught.value) is kind
    assert str(caught.value).startswith("reference image: ")
    assert said.format(server=server.url("")) in str(caught.value)
    assert "secret" not in str(caught.value).replace("../secret", "")
    assert caught.value.field == "image_url"
    assert caught.value.hint
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("made_by", "kind", "said"),
    [
        ("picture", "audio", "it looks like a PNG picture, not a sound"),
        ("text", "audio", "it looks like plain text, not a sound"),
        ("silent film", "audio", "it holds no sound that can be decoded"),
        ("broken sound", "audio", "it holds no sound that can be decoded"),
        ("picture", "video", "it looks like a PNG picture, not a video"),
        ("sound", "video", "it looks like a WAV sound, not a video"),
        ("playlist", "video", "it looks like a playlist, not a video"),
        ("broken film", "video", "it holds no moving picture that can be decoded"),
    ],
)
async def test_a_bad_recording_is_said_to_be_so_and_leaves_nothing(
    made_by: str, kind: str, said: str, reader: InputReader, root: Path, folder: Path
) -> None:
    contents: dict[str, Callable[[], bytes]] = {
        "picture": png,
        "text": lambda: b"Hello",
        "silent film": lambda: film(root / "a.mp4").read_bytes(),
        "sound": lambda: sound(root / "a.wav").read_bytes(),
        "broken sound": lambda: sound(root / "a.wav").read_bytes()[:30],
        "playlist": lambda: b"#EXTM3U\nhttp://127.0.0.1/\n",
        "broken film": lambda: film(root / "a.mp4").read_bytes()[:500],
    }
    source = Source("base64", text(contents[made_by]()))

    with pytest.raises(InputUnavailable, match=f"^{kind}: {said}"):
        await (reader.audio if kind == "audio" else reader.video)(source, folder, "recording")

    assert list(folder.iterdir()) == []


async def test_each_kind_has_its_own_limit(root: Path, folder: Path) -> None:
    reader = InputReader(roots=(root,), limits=InputLimits(image_bytes=10, audio_bytes=20, video_bytes=30))
    (root / "large").write_bytes(bytes(100))
    source = Source("path", "large")

    for bring, most in ((reader.image, 10), (reader.audio, 20), (reader.video, 30)):
        with pytest.raises(InputRefused, match=f"at most {most} are taken"):
            await bring(source, folder, "a")


async def test_cancellation_during_a_download_leaves_nothing(
    reader: InputReader, server: FileServer, folder: Path
) -> None:
    task = asyncio.create_task(reader.video(Source("url", server.url("/slow")), folder, "dance"))
    async with asyncio.timeout(10):
        while not list(folder.iterdir()):
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert list(folder.iterdir()) == []


async def test_a_graphs_picture_stays_as_it_arrived_once_it_is_known_to_decode(
    reader: InputReader, folder: Path
) -> None:
    kept = await reader.picture(Source("base64", text(png())), folder, "mask")
    with pytest.raises(InputUnavailable, match="mask"):
        await reader.picture(Source("base64", text(b"words, words, words")), folder, "words", label="mask")

    assert (kept.name, kept.read_bytes()) == ("mask.png", png())
    assert [path.name for path in folder.iterdir()] == ["mask.png"]
