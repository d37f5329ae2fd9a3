"""What a request for a video means: forms as clients write them, references, LoRAs, and what is said about them."""

import base64

import pytest

from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import InvalidRequest
from wanworker.media.inputs.kinds import is_film
from wanworker.spec import Lora
from wanworker.videos.models import ChosenModel
from wanworker.videos.request import nested, read_job

MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(600)


def test_the_keys_of_a_form_spell_out_objects():
    assert {"lora": {"name": "a", "scale": "1"}, "prompt": "x", "b[": "y"} == nested(
        {"lora[name]": "a", "lora[scale]": "1", "prompt": "x", "b[": "y"}
    )
    for both in ({"lora": "a", "lora[scale]": "1"}, {"lora[scale]": "1", "lora": "a"}):
        assert {"lora": "a", "lora[scale]": "1"} == nested(both)


def test_a_film_is_told_from_its_first_bytes():
    text = base64.b64encode(MP4).decode()

    assert is_film(text)
    assert is_film(f"data:video/mp4;base64,{text}")
    assert not is_film(base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode())
    assert not is_film("no base64 at all, but text")
    assert not is_film("")


class _OneModel:
    """Know one model: the task of the files."""

    def chosen(self, _name, inputs):
        tasks = {"driving_video": "animate-14B", "audio": "s2v-14B", "reference_image": "i2v-A14B"}
        return ChosenModel(next((task for name, task in tasks.items() if name in inputs), "t2v-A14B"))


async def asked(**fields):
    return await read_job({"prompt": "x", **fields}, _OneModel())


A, B = "https://a.example/a.png", "https://a.example/b.mp4"


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"lora": {"name": "x", "wieght": 0.3}}, "'lora.wieght' was ignored; did you mean 'weight'?"),
        ({"lora": '{"name": "x", "wieght": 0.3}'}, "'lora.wieght' was ignored; did you mean 'weight'?"),
        ({"lora": ["a", {"path": "x", "name": "y", "trigger": 1}]}, "'lora[1].trigger' was ignored."),
        ({"input_reference": {"image_url": A, "detail": "high"}}, "'input_reference.detail' was ignored."),
    ],
)
async def test_an_unknown_key_of_an_object_is_told_by_the_callers_own_names(fields, place):
    job = await asked(**fields)

    assert [f"unknown field {place}"] == job.warnings
    assert ([], "x") == (parse(GenerateRequest, job.fields)[1], job.fields["prompt"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_reference": {"image_url": A, "video_url": B}}, "input_reference has image_url and video_url; it takes "
         "one URL."),
        ({"image_reference": {"video_url": B}}, "image_reference is a picture and takes no video_url."),
        ({"image_reference": {"image_url": A, "video_url": B}}, "image_reference is a picture and takes no video_url."),
        ({"video_reference": {"image_url": A}}, "video_reference is a video and takes no image_url."),
        ({"audio": {"video_url": B}}, "audio is a sound and takes no video_url."),
    ],
)  # fmt: skip
async def test_a_reference_with_two_urls_or_one_of_another_kind_is_refused(fields, message):
    with pytest.raises(InvalidRequest) as caught:
        await asked(**fields)

    assert (message, next(iter(fields))) == (str(caught.value), caught.value.field)


async def test_another_servers_lora_is_one_file_under_its_own_name():
    entry = {"name": "style", "local_path": "wan/style", "scale": 0.5, "int_id": 1, "lora_int_id": 2}
    job = await asked(lora=entry)

    assert ([], (Lora("wan/style", None, 0.5, 0.5),)) == (
        job.warnings,
        parse(GenerateRequest, job.fields)[0].checked_loras(),
    )
    with pytest.raises(InvalidRequest, match=r"^lora\.local_path and lora\.path mean the same, but"):
        await asked(lora={**entry, "path": "other"})


@pytest.mark.parametrize(
    "fields",
    [
        {"input_reference": ""}, {"input_reference": " "}, {"input_reference": {}}, {"audio_url": ""},
        {"image_reference": {"image_url": ""}}, {"audio_base64": ""}, {"image_reference": ""},
        {"audio": {"audio_url": None}}, {"lora": ""}, {"lora": " "}, {"lora": {}}, {"lora": []},
        {"lora": {"name": "", "path": ""}},
    ],
)  # fmt: skip
async def test_what_is_empty_is_left_out(fields):
    plain, job = await asked(), await asked(**fields)

    assert (plain.fields, {}, []) == (job.fields, job.inputs, job.warnings)


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        (5, "lora must be a list; got 5."),
        ([5], "lora[0] must be an object with named fields; got 5."),
        ({"scale": 2}, "lora needs the name of a file in name."),
        ({"name": "a", "scale": "much"}, "lora.scale must be a number; got 'much'."),
        (["a", {"path": "b", "scale": 99}], "lora[1].scale must be between -10 and 10; got 99."),
        ({"path": "https://a.example/b"}, "lora: a LoRA is named by its file in the models folder, not by a URL; "
         "got 'https://a.example/b'."),
    ],
)  # fmt: skip
async def test_a_wrong_lora_is_told_by_the_name_lora(lora, message):
    with pytest.raises(InvalidRequest) as caught:
        await asked(lora=lora)

    assert (message, "lora") == (str(caught.value), caught.value.field)


async def test_an_empty_path_beside_a_name_is_no_conflict():
    for entry in ({"name": "a", "lora_path": ""}, {"name": "", "path": "a"}, {"lora_path": " ", "lora_name": "a"}):
        assert ["a"] == [each["high"] for each in (await asked(lora=entry)).fields["loras"]]
