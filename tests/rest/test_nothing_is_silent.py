"""Every field of the two bodies of REST: a value that is not used is refused or told, whatever it is."""

import pytest

from wanworker.actions.generate.render_request import asked_of
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import InvalidRequest, RequestError
from wanworker.media.outputs.upload_url import UploadUrl
from wanworker.rest.schemas.generate import GenerateBody, generate_fields
from wanworker.videos.models import ChosenModel
from wanworker.videos.request import VideoBody, read_job

PLAIN = {"prompt": "x", "seed": 1}
URL = "https://a.example/a.png"

#: What a caller may send by mistake in any field. An empty value means left out where it is not refused.
EMPTY = ("", {}, [])
WRONG = ({"zzz": 1}, [{"zzz": 1}], [1], {"zzz": {"zzz": []}}, 5, -1.5, 1e9, True, "zzz", "5", "{", "[1")


class Models:
    """Know every model by its name, and choose the task by the files."""

    def chosen(self, name, inputs):
        tasks = {"driving_video": "animate-14B", "audio": "s2v-14B", "reference_image": "i2v-A14B"}
        return ChosenModel(next((task for file, task in tasks.items() if file in inputs), "t2v-A14B"), name)


async def of_generate(fields):
    """Return all that a body of POST /generate asks for, and what is said of it."""
    body, warnings = parse(GenerateBody, {**PLAIN, **fields})
    asked = generate_fields(body, body.resolved(warnings))
    request, unknown = parse(GenerateRequest, asked)
    asked_of(request)
    UploadUrl.for_outputs(body.output_upload_urls, body.num_outputs, allow_hosts=())
    delivery = {name: getattr(body, name) for name in ("webhook_url", "output_upload_urls", "thumbnail", "image")}
    return said(request.model_dump() | delivery), [*warnings, *unknown]


async def of_videos(fields):
    """Return the same for a body of POST /v1/videos."""
    asked = await read_job({**PLAIN, **fields}, Models())
    request, unknown = parse(GenerateRequest, asked.as_payload())
    asked_of(request)
    return said(request.model_dump()), [*asked.warnings, *unknown]


def said(fields):
    """Return the fields that say something."""
    return {name: value for name, value in fields.items() if value or isinstance(value, int | float)}


DOORS = {GenerateBody: of_generate, VideoBody: of_videos}
FIELDS = [(model, name) for model in DOORS for name in (*model.model_fields, *model.aliases())]


@pytest.mark.parametrize(("model", "name"), [each for each in FIELDS if each[1] not in PLAIN])
async def test_a_wrong_value_is_refused_told_or_used(model, name):
    plain, _ = await DOORS[model]({})
    for value in WRONG:
        try:
            asked, warnings = await DOORS[model]({name: value})
        except RequestError:
            continue
        assert warnings or asked != plain, f"{name} was dropped in silence: {value!r}"
        assert warnings or not isinstance(value, dict), f"the key in {name} was dropped in silence: {value!r}"


@pytest.mark.parametrize(("model", "name"), [each for each in FIELDS if each[1] not in PLAIN])
async def test_an_empty_value_is_refused_told_or_left_out(model, name):
    plain, _ = await DOORS[model]({})
    for value in EMPTY:
        try:
            asked, warnings = await DOORS[model]({name: value})
        except RequestError:
            continue
        assert warnings or asked == plain, f"{name} was not left out: {value!r}"


NESTED = [
    (GenerateBody, "loras", {"high": "a", "low": "b"}),
    (GenerateBody, "high_noise_loras", {"path": "a"}),
    (GenerateBody, "low_noise_loras", {"path": "a"}),
    (VideoBody, "lora", {"name": "a", "path": "b"}),
    (VideoBody, "input_reference", {"image_url": URL}),
    (VideoBody, "image_reference", {"image_url": URL}),
]


@pytest.mark.parametrize(("model", "name", "value"), NESTED)
async def test_an_unknown_key_is_told_with_its_place_and_null_is_left_out(model, name, value):
    asked, warnings = await DOORS[model]({name: {**value, "zzz": 1, "yyy": None}})

    assert ((await DOORS[model]({name: value}))[0], [f"unknown field '{name}.zzz' was ignored."]) == (asked, warnings)


ALIASES = [(model, alias, name) for model in DOORS for alias, name in model.aliases().items()]


@pytest.mark.parametrize(("model", "alias", "name"), ALIASES)
async def test_two_names_of_one_field_that_differ_are_refused(model, alias, name):
    with pytest.raises(InvalidRequest, match=f"^{name} and {alias} mean the same, but their values differ"):
        await DOORS[model]({name: "2", alias: "4"})


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (VideoBody, {"seconds": 2, "num_frames": 81}),
        (VideoBody, {"size": "832x480", "width": 640}),
        (VideoBody, {"width": 640}),
        (VideoBody, {"input_reference": URL, "image_reference": URL}),
        (VideoBody, {"audio": "UklGRg==", "audio_url": URL}),
        (GenerateBody, {"seconds": 2, "length": 81}),
        (GenerateBody, {"size": "832x480", "height": 640}),
        (GenerateBody, {"size": "832x480", "resolution": "1080p"}),
    ],
)
async def test_two_fields_that_disagree_are_refused(model, fields):
    with pytest.raises(InvalidRequest):
        await DOORS[model](fields)


async def test_a_second_picture_is_told():
    _, warnings = await of_generate({"image": "eA==", "image_url": URL})

    assert ["image_url was ignored: image was also given."] == warnings
