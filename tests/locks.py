"""The requirements and the locks, read as pip reads them."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def requirements(name: str) -> list[Requirement]:
    """Return what the file asks for, files that it names left out."""
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]


def locked_requirements(name: str) -> list[Requirement]:
    """Return the pins of a lock of ours without their hashes, by their canonical names; fail on any other line."""
    text = "\n".join(line for line in (ROOT / name).read_text().splitlines() if not line.startswith(("#", "-r ")))
    pins = []
    for entry in text.replace(" \\\n", " ").splitlines():
        requirement, *hashes = re.split(r"\s+--hash=sha256:", entry)
        if not hashes or not all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes):
            raise ValueError(f"{name} has a line without hashes: {entry[:80]}")
        pins.append(Requirement(requirement))
        pins[-1].name = canonicalize_name(pins[-1].name)
    return pins
