"""Of some skins, the one in a video is told by its edges, or by its colours if edges are alike."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from overlay_videos import draw_video, make_skin, make_states

from data_tools.shards.source_video import read_video_table
from data_tools.watching.register_skin import recognize_skin
from data_tools.watching.video_moments import read_moments
from nitrogen_train.skins.open_skin import open_skin
from nitrogen_train.skins.skin import Skin

NUM_ROWS = 90


def in_other_colours(skin: Skin) -> Skin:
    """Turn red to green and green to blue: edges and brightness stay nearly what they are."""
    elements = []
    for element in skin.elements:
        looks = {
            name: np.ascontiguousarray(value[..., [2, 0, 1, 3]])
            for name, value in vars(element).items()
            if isinstance(value, np.ndarray)
        }
        elements.append(replace(element, **looks))
    return replace(skin, name="turned", elements=tuple(elements))


SKINS = [make_skin(), in_other_colours(make_skin()), open_skin("xbox"), open_skin("switch")]


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_the_skin_that_was_drawn_is_told_from_the_others(number: int, tmp_path: Path) -> None:
    skin = SKINS[number]
    path = draw_video(tmp_path / "a.mp4", skin, make_states(skin, NUM_ROWS))

    assert recognize_skin(read_moments(read_video_table(path)), SKINS) is skin


def test_none_is_told_where_another_is_drawn_or_nothing(tmp_path: Path) -> None:
    skin = make_skin()
    other = draw_video(tmp_path / "a.mp4", skin, make_states(skin, NUM_ROWS))
    nothing = draw_video(tmp_path / "b.mp4", None, [{}] * NUM_ROWS)

    assert recognize_skin(read_moments(read_video_table(other)), SKINS[2:]) is None
    assert recognize_skin(read_moments(read_video_table(nothing)), SKINS) is None
    assert recognize_skin([], SKINS) is None
