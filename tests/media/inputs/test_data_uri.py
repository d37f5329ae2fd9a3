import base64

import pytest

from wanworker.errors import InputRefused, InputUnavailable
from wanworker.media.inputs.data_uri import decode, is_data_url, with_lost_plus

CONTENT = bytes(range(256)) + b"\xfb\xff\xfe?"  # Uses both characters in which the two alphabets differ.
TEXT = base64.b64encode(CONTENT).decode()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(TEXT, id="raw"),
        pytest.param(TEXT.rstrip("="), id="no padding"),
        pytest.param(base64.urlsafe_b64encode(CONTENT).decode(), id="url-safe"),
        pytest.param("\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76)) + "\n", id="lines"),
        pytest.param(f"  {TEXT}\t", id="blanks around"),
        pytest.param(f"data:image/png;base64,{TEXT}", id="data URI"),
        pytest.param(f"\nDATA:image/png;name=a.png;Base64,\n{TEXT}", id="data URI, odd case and parameters"),
        pytest.param(f"data:;base64,{TEXT}", id="data URI without a type"),
        pytest.param(f"data:image/png;base64,{TEXT}".replace("+", "%2B").replace("=", "%3D"), id="percent-encoded"),
    ],
)
def test_base64_is_read_however_it_is_written(text: str) -> None:
    assert decode(text, max_bytes=len(CONTENT)) == CONTENT


def test_a_data_uri_is_known_by_its_beginning() -> None:
    assert is_data_url(f" DATA:video/mp4;base64,{TEXT}")
    assert not is_data_url(TEXT)


def test_text_that_would_decode_to_more_than_the_limit_is_refused_before_decoding() -> None:
    text = "!" * 4000  # Would be called broken if it were decoded.

    with pytest.raises(InputRefused, match=r"3,000 bytes; at most 2,999"):
        decode(text, max_bytes=2999)


def test_exactly_the_limit_is_taken() -> None:
    assert decode("YWJjZA==", max_bytes=4) == b"abcd"

    with pytest.raises(InputRefused):
        decode("YWJjZGU=", max_bytes=4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("data:image/png;base64,", "is empty"),
        ("iVBOR*KGgo=", r"broken: '\*' at character 6"),
        ("iVBO=Rw0KGg", "broken: '=' at character 5"),
        ("\u00fcber", "broken: '\u00fc' at character 1"),
        ("iVBOR", "cut off: 5 characters"),
        ("https://example.com/cat.png?sig=secret", "a URL was given where base64"),
        ("data:image/png,abcd", "data URI is not base64"),
        ("data:image/png;base64", "data URI is not base64"),
        ("data:image/svg+xml;utf8,<svg/>", "data URI is not base64"),
    ],
)
def test_what_is_no_base64_is_said_to_be_so(text: str, said: str) -> None:
    with pytest.raises(InputUnavailable, match=said) as caught:
        decode(text, max_bytes=1000)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "dat", "iVBORw0KGgo=", "https://example.com/data:"])
def test_other_text_is_no_data_uri(text: str) -> None:
    assert is_data_url(text) is False


@pytest.mark.parametrize("head", ["", "data:image/png;base64,"])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ab+c/+++AB==", id="in the middle"),
        pytest.param("+bcdefg+", id="at both ends"),
        pytest.param("abcdef++", id="at the end"),
        pytest.param("abcd\r\n  ef+h\n", id="folded lines stay"),
    ],
)
def test_a_plus_that_became_a_space_in_a_form_is_put_back(head: str, text: str) -> None:
    assert with_lost_plus(head + text.replace("+", " ")) == head + text


@pytest.mark.parametrize(
    "text", ["abcd  ", " abcd", "abcdef ", "a red cat, 5 m", "https://host/a b", "data:text/plain,a b", "data: a,b c"]
)
def test_other_spaces_are_no_plus(text: str) -> None:
    assert "+" not in with_lost_plus(text)
