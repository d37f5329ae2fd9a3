"""Turn the last event of a child into the caller's error, and decide whether the child can go on."""

from __future__ import annotations

import logging
import signal

from wanworker.engines.resident import protocol
from wanworker.engines.resident.parent._process import Died
from wanworker.engines.resident.parent._watchdog import Hung
from wanworker.engines.resident.protocol import Done, Failed, Stopped
from wanworker.errors import RENDER_ERRORS, EngineFailed, OutOfMemory, RequestError, WorkerError

log = logging.getLogger(__name__)

_HUNG_HINT = "Send the request again. If that hangs too, the GPU's driver or the volume may be at fault."

#: 137 is how a shell (a wrapper around the interpreter) tells of SIGKILL.
_KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


def leaves_usable(outcome: protocol.Event | Died | Hung | None) -> bool:
    """Say whether the child can take another job after this."""
    return isinstance(outcome, Done | Stopped) or (isinstance(outcome, Failed) and outcome.usable)


def error_of(outcome: protocol.Event | Died | Hung, when: str) -> WorkerError:
    """Return the error that *outcome*, which is no success, is to the caller; *when* says what was going on."""
    error = _error_of(outcome, when)
    error.lost_engine = _is_lost(outcome, error)
    return error


def _is_lost(outcome: protocol.Event | Died | Hung, error: WorkerError) -> bool:
    """Say whether the process or its card is at fault. A lack of memory that the child told of is the job's size."""
    told_by_child = isinstance(error, RequestError | OutOfMemory) and isinstance(outcome, Failed)
    return not leaves_usable(outcome) and not told_by_child


def _error_of(outcome: protocol.Event | Died | Hung, when: str) -> WorkerError:
    if isinstance(outcome, Failed):
        return RENDER_ERRORS.get(outcome.code, EngineFailed)(outcome.message, hint=outcome.hint)
    if isinstance(outcome, Died):
        log.warning("the render process ended with %d %s; its last lines:", outcome.returncode, when)
        for line in outcome.last_words.splitlines():
            log.warning("| %s", line)
        return _error_of_death(outcome, when)
    if isinstance(outcome, Hung):
        message = f"The render process hung {when} and was ended; the next job gets a new one. {outcome.how}"
        return EngineFailed(message, hint=_HUNG_HINT)
    return EngineFailed(f"The render process stopped the job by itself {when}.")


def _error_of_death(died: Died, when: str) -> WorkerError:
    last = f" Its last words: {' | '.join(died.last_words.splitlines()[-3:])}" if died.last_words else ""
    if died.returncode in _KILLED:
        return OutOfMemory(
            f"The render process was killed {when} (SIGKILL): most likely the machine's memory ran out.{last}"
        )
    how = f"exit code {died.returncode}"
    if died.returncode < 0:
        how = f"signal {signal.Signals(-died.returncode).name}"
    return EngineFailed(f"The render process ended {when} ({how}).{last}")
