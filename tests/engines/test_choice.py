"""Which engine takes a spec: `auto`, a named engine, sizes, features and the miniature's last place."""

import dataclasses
from pathlib import Path

import pytest

from wanworker.engines.base import Capabilities, EngineRow, Readiness
from wanworker.engines.choice import choose
from wanworker.errors import InvalidRequest, ModelNotFound
from wanworker.spec import TASKS, Lora, RenderSpec, Size

READY = Readiness()
NO_WEIGHTS = Readiness(missing=("no folder Wan2.2-T2V-A14B",), searched=("/models",))
NO_GPU = Readiness(lacking=("no NVIDIA GPU",))
EVERY_TASK = frozenset(TASKS)
LISTED = {"t2v-A14B": (Size(1280, 720), Size(720, 1280), Size(832, 480), Size(480, 832))}


def row(name, **capabilities):
    return EngineRow(name, Capabilities(tasks=capabilities.pop("tasks", EVERY_TASK), **capabilities), build=None)


DIFFUSERS = row("diffusers", negative_prompt=True, fps=True, lora=True, last_image=frozenset({"i2v-A14B"}))
WAN_CLI = row("wan_cli", sizes=LISTED)
MINI = row("mini", any_size=True, negative_prompt=True, fps=True)
ROWS = (DIFFUSERS, WAN_CLI, MINI)
SPEC = RenderSpec(
    task="t2v-A14B", prompt="a cat", size=Size(1280, 720), size_given=True, fps=16, fps_given=False, seed=1, frames=81
)


def chosen(spec=SPEC, *, asked="auto", mini_allowed=True, rows=ROWS, searched="/workspace/models", **states):
    def readiness(name, task):
        return states.get(name, NO_WEIGHTS)

    return choose(spec, rows, readiness, asked=asked, searched=searched, mini_allowed=mini_allowed)


def spec(**changes):
    return dataclasses.replace(SPEC, **changes)


def test_auto_takes_the_first_engine_with_weights_and_hardware():
    assert chosen(diffusers=READY, wan_cli=READY, mini=READY).engine == "diffusers"
    assert chosen(diffusers=NO_GPU, wan_cli=READY, mini=READY).engine == "wan_cli"


def test_the_miniature_stands_in_only_when_nothing_else_can():
    assert chosen(wan_cli=READY, mini=READY).engine == "wan_cli"
    assert chosen(diffusers=NO_GPU, wan_cli=NO_WEIGHTS, mini=READY).engine == "mini"


def test_without_the_miniature_a_missing_model_is_the_documented_sentence():
    with pytest.raises(ModelNotFound) as caught:
        chosen(mini=READY, mini_allowed=False)

    assert str(caught.value) == "Model 'Wan2.2-T2V-A14B' not found in /workspace/models/"
    assert caught.value.hint == (
        "diffusers: no folder Wan2.2-T2V-A14B\nwan_cli: no folder Wan2.2-T2V-A14B\nSearched: /models\n"
        "wanworker doctor, on the worker's machine, names the command that fetches what is missing."
    )


def test_a_missing_model_tells_of_each_engine_all_that_is_missing_and_where_it_looked():
    some = Readiness(missing=("no T5", "no VAE"), searched=("/a", "/b"), lacking=("no NVIDIA GPU",))
    with pytest.raises(ModelNotFound) as caught:
        chosen(diffusers=some, wan_cli=NO_GPU, searched="/volumes/X/")

    assert str(caught.value) == "Model 'Wan2.2-T2V-A14B' not found in /volumes/X/"
    assert caught.value.hint.startswith(
        "diffusers: no T5; no VAE; no NVIDIA GPU\nwan_cli: no NVIDIA GPU\nSearched: /a, /b\nwanworker doctor, "
    )


@pytest.mark.parametrize("asked", ["auto", "wan_cli"])
def test_an_engine_is_asked_about_the_task_of_the_request(asked):
    choice = choose(
        spec(task="ti2v-5B", size=Size(1280, 704)), (row("wan_cli"),),
        lambda _name, task: READY if task == "ti2v-5B" else NO_WEIGHTS,
        asked=asked, searched="/models", mini_allowed=False,
    )  # fmt: skip

    assert choice.engine == "wan_cli"


def test_a_feature_that_only_a_later_engine_has_moves_the_job_there():
    wanted = spec(negative_prompt="blurry")

    assert chosen(wanted, rows=(WAN_CLI, DIFFUSERS), diffusers=READY, wan_cli=READY).engine == "diffusers"


