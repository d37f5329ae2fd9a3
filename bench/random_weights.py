"""
Write weights of the true architectures with random numbers, as ComfyUI's files, where none are there.

    python bench/random_weights.py FOLDER --task ti2v-5B --form bf16                 the released sizes: 20 GB
    python bench/random_weights.py FOLDER --task t2v-A14B --form fp8_scaled --share  one expert's numbers for both
    python bench/random_weights.py FOLDER --task t2v-A14B --small                    two layers, without a GPU

What takes the time of a render does not depend on the numbers, as long as they stay finite. So one block of random
numbers is written again and again, which is as fast as the disk. Prints one line of JSON: bytes and seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import torch  # noqa: E402
from diffusers import AutoencoderKLWan, WanTransformer3DModel  # noqa: E402
from transformers import UMT5Config, UMT5EncoderModel  # noqa: E402

from fakes.weight_files import sentencepiece_model, upstream_transformer, upstream_vae  # noqa: E402
from wanworker.models.sources.configs import UMT5_XXL, VAES  # noqa: E402

DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "F8_E4M3": torch.float8_e4m3fn}
BLOCK_NUMBERS = 8 * 2**20

#: Channels in and out, and the sizes of the released transformers.
CHANNELS = {"t2v-A14B": (16, 16), "i2v-A14B": (36, 16), "ti2v-5B": (48, 48)}
A14B = {"num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824}
TI2V = {"num_attention_heads": 24, "num_layers": 30, "ffn_dim": 14336}
SMALL = {
    "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2, "ffn_dim": 64, "text_dim": 32,
}  # fmt: skip
SMALL_TEXT = {"vocab_size": 260, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
SMALL_VAE = {
    16: {"base_dim": 3, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1},
    48: {
        "base_dim": 3, "decoder_base_dim": 3, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1,
    },
}  # fmt: skip

#: name -> (dtype in safetensors' words, shape, standard deviation; 0: zeros, None: ones)
Plan = dict[str, tuple[str, tuple[int, ...], float | None]]


def main() -> None:
    """Write what is missing below the folder, and say how much that was."""
    args = arguments()
    started = time.perf_counter()
    size_bytes = sum(write(path, *made) for path, made in files(args) if not path.exists())
    share(args)
    print(json.dumps({"written_bytes": size_bytes, "seconds": round(time.perf_counter() - started, 2)}))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", choices=list(CHANNELS), default="ti2v-5B")
    parser.add_argument("--form", choices=["bf16", "fp8_scaled"], default="bf16")
    parser.add_argument("--small", action="store_true", help="two layers of each model")
    parser.add_argument("--share", action="store_true", help="both experts are one file")
    return parser.parse_args()


def names(task: str, form: str) -> list[str]:
    """Return the transformers' file names. The 5B model is called FastWan, so that it renders in three steps."""
    if task == "ti2v-5B":
        return [f"Wan2_2-TI2V-5B-FastWanFullAttn_{form}.safetensors"]
    kind = task.partition("-")[0]
    return [f"wan2.2_{kind}_{half}_noise_14B_{form}.safetensors" for half in ("high", "low")]


def files(args: argparse.Namespace) -> Iterator[tuple[Path, tuple[Plan, Mapping[str, Any], bytes]]]:
    """Give each file with its tensors, the configuration beside it, and its tokenizer."""
    in_channels, channels = CHANNELS[args.task]
    own = "small" if args.small else "released"
    for name in names(args.task, args.form)[: 1 if args.share else 2]:
        yield args.folder / "diffusion_models" / name, (*transformer(args, in_channels, channels), b"")
    yield args.folder / "text_encoders" / f"umt5_{own}_{args.form}.safetensors", text_encoder(args)
    yield args.folder / "vae" / f"wan_{own}_{channels}_vae.safetensors", (*vae(channels, is_small=args.small), b"")


def share(args: argparse.Namespace) -> None:
    """Give the other expert the same file under its own name."""
    paths = [args.folder / "diffusion_models" / name for name in names(args.task, args.form)]
    if args.share and len(paths) > 1 and not paths[1].exists():
        for suffix in (".safetensors", ".json"):
            if paths[0].with_suffix(suffix).exists():
                os.link(paths[0].with_suffix(suffix), paths[1].with_suffix(suffix))


def transformer(args: argparse.Namespace, in_channels: int, channels: int) -> tuple[Plan, Mapping[str, Any]]:
    """Return a transformer's tensors under upstream's names."""
    sizes: dict[str, Any] = {"text_dim": 4096, "freq_dim": 256, "qk_norm": "rms_norm_across_heads"}
    sizes |= TI2V if channels == 48 else A14B
    with torch.device("meta"):
        model = WanTransformer3DModel(
            in_channels=in_channels, out_channels=channels, cross_attn_norm=True,
            **(sizes | (SMALL if args.small else {})),
        )  # fmt: skip
    return planned(upstream_transformer(model.state_dict()), args.form), own(model.config, args.small)


