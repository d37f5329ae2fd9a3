"""Draw the progress bar of a terminal. Import this only to draw one: rich loads as slowly as all of cli/ together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

#: A function from progress in its JSON form and the seconds that have passed to the text beside the bar.
Say = Callable[[Mapping[str, Any], float], str]


class _Line(ProgressColumn):
    """Show the text beside the bar, with the time that has passed. On a narrow terminal the bar shrinks first."""

    def __init__(self, say: Say) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))
        self._say = say

    def render(self, task: Task) -> Text:
        """Return the text. rich calls this ten times a second."""
        return Text(self._say(task.fields["shown"], task.elapsed or 0.0))


class RichBar:
    """Draw a bar and its text from `start` to `stop`."""

    def __init__(self, console: Console, say: Say) -> None:
        # Stdout may be a file that a program reads while stderr is the terminal, so rich must leave stdout alone.
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
        """Erase the bar and show the cursor again."""
        self._progress.stop()


def bar_on(stream: TextIO, say: Say) -> RichBar | None:
    """Return a bar on the terminal *stream*, or None if its lines cannot be redrawn (`TERM=dumb`)."""
    console = Console(file=stream)
    return RichBar(console, say) if console.is_interactive else None