def test_a_feature_that_no_ready_engine_has_is_ignored_with_a_warning():
    choice = chosen(spec(negative_prompt="blurry"), wan_cli=READY)

    assert choice.engine == "wan_cli"
    assert choice.spec.negative_prompt is None
    assert choice.warnings == ("negative_prompt was ignored: the wan_cli engine that rendered this cannot use it.",)


def test_a_profile_is_not_taken_in_silence_where_it_changes_nothing():
    able = dataclasses.replace(DIFFUSERS, capabilities=dataclasses.replace(DIFFUSERS.capabilities, profiles=True))

    kept = chosen(spec(profile="fast"), rows=(WAN_CLI, able), diffusers=READY, wan_cli=READY)
    ignored = chosen(spec(profile="exact"), wan_cli=READY)

    assert (kept.engine, kept.spec.profile, kept.warnings) == ("diffusers", "fast", ())
    assert ignored.spec.profile is None
    assert ignored.warnings == ("profile was ignored: the wan_cli engine that rendered this cannot use it.",)


def test_a_model_that_is_named_is_ignored_with_a_warning_where_no_engine_can_choose():
    named = spec(diffusion_models=("a",), vae_model="b", single_expert=True)

    choice = chosen(named, wan_cli=READY)

    assert choice.spec.diffusion_models == ()
    assert (choice.spec.vae_model, choice.spec.single_expert) == (None, False)
    assert [line.split()[0] for line in choice.warnings] == ["diffusion_model", "vae_model"]
    assert chosen(named, diffusers=READY, wan_cli=READY).engine == "diffusers"


def test_a_guidance_for_the_second_expert_of_a_task_with_one_is_ignored_with_a_warning():
    choice = chosen(spec(task="ti2v-5B", size=Size(1280, 704), guidance_low=3.0), diffusers=READY, wan_cli=READY)

    assert choice.engine == "diffusers"
    assert choice.spec.guidance_low is None
    assert choice.warnings == ("guidance_scale_2 was ignored: ti2v-5B has one expert.",)


def test_a_size_that_one_engine_cannot_do_goes_to_one_that_can():
    square = spec(size=Size(512, 512))

    assert chosen(square, rows=(WAN_CLI, DIFFUSERS), diffusers=READY, wan_cli=READY).engine == "diffusers"


def test_a_size_that_a_later_engine_renders_as_asked_goes_there():
    rows = (row("diffusers", sizes=LISTED), row("comfyui", any_size=True))

    choice = chosen(spec(size=Size(1280, 704)), rows=rows, diffusers=READY, comfyui=READY)

    assert (choice.engine, choice.spec.size, choice.warnings) == ("comfyui", Size(1280, 704), ())


def test_a_size_within_ten_percent_is_snapped_and_reported():
    choice = chosen(spec(task="ti2v-5B", size=Size(1280, 720)), diffusers=READY)

    assert choice.spec.size == Size(1280, 704)
    assert choice.warnings == ("size 1280*720 is not possible with diffusers; rendered at 1280*704.",)


def test_an_impossible_size_names_the_possible_ones():
    with pytest.raises(InvalidRequest) as caught:
        chosen(spec(size=Size(512, 512)), wan_cli=READY)

    assert str(caught.value) == (
        "size 512*512 is not possible for t2v-A14B with wan_cli; possible: 1280*720, 720*1280, 832*480, 480*832."
    )
    assert caught.value.field == "size"


def test_an_impossible_size_of_an_engine_without_a_list_names_the_multiple():
    with pytest.raises(InvalidRequest) as caught:
        chosen(spec(task="ti2v-5B", size=Size(80, 80)), diffusers=READY)

    assert str(caught.value) == "size 80*80 is not possible for ti2v-5B: both sides must be near a multiple of 32."


def test_an_impossible_size_never_falls_to_the_miniature():
    with pytest.raises(InvalidRequest):
        chosen(spec(size=Size(512, 512)), wan_cli=READY, mini=READY)


def test_a_derived_size_takes_the_nearest_shape_without_a_word():
    portrait = spec(size=Size(750, 1230), size_given=False)
    choice = chosen(portrait, wan_cli=READY)

    assert choice.spec.size == Size(720, 1280)
    assert choice.warnings == ()


