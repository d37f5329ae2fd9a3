"""The names of fields inside a request's lists: unknown ones are told with their place, others' names are taken."""

import pytest

from wanworker.actions.comfyui._i2v_request import I2vRequest
from wanworker.actions.comfyui.workflow import WorkflowRequest
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import InvalidRequest
from wanworker.rest.schemas.generate import GenerateBody
from wanworker.spec import Lora


def loras(*entries, model=GenerateRequest):
    request, warnings = parse(model, {"loras": list(entries)})
    return [entry.to_lora() for entry in request.loras], warnings


@pytest.mark.parametrize(
    "entry",
    [
        {"high": "a", "weight": 0.25},
        {"high": "a", "scale": 0.25},
        {"lora_name": "a", "strength_model": 0.25},
        {"name": "a", "strength": 0.25},
        {"path": "a", "scale": "0.25"},
        {"file": "a", "lora_scale": 0.25, "low": None, "high_strength": None},
        {"high_noise": "a", "high_weight": 0.25, "low_noise_scale": 0.25},
    ],
)
def test_a_lora_is_told_in_the_words_that_people_use_elsewhere(entry):
    assert loras(entry) == ([Lora("a", None, 0.25, 0.25)], [])


@pytest.mark.parametrize("model", [GenerateRequest, I2vRequest])
def test_each_half_has_its_own_strength(model):
    pair = {"high": "h", "low": "l", "high_weight": 1.0, "low_weight": 0.3}

    assert loras(pair, model=model) == ([Lora("h", "l", 1.0, 0.3)], [])


def test_a_strength_of_nothing_is_nothing_and_null_is_left_out():
    assert loras({"high": "a", "weight": 0}, {"high": "b", "strength": None})[0] == [
        Lora("a", None, 0.0, 0.0),
        Lora("b", None, 1.0, 1.0),
    ]


def test_a_text_or_one_object_stands_for_a_list_of_one():
    assert loras("a.safetensors") == ([Lora("a.safetensors", None)], [])
    assert parse(GenerateRequest, {"loras": {"high": "a"}})[0].loras[0].high == "a"
    assert parse(WorkflowRequest, {"images": {"name": "a.png", "data": "eA=="}})[0].images[0].name == "a.png"


def test_an_unknown_name_inside_a_list_is_told_with_its_place_and_the_nearest_name():
    _, warnings = loras({"high": "a"}, {"high": "b", "wieght": 0})

    assert warnings == ["unknown field 'loras[1].wieght' was ignored; did you mean 'weight'?"]


@pytest.mark.parametrize("kind", ["images", "audio", "videos"])
def test_a_file_that_comes_with_a_graph_answers_for_its_names_too(kind):
    _, warnings = parse(WorkflowRequest, {kind: [{"name": "a", "dta": "eA==", "subfolder": "x", "type": None}]})

    assert warnings == [
        f"unknown field '{kind}[0].dta' was ignored; did you mean 'data'?",
        f"unknown field '{kind}[0].subfolder' was ignored.",
    ]


def test_two_names_for_one_value_that_differ_are_refused_with_both_names():
    with pytest.raises(
        InvalidRequest, match=r"^loras\[0\]\.strength and loras\[0\]\.weight mean the same, but"
    ) as caught:
        loras({"high": "a", "weight": 2, "strength": 0.5})

    assert caught.value.field == "loras[0].weight"


@pytest.mark.parametrize("same", [0.5, "0.5", " .50 "])
def test_two_names_for_one_value_that_agree_are_fine(same):
    found, warnings = loras({"high": "a", "weight": same, "strength": 0.5})

    assert (found, warnings) == ([Lora("a", None, 0.5, 0.5)], [])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"high": "a", "weight": 11}, "loras[0].weight must be between -10 and 10; got 11."),
        ({"high": "a", "weight": True}, "loras[0].weight must be a number; got true."),
    ],
)
def test_a_wrong_value_inside_a_list_is_named_as_the_caller_wrote_it(entry, words):
    with pytest.raises(InvalidRequest) as caught:
        loras(entry)

    assert (str(caught.value), caught.value.field) == (words, "loras")


@pytest.mark.parametrize("fields", [{"loras": [{"path": "https://x.test/a"}]}, {"lora_name": "https://x.test/a"}])
def test_a_lora_by_url_is_refused_as_such(fields):
    with pytest.raises(InvalidRequest, match="not by a URL"):
        parse(GenerateRequest, fields)[0].checked_loras()


@pytest.mark.parametrize("model", [GenerateRequest, I2vRequest, GenerateBody])
@pytest.mark.parametrize("blank", ["", " \n"])
def test_an_empty_name_means_left_out(model, blank):
    names = {"task", "engine", "profile", "sample_solver", "diffusion_model", "vae_model"} & model.model_fields.keys()
    empty, warnings = parse(model, {"prompt": "x", **dict.fromkeys(names, blank)})
    without, _ = parse(model, {"prompt": "x"})

    assert empty == without
    assert empty.model_fields_set == without.model_fields_set
    assert warnings == []


@pytest.mark.parametrize("model", [GenerateRequest, I2vRequest, GenerateBody])
def test_blanks_around_a_name_do_not_count(model):
    request, _ = parse(model, {"prompt": "x", "engine": " diffusers ", "profile": "fast\n", "model": " a.safetensors"})

    assert (request.engine, request.profile) == ("diffusers", "fast")


def test_an_empty_spelling_of_a_name_does_not_contradict_another():
    request, _ = parse(GenerateRequest, {"model": "", "diffusion_model": " a ", "sample_solver": " unipc"})

    assert (request.diffusion_model, request.sample_solver) == ("a", "unipc")


def test_an_empty_name_that_the_action_does_not_know_is_told():
    _, warnings = parse(WorkflowRequest, {"profile": ""})

    assert warnings == ["unknown field 'profile' was ignored."]


@pytest.mark.parametrize("empty", ["", " ", None])
def test_an_empty_spelling_beside_a_full_one_is_no_conflict_and_the_full_one_counts(empty):
    assert loras({"name": empty, "path": "a"}) == loras({"name": "a", "path": empty}) == ([Lora("a", None)], [])
    for fields in ({"size": "64x64", "frame_num": empty, "length": 33}, {"frame_num": 33, "length": empty}):
        assert parse(GenerateRequest, fields)[0].frame_num == 33


def test_an_empty_text_is_an_empty_list():
    assert parse(GenerateRequest, {"loras": "", "high_noise_loras": " "})[0].listed_loras() == ()
