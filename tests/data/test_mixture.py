from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nitrogen_train.data.manifest import read_manifest, write_manifest
from nitrogen_train.data.mixture import Source, load_sources, read_options
from nitrogen_train.data.windows import WindowShape

WINDOW = WindowShape(num_frames=1, frame_stride=1, action_horizon=4, action_offset=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight": 0}, "weight must be above 0, got 0.0"),
        ({"weight": "inf"}, "weight must be above 0, got inf"),
        ({"weight": "many"}, "could not convert string to float: 'many'"),
        ({"game_temperature": float("nan")}, "game_temperature must be above 0, got nan"),
        ({"max_game_hours": -1}, "max_game_hours must be above 0, got -1.0"),
        ({"action_offset": 1.5}, "action_offset must be a whole number, got 1.5"),
        ({"action_offset": "x"}, "action_offset must be a whole number, got 'x'"),
        ({"any_fps": 60}, "any_fps must be true or false, got 60"),
        ({"heft": 2}, r"needs a path and may have weight, .*; got heft"),
    ],
)
def test_a_wrong_option_names_its_source(values: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^data\.sources\.mine:? .*{message}"):
        read_options("mine", {"path": "somewhere", **values})


@pytest.fixture
def load(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> Callable[..., list[Source]]:
    """Open data sets, each with a clip of each of some frame rates."""

    def load(rates: Mapping[str, list[float]], **options: Mapping[str, Any]) -> list[Source]:
        sources: dict[str, dict[str, Any]] = {}
        for name, of_clips in rates.items():
            plans = [clip_plan(clip_id=f"{name}{i}") for i in range(len(of_clips))]
            folder = write_dataset(tmp_path / name, plans)
            rows = read_manifest(folder).rows()
            write_manifest(folder, map(lambda row, fps: replace(row, fps=fps), rows, of_clips))
            sources[name] = {"path": str(folder), **options.get(name, {})}
        return load_sources(sources, split="train", window=WINDOW, index_dir=tmp_path / "index")

    return load


def test_one_game_in_two_spellings_is_told_once(
    tmp_path: Path,
    write_dataset: Callable[..., Path],
    clip_plan: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sources = {
        game: {"path": str(write_dataset(tmp_path / game, [clip_plan(clip_id=game, game=game)]))}
        for game in ("celeste", "Celeste", "doom")
    }

    load_sources(sources, split="train", window=WINDOW, index_dir=tmp_path / "index")

    (record,) = caplog.records
    assert "'Celeste' and 'celeste' differ in their spelling alone" in record.getMessage()


def test_a_set_without_validation_says_how_to_get_it(
    tmp_path: Path, write_dataset: Callable[..., Path], clip_plan: Any
) -> None:
    path = str(write_dataset(tmp_path / "set", [clip_plan(clip_id="a")]))

    with pytest.raises(ValueError, match=r"mine .*no clip is in 'val'.*there is 1; record more"):
        load_sources(
            {"mine": {"path": path}}, split="val", window=WINDOW, index_dir=tmp_path / "index"
        )


@pytest.mark.parametrize("rates", [{"a": [30.0, 60.0]}, {"a": [60.0], "b": [30.0, 30.0]}])
def test_different_frame_rates_are_refused_and_found_by_name(
    load: Callable[..., list[Source]], rates: dict[str, list[float]]
) -> None:
    with pytest.raises(ValueError, match=r"frames per second differ \(a has .*any_fps") as raised:
        load(rates)

    assert "\n" not in str(raised.value)
    assert len(load(rates, a={"any_fps": True})) == len(rates)


def test_a_permission_holds_for_its_own_source_alone(load: Callable[..., list[Source]]) -> None:
    with pytest.raises(ValueError, match=r"\(a has 60, b has 30 to 60\)"):
        load({"a": [60.0], "b": [30.0, 60.0], "c": [20.0]}, c={"any_fps": True})


def test_one_rate_may_be_selected_and_rounding_makes_no_other(
    load: Callable[..., list[Source]],
) -> None:
    first, second = load({"a": [30.0, 60.0], "b": [59.94]}, a={"where": "fps == 60"})

    assert first.table.fps_range == (60.0, 60.0)
    assert second.table.fps_range == (59.94, 59.94)


def test_what_is_permitted_does_not_change_what_a_resume_compares(
    load: Callable[..., list[Source]],
) -> None:
    (plain,) = load({"a": [60.0]})
    (permitted,) = load({"a": [60.0]}, a={"any_fps": True})

    assert permitted.describe() == plain.describe()