def text_encoder(args: argparse.Namespace) -> tuple[Plan, Mapping[str, Any], bytes]:
    """Return an umt5's tensors under transformers' names, and a tokenizer that reads any text byte by byte."""
    config = UMT5Config(**({**UMT5_XXL, **SMALL_TEXT} if args.small else UMT5_XXL))
    with torch.device("meta"):
        model = UMT5EncoderModel(config)
    tensors = {name: tensor for name, tensor in model.state_dict().items() if "embed_tokens" not in name}
    beside = config.to_dict() | {"architectures": ["UMT5EncoderModel"]} if args.small else {}
    pieces = [("<pad>", 0.0, 3), ("</s>", 0.0, 3), ("<unk>", 0.0, 2), ("\u2581", -1.0, 1)]
    pieces += [(f"<0x{byte:02X}>", -6.0, 6) for byte in range(256)]
    return planned(tensors, args.form), beside, sentencepiece_model(pieces)


def vae(channels: int, *, is_small: bool) -> tuple[Plan, Mapping[str, Any]]:
    """Return a VAE's tensors under upstream's names; they are never float8."""
    config = {**VAES[channels], **(SMALL_VAE[channels] if is_small else {})}
    with torch.device("meta"):
        model = AutoencoderKLWan(**config)
    tensors = upstream_vae(model.state_dict(), res_blocks=model.config.num_res_blocks)
    return planned(tensors, "bf16"), own(model.config, is_small)


def own(config: Mapping[str, Any], is_small: bool) -> Mapping[str, Any]:
    """Return the configuration that a model of another size than the released ones brings along."""
    return dict(config) | {"_class_name": "small"} if is_small else {}


def planned(tensors: Mapping[str, Any], form: str) -> Plan:
    """Return how each tensor is written: matrices so that what passes through them keeps its size."""
    plan: Plan = {}
    for name, tensor in tensors.items():
        shape = tuple(tensor.shape)
        if math.prod(shape) in shape:  # a vector: a norm's factors, or a bias
            plan[name] = ("BF16", shape, 0.0 if name.endswith("bias") else None)
        elif form == "fp8_scaled" and tensor.ndim == 2 and "block" in name and "bias" not in name:
            scale = f"{name.removesuffix('.weight')}.scale_weight"
            plan[name] = ("F8_E4M3", shape, 1.0)
            plan[scale] = ("F32", (), 1 / math.sqrt(shape[1]))
        else:
            plan[name] = ("BF16", shape, 1 / math.sqrt(math.prod(shape[1:])))
    if any(dtype == "F8_E4M3" for dtype, _, _ in plan.values()):
        plan["scaled_fp8"] = ("F8_E4M3", (0,), 0.0)
    return plan


def write(path: Path, plan: Plan, config: Mapping[str, Any], tokenizer: bytes) -> int:
    """Write one file, which has its name only once it is whole; return its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header: dict[str, Any] = {}
    end = 0
    for name, (dtype, shape, _) in plan.items():
        begin, end = end, end + math.prod(shape) * DTYPES[dtype].itemsize
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    if tokenizer:
        header["spiece_model"] = {
            "dtype": "U8", "shape": [len(tokenizer)], "data_offsets": [end, end + len(tokenizer)],
        }  # fmt: skip
    text = json.dumps(header).encode()
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for dtype, shape, spread in plan.values():
            fill(file, dtype, shape, spread)
        file.write(tokenizer)
    if config:
        path.with_suffix(".json").write_text(json.dumps(config))
    part.replace(path)
    return path.stat().st_size


BLOCKS: dict[tuple[str, float | None], memoryview] = {}


def fill(file: BinaryIO, dtype: str, shape: tuple[int, ...], spread: float | None) -> None:
    """Write the numbers of one tensor."""
    left = math.prod(shape) * DTYPES[dtype].itemsize
    if shape == () and spread is not None:  # a scale
        file.write(struct.pack("<f", spread))
        return
    data = block(dtype, spread, min(BLOCK_NUMBERS, left))
    while left > 0:
        left -= file.write(data[: min(left, len(data))])


def block(dtype: str, spread: float | None, numbers: int) -> memoryview:
    """Return at least *numbers* random numbers of this spread as bytes; ones for None."""
    known = BLOCKS.get((dtype, spread))
    if known is None or len(known) < numbers * DTYPES[dtype].itemsize:
        made = torch.ones(numbers) if spread is None else torch.randn(numbers, generator=GENERATOR) * spread
        data = made.to(DTYPES[dtype]).view(torch.uint8).numpy()
        known = BLOCKS[dtype, spread] = memoryview(data)
    return known


GENERATOR = torch.Generator().manual_seed(0)


if __name__ == "__main__":
    main()
