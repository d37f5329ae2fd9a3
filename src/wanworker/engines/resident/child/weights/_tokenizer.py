"""Make the text encoder's tokenizer from a SentencePiece model, which ComfyUI's files carry, without sentencepiece."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

#: Fields of sentencepiece_model.proto: of ModelProto, of SentencePiece in it, and of NormalizerSpec.
_PIECES, _NORMALIZER = 1, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_CHARSMAP, _REMOVES_SPACES = 2, 4
_NORMAL, _UNKNOWN, _BYTE = 1, 2, 6

_SPACE = "\u2581"
_MAX_TOKENS = 512


def tokenizer_of(model: bytes) -> Any:
    """Return the tokenizer that the SentencePiece *model* describes. Raises ValueError where it is none."""
    pieces: list[tuple[str, float, int]] = []
    normal: dict[int, Any] = {}
    try:
        for number, value in _fields(model):
            if number == _PIECES:
                pieces.append(_piece(value))
            elif number == _NORMALIZER:
                normal = dict(_fields(value))
    except (IndexError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise ValueError("it is not a SentencePiece model") from error
    kinds = [kind for _, _, kind in pieces]
    texts = [text for text, _, _ in pieces]
    if _UNKNOWN not in kinds or "</s>" not in texts:
        raise ValueError("it is not a SentencePiece model of a text encoder")
    unknown = kinds.index(_UNKNOWN)
    made = Tokenizer(
        models.Unigram([(text, score) for text, score, _ in pieces], unk_id=unknown, byte_fallback=_BYTE in kinds)
    )
    made.normalizer = _normalizer(normal)
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", texts.index("</s>"))]
    )
    special = {"pad_token": "<pad>" if "<pad>" in texts else texts[0], "eos_token": "</s>", "unk_token": texts[unknown]}
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=_MAX_TOKENS, **special)


def _normalizer(normal: dict[int, Any]) -> Any:
    parts: list[Any] = []
    if normal.get(_CHARSMAP):
        parts.append(normalizers.Precompiled(normal[_CHARSMAP]))
    if normal.get(_REMOVES_SPACES, 1):
        parts += [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), _SPACE)]
    return normalizers.Sequence(parts)


def _piece(message: bytes) -> tuple[str, float, int]:
    found = dict(_fields(message))
    score = struct.unpack("<f", found[_SCORE])[0] if _SCORE in found else 0.0
    return found.get(_TEXT, b"").decode(), score, found.get(_TYPE, _NORMAL)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Give (number, value) of each field of a protocol buffer message: an int, or bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(message, at)
        elif wire in {1, 5}:
            size = 8 if wire == 1 else 4
        else:
            raise ValueError("it is not a SentencePiece model")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
