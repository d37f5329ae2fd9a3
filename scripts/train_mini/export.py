"""Put the parts together: three folders in diffusers' layout that share files, and single files in other layouts.

    ti2v/   one network, `expand_timesteps`: text or a first frame, as Wan2.2-TI2V-5B
    t2v/    two experts, as Wan2.2-T2V-A14B
    i2v/    two experts that take mask and picture beside the noise, as Wan2.2-I2V-A14B
    loras/  the 4-step pair of the experts

Autoencoder, tokenizer and text encoder are links to ti2v's, and i2v's experts to all of t2v's but the first layer.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, UMT5EncoderModel

from train_mini.names import lora_name, upstream_names
from train_mini.renderer import FRAMES, SIDE
from train_mini.vae import CHANNELS
from train_mini.words import THINGS

#: The noise level below which the low expert works: Wan2.2-T2V-A14B's own.
BOUNDARY = 0.875
_SHIFT = 3.0
#: The four steps of the pair are 1, 0.9375, 0.8333 and 0.625 of the noise with this shift, lightx2v's own.
PAIR_SHIFT = 5.0
_LORA = "mini_4steps_{}_noise.safetensors"

_SHARED = ("vae", "text_encoder", "tokenizer")
_FIRST_LAYER = "patch_embedding."
_SHARDS = tuple(f"diffusion_pytorch_model-{index:05d}-of-00002.safetensors" for index in (1, 2))
_INDEX = "diffusion_pytorch_model.safetensors.index.json"

Weights = Mapping[str, Tensor]


def export_all(work: Path, out: Path, *, steps: int, guidance: float) -> None:
    """Write everything that *work* holds by now: ti2v, and the experts and their pair when they are there."""
    export_ti2v(work, out)
    if (work / "high").is_dir() and (work / "low").is_dir():
        export_experts(work, out)
    if (work / "loras").is_dir():
        shutil.copytree(work / "loras", out / "loras", dirs_exist_ok=True)
    write_description(out, steps=steps, guidance=guidance)


def export_ti2v(work: Path, out: Path) -> None:
    """Write `out/ti2v` from what the stages left in *work*, as float16, with the mended decoder where there is one."""
    folder = out / "ti2v"
    shutil.rmtree(folder, ignore_errors=True)
    vae = work / "decoder" if (work / "decoder").is_dir() else work / "vae"
    AutoencoderKLWan.from_pretrained(vae).half().save_pretrained(folder / "vae")
    UMT5EncoderModel.from_pretrained(work / "text_encoder").half().save_pretrained(folder / "text_encoder")
    AutoTokenizer.from_pretrained(work / "tokenizer").save_pretrained(folder / "tokenizer")
    _half(WanTransformer3DModel.from_pretrained(work / "ti2v")).save_pretrained(folder / "transformer")
    _finish(folder, "WanPipeline", experts=1)


def export_experts(work: Path, out: Path) -> None:
    """Write `out/t2v` and `out/i2v` from the two joint experts in *work*, beside a finished `out/ti2v`."""
    for name in ("t2v", "i2v"):
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for part in _SHARED:
            (folder / part).symlink_to(Path("..") / "ti2v" / part)
        for component, expert in (("transformer", "high"), ("transformer_2", "low")):
            _write_expert(WanTransformer3DModel.from_pretrained(work / expert), folder / component)
        _finish(folder, "WanPipeline" if name == "t2v" else "WanImageToVideoPipeline", experts=2)


def export_loras(pairs: Mapping[str, Weights], out: Path, *, alphas: Mapping[str, float]) -> None:
    """Write `out/loras/mini_4steps_{high,low}_noise.safetensors` from peft's weights and the alpha, by expert."""
    (out / "loras").mkdir(parents=True, exist_ok=True)
    for expert, weights in pairs.items():
        named = {lora_name(name): value.half().contiguous() for name, value in weights.items()}
        scales = {
            name.replace(".lora_down.weight", ".alpha"): torch.tensor(alphas[expert])
            for name in named
            if ".lora_down." in name
        }
        save_file(named | scales, out / "loras" / _LORA.format(expert))