def test_an_engine_that_keeps_the_pictures_shape_gets_an_area_at_which_that_stays_in_range(tmp_path):
    listed = {"i2v-A14B": LISTED["t2v-A14B"]}
    engine = row("wan_cli", sizes=listed, keeps_picture_aspect=frozenset(listed))
    panorama = spec(task="i2v-A14B", size=Size(2016, 336), size_given=False, image=tmp_path / "a.png")
    ribbon = dataclasses.replace(panorama, size=Size(2048, 64))

    fitted = [chosen(each, rows=(engine,), wan_cli=READY).spec for each in (panorama, ribbon)]

    assert fitted[0].size == Size(832, 480)
    assert [each.size_given for each in fitted] == [False, True]
    assert fitted[1].size == Size(832, 480)


def test_a_named_engine_is_tried_on_a_machine_that_lacks_something():
    choice = chosen(asked="diffusers", diffusers=NO_GPU, mini=READY)

    assert choice.engine == "diffusers"
    assert choice.warnings == ("diffusers: no NVIDIA GPU; tried all the same because the request names this engine",)


def test_a_named_engine_without_weights_falls_over_to_no_other():
    with pytest.raises(ModelNotFound):
        chosen(asked="wan_cli", diffusers=READY, mini=READY)


def test_a_named_engine_that_does_not_know_the_task_says_what_it_renders():
    rows = (row("diffusers", tasks=frozenset({"ti2v-5B", "i2v-A14B"})),)
    with pytest.raises(InvalidRequest) as caught:
        chosen(asked="diffusers", rows=rows, diffusers=READY)

    assert str(caught.value) == "Engine 'diffusers' does not render t2v-A14B; it renders i2v-A14B, ti2v-5B."
    assert caught.value.field == "engine"


@pytest.mark.parametrize("loras", [(), (Lora("style", None),)])
def test_a_lora_changes_neither_steps_nor_guidance_before_its_file_is_known(loras):
    choice = chosen(spec(use_lora=True, loras=loras), diffusers=READY)

    assert (choice.spec.steps, choice.spec.guidance, choice.warnings) == (None, None, ())


def test_a_raw_driving_video_goes_to_an_engine_that_prepares_it(tmp_path):
    animate = spec(task="animate-14B", driving_video=tmp_path / "dance.mp4")
    rows = (row("comfyui"), row("wan_cli", prepares_motion=True))

    assert chosen(animate, rows=rows, comfyui=READY, wan_cli=READY).engine == "wan_cli"
    with pytest.raises(InvalidRequest, match=r"^comfyui renders animate-14B from a prepared folder only") as caught:
        chosen(animate, rows=rows, asked="comfyui", comfyui=READY)

    assert caught.value.field == "driving_video_url"
    assert caught.value.hint.startswith("Send prepared_path, a folder made by Wan's preprocess_data.py")
    assert "or use the wan_cli engine." in caught.value.hint
    assert caught.value.hint.endswith("The task animate2-14B takes a driving video as it is.")


FEATURES = [
    ("negative_prompt", {"negative_prompt": "blurry"}, {"negative_prompt": None}),
    ("use_lora", {"use_lora": True}, {"use_lora": False}),
    ("use_lora", {"loras": (Lora("x.safetensors", None),)}, {"loras": ()}),
    ("fps", {"fps": 24.0, "fps_given": True}, {"fps": 16.0, "fps_given": False}),
    ("last_image", {"last_image": Path("z.png")}, {"last_image": None}),
    ("guidance_scale_2", {"guidance_low": 3.0}, {"guidance_low": None}),
]


@pytest.mark.parametrize(("feature", "wanted", "left"), FEATURES)
def test_what_an_engine_cannot_use_is_taken_out_with_a_warning(feature, wanted, left):
    choice = chosen(spec(**wanted), wan_cli=READY)

    assert choice.spec == spec(**{**wanted, **left})
    assert choice.warnings == (f"{feature} was ignored: the wan_cli engine that rendered this cannot use it.",)


@pytest.mark.parametrize(("feature", "wanted", "_left"), FEATURES)
def test_what_an_engine_can_use_stays(feature, wanted, _left):
    able = row(
        "comfyui", negative_prompt=True, lora=True, fps=True, guidance_per_expert=True,
        last_image=frozenset({"t2v-A14B"}),
    )  # fmt: skip
    choice = chosen(spec(**wanted), rows=(WAN_CLI, able), wan_cli=READY, comfyui=READY)

    assert (choice.engine, choice.spec, choice.warnings) == ("comfyui", spec(**wanted), ())


