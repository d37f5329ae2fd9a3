import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from fakes.pictures import png_bomb
from wanworker.errors import DiskFull, InputRefused, InputUnavailable
from wanworker.media.inputs.decoding._clean_png import write_clean_png
from wanworker.media.inputs.picture import centre_box, crop_to_aspect, picture_size
from wanworker.settings import child_environment
from wanworker.spec import Size

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
LIMIT = 1_000_000


def quarters(width: int = 64, height: int = 32) -> Image.Image:
    """Return a picture whose four corners tell which way up it is: red, green, blue, white."""
    picture = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(picture)
    for index, colour in enumerate((RED, GREEN, BLUE, WHITE)):
        left, top = (index % 2) * width // 2, (index // 2) * height // 2
        draw.rectangle((left, top, left + width // 2 - 1, top + height // 2 - 1), fill=colour)
    return picture


def corners(path: Path) -> list[str]:
    """Name the colours near the corners, by the strongest channel: compression blurs them."""
    with Image.open(path) as picture:
        right, bottom = picture.width - 5, picture.height - 5
        found: list[Any] = [picture.getpixel(at) for at in ((4, 4), (right, 4), (4, bottom), (right, bottom))]
    return ["".join("RGB"[channel] for channel in range(3) if pixel[channel] > 128) for pixel in found]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("png", {}),
        ("jpg", {"quality": 90}),
        ("webp", {"lossless": True}),
        ("gif", {}),
        ("bmp", {}),
        ("tiff", {"compression": "tiff_lzw"}),
        ("avif", {"quality": 90}),
    ],
)
def test_every_format_becomes_an_rgb_png(suffix: str, options: dict[str, Any], tmp_path: Path) -> None:
    quarters().save(tmp_path / f"picture.{suffix}", **options)
    target = tmp_path / "clean.png"

    size = write_clean_png(tmp_path / f"picture.{suffix}", target, max_pixels=LIMIT)

    assert size == (64, 32)
    assert corners(target) == ["R", "G", "B", "RGB"]
    with Image.open(target) as clean:
        assert (clean.format, clean.mode, clean.size) == ("PNG", "RGB", (64, 32))


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, ["R", "G", "B", "RGB"]),
        (2, ["G", "R", "RGB", "B"]),
        (3, ["RGB", "B", "G", "R"]),
        (4, ["B", "RGB", "R", "G"]),
        (5, ["R", "B", "G", "RGB"]),
        (6, ["B", "R", "RGB", "G"]),
        (7, ["RGB", "G", "B", "R"]),
        (8, ["G", "RGB", "R", "B"]),
        (9, ["R", "G", "B", "RGB"]),
    ],
)
def test_the_cameras_orientation_is_applied(orientation: int, expected: list[str], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    quarters().save(tmp_path / "photo.jpg", exif=exif, quality=95)
    target = tmp_path / "clean.png"

    size = write_clean_png(tmp_path / "photo.jpg", target, max_pixels=LIMIT)

    assert expected == corners(target)
    assert ((32, 64) if 5 <= orientation <= 8 else (64, 32)) == size


def test_a_damaged_orientation_tag_means_upright(tmp_path: Path) -> None:
    quarters().save(tmp_path / "photo.jpg", exif=b"Exif\x00\x00garbage, not TIFF", quality=95)
    target = tmp_path / "clean.png"

    write_clean_png(tmp_path / "photo.jpg", target, max_pixels=LIMIT)

    assert corners(target) == ["R", "G", "B", "RGB"]


def test_metadata_does_not_travel(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "A camera that names its owner"
    quarters().save(tmp_path / "photo.jpg", exif=exif, icc_profile=b"a profile", comment=b"owner", dpi=(300, 300))
    target = tmp_path / "clean.png"

    write_clean_png(tmp_path / "photo.jpg", target, max_pixels=LIMIT)

    with Image.open(target) as clean:
        assert clean.info == {}
    assert b"owner" not in target.read_bytes()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 100, (100, 100, 100)),
        ("LA", (0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 128), (255, 127, 127)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("I;16", 25_600, (100, 100, 100)),
        ("I;16", 65_535, (255, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb_and_transparency_white(
    mode: str, colour: int | tuple[int, ...], expected: tuple[int, int, int], tmp_path: Path
) -> None:
    Image.new(mode, (8, 8), colour).save(tmp_path / "picture.png")

    write_clean_png(tmp_path / "picture.png", tmp_path / "clean.png", max_pixels=LIMIT)

    with Image.open(tmp_path / "clean.png") as clean:
        assert expected == clean.getpixel((3, 3))


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_a_grey_tiff_of_16_bits_is_read_in_both_byte_orders(mode: str, tmp_path: Path) -> None:
    Image.new(mode, (8, 8), 25_600).save(tmp_path / "picture.tiff")

    write_clean_png(tmp_path / "picture.tiff", tmp_path / "clean.png", max_pixels=LIMIT)

    with Image.open(tmp_path / "clean.png") as clean:
        assert (100, 100, 100) == clean.getpixel((3, 3))


def test_the_transparent_grey_of_a_picture_of_16_bits_becomes_white(tmp_path: Path) -> None:
    grey = Image.new("I;16", (8, 8), 25_600)
    grey.paste(0, (4, 0, 8, 8))
    grey.save(tmp_path / "picture.png", transparency=25_600)

    write_clean_png(tmp_path / "picture.png", tmp_path / "clean.png", max_pixels=LIMIT)

    with Image.open(tmp_path / "clean.png") as clean:
        assert (WHITE, (0, 0, 0)) == (clean.getpixel((1, 1)), clean.getpixel((6, 6)))


def test_a_palette_with_transparency_and_a_cmyk_photo_are_converted(tmp_path: Path) -> None:
    palette = quarters().quantize(4)
    clear = palette.getpixel((0, 0))
    palette.save(tmp_path / "one.png", transparency=clear)
    palette.save(tmp_path / "table.png", transparency=bytes(0 if index == clear else 255 for index in range(4)))
    palette.save(tmp_path / "one.gif", transparency=clear)
    quarters().convert("CMYK").save(tmp_path / "print.jpg", quality=95)

    for name, first in (("one.png", "RGB"), ("table.png", "RGB"), ("one.gif", "RGB"), ("print.jpg", "R")):
        write_clean_png(tmp_path / name, tmp_path / "clean.png", max_pixels=LIMIT)

        assert [first, "G", "B", "RGB"] == corners(tmp_path / "clean.png"), name


def test_of_an_animation_the_first_frame_counts(tmp_path: Path) -> None:
    others = [Image.new("RGB", (64, 32), "black")] * 2
    quarters().save(tmp_path / "film.gif", save_all=True, append_images=others, duration=100)

    write_clean_png(tmp_path / "film.gif", tmp_path / "clean.png", max_pixels=LIMIT)

    assert corners(tmp_path / "clean.png") == ["R", "G", "B", "RGB"]


def test_pixels_of_unknown_range_are_refused(tmp_path: Path) -> None:
    Image.new("F", (8, 8), 0.5).save(tmp_path / "depth.tiff")

    with pytest.raises(InputUnavailable, match="32-bit numbers"):
        write_clean_png(tmp_path / "depth.tiff", tmp_path / "clean.png", max_pixels=LIMIT)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "looks like an empty file, not a picture"),
        (b"Dear worker, please see the picture attached.", "looks like plain text"),
        (b"<!DOCTYPE html><title>Sign in</title>", "looks like an HTML page"),
        (b"\x00\x00\x00\x20ftypheic\x00\x00\x00\x00mif1heic", "looks like a HEIC picture"),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00", "looks like an MP4 video"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "looks like plain text"),
        (b"\x89PNG\r\n\x1a\n", "begins like a PNG picture but cannot be read"),
        (b"\xff\xd8\xff\xe0 no", "begins like a JPEG picture but cannot be read"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "begins like a WebP picture but cannot be read"),
        (b"GIF89a", "begins like a GIF picture but cannot be read"),
        (b"BM no bitmap", "begins like a BMP picture but cannot be read"),
        (b"II*\x00\xff\xff\xff\xff", "begins like a TIFF picture but cannot be read"),
        (b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00", "begins like an AVIF picture but cannot be read"),
    ],
)
def test_what_is_no_picture_is_said_to_be_so_and_leaves_nothing(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(content)

    with pytest.raises(InputUnavailable, match=said):
        write_clean_png(tmp_path / "picture.png", tmp_path / "clean.png", max_pixels=LIMIT)

    assert not (tmp_path / "clean.png").exists()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff", "avif"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_picture_that_was_cut_off_is_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    noise = Image.effect_noise((128, 128), 80).convert("RGB")
    whole = io.BytesIO()
    noise.save(whole, "jpeg" if suffix == "jpg" else suffix)
    (tmp_path / "half").write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * kept)])

    with pytest.raises(InputUnavailable, match=r"damaged or cut off|cannot be read"):
        write_clean_png(tmp_path / "half", tmp_path / "clean.png", max_pixels=LIMIT)

    assert not (tmp_path / "clean.png").exists()


