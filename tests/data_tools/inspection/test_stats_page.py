import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_tools.__main__ import main
from data_tools.inspection.stats import choose_clips, count_actions, count_dataset
from nitrogen_train.actions import GAMEPAD
from nitrogen_train.data.clip_record import ClipActions
from nitrogen_train.data.dataset import Dataset
from nitrogen_train.data.manifest import read_manifest


@pytest.fixture(scope="module")
def dataset_dir(
    tmp_path_factory: pytest.TempPathFactory, make_clip: Callable, write_clips: Callable
) -> Path:
    clips = [
        make_clip("a", game="chess & co", session_id="one"),
        make_clip("b", game="chess & co", session_id="two", split="val", source="<other>"),
        make_clip("c", game="quake", states=[{"SOUTH": t % 4 > 0} for t in range(40)]),
    ]
    return write_clips(tmp_path_factory.mktemp("page"), clips)


@pytest.fixture(scope="module")
def page(dataset_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("html") / "page.html"
    assert main(["stats", str(dataset_dir), "--html", str(path), "--workers", "1"]) == 0
    return path.read_text(encoding="utf-8")


def test_nothing_in_the_page_is_fetched(page: str) -> None:
    assert "<script" not in page
    sources = re.findall(r'(?:src|href)="([^"]{0,12})', page)
    assert sources
    assert all(source.startswith(("data:image/", "#")) for source in sources)
    assert "http" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_names_games_sources_and_splits(page: str) -> None:
    cells = re.findall(r"<td>([^<]*)</td>", page)

    assert cells[:7] == ["chess &amp; co", "&lt;other&gt;", "val", "1", "0.00", "100.0%", "0.0%"]
    assert re.findall(r"<h2>([^<]*)</h2>", page) == [
        "Hours", "All games", "chess &amp; co", "quake",
    ]  # fmt: skip
    assert "0.00 hours in 3 clips of 3 sessions, 2 games." in page
    assert re.findall(r">(SOUTH|EAST)</text>", page) == ["SOUTH"]
    assert ">75.00</text>" in page
    assert page.count("<svg") == 1 + 3 + 1 + 3


def test_a_game_without_buttons_has_a_word_instead_of_empty_charts(page: str) -> None:
    chess, quake = page.partition("<h2>chess")[2].split("<h2>quake")

    assert "No button is down in any row." in chess
    assert 'aria-label="Buttons' not in chess
    assert 'aria-label="Presses' not in chess
    assert 'aria-label="Buttons' in quake
    assert 'aria-label="Presses' in quake


def test_each_game_is_shown_with_its_pad(page: str) -> None:
    pictures = re.findall(r'alt="([abc], row \d+)" src="data:image/jpeg;base64,([^"]+)"', page)

    assert [caption[0] for caption, _ in pictures] == ["a", "b", "c"]
    for _, data in pictures:
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        # The square picture, and the strip of the pad below it.
        assert picture.size == (400, 556)


def test_maps_are_of_both_sticks_of_each_game(page: str) -> None:
    maps = re.findall(r'alt="([^"]+ is up)" src="data:image/png;base64,([^"]+)"', page)

    assert [name for name, _ in maps] == ["Left stick, up is up", "Right stick, up is up"] * 2
    moved, still = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))[..., 3] > 0
        for _, data in maps[:2]
    )
    # It moves to the right and up, from 0.2 to 0.9; the other one never does.
    rows, columns = np.nonzero(moved)
    assert len(rows) > 5
    assert columns.min() >= 19
    assert rows.max() < 16
    assert np.argwhere(still).tolist() == [[16, 16]]


def test_presses_are_counted_by_their_length() -> None:
    # At 10 fps: two presses of 0.3 s, one of 0.1 s that the clip cuts off.
    held = [False, True, True, True, False, True, True, True, False, True]
    states = [{"SOUTH": is_down} for is_down in held]
    actions = ClipActions(rows=GAMEPAD.rows_from_controls(states), valid=np.ones(10, bool))

    counts = count_actions(actions, GAMEPAD, fps=10.0)

    assert counts.press_lengths.tolist() == [0, 0, 1, 2, 0, 0, 0, 0]
    assert counts.pressed[GAMEPAD.index("SOUTH")] == 7
    assert (counts.num_idle_rows, counts.idle_shares.tolist()) == (3, [0, 0, 0, 1] + [0] * 6)
    assert counts.clip_lengths.tolist() == [1] + [0] * 9
    total = counts + counts
    assert (total.num_clips, total.seconds, total.press_lengths[3]) == (2, 2.0, 4)


@pytest.mark.slow
def test_counts_do_not_depend_on_the_workers(dataset_dir: Path) -> None:
    one, two = (count_dataset(Dataset(dataset_dir), workers=workers) for workers in (1, 2))

    assert one.groups.keys() == two.groups.keys()
    for key, counts in one.groups.items():
        np.testing.assert_array_equal(counts.stick_maps, two.groups[key].stick_maps)
        assert counts.seconds == two.groups[key].seconds


def test_pictures_come_from_as_many_sessions_as_there_are(
    tmp_path: Path, make_clip: Callable, write_clips: Callable
) -> None:
    def choose(sessions: str) -> list[str]:
        clips: list[dict[str, Any]] = [
            make_clip(f"{index}-{session}", num_frames=4, session_id=session)
            for index, session in enumerate(sessions)
        ]
        rows = read_manifest(write_clips(tmp_path / sessions, clips)).rows()
        return [row.clip_id for row in choose_clips(rows, number=2)["made"]]

    assert choose("aaabbb") == ["1-a", "4-b"]
    assert choose("aaa") == ["0-a", "2-a"]
    assert choose("a") == ["0-a"]
    assert choose("abcd") == ["0-a", "3-d"]
