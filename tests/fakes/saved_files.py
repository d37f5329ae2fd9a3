"""Pictures and videos as ComfyUI saves them, with texts in their metadata."""

from __future__ import annotations

import io
import struct

from PIL import Image, PngImagePlugin

_KINDS = {".webp": "WEBP", ".jpg": "JPEG"}


def saved_with(ending: str, **texts: str) -> bytes:
    """Return a small file of the kind that *ending* names, with *texts* where ComfyUI writes them."""
    if ending == ".png":
        return png(**texts)
    return movie(texts) if ending == ".mp4" else with_exif(_KINDS[ending], **texts)


def png(**texts: str) -> bytes:
    info, out = PngImagePlugin.PngInfo(), io.BytesIO()
    for name, text in texts.items():
        info.add_itxt(name, text)
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def with_exif(kind: str, **texts: str) -> bytes:
    """As ComfyUI's SaveAnimatedWEBP writes them: into the tags of a camera's model and make."""
    picture, out = Image.new("RGB", (8, 8)), io.BytesIO()
    exif = picture.getexif()
    for tag, (name, text) in zip((0x0110, 0x010F), texts.items(), strict=False):
        exif[tag] = f"{name}:{text}"
    picture.save(out, kind, exif=exif)
    return out.getvalue()


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def movie(texts: dict[str, str], *, is_quicktime: bool = False) -> bytes:
    keys = b"".join(box(b"mdta", name.encode()) for name in texts)
    values = b"".join(
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0) + text.encode()))
        for number, text in enumerate(texts.values(), start=1)
    )
    body = box(b"hdlr", bytes(24)) + box(b"keys", struct.pack(">II", 0, len(texts)) + keys) + box(b"ilst", values)
    meta = box(b"meta", body if is_quicktime else bytes(4) + body)
    return box(b"ftyp", b"isom") + box(b"mdat", bytes(40)) + box(b"moov", meta if is_quicktime else box(b"udta", meta))
