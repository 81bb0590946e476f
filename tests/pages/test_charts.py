import re

import pytest

from nitrogen_train.pages.charts import Line, Scale, draw_curves


def draw(values: list[float], *, name: str = "a", scale: Scale = "log_if_wide") -> str:
    line = Line(name=name, points=(range(len(values)), values), colour=0)
    return draw_curves("loss", [line], num_steps=len(values), scale=scale)


def find_ticks(svg: str) -> list[str]:
    return re.findall(r'text-anchor="end">([^<]*)<', svg)


@pytest.mark.parametrize(
    "values",
    [[1.0, 1.0], [1e-6, 1.0], [-1.0, 5.0], [0.0, 0.0], [1.0, float("nan"), float("inf"), 2.0]],
)
@pytest.mark.parametrize("scale", ["share", "from_zero", "log_if_wide"])
def test_curves_stay_inside_their_picture(values: list[float], scale: Scale) -> None:
    svg = draw(values, scale=scale)

    (points,) = re.findall(r'points="([^"]+)"', svg)
    assert len(points.split()) == 2
    for point in points.split():
        x, y = map(float, point.split(","))
        assert 0 <= x <= 360
        assert 0 <= y <= 210


def test_a_single_point_is_a_dot() -> None:
    assert "<polyline" not in draw([0.5])
    assert draw([0.5]).count("<circle") == 1


def test_a_loss_is_linear_from_0_unless_it_spans_much() -> None:
    assert find_ticks(draw([0.4, 0.5])) == ["0", "0.2", "0.4", "0.6"]
    assert find_ticks(draw([0.011, 0.39])) == ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]
    assert find_ticks(draw([1e-4, 3.0])) == ["0.0001", "0.001", "0.01", "0.1", "1"]
    assert find_ticks(draw([0.01, 0.4], scale="from_zero"))[0] == "0"


def test_a_value_below_0_widens_the_axis_of_shares_no_further_than_it_must() -> None:
    svg = draw([-0.05, 0.3], scale="share")

    assert find_ticks(svg) == ["0", "0.5", "1"]


def test_title_and_keys_never_share_a_line_and_keep_inside_the_picture() -> None:
    lines = [
        Line(name=f"{'x' * 20}{name}{'y' * 20}", points=([0, 1], [0.1, 0.2]), colour=colour)
        for colour, name in enumerate("abcdef")
    ]

    svg = draw_curves("t" * 80, lines, num_steps=2, scale="from_zero")

    height = float(re.findall(r'viewBox="0 0 360 (\d+)"', svg)[0])
    title = re.findall(r'class="name" x="0" y="(\d+)"[^>]*>([^<]*)<', svg)
    keys = re.findall(r'class="key\d" x="([\d.]+)" y="(\d+)"[^>]*>([^<]*)<', svg)
    tops = [float(y) for y in re.findall(r'class="grid" [^>]*y1="([\d.]+)"', svg)]
    assert len(keys) == 6
    assert all(len(text) <= 48 for *_, text in [*title, *keys])
    assert min(float(y) for _, y, _ in keys) > float(title[0][0])
    assert min(tops) > max(float(y) for _, y, _ in keys)
    assert max(tops) < height


def test_lines_of_one_name_have_one_key() -> None:
    points = ([0, 1], [0.1, 0.2])
    lines = [Line(name=name, points=points, colour=ord(name) - 97) for name in "aab"]

    svg = draw_curves("loss", lines, num_steps=2, scale="from_zero")

    assert re.findall(r'class="key(\d)"', svg) == ["0", "1"]


def test_a_single_outlier_of_a_faint_line_does_not_widen_the_axis() -> None:
    values = [1.0 + 0.01 * (step % 5) for step in range(200)]
    raw = Line(name="a", points=(range(200), [*values[:-1], 1000.0]), colour=0, is_faint=True)
    mean = Line(name="a", points=(range(200), values), colour=0)

    svg = draw_curves("loss", [raw, mean], num_steps=200, scale="log_if_wide")

    assert find_ticks(svg)[-1] == "1.5"
