"""Draw the progress bar of a terminal. Imported when one is drawn only: rich takes as long to load as all of cli/."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

#: Return the line beside the bar for progress in its JSON form and the seconds that have passed.
Say = Callable[[Mapping[str, Any], float], str]


class _Line(ProgressColumn):
    """What is said beside the bar, with the time that has passed; a narrow terminal shrinks the bar before this."""

    def __init__(self, say: Say) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self._say = say

    def render(self, task: Task) -> Text:
        """Return the line; rich asks for it ten times a second."""
        return Text(self._say(task.fields["shown"], task.elapsed or 0.0))


class RichBar:
    """A bar and its line, drawn from `start` to `stop`."""

    def __init__(self, console: Console, say: Say) -> None:
        # Stdout may be a file that a program reads while stderr is the terminal: rich must not take over what is
        # printed there.
        self._progress = Progress(
            BarColumn(bar_width=30),
            _Line(say),
            console=console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=100, shown={})

    def start(self) -> None:
        """Hide the cursor, and draw ten times a second."""
        self._progress.start()

    def show(self, shown: Mapping[str, Any]) -> None:
        """Draw progress in its JSON form."""
        self._progress.update(self._task, completed=shown["progress"], shown=shown)

    def stop(self) -> None:
        """Wipe the bar out and show the cursor again."""
        self._progress.stop()


def bar_on(stream: TextIO, say: Say) -> RichBar | None:
    """Return a bar on the terminal *stream*, None where lines cannot be redrawn (`TERM=dumb`)."""
    console = Console(file=stream)
    return RichBar(console, say) if console.is_interactive else None
