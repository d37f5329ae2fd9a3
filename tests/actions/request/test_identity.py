"""A request id is compared by what its request means: in other words it is the same, with another meaning it is not."""

import pytest
from tests.fakes.other_workers import request as job_request

from wanworker.actions.comfyui._i2v_request import I2vRequest
from wanworker.actions.comfyui.workflow import WorkflowRequest, _identity
from wanworker.actions.generate.plan import PlanRequest
from wanworker.actions.generate.request import GenerateRequest
from wanworker.actions.request.fields import parse
from wanworker.errors import RequestIdReused
from wanworker.jobs.store.job_store import JobStore

PNG = "iVBORw0KGgo+/w=="
ANYWHERE = {"task": "t2v-A14B", "prompt": "a cat"}
FAST = "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors"


def identity(model, fields):
    return parse(model, {**ANYWHERE, **fields})[0].identity()


#: Requests that mean the same, whichever of the two actions they are for.
SAME = [
    ({}, {"negative_prompt": "", "size": "", "aspect_ratio": "auto", "prepared_path": ""}),
    ({"seed": 7}, {"seed": "7"}),
    ({"seed": 7}, {"seed": 7.0}),
    ({"steps": 4, "cfg": 1}, {"num_inference_steps": "4", "guidance_scale": "1.0"}),
    ({"size": "1280*704"}, {"width": 1280, "height": "704"}),
    ({"size": "1280*704"}, {"size": " 1280x704 ", "width": 1280}),
    ({"size": "1280*720"}, {"resolution": 720, "aspect_ratio": "16 : 9"}),
    ({"size": "1280*720"}, {"size": "1280\u00d7720", "resolution": "720p"}),
    ({"num_frames": 81, "fps": 16}, {"seconds": "5.0", "fps": "16"}),
    ({"num_frames": 81}, {"seconds": 5, "num_frames": 80}),
    ({"upscale": 2}, {"upscale_factor": "x2"}),
    ({"upscale": "4x-UltraSharp"}, {"upscale_model": " 4x-UltraSharp "}),
    ({}, {"use_lora": False, "lora_name": "a", "loras": ["b"], "lora_strength": 0.5}),
    ({}, {"lora_strength": 0.5}),
    ({"use_lora": True, "lora": "a"}, {"loras": [{"high": " a ", "strength": 1}]}),
    ({"use_lora": True, "lora": "a", "lora_scale": 0.5}, {"loras": [{"path": "a", "weight": "0.5"}], "use_lora": True}),
    ({"loras": ["a"]}, {"loras": "a"}),
    ({"loras": ["a", "b"]}, {"loras": ["a"], "lora_name": "b", "use_lora": True}),
    (
        {"loras": [{"high": "a", "strength": 0.5}]},
        {"loras": [{"high": "a", "low": "", "high_weight": 0.5, "scale_low": 0.5}]},
    ),
    (
        {"loras": [{"high": "a", "low": "b", "low_weight": 0.3}]},
        {"loras": [{"high": "a", "low": "b", "high_weight": 1, "scale": 0.3}]},
    ),
    (
        {"image_url": "https://example.com/a.png"},
        {"reference_image_url": " https://example.com/a.png", "image_base64": PNG},
    ),
    ({"image_base64": PNG}, {"image_url": f"data:image/png;base64,{PNG}"}),
    ({"image_base64": PNG}, {"image_path": f"data:;base64,{PNG}"}),
    ({"image_base64": PNG}, {"image_base64": "iVBORw0KG\n go-_w"}),
    ({"last_image_base64": PNG}, {"last_image_base64": f" data:image/jpeg;base64,{PNG}\n"}),
]  # fmt: skip

