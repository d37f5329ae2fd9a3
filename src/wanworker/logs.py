"""
Log one line for each record to stderr, with the request id and without base64 or secrets.

A record may quote a caller, a server or a child process. So it is written as printable ASCII, with a new line as `\n`:
only a record of ours can begin a line. The lines of a traceback are indented.
"""

from __future__ import annotations

import contextvars
import logging
import re
import sys

from wanworker.text.printable import one_line
from wanworker.text.secrets import without_secrets

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")

#: Longer records are cut: nobody reads them, and searching them for secrets takes time.
_MOST_CHARS = 20_000

_BASE64_RUN = re.compile(r"[A-Za-z0-9+/=]{200,}")
_URL_QUERY = re.compile(r"(https?://[^\s?'\"]{1,2000})\?[^\s'\"]+")


def tidy(text: str) -> str:
    """Shorten base64 and very long text. Remove the queries of URLs and every secret that can be recognised."""
    text = _BASE64_RUN.sub(lambda match: f"<{len(match[0])} characters>", text)
    if len(text) > _MOST_CHARS:
        text = f"{text[:_MOST_CHARS]}... ({len(text):,} characters)"
    return _URL_QUERY.sub(r"\1?...", without_secrets(text))


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.message, record.asctime = record.getMessage(), self.formatTime(record)
        lines = [self.formatMessage(record)]
        if record.exc_info:
            lines += [f"    {line}" for line in self.formatException(record.exc_info).split("\n")]
        if record.stack_info:
            lines += [f"    {line}" for line in self.formatStack(record.stack_info).split("\n")]
        return "\n".join(one_line(tidy(line)) for line in lines)


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def set_up(level: int = logging.INFO) -> None:
    """Send wanworker's records to stderr. Replace the root handlers that `import runpod` installs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(request_id)s %(name)s: %(message)s"))
    handler.addFilter(_RequestId())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("asyncio", "botocore", "urllib3", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