def test_damage_anywhere_never_ends_in_another_exception(tmp_path: Path) -> None:
    for suffix in ("png", "jpeg", "webp", "gif", "bmp", "tiff", "avif"):
        whole = io.BytesIO()
        quarters().save(whole, suffix)
        for at in range(0, len(whole.getvalue()), max(1, len(whole.getvalue()) // 60)):
            damaged = bytearray(whole.getvalue())
            damaged[at] ^= 0xFF
            (tmp_path / "damaged").write_bytes(damaged)
            try:
                write_clean_png(tmp_path / "damaged", tmp_path / "clean.png", max_pixels=LIMIT)
            except (InputUnavailable, InputRefused):
                assert not (tmp_path / "clean.png").exists()
            else:
                assert picture_size(tmp_path / "clean.png")
                (tmp_path / "clean.png").unlink()


def test_one_pixel_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    quarters(100, 100).save(tmp_path / "picture.png")

    write_clean_png(tmp_path / "picture.png", tmp_path / "clean.png", max_pixels=10_000)
    with pytest.raises(InputRefused, match="100 x 100"):
        write_clean_png(tmp_path / "picture.png", tmp_path / "other.png", max_pixels=9_999)

    assert not (tmp_path / "other.png").exists()


def test_a_picture_over_pillows_own_limit_and_within_ours_raises_no_warning(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png_bomb(10_000))

    with pytest.raises(InputRefused, match="10000 x 10000, 100 megapixels; at most 64 are taken"):
        write_clean_png(tmp_path / "large.png", tmp_path / "clean.png", max_pixels=64_000_000)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")
def test_a_png_bomb_is_refused_from_its_header_in_little_memory(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_bomb(20_000))
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from wanworker.errors import InputRefused\n"
        "from wanworker.media.inputs.decoding._clean_png import write_clean_png\n"
        "try:\n"
        "    write_clean_png(Path(sys.argv[1]), Path(sys.argv[2]), max_pixels=64_000_000)\n"
        "except InputRefused as error:\n"
        "    print(error)\n"
        # Not getrusage: its peak is inherited from the process that forked this one.
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.partition('VmHWM:')[2].split()[0]) // 1024)\n"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "bomb.png"), str(tmp_path / "clean.png")]

    ran = subprocess.run(argv, capture_output=True, text=True, check=True, env=child_environment())
    message, peak_mib = ran.stdout.splitlines()

    assert message == "the picture is 20000 x 20000, 400 megapixels; at most 64 are taken."
    assert int(peak_mib) < 150  # Decoded it would be 400 MB at least.
    assert not (tmp_path / "clean.png").exists()


def test_a_full_disk_is_not_called_a_bad_picture(tmp_path: Path) -> None:
    quarters(640, 480).save(tmp_path / "picture.png")
    (tmp_path / "clean.png").symlink_to("/dev/full")

    with pytest.raises(DiskFull):
        write_clean_png(tmp_path / "picture.png", tmp_path / "clean.png", max_pixels=LIMIT)


def test_the_size_of_a_picture_may_be_out_of_a_videos_range(tmp_path: Path) -> None:
    Image.new("RGB", (5000, 10)).save(tmp_path / "wide.png")

    assert picture_size(tmp_path / "wide.png") == (5000, 10)


@pytest.mark.parametrize(
    ("size", "aspect", "box"),
    [
        ((200, 100), 1.0, (50, 0, 150, 100)),
        ((100, 200), 1.0, (0, 50, 100, 150)),
        ((1920, 1080), 832 / 480, (24, 0, 1896, 1080)),
        ((101, 100), 0.5, (25, 0, 75, 100)),
        ((3, 1000), 1.0, (0, 498, 3, 501)),
        ((1000, 1), 2.0, (499, 0, 501, 1)),
        ((1, 1), 5.0, (0, 0, 1, 1)),
    ],
)
def test_the_cut_is_the_largest_in_the_middle(
    size: tuple[int, int], aspect: float, box: tuple[int, int, int, int]
) -> None:
    assert box == centre_box(size, aspect)


@pytest.mark.parametrize(("width", "is_cut"), [(1000, False), (1004, False), (1006, True), (996, False), (994, True)])
def test_less_than_half_a_percent_is_not_cut(width: int, is_cut: bool, tmp_path: Path) -> None:
    Image.new("RGB", (width, 1000)).save(tmp_path / "picture.png")

    assert is_cut is crop_to_aspect(tmp_path / "picture.png", tmp_path / "cut.png", Size(512, 512))
    assert is_cut is (tmp_path / "cut.png").exists()


def test_the_middle_of_a_picture_is_cut_out_at_full_resolution(tmp_path: Path) -> None:
    wide = Image.new("RGB", (3000, 1000), BLUE)
    wide.paste(RED, (1000, 0, 2000, 1000))
    wide.save(tmp_path / "picture.png")

    assert crop_to_aspect(tmp_path / "picture.png", tmp_path / "picture.png", Size(480, 480))

    with Image.open(tmp_path / "picture.png") as cut:
        assert cut.size == (1000, 1000)
        assert cut.getcolors() == [(1_000_000, RED)]