def test_the_tasks_own_fps_is_no_feature_to_any_engine():
    choice = chosen(spec(fps=16.0, fps_given=True), wan_cli=READY)

    assert choice.spec.fps_given
    assert choice.warnings == ()


def test_use_lora_leaves_given_steps_and_guidance_alone():
    choice = chosen(spec(use_lora=True, steps=20, guidance=3.5), diffusers=READY)

    assert (choice.spec.steps, choice.spec.guidance) == (20, 3.5)
    assert choice.warnings == ()


def test_an_engine_without_lora_does_not_render_four_blurred_steps():
    choice = chosen(spec(use_lora=True, loras=(Lora("x.safetensors", None),)), wan_cli=READY)

    assert (choice.spec.steps, choice.spec.use_lora, choice.spec.loras) == (None, False, ())


LISTED_ENGINE = row("wan_cli", sizes=LISTED)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        # 16:9 and 26:15 are one shape to a picture: of both, its area decides.
        (Size(1056, 880), Size(1280, 720)),
        (Size(880, 1056), Size(720, 1280)),
        (Size(1104, 832), Size(1280, 720)),
        (Size(640, 352), Size(832, 480)),
        (Size(352, 640), Size(480, 832)),
        (Size(960, 960), Size(1280, 720)),
    ],
)
def test_a_derived_size_goes_to_the_listed_one_of_its_own_area_and_is_not_turned(asked, expected):
    assert chosen(spec(size=asked, size_given=False), rows=(LISTED_ENGINE,), wan_cli=READY).spec.size == expected


@pytest.mark.parametrize("asked", [Size(1200, 704), Size(1280, 800), Size(1344, 672), Size(1184, 768)])
def test_a_size_within_ten_percent_of_a_listed_one_is_snapped_to_it(asked):
    choice = chosen(spec(size=asked), rows=(LISTED_ENGINE,), wan_cli=READY)

    assert choice.spec.size == Size(1280, 720)
    assert choice.warnings == (f"size {asked} is not possible with wan_cli; rendered at 1280*720.",)


def test_a_size_within_ten_percent_wins_over_one_of_a_nearer_shape():
    listed = {"t2v-A14B": (Size(1024, 704), Size(1280, 720))}
    choice = chosen(spec(size=Size(1168, 800)), rows=(row("wan_cli", sizes=listed),), wan_cli=READY)

    assert choice.spec.size == Size(1280, 720)


def test_a_loop_goes_to_an_engine_that_can_and_is_never_ignored(tmp_path):
    loop = spec(task="i2v-A14B", loop=True, image=tmp_path / "a.png", last_image=tmp_path / "a.png")
    rows = (MINI, DIFFUSERS)

    assert chosen(loop, rows=rows, mini=READY, diffusers=READY).engine == "diffusers"
    assert chosen(loop, rows=(WAN_CLI, DIFFUSERS), wan_cli=READY, diffusers=READY).engine == "diffusers"
    with pytest.raises(InvalidRequest, match=r"^loop needs an engine that can end in a given frame; mini cannot\.$"):
        chosen(loop, rows=rows, mini=READY)


def test_a_named_upscale_model_needs_an_engine_that_runs_one():
    larger, able = spec(upscale_model="4x-UltraSharp"), row("comfyui", upscale_models=True)

    assert chosen(larger, rows=(DIFFUSERS, able), diffusers=READY, comfyui=READY).engine == "comfyui"
    with pytest.raises(
        InvalidRequest, match=r"^upscale '4x-UltraSharp' names a model, and diffusers runs no"
    ) as caught:
        chosen(larger, diffusers=READY)
    assert caught.value.field == "upscale"
    assert chosen(spec(upscale_factor=2), diffusers=READY).warnings == ()


def test_a_task_of_one_engine_says_so():
    only = row("comfyui", tasks=frozenset({"vace-A14B"}))
    vace, rows = spec(task="vace-A14B"), (row("diffusers", tasks=frozenset({"t2v-A14B"})), only)

    with pytest.raises(ModelNotFound) as missing:
        chosen(vace, rows=rows)
    with pytest.raises(InvalidRequest, match="Engine 'diffusers' does not render vace-A14B") as named:
        chosen(vace, rows=rows, asked="diffusers", diffusers=READY)

    assert missing.value.hint.startswith("only the comfyui engine renders vace-A14B\ncomfyui: ")
    assert named.value.hint == "vace-A14B is rendered by comfyui."
