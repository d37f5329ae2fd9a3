"""Read the Dockerfile: its instructions in their order, by stage."""

from __future__ import annotations

import itertools
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction with its words, lines joined and comments gone."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return [word for word in shlex.split(self.text) if not word.startswith("--")]


def read(text: str) -> list[Step]:
    """Return the instructions of a Dockerfile in their order."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Step(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def stage(name: str, steps: list[Step]) -> list[Step]:
    """Return the steps of the stage `AS name`; of the last one for an empty name, with what comes before any stage."""
    starts = [index for index, step in enumerate(steps) if step.name == "FROM"] + [len(steps)]
    parts = {steps[at].text.partition(" AS ")[2]: steps[at:end] for at, end in itertools.pairwise(starts)}
    return parts[name] if name else [*steps[: starts[0]], *parts[name]]


ALL_STEPS = read(DOCKERFILE.read_text())
