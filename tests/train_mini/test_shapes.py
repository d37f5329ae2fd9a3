"""The shapes' distance fields, against shapes that geometry knows."""

import numpy
import pytest
from PIL import Image, ImageDraw

from train_mini.scene import SHAPES
from train_mini.shapes import Field, distance, outline


def at(shape: str, *points: tuple[float, float]) -> list[float]:
    x, y = (numpy.array(each, numpy.float32) for each in zip(*points, strict=True))
    return [float(each) for each in distance(shape, x, y)]


def grid(reach: float = 1.9, cells: int = 101) -> tuple[Field, Field]:
    axis = numpy.linspace(-reach, reach, cells, dtype=numpy.float32)
    x, y = numpy.meshgrid(axis, axis)
    return x, y


def area(shape: str) -> float:
    """Return the area of the outline's corners, by the shoelace formula."""
    x, y = outline(shape).astype(float).T
    return abs(float((x * numpy.roll(y, -1) - numpy.roll(x, -1) * y).sum())) / 2


def painted(shape: str, cells: int, reach: float) -> numpy.ndarray:
    """Return where Pillow fills the outline, on a grid of *cells* from -reach to reach."""
    image = Image.new("1", (cells, cells))
    corners = (outline(shape).astype(float) + reach) * (cells - 1) / (2 * reach)
    ImageDraw.Draw(image).polygon([tuple(each) for each in corners.tolist()], fill=1)
    return numpy.asarray(image)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_distance_is_negative_inside_and_positive_outside(shape: str) -> None:
    far = distance(shape, *grid(1.9, 201))
    is_clear = numpy.abs(far) > 0.04

    assert (painted(shape, 201, 1.9)[is_clear] == (far < 0)[is_clear]).all()
    assert is_clear.mean() > 0.9
    assert at(shape, (0, 0))[0] < -0.3


@pytest.mark.parametrize("shape", SHAPES)
def test_the_distance_vanishes_on_the_outline(shape: str) -> None:
    corners = outline(shape)
    middles = (corners + numpy.roll(corners, -1, 0)) / 2

    assert max(map(abs, at(shape, *map(tuple, corners)))) < 0.02
    assert max(map(abs, at(shape, *map(tuple, middles)))) < 0.02


def test_a_ball_is_a_circle() -> None:
    x, y = grid()

    assert numpy.abs(distance("ball", x, y) - (numpy.hypot(x, y) - 1)).max() < 0.02


def test_a_square_has_the_distance_of_a_box() -> None:
    x, y = grid()
    dx, dy = numpy.abs(x) - 0.88, numpy.abs(y) - 0.88
    outside = numpy.hypot(numpy.maximum(dx, 0), numpy.maximum(dy, 0))

    assert numpy.abs(distance("square", x, y) - (outside + numpy.minimum(numpy.maximum(dx, dy), 0))).max() < 0.02


@pytest.mark.parametrize("shape", SHAPES)
def test_the_field_covers_the_outlines_area_and_areas_are_alike(shape: str) -> None:
    x, y = grid(1.9, 381)
    covered = float((distance(shape, x, y) < 0).mean()) * (2 * 1.905) ** 2

    assert area(shape) == pytest.approx(covered, rel=0.02)
    assert 2.1 < area(shape) < 3.2


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_the_same_in_a_mirror(shape: str) -> None:
    x, y = grid()

    assert numpy.abs(distance(shape, x, y) - distance(shape, -x, y)).max() < 1e-3


def test_triangle_and_star_point_up_and_the_heart_down() -> None:
    tips = {shape: at(shape, (0, -1.2), (0, 1.05)) for shape in ("triangle", "star", "heart")}

    assert {"triangle": [True, False], "star": [True, False], "heart": [False, True]} == {
        shape: [each < 0 for each in values] for shape, values in tips.items()
    }


def test_far_points_are_as_far_as_the_tables_border() -> None:
    assert at("ball", (2, 0)) == pytest.approx(at("ball", (40, 0)))
