"""Forms as clients write them."""

import base64

from wanworker.media.inputs.kinds import is_film
from wanworker.videos.request import nested

MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(600)


def test_the_keys_of_a_form_spell_out_objects():
    assert {"lora": {"name": "a", "scale": "1"}, "prompt": "x", "b[": "y"} == nested(
        {"lora[name]": "a", "lora[scale]": "1", "prompt": "x", "b[": "y"}
    )
    for both in ({"lora": "a", "lora[scale]": "1"}, {"lora[scale]": "1", "lora": "a"}):
        assert {"lora": "a", "lora[scale]": "1"} == nested(both)


def test_a_film_is_told_from_its_first_bytes():
    text = base64.b64encode(MP4).decode()

    assert is_film(text)
    assert is_film(f"data:video/mp4;base64,{text}")
    assert not is_film(base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode())
    assert not is_film("no base64 at all, but text")
    assert not is_film("")
