"""
Blot out secrets in text that people will read: passwords and signatures in URLs, keys, tokens.

Secrets are found in two ways: by their form, and by their value where the worker knows it. `remember` takes the values
of the settings' secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

BLOT = "***"

#: A shorter value could be part of any word, so it is not blotted out.
_LEAST_CHARS = 8

#: Names of parameters and variables whose value is a secret, as written in URLs, forms and programs.
_PARAMETER = (
    r"(?:(?:[a-z0-9]+[_-])*(?:signature|sig|credentials?|token|key|secret|password|passwd|apikey|accesskeyid"
    r"|secretaccesskey)|(?:aws)?accesskey(?:id)?|access[_-]?key[_-]?id|key-pair-id|policy|hmac|jwt)"
)
#: The sign between name and value, also as it is written inside of another URL or of JSON. A name may follow `%3F`.
_ASSIGNED = re.compile(
    rf"(?:(?<![\w-])|(?<=%3f)|(?<=%26))({_PARAMETER})(=|%3d|\\u003d)(?!\s|=)[^\s&;,'\"<>)\]}}]+", re.IGNORECASE
)
#: The same in a dictionary, as JSON and Python write it.
_QUOTED = re.compile(
    r"(['\"][\w-]{0,40}(?:secret|token|password|passwd|api_?key|access_?key(?:_?id)?|signature|credentials?)['\"]\s*:\s*)"
    r"(['\"])[^'\"\n]{4,}(?=['\"])",
    re.IGNORECASE,
)
_URL_LOGIN = re.compile(r"\b([a-z][a-z0-9+.-]{1,20}://)[^\s/?#@'\"<>]{1,500}@", re.IGNORECASE)
_HEADER = re.compile(
    r"((?:proxy-)?authorization|x-api-key|api-key|cookie)(['\"]?\s*[:=]\s*['\"]?)"
    r"((?:bearer|basic|token|digest)\s+)?(?!(?:bearer|basic|token|digest)\b)[^\s'\"`,;]{6,}(?:[^'\"`\n]{0,300}(?=['\"]))?",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
#: Hugging Face, RunPod, OpenAI's form, GitHub, Slack, and the key ids of AWS.
_TOKEN = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|rp[a-z]?_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_\w{20,}|xox[abprs]-[\w-]{10,}|A[KS]IA[0-9A-Z]{16})"
)

_known: set[str] = set()


def remember(values: Iterable[str]) -> None:
    """Blot out *values* in every text from now on, in the whole process. Very short values are ignored."""
    _known.update(value for value in values if len(value) >= _LEAST_CHARS)


def without_secrets(text: str) -> str:
    """Return *text* with every secret that can be recognised replaced by `***`. The names of parameters stay."""
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, BLOT)
    text = _URL_LOGIN.sub(rf"\1{BLOT}@", text)
    text = _HEADER.sub(rf"\1\2\3{BLOT}", text)
    text = _BEARER.sub(rf"\1 {BLOT}", text)
    text = _TOKEN.sub(BLOT, text)
    text = _QUOTED.sub(rf"\1\2{BLOT}", text)
    return _ASSIGNED.sub(rf"\1\2{BLOT}", text)
