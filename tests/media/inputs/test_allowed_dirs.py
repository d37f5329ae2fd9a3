import os
from pathlib import Path

import pytest

from wanworker.errors import DiskFull, InputRefused, InputUnavailable
from wanworker.media.inputs.allowed_dirs import copy_file, directory_below, file_below


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """Return two open folders, each with a file, beside a closed one with a secret."""
    for name in ("inputs", "more", "closed"):
        (tmp_path / name).mkdir()
    (tmp_path / "inputs" / "cat.png").write_bytes(b"cat")
    (tmp_path / "more" / "deep").mkdir()
    (tmp_path / "more" / "deep" / "dog.png").write_bytes(b"dog")
    (tmp_path / "closed" / "secret").write_bytes(b"secret")
    return tmp_path / "inputs", tmp_path / "more"


def test_a_file_is_found_by_absolute_path_and_below_each_root(roots: tuple[Path, Path]) -> None:
    cat, dog = roots[0] / "cat.png", roots[1] / "deep" / "dog.png"

    assert cat == file_below(str(cat), roots)
    assert cat == file_below("cat.png", roots)
    assert dog == file_below("deep/dog.png", roots)
    assert dog == file_below("./deep//dog.png", roots)


def test_links_within_the_roots_are_followed(roots: tuple[Path, Path], tmp_path: Path) -> None:
    (roots[0] / "link.png").symlink_to(roots[1] / "deep" / "dog.png")
    (tmp_path / "alias").symlink_to(roots[0])

    assert roots[1] / "deep" / "dog.png" == file_below("link.png", roots)
    assert roots[0] / "cat.png" == file_below("cat.png", (tmp_path / "alias",))
    assert roots[0] / "cat.png" == file_below(str(tmp_path / "alias" / "cat.png"), roots)


@pytest.mark.parametrize(
    "value",
    [
        "", "..", "../closed/secret", "deep/../../closed/secret", "deep/../deep/dog.png", "cat.png\x00.jpg",
        "/etc/passwd", "/etc/no-such-file", "/dev/zero", "/proc/self/environ", "/", "{tmp}/closed/secret",
        "{tmp}/closed/no-such-file", "{tmp}/inputs-of-another/cat.png", "escape/secret", "escape.png", "escape/none",
    ],
)  # fmt: skip
def test_what_leads_out_of_the_roots_is_refused_whether_it_exists_or_not(
    value: str, roots: tuple[Path, Path], tmp_path: Path
) -> None:
    (roots[0] / "escape").symlink_to(tmp_path / "closed")
    (roots[0] / "escape.png").symlink_to(tmp_path / "closed" / "secret")

    with pytest.raises(InputRefused) as caught:
        file_below(value.format(tmp=tmp_path), roots)

    assert str(roots[0]) in str(caught.value.hint)


def test_without_roots_every_path_is_refused(roots: tuple[Path, Path]) -> None:
    for value in ("cat.png", str(roots[0] / "cat.png")):
        with pytest.raises(InputRefused) as caught:
            file_below(value, ())

        assert "switched off" in str(caught.value.hint)


def test_what_is_not_there_is_unavailable(roots: tuple[Path, Path]) -> None:
    (roots[0] / "dangling").symlink_to(roots[0] / "gone")
    (roots[0] / "circle").symlink_to(roots[0] / "circle")

    for value in ("no.png", str(roots[1] / "no.png"), "dangling", "circle", "circle/cat.png", "a" * 300):
        with pytest.raises(InputUnavailable):
            file_below(value, roots)


def test_only_regular_files_are_files_and_only_folders_folders(roots: tuple[Path, Path]) -> None:
    os.mkfifo(roots[0] / "pipe")
    (roots[0] / "device").symlink_to("/dev/zero")

    for value in ("pipe", "deep", "device"):
        with pytest.raises(InputRefused):
            file_below(value, roots)
    with pytest.raises(InputRefused, match="is not a folder"):
        directory_below("cat.png", roots)
    assert roots[1] / "deep" == directory_below("deep", roots)


def test_a_file_is_copied_up_to_the_limit(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "film").write_bytes(content)

    copy_file(tmp_path / "film", tmp_path / "copy", max_bytes=len(content))
    with pytest.raises(InputRefused, match=r"'film' holds 2,560,000 bytes; at most 2,559,999"):
        copy_file(tmp_path / "film", tmp_path / "other", max_bytes=len(content) - 1)

    assert content == (tmp_path / "copy").read_bytes()
    assert not (tmp_path / "other").exists()


def test_a_file_that_became_something_else_after_the_check_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(InputUnavailable, match="cannot be read"):
        copy_file(tmp_path / "link", tmp_path / "copy", max_bytes=100)
    with pytest.raises(InputRefused, match="not a regular file"):
        copy_file(tmp_path / "pipe", tmp_path / "copy", max_bytes=100)
    with pytest.raises(InputUnavailable, match="No such file"):
        copy_file(tmp_path / "gone", tmp_path / "copy", max_bytes=100)

    assert not (tmp_path / "copy").exists()


def test_a_copy_onto_a_full_disk_says_so(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"x" * 100_000)
    (tmp_path / "copy").symlink_to("/dev/full")

    with pytest.raises(DiskFull):
        copy_file(tmp_path / "film", tmp_path / "copy", max_bytes=100_000)
