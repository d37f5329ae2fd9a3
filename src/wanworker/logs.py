"""Logging: one line a record on stderr with the request id, without base64 and secrets."""

from __future__ import annotations

import contextvars
import logging
import re
import sys

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="-")

_BASE64_RUN = re.compile(r"[A-Za-z0-9+/=]{200,}")
_URL_LOGIN = re.compile(r"(https?://)[^\s/?#@'\"]+@")
_URL_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")


def tidy(text: str) -> str:
    """Shorten base64 runs and drop the logins and queries of URLs, where passwords and signatures live."""
    text = _BASE64_RUN.sub(lambda match: f"<{len(match[0])} characters>", text)
    text = _URL_LOGIN.sub(r"\1...@", text)
    return _URL_QUERY.sub(r"\1?...", text)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return tidy(super().format(record))


class _RequestId(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


def set_up(level: int = logging.INFO) -> None:
    """Send wanworker's records to stderr. Replaces the root handlers that `import runpod` installs."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(request_id)s %(name)s: %(message)s"))
    handler.addFilter(_RequestId())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("asyncio", "botocore", "urllib3", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
