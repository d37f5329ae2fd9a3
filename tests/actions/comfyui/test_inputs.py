"""Files that are sent along with a graph: their names, their content, and where they are read to."""

from __future__ import annotations

import base64

import pytest

from fakes.recordings import film, sound
from wanworker.actions.comfyui._inputs import InputField, checked_inputs, read_inputs
from wanworker.errors import InputRefused, InputUnavailable, InvalidRequest
from wanworker.media.inputs.reader import InputReader


def field(name, data="eA==", **more):
    return InputField(name=name, data=data, **more)


def checked(**fields):
    return checked_inputs(**{"images": (), "audio": (), "videos": (), **fields})


@pytest.mark.parametrize(
    "name", ["a.png", "a (1).png", "a[1].png", "bild-ü.png", "noending", ".png", "my..photo.png", "a..."]
)
def test_a_plain_file_name_is_taken(name):
    (named,) = checked(images=[field(name)])

    assert (named.name, named.kind, named.source.kind) == (name, "image", "base64")


def test_a_name_that_no_file_system_takes_is_refused():
    assert checked(images=[field("ü" * 500)])

    with pytest.raises(InputRefused, match=r"^images\[\]\.name 'ü+'\.\.\. is too long: a name has at most 1000 bytes"):
        checked(images=[field("ü" * 501)])


@pytest.mark.parametrize("name", ["", " ", ".", "..", " .. ", "../a", "a/b.png", "/a.png", "C:\\a.png", "~/a", "~root"])
@pytest.mark.parametrize("kind", ["images", "audio", "videos"])
def test_a_name_that_is_a_path_is_refused_with_the_list_that_it_is_in(name, kind):
    with pytest.raises(InputRefused, match=rf"^{kind}\[\]\.name must be a plain file name") as refused:
        checked(**{kind: [field(name)]})

    assert refused.value.field == kind


def test_a_name_as_a_node_writes_it_is_the_files_name():
    (named,) = checked(images=[field("in.png [input]")])

    assert named.name == "in.png"


def test_content_comes_as_data_url_or_path():
    entries = [field("a"), InputField(name="b", url="https://x/b"), InputField(name="c", path="c.png")]

    assert [each.source.kind for each in checked(images=entries)] == ["base64", "url", "path"]


def test_a_file_without_content_is_refused_by_name():
    with pytest.raises(InvalidRequest, match=r"videos: 'a\.mp4' has neither data, url nor path"):
        checked(videos=[InputField(name="a.mp4")])


def test_two_files_of_one_name_are_refused_for_the_graph_could_mean_either():
    with pytest.raises(InvalidRequest, match="Two inputs have the name 'a'"):
        checked(images=[field("a")], audio=[field("a")])


async def test_each_file_is_read_into_the_jobs_folder_under_our_name(tmp_path):
    made = {"audio": sound(tmp_path / "v.wav"), "videos": film(tmp_path / "d.mp4")}
    entries = {
        kind: [field(f"my {path.name}", base64.b64encode(path.read_bytes()).decode())] for kind, path in made.items()
    }
    folder = tmp_path / "job"
    folder.mkdir()
    uploads = await read_inputs(checked(**entries), InputReader(), folder)

    assert [(each.name, each.path.name) for each in uploads] == [
        ("my v.wav", "input-0.wav"),
        ("my d.mp4", "input-1.mp4"),
    ]
    assert [each.path.read_bytes() for each in uploads] == [path.read_bytes() for path in made.values()]


async def test_what_cannot_be_read_is_told_with_its_name(tmp_path):
    with pytest.raises(InputUnavailable, match=r"^input\.png: "):
        await read_inputs(checked(images=[field("input.png")]), InputReader(), tmp_path)