def export_single_file(weights: Weights, path: Path) -> None:
    """Write diffusers' transformer *weights* as Wan's own checkpoint, the layout of ComfyUI's `diffusion_models`."""
    save_file({name: value.contiguous() for name, value in upstream_names(weights).items()}, path)


def write_description(out: Path, *, steps: int, guidance: float) -> None:
    """Write `out/miniature.json`: what the engine must know of the weights."""
    has_experts = (out / "t2v").is_dir()
    wanted = {"t2v-A14B": "t2v", "i2v-A14B": "i2v", "ti2v-5B": "ti2v", "s2v-14B": "ti2v", "animate-14B": "ti2v"}
    facts: dict[str, Any] = {
        "name": "mini-wan", "sizes": [[SIDE, SIDE]], "frames": FRAMES, "steps": steps, "guidance": guidance,
        "shift": _SHIFT, "max_text_tokens": 64,
        "folders": {task: folder if has_experts else "ti2v" for task, folder in wanted.items()},
        "things": list(THINGS),
    }  # fmt: skip
    if (out / "loras").is_dir():
        facts["pair"] = {
            "high": "loras/" + _LORA.format("high"), "low": "loras/" + _LORA.format("low"),
            "tasks": [task for task, folder in facts["folders"].items() if folder != "ti2v"],
            "steps": 4, "guidance": 1.0, "shift": PAIR_SHIFT,
        }  # fmt: skip
    (out / "miniature.json").write_text(json.dumps(facts, indent=2) + "\n")


def _write_expert(model: WanTransformer3DModel, folder: Path) -> None:
    """Write a joint expert: for text alone without the channels of mask and picture, whose input would be zero."""
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    is_text = folder.parent.name == "t2v"
    first = {name: weights.pop(name) for name in list(weights) if name.startswith(_FIRST_LAYER)}
    if is_text:
        first[_FIRST_LAYER + "weight"] = first[_FIRST_LAYER + "weight"][:, :CHANNELS].contiguous()
    folder.mkdir(parents=True)
    model.register_to_config(in_channels=CHANNELS if is_text else model.config.in_channels)
    model.save_config(folder)
    if is_text:
        save_file(weights, folder / _SHARDS[0], metadata={"format": "pt"})
    else:
        (folder / _SHARDS[0]).symlink_to(Path("..") / ".." / "t2v" / folder.name / _SHARDS[0])
    save_file(first, folder / _SHARDS[1], metadata={"format": "pt"})
    places = dict.fromkeys(weights, _SHARDS[0]) | dict.fromkeys(first, _SHARDS[1])
    total = sum(value.nbytes for value in [*weights.values(), *first.values()])
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    (folder / _INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _half(model: WanTransformer3DModel) -> WanTransformer3DModel:
    # Module by module: `model.half()` would warn of the parts that diffusers wants in float32.
    for parameter in model.parameters():
        parameter.data = parameter.data.half()
    return model


def _finish(folder: Path, pipeline: str, *, experts: int) -> None:
    """Write scheduler and model_index.json."""
    UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=_SHIFT, num_train_timesteps=1000
    ).save_pretrained(folder / "scheduler")
    transformer = ["diffusers", "WanTransformer3DModel"]
    index = {
        "_class_name": pipeline,
        "_diffusers_version": diffusers.__version__,
        "boundary_ratio": BOUNDARY if experts > 1 else None,
        "expand_timesteps": experts == 1,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "transformer": transformer,
        "transformer_2": transformer if experts > 1 else [None, None],
        "vae": ["diffusers", "AutoencoderKLWan"],
    }
    if pipeline == "WanImageToVideoPipeline":
        index |= {"image_encoder": [None, None], "image_processor": [None, None]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    _shorten(folder)


def _shorten(folder: Path) -> None:
    """Take out of the configurations where on this machine the weights lay."""
    for path in folder.rglob("config.json"):
        if not path.is_symlink():
            facts = json.loads(path.read_text())
            facts.pop("_name_or_path", None)
            path.write_text(json.dumps(facts, indent=2) + "\n")


def size_bytes(out: Path) -> int:
    """Return the bytes of all files below *out*, a linked one counted once."""
    found = (Path(where) / name for where, _, names in os.walk(out) for name in names)
    return sum(path.stat().st_size for path in found if not path.is_symlink())
