"""The locks: they answer the requirements, on every Python and system that we name."""

from __future__ import annotations

import re
from importlib.metadata import distributions

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from locks import ROOT, locked_requirements, requirements

DOOR = locked_requirements("requirements-door.lock")
RUN, TOOLS = locked_requirements("requirements.lock"), locked_requirements("requirements-dev.lock")
SYSTEMS = [
    {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
]
MACHINES = [
    {**default_environment(), **system, "python_version": version, "python_full_version": f"{version}.5"}
    for system in SYSTEMS
    for version in ("3.11", "3.12", "3.13")
]


def is_for(item: Requirement, machine: dict[str, str]) -> bool:
    return item.marker is None or item.marker.evaluate(machine)


def versions(pins: list[Requirement], machine: dict[str, str]) -> dict[str, str]:
    """Return the version of each package that *machine* installs; fail where it would be told two."""
    found = [(pin.name, next(iter(pin.specifier)).version) for pin in pins if is_for(pin, machine)]
    assert len(found) == len(dict(found))
    return dict(found)


def unmet(asked: list[Requirement], pins: list[Requirement], machine: dict[str, str]) -> list[str]:
    """Return the requirements which no pin meets, torch left out."""
    locked = versions(pins, machine)
    return [
        str(item)
        for item in asked
        if is_for(item, machine)
        and item.name != "torch"
        and not ((name := canonicalize_name(item.name)) in locked and item.specifier.contains(locked[name]))
    ]


@pytest.mark.parametrize(
    "machine", MACHINES, ids=lambda machine: f"{machine['sys_platform']}-{machine['python_version']}"
)
def test_each_requirement_is_met_by_its_lock(machine: dict[str, str]) -> None:
    assert [] == unmet(requirements("requirements.txt"), RUN, machine), "run scripts/lock"
    assert [] == unmet(requirements("requirements-dev.txt"), [*RUN, *TOOLS], machine), "run scripts/lock"
    assert [] == unmet(requirements("requirements-door.txt"), DOOR, machine), "run scripts/lock"
    assert versions(DOOR, machine).items() <= versions(RUN, machine).items(), "run scripts/lock"


def test_a_requirement_that_the_lock_has_not_yet_is_found() -> None:
    asked = [Requirement("numpy<2"), Requirement("no-such-package"), Requirement("torch==1"), Requirement("NumPy>=2")]

    assert ["numpy<2", "no-such-package"] == unmet(asked, RUN, MACHINES[0])


def test_every_pin_is_one_version() -> None:
    pins = [list(pin.specifier) for pin in [*RUN, *TOOLS]]

    assert all(["=="] == [specifier.operator for specifier in specifiers] for specifiers in pins)
    assert "-r requirements.lock" in (ROOT / "requirements-dev.lock").read_text().splitlines()


def test_what_the_lock_of_a_run_has_no_other_lock_has() -> None:
    assert set() == {pin.name for pin in RUN} & {pin.name for pin in TOOLS}


def test_torch_and_what_it_wants_for_cuda_are_in_no_lock_and_torch_is_pinned_without_a_suffix() -> None:
    (torch,) = [item for item in requirements("requirements.txt") if item.name == "torch"]

    assert re.fullmatch(r"==[\d.]+", str(torch.specifier))
    assert f"torch{torch.specifier}" in (ROOT / "requirements.txt").read_text().splitlines()  # scripts/venv reads it
    assert [] == [pin.name for pin in [*RUN, *TOOLS] if re.match(r"torch|nvidia-|cuda-|triton", pin.name)]


def test_what_every_build_of_torch_wants_is_locked() -> None:
    (torch,) = [item for item in distributions() if item.name == "torch"]
    wants = [Requirement(line) for line in torch.requires or ()]
    plain = [
        item for item in wants if "extra" not in str(item.marker) and not re.match("nvidia|cuda|triton", item.name)
    ]

    assert {"filelock", "sympy"} <= {item.name for item in plain}
    assert [] == [unmet(plain, RUN, machine) for machine in MACHINES if unmet(plain, RUN, machine)]


def test_a_requirement_has_its_reason_above_it() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()

    assert [] == [line for above, line in zip(["", *lines], lines, strict=False)
                  if line and not line.startswith("#") and not above.startswith("#")]  # fmt: skip


def test_next_major_versions_are_kept_out() -> None:
    asked = [*requirements("requirements.txt"), *requirements("requirements-dev.txt")]
    open_ended = {item.name for item in asked if not re.search("<|==", str(item.specifier))}

    assert {"packaging"} == open_ended  # it counts years
