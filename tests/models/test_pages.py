"""docs/models.md says what the catalogue says, and its commands are commands."""

from __future__ import annotations

import shlex

import pages
from fakes.command_line import parsed
from wanworker.cli.commands import doctor, fetch
from wanworker.models.hub.catalogue import PRESETS, Preset
from wanworker.models.hub.fetch import in_words

TEXT = (pages.ROOT / "docs" / "models.md").read_text()


def size(preset: Preset) -> str:
    if preset.size_bytes is None:
        return "`fetch` shows it"
    return f"{'about ' if preset.tree else ''}{in_words(preset.size_bytes)}"


def sources(preset: Preset) -> str:
    return ", ".join(f"[{name}](https://huggingface.co/{name})" for name in preset.repositories)


def sets_table() -> str:
    return pages.table(
        "Set|Engine|Task|Size|From|What for",
        (
            (
                f"`{preset.name}`",
                f"`{preset.engine}`",
                f"`{preset.task}`",
                size(preset),
                sources(preset),
                preset.meaning,
            )
            for preset in PRESETS.values()
        ),
    )


def test_models_md_has_each_set() -> None:
    assert sets_table() in TEXT, sets_table()


def test_the_pages_commands_are_understood() -> None:
    lines = [
        line.partition("#")[0].partition("|")[0] for block in pages.blocks(TEXT, "sh") for line in block.splitlines()
    ]
    options = {"fetch": fetch.FetchOptions, "doctor": doctor.DoctorOptions}

    for program, command, *argv in (shlex.split(line) for line in lines if line.strip()):
        args = parsed(options[command], *argv)

        assert "wanworker" == program
        assert getattr(args, "preset", None) in {None, *PRESETS}


def test_the_commands_of_deploy_md_for_another_image_are_understood() -> None:
    (block,) = (text for text in pages.blocks(pages.read("docs/deploy.md"), "sh") if "/fetch/bin/pip" in text)
    clone, install, fetch_it = (shlex.split(line) for line in block.splitlines())
    args = parsed(fetch.FetchOptions, *fetch_it[fetch_it.index("fetch") + 1 :])

    assert "git" == clone[0]
    assert args.preset in PRESETS
    assert args.yes
    # torch is in no lock, and accelerate wants it: pip would refuse to look for a package without a hash.
    assert {"--no-deps", "requirements.lock"} <= set(install)
