"""The base of every command: its interface, its failure and the exit codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wanworker.client.errors import ClientError
    from wanworker.settings import Settings

#: The command failed.
EXIT_FAILED = 1

#: The command cannot run as asked: an argument, a setting or a field is wrong.
EXIT_USAGE = 2

#: What helps somebody who mistyped an id.
_JOBS = "wanworker jobs lists the jobs of a REST server."

#: The command was stopped by Ctrl-C. Any signal gives 128 plus its number.
EXIT_STOPPED = 130


@dataclass(frozen=True, slots=True)
class Command:
    """
    Hold a row of the COMMANDS table (wanworker.cli.main).

    `options` is a dataclass; typer makes an argument or an option of each of its fields. `run` takes an instance of it
    and returns the exit code, or raises CommandFailed or WorkerError. `run` imports what it needs itself, because every
    command's module is loaded whichever command runs.
    """

    name: str
    summary: str
    options: type[Any]
    run: Callable[[Any], int]


class CommandFailed(Exception):
    """End a command with a text for the person who typed it. `code` and `request_id` are for programs (--json)."""

    def __init__(
        self,
        text: str,
        *,
        hint: str = "",
        code: str = "",
        request_id: str = "",
        log: Path | None = None,
        exit_code: int = EXIT_FAILED,
        warnings: tuple[str, ...] = (),
    ) -> None:
        super().__init__(text)
        self.hint = hint
        self.code = code
        self.request_id = request_id
        self.log = log
        self.exit_code = exit_code
        self.warnings = warnings


def failed_by(error: ClientError) -> CommandFailed:
    """Return the failure of a command whose client failed. What has to be asked for in another way exits with 2."""
    from wanworker.client.errors import Refused, Unauthorised, UnknownJob

    exit_code = EXIT_USAGE if isinstance(error, Refused | Unauthorised) else EXIT_FAILED
    return CommandFailed(
        str(error),
        hint=error.hint or (_JOBS if isinstance(error, UnknownJob) else ""),
        code=error.code,
        request_id=error.job_id,
        exit_code=exit_code,
        warnings=error.warnings,
    )


def misused(text: str, *, hint: str = "") -> CommandFailed:
    """Return the failure of a command that cannot run as it was typed."""
    return CommandFailed(text, hint=hint, code="USAGE", exit_code=EXIT_USAGE)


def read_settings() -> Settings:
    """Return the settings. Raises CommandFailed, naming each wrong variable."""
    from wanworker.settings import BadSettings, load_settings

    try:
        return load_settings()
    except BadSettings as error:
        raise misused(f"The settings are wrong: {error}", hint="Correct the variable, or unset it.") from error
