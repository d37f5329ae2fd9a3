"""
The table of few-step recipes: which LoRA or model file means which steps, schedule, solver, guidance and experts. Pure.

Every engine reads it, so that a request is sampled alike wherever it goes. To add a recipe: one row, one test.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wanworker.spec import Lora

#: A recipe's solvers beside the request's own `unipc` and `dpm++`.
EULER, DMD = "euler", "dmd"

#: What the numbers of a model are called that was not distilled.
OWN_NAME = "Wan's own numbers"


@dataclass(frozen=True, slots=True)
class Recipe:
    """
    How to sample where the request leaves it open.

    `guidance` is (low noise, high noise). `high_steps` says how many of the `steps` the high-noise expert takes; None
    leaves it to the task's boundary. `noise` has the share of noise (1 to 0) before each step where the schedule
    follows no shift. `name` is what answers and warnings call it.
    """

    steps: int
    guidance: tuple[float, float]
    shift: float
    solver: str
    high_steps: int | None = None
    noise: tuple[float, ...] = ()
    name: str = ""


#: lightx2v's pairs for Wan 2.2. Its configurations (configs/distill/wan22) have denoising_step_list 1000, 750, 500, 250
#: with sample_shift 5, which is 1000, 937.5, 833.3 and 625 of 1000; boundary_step_index 2; enable_cfg false.
LIGHTX2V_PAIR = Recipe(4, (1.0, 1.0), 5.0, EULER, high_steps=2, name="lightx2v's 4-step pair")

#: The same steps for a model of one expert: lightx2v's distillation of Wan 2.1 (configs/distill/wan21).
LIGHTX2V_SINGLE = Recipe(4, (1.0, 1.0), 5.0, EULER, name="lightx2v's 4-step distillation")

#: FastVideo's DmdDenoisingStage has dmd_denoising_steps 1000, 757, 522 for FastWan2.2-TI2V-5B, and no guidance.
FASTWAN = Recipe(3, (1.0, 1.0), 8.0, DMD, noise=(1.0, 0.757, 0.522), name="FastWAN")

#: The LoRA over the base model is published with these (peers.md 2.3): the documented FastWAN service's own numbers.
FASTWAN_LORA = Recipe(8, (1.0, 1.0), 8.0, "unipc", name="the FastWAN LoRA")


@dataclass(frozen=True, slots=True)
class Row:
    """
    Files with `words` in their path and `not_words` nowhere; `kinds` says whether LoRAs or models are meant.

    `examples` are names as they are published, for the documents and the tests.
    """

    recipe: Recipe
    words: str
    examples: tuple[str, ...]
    not_words: str = r"(?!)"
    kinds: tuple[str, ...] = ("lora", "model")

    def knows(self, kind: str, path: str) -> bool:
        """Say whether the row means this `lora` or `model`; *path* is in lower case."""
        has_words = re.search(self.words, path) is not None
        return kind in self.kinds and has_words and re.search(self.not_words, path) is None


#: `4steps`, `4-step` and `4_steps`, but neither 14 steps nor 40.
_FOUR_STEPS = r"(?<!\d)4[-_ ]?steps?(?![a-z])"
_OTHER_STEPS = r"(?<!\d)(?!4[-_ ]?step)\d+[-_ ]?steps?(?![a-z])"

#: The first row that knows a file decides. Paths are lower case: a folder may say what a file's name does not
#: (Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1.1/high_noise_model.safetensors).
ROWS = (
    Row(
        FASTWAN_LORA, r"fastwan",
        ("Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16",),
        kinds=("lora",),
    ),
    Row(FASTWAN, r"fastwan", ("FastWan2.2-TI2V-5B-FullAttn-Diffusers",), kinds=("model",)),
    Row(
        LIGHTX2V_SINGLE, r"cfg_?step_?distill|wan[-_ ]?2[._]?1.*lightx2v",
        ("lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16", "wan2.1_i2v_lora_rank64_lightx2v_4step"),
        _OTHER_STEPS,
    ),
    Row(
        LIGHTX2V_PAIR, r"lightx2v|(?<![a-z])seko(?![a-z])",
        (
            "wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise",
            "wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise",
            "Wan2.2-T2V-A14B-4steps-lora-rank64-Seko-V1.1/high_noise_model",
            "wan2.2_i2v_A14b_high_noise_lora_rank64_lightx2v_4step_1022",
            "wan2.2_t2v_A14b_high_noise_lora_rank64_lightx2v_4step_1217",
            "wan2.2_i2v_A14b_high_noise_lightx2v_4step_720p_260412",
        ),
        _OTHER_STEPS,
    ),
    # What others call the same files.
    Row(
        LIGHTX2V_PAIR, rf"wan[-_ ]?2[._]?2.*(lightning|{_FOUR_STEPS})",
        ("Wan2.2-Lightning_I2V-A14B-4steps-lora_HIGH_fp16",),
        _OTHER_STEPS,
    ),
)  # fmt: skip

_T2V_PAIR = Lora(
    high="wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors",
    low="wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors",
)

#: What `use_lora` without a name means. Tasks without one of their own take those of their relatives, as ComfyUI's
#: templates do.
STEP_LORAS: Mapping[str, Lora] = {
    "t2v-A14B": _T2V_PAIR,
    "i2v-A14B": Lora(
        high="wan2.2_i2v_lightx2v_4steps_lora_v1_high_noise.safetensors",
        low="wan2.2_i2v_lightx2v_4steps_lora_v1_low_noise.safetensors",
    ),
    "ti2v-5B": Lora(
        "Wan2_2_5B_FastWanFullAttn_lora_rank_128_bf16.safetensors", None, high_strength=1.1, low_strength=1.1
    ),
    "s2v-14B": Lora(high="wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors", low=None),
    "animate-14B": Lora(high="lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", low=None),
    "vace-A14B": _T2V_PAIR,
    "v2v-A14B": _T2V_PAIR,
    "animate2-14B": Lora(high="lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", low=None),
}


def recipe_for(*, models: Iterable[str] = (), loras: Iterable[str] = ()) -> Recipe | None:
    """
    Return the recipe of these model and LoRA files, None where no row of the table knows one of them.

    A file is named by its path below its folder. Models come before LoRAs, and the first that is known counts.
    """
    files = [*(("model", name) for name in models), *(("lora", name) for name in loras)]
    for kind, name in files:
        path = name.replace("\\", "/").lower()
        for row in ROWS:
            if row.knows(kind, path):
                return row.recipe
    return None