#: Requests whose meaning differs.
DIFFERENT = [
    ({}, {"negative_prompt": "blurry"}),
    ({}, {"size": "832*480", "aspect_ratio": "auto"}),
    ({"size": "1280*704"}, {"width": 704, "height": 1280}),
    ({"resolution": "480p"}, {"resolution": "720p"}),
    ({"num_frames": 81}, {"seconds": 5, "fps": 24}),
    ({"upscale": 2}, {"upscale": 4}),
    ({"lora": "a", "use_lora": True}, {"use_lora": True}),
    ({"lora": "a", "use_lora": True}, {"lora": "a", "use_lora": True, "lora_strength": 0.5}),
    ({"loras": [{"high": "a"}]}, {"loras": [{"low": "a"}]}),
    ({"loras": [{"high": "a"}]}, {"high_noise_loras": ["a"]}),
    ({"loras": ["a", "b"]}, {"loras": ["a"]}),
    ({"image_base64": PNG}, {"image_base64": f"AA{PNG}"}),
    ({"image_base64": PNG}, {"last_image_base64": PNG}),
    ({"image_url": "https://example.com/a.png"}, {"image_path": "a.png"}),
    ({}, {"engine": "mini"}),
]


@pytest.mark.parametrize("model", [GenerateRequest, I2vRequest, PlanRequest])
@pytest.mark.parametrize(("one", "other"), SAME)
def test_another_spelling_is_the_same_request(model, one, other):
    assert identity(model, one) == identity(model, other)


@pytest.mark.parametrize("model", [GenerateRequest, I2vRequest])
@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_another_meaning_is_another_request(model, one, other):
    assert identity(model, one) != identity(model, other)


@pytest.mark.parametrize(
    ("model", "one", "other", "is_same"),
    [
        (GenerateRequest, {}, {"engine": "auto"}, True),
        (GenerateRequest, {}, {"engine": ""}, True),
        (GenerateRequest, {"engine": "comfyui"}, {"engine": " comfyui "}, True),
        (GenerateRequest, {"lora": "a"}, {"lora": "a", "use_lora": True}, True),
        (PlanRequest, {}, {"price_per_hour": 2}, True),
        (I2vRequest, {}, {"engine": "comfyui"}, True),
        (I2vRequest, {}, {"engine": "auto"}, False),
        (I2vRequest, {}, {"lora": "a"}, True),  # is ignored without use_lora, as a warning says
        (I2vRequest, {"use_lora": True}, {"use_lora": True, "steps": 20, "cfg": 7}, False),
        (I2vRequest, {"use_lora": True, "lora": FAST, "steps": 4}, {"loras": [FAST], "steps": "4"}, True),
        (
            I2vRequest,
            {"engine": "diffusers"},
            {"engine": "diffusers", "vae_model": I2vRequest.model_fields["vae_model"].default},
            False,  # a default is a file of ComfyUI's, a name is wanted from every engine
        ),
    ],
)
def test_what_only_one_of_the_actions_means(model, one, other, is_same):
    assert (identity(model, one) == identity(model, other)) is is_same


def test_a_request_that_will_be_refused_has_an_identity_too():
    for fields in ({"size": "large"}, {"upscale": 3}, {"task": "t3v"}, {"image_base64": "data:image/png,x"}):
        assert identity(GenerateRequest, fields) == identity(GenerateRequest, fields)


def test_the_files_of_a_graph_are_the_same_in_other_words():
    def hashed(**entry):
        request, _ = parse(WorkflowRequest, {"images": [{"name": "in.png", **entry}]})
        return _identity(request, None)

    plain = hashed(data=PNG)

    assert plain == hashed(base64=f"data:image/png;base64,{PNG}") == hashed(image=f"{PNG}\n", url="https://a.b/c.png")
    assert plain == hashed(url=f"data:image/png;base64,{PNG}")
    assert plain == hashed(name="in.png [input]", data=PNG)
    assert plain != hashed(data="AAAA") != hashed(url="https://example.com/a.png")


def test_a_record_of_an_earlier_release_names_the_request_that_it_was_made_of(tmp_path):
    store = JobStore(tmp_path)
    store.claim(job_request("old", spec_hash="spelling", hash_version=1))
    store.claim(job_request("new", spec_hash="spelling"))
    now = {"spec_hash": "meaning", "former_hash": "spelling"}

    assert store.claim(job_request("old", **now)).job.spec_hash == "spelling"
    for refused in (job_request("new", **now), job_request("old", spec_hash="meaning", former_hash="other")):
        with pytest.raises(RequestIdReused):
            store.claim(refused)
