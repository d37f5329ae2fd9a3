"""
Deliver a file to its caller: to the caller's own URL, as base64, by a bucket's link, re-encoded to fit, or by path.

RunPod silently drops an answer that is too large, so the size is computed before anything is encoded.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wanworker.errors import EngineError
from wanworker.media.outputs._put import Sleep, UploadFailed
from wanworker.media.outputs._reencode import reencode
from wanworker.media.outputs.base64_text import base64_text, encoded_chars, largest_file
from wanworker.media.outputs.bucket import Bucket, NoBucket
from wanworker.media.outputs.file_facts import FileFacts, file_facts, mime_of
from wanworker.media.outputs.line_speed import PATIENCE_S
from wanworker.media.outputs.upload import LINK_LIFETIME_S, upload
from wanworker.media.outputs.upload_url import UploadUrl
from wanworker.media.threads import in_thread
from wanworker.media.video.mp4 import VideoFacts

__all__ = ["Delivered", "FileFacts", "deliver", "file_facts", "mime_of"]

log = logging.getLogger(__name__)

#: Room for parts of the answer that are not counted yet: `delivery`, a link, the SDK's own `{"output": ...}`.
ENVELOPE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Delivered:
    """
    Hold what the answer says about one file.

    `data` is a data URI (or bare base64), `url` a link, and `path` the file itself, which is always kept. `report` is
    the answer's `delivery`: `how` (upload_url, base64, bucket, reencoded or path), `reason`, `size_bytes` and further
    facts. It has no link and no key, so it may be stored. `trouble` says why the caller's URL did not take the file.
    """

    data: str | None
    url: str | None
    path: Path
    report: dict[str, Any]
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    """Hold one file to deliver, with what each way of delivery needs to know."""

    path: Path
    size_bytes: int
    mime: str
    bare: bool
    room_chars: int

    def prefix(self, mime: str) -> str:
        return "" if self.bare else f"data:{mime};base64,"

    @property
    def fits(self) -> bool:
        return encoded_chars(self.size_bytes, prefix=self.prefix(self.mime)) <= self.room_chars


async def deliver(
    path: Path,
    *,
    mime: str,
    facts: VideoFacts | None,
    want_data: bool,
    answer_bytes: int,
    limit_bytes: int,
    bucket: Bucket | NoBucket | None,
    key: str,
    work_dir: Path,
    always_upload: bool = False,
    bare: bool = False,
    upload_to: UploadUrl | None = None,
    patience_s: float = PATIENCE_S,
    sleep: Sleep = asyncio.sleep,
) -> Delivered:
    """
    Choose and perform the delivery of *path*, a file of type *mime*. *facts* are those of a video.

    *answer_bytes* is the size of the JSON answer without the file, *limit_bytes* that of the largest answer. With
    *want_data*, a file that fits becomes a data URI (*bare*: only base64). A file that does not fit is uploaded to
    *bucket* as *key*. Without a bucket, or if the upload fails, a video is re-encoded to fit (in *work_dir*; the
    original stays). Everything else is delivered by its path. Without *want_data* nothing leaves the machine, except
    with *always_upload*, when the job brought its own bucket.

    What the caller's own URL, *upload_to*, takes within *patience_s* (and the time that a slow line needs for its
    bytes) is delivered by that. Otherwise the file is delivered as if there were none, and `reason` and `trouble` say
    why.

    Raises OSError if *path* cannot be read. No other failure can lose a finished video.
    """
    file = _File(path, path.stat().st_size, mime, bare, max(0, limit_bytes - answer_bytes - ENVELOPE_BYTES))
    unsent = "" if upload_to is None else await _sent(upload_to, file, patience_s, sleep)
    if upload_to is not None and not unsent:
        return Delivered(None, None, path, _report(file, "upload_url", f"{upload_to.place} took the file."))
    made = await _chosen(file, facts, want_data, bucket, key, work_dir, always_upload, sleep)
    if not unsent:
        return made
    report = made.report | {"reason": f"{unsent} {made.report['reason']}"}
    return replace(made, report=report, trouble=unsent)


async def _chosen(
    file: _File,
    facts: VideoFacts | None,
    want_data: bool,
    bucket: Bucket | NoBucket | None,
    key: str,
    work_dir: Path,
    always_upload: bool,
    sleep: Sleep,
) -> Delivered:
    """Deliver *file* without a URL of the caller's; see `deliver`."""
    url, trouble = None, ""
    if bucket is not None and (always_upload or (want_data and not file.fits)):
        url, trouble = await _uploaded(bucket, file, key, sleep)
    if not want_data:
        return _by_reference(file, url, trouble or "No base64 was asked for.")
    if file.fits:
        data = await in_thread(base64_text, file.path, prefix=file.prefix(file.mime))
        return Delivered(data, url, file.path, _report(file, "base64", trouble or "It fits into the answer."))
    too_large = f"As base64 it is larger than the {file.room_chars} characters that the answer has room for."
    if url is not None:
        return _by_reference(file, url, too_large)
    return await _smaller(file, facts, work_dir, " ".join(filter(None, (too_large, trouble))))


