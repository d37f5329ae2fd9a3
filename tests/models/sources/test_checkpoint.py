"""How checkpoints are stored, told from their headers; what cannot be loaded right is refused by name."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from fakes.headers import Described, scaled, transformer, write_header
from wanworker.models.sources.checkpoint import CannotLoad, read_checkpoint

FLOAT8 = transformer(dtype="F8_E4M3")
Q = "blocks.1.self_attn.q"


def prefixed(tensors: Described, prefix: str) -> Described:
    return {prefix + name: entry for name, entry in tensors.items()}


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
@pytest.mark.parametrize(
    ("tensors", "form", "has_scale"),
    [
        (transformer(dtype="BF16"), "bf16", False),
        (transformer(dtype="F16"), "fp16", False),
        (transformer(dtype="F32"), "fp32", False),
        (FLOAT8, "fp8", False),
        (scaled(FLOAT8), "fp8_scaled", True),
        (scaled(FLOAT8, old=False), "fp8_scaled", True),
    ],
)
def test_each_form_is_known_with_any_prefix(
    tmp_path: Path, prefix: str, tensors: Described, form: str, *, has_scale: bool
) -> None:
    checkpoint = read_checkpoint(write_header(tmp_path / "a.safetensors", prefixed(tensors, prefix)))

    assert form == checkpoint.form
    assert set(transformer()) == set(checkpoint.tensors)
    assert has_scale == (Q in checkpoint.scales)
    assert not has_scale or 0.5 == struct.unpack("<f", checkpoint.scales[Q].read())[0]


def test_the_files_metadata_may_say_which_layers_are_float8(tmp_path: Path) -> None:
    tensors = {name: entry for name, entry in scaled(FLOAT8, old=False).items() if not name.endswith("comfy_quant")}
    layers = {Q: {"format": "float8_e4m3fn", "full_precision_matrix_mult": True}}
    metadata = {"_quantization_metadata": json.dumps({"layers": layers})}

    checkpoint = read_checkpoint(write_header(tmp_path / "a.safetensors", tensors, metadata))

    assert frozenset({Q}) == checkpoint.full_precision


@pytest.mark.parametrize(
    "tensors",
    [
        {**scaled(FLOAT8), "scaled_fp8": ("F8_E4M3", (2,))},
        scaled(FLOAT8, old=False, config={"format": "float8_e4m3fn", "full_precision_matrix_mult": True}),
    ],
)
def test_a_file_may_forbid_to_multiply_in_float8(tmp_path: Path, tensors: Described) -> None:
    assert Q in read_checkpoint(write_header(tmp_path / "a.safetensors", tensors)).full_precision


def for_each_row(tensors: Described) -> Described:
    """Return a file with a scale for each row of each matrix."""
    return {
        name: ("F32", (tensors[f"{name.removesuffix('.scale_weight')}.weight"][1][0],)) if name.endswith("scale_weight")
        else entry
        for name, entry in tensors.items()
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tensors", "is_so"),
    [
        (scaled(FLOAT8), True),
        (scaled(FLOAT8, old=False), True),
        (FLOAT8, True),
        (transformer(), False),
        (for_each_row(scaled(FLOAT8)), False),
        ({**scaled(FLOAT8), "scaled_fp8": ("F8_E4M3", (2,))}, False),
        (transformer(dtype="F8_E5M2"), False),
    ],
)
def test_matrices_are_multiplied_in_float8_only_with_one_scale_and_where_the_file_allows_it(
    tmp_path: Path, tensors: Described, *, is_so: bool
) -> None:
    assert is_so == read_checkpoint(write_header(tmp_path / "a.safetensors", tensors)).multiplies_float8


def without(name: str, tensors: Described) -> Described:
    return {key: entry for key, entry in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (without(f"{Q}.scale_weight", scaled(FLOAT8)), f"{Q} is float8 in a scaled file and has no scale"),
        (without(f"{Q}.weight", scaled(FLOAT8)), f"{Q} has scale_weight and no weight"),
        (scaled(FLOAT8) | {f"{Q}.scale_weight": ("F32", (3,))}, r"a scale of shape \[3\] for a weight of \[256, 256\]"),
        (transformer() | {f"{Q}.scale_weight": ("F32", ())}, "nothing says what the scale is for"),
        (scaled(FLOAT8, old=False, config={"format": "nvfp4"}), "stored as 'nvfp4'; this engine reads fp8, bf16"),
        (scaled(FLOAT8, old=False, config={"format": "mxfp8"}), "stored as 'mxfp8'"),
        (scaled(FLOAT8, old=False, config={"format": "int8_tensorwise"}), "stored as 'int8_tensorwise'"),
        (transformer(dtype="I8"), "has numbers of the kind I8"),
    ],
)
def test_what_cannot_be_loaded_right_is_refused_by_name(tmp_path: Path, tensors: Described, message: str) -> None:
    path = write_header(tmp_path / "a.safetensors", tensors)

    with pytest.raises(CannotLoad, match=rf"a\.safetensors: .*{message}"):
        read_checkpoint(path)


def test_a_quantisation_of_a_layer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    metadata = {"_quantization_metadata": json.dumps({"layers": {"blocks.9.ffn.0": {"format": "float8_e4m3fn"}}})}

    with pytest.raises(CannotLoad, match=r"declared for blocks\.9\.ffn\.0, which is not there"):
        read_checkpoint(write_header(tmp_path / "a.safetensors", transformer(), metadata))


def test_a_file_that_was_cut_short_or_is_gone_is_named(tmp_path: Path) -> None:
    path = write_header(tmp_path / "a.safetensors", transformer())
    path.write_bytes(path.read_bytes()[:-7])

    with pytest.raises(CannotLoad, match=r"a\.safetensors is damaged: \d+ bytes are there"):
        read_checkpoint(path)
    with pytest.raises(CannotLoad, match=r"b\.safetensors is missing"):
        read_checkpoint(tmp_path / "b.safetensors")


def test_a_folder_is_read_by_its_index(tmp_path: Path) -> None:
    weight_map = {"a": "diffusion_pytorch_model-1.safetensors", "b": "diffusion_pytorch_model-2.safetensors"}
    for name, file in weight_map.items():
        write_header(tmp_path / file, {name: ("F32", (2,))})
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))

    assert {"a", "b"} == set(read_checkpoint(tmp_path).tensors)
    (tmp_path / "diffusion_pytorch_model-2.safetensors").unlink()
    with pytest.raises(CannotLoad, match=r"diffusion_pytorch_model-2\.safetensors is missing"):
        read_checkpoint(tmp_path)