async def _sent(upload_to: UploadUrl, file: _File, patience_s: float, sleep: Sleep) -> str:
    """Put the file at the caller's URL. Return why that failed, or nothing. It may not fail a finished video."""
    try:
        await upload_to.put(file.path, mime=file.mime, patience_s=patience_s, sleep=sleep)
    except UploadFailed as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - of the library that sends; its text may hold the URL
        log.warning("the upload to %s failed by %s", upload_to.place, type(error).__name__)
        return f"{upload_to.place} did not take the file: {type(error).__name__}."
    return ""


async def _uploaded(bucket: Bucket | NoBucket, file: _File, key: str, sleep: Sleep) -> tuple[str | None, str]:
    """Return the link, or None and the reason. No failure of a bucket may fail a finished video."""
    if isinstance(bucket, NoBucket):
        return None, bucket.reason
    try:
        return await upload(bucket, file.path, key, mime=file.mime, sleep=sleep), ""
    except UploadFailed as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001 - of the libraries that sign and send; its text may hold a key
        log.warning("the upload to bucket %s failed by %s", bucket.name, type(error).__name__)
        return None, f"The upload to the bucket {bucket.name!r} failed: {type(error).__name__}."


async def _smaller(file: _File, facts: VideoFacts | None, work_dir: Path, reason: str) -> Delivered:
    """Put a re-encoded copy into the answer. If that fails, only the original is there. The original is always kept."""
    if facts is None or not file.mime.startswith("video/"):
        return _by_reference(file, None, f"{reason} {file.mime} is not re-encoded.")
    copy = work_dir / f"{file.path.stem}-fitted.mp4"
    prefix = file.prefix("video/mp4")
    try:
        made = await reencode(file.path, copy, max_bytes=largest_file(file.room_chars, prefix=prefix), facts=facts)
        data = await in_thread(base64_text, copy, prefix=prefix)
    except (EngineError, OSError) as error:
        return _by_reference(file, None, f"{reason} {error}")
    finally:
        copy.unlink(missing_ok=True)
    report = _report(file, "reencoded", reason) | {
        "size_bytes": made.facts.size_bytes,
        "original_size_bytes": file.size_bytes,
        "original_path": str(file.path),
        "width": made.facts.width,
        "height": made.facts.height,
        "video_bps": made.plan.video_bps,
        "note": "The data is a copy of lower quality; the original is kept at original_path.",
    }
    return Delivered(data, None, file.path, report)


def _by_reference(file: _File, url: str | None, reason: str) -> Delivered:
    if url is None:
        return Delivered(None, None, file.path, _report(file, "path", reason))
    return Delivered(None, url, file.path, _report(file, "bucket", reason) | {"url_expires_s": LINK_LIFETIME_S})


def _report(file: _File, how: str, reason: str) -> dict[str, Any]:
    return {"how": how, "reason": reason, "size_bytes": file.size_bytes}
