import json
from typing import Any

import pytest
from label_maker import describe

from data_tools.ingest.nitrogen.label_tar import PieceMetadata, parse_piece_metadata
from data_tools.ingest.nitrogen.labelled_piece import PictureBoxes, place_boxes
from nitrogen_train.data.schema import ShardError


def parse(**changes: Any) -> PieceMetadata:
    values = describe("v", 3, 900, 1500, **changes)
    return parse_piece_metadata(json.dumps(values).encode())


def place(*, width: int = 320, height: int = 180, crops: bool = False, **changes: Any) -> Any:
    metadata = parse(**changes)
    return place_boxes(metadata, width=width, height=height, crops_to_game=crops)


def test_a_pieces_facts_are_read() -> None:
    metadata = parse(bbox_game_area={"xtl": 0.1, "ytl": 0.0, "xbr": 0.9, "ybr": 1})

    assert (metadata.video_id, metadata.chunk, metadata.num_rows) == ("v", 3, 600)
    assert (metadata.start_frame, metadata.end_frame, metadata.fps) == (900, 1500, 30.0)
    assert metadata.resolution == (180, 320)
    assert metadata.overlay is not None
    assert metadata.overlay.corners == (240, 120, 340, 200)
    assert metadata.game_area is not None
    assert metadata.game_area.is_normalized


@pytest.mark.parametrize(
    ("duration_s", "fps"),
    [
        (20.0, 30.0),
        (10.0, 60.0),
        (20.02, 30.0),
        (24.0, 25.0),
        (0.0, 30.0),
        (1e6, 30.0),
        (-3.0, 30.0),
    ],
)
def test_the_frame_rate_is_derived(duration_s: float, fps: float) -> None:
    metadata = parse(original_video={"duration": duration_s})

    # Without a duration that makes sense: 600 rows in 20 s.
    assert metadata.fps == fps


@pytest.mark.parametrize("fps", [25, 30, 50, 60, 120])
@pytest.mark.parametrize("last", [0, 1])
def test_rows_are_counted_whether_the_last_frame_is_included_or_not(fps: int, last: int) -> None:
    metadata = parse(
        chunk_size=20 * fps, original_video={"end_frame": 900 + 20 * fps - last, "duration": 20.0}
    )

    assert metadata.fps == metadata.exact_fps == fps


def test_the_labels_own_times_tell_a_broken_rate() -> None:
    assert parse(original_video={"duration": 20.02}).exact_fps == pytest.approx(30 / 1.001)
    assert parse(original_video={"duration": 19.98}).exact_fps == 30.0


def test_a_piece_without_a_plausible_frame_rate_is_refused() -> None:
    with pytest.raises(ShardError, match=r"3 rows in 0 s, or in 20 s, give no frame rate"):
        parse(original_video={"duration": 0}, chunk_size=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"original_video": {"start_frame": -1}}, "start_frame must be a whole number"),
        ({"original_video": {"start_frame": True}}, "start_frame must be a whole number"),
        ({"original_video": {"end_frame": 1000.5}}, "end_frame must be a whole number"),
        ({"original_video": {"video_id": 3}}, "video_id must be 1 to 500 printable"),
        ({"original_video": {"url": "a\nb"}}, "url must be 1 to 500 printable"),
        ({"original_video": {"resolution": [180]}}, "resolution must be 2 numbers"),
        ({"original_video": {"resolution": [180, 1e400]}}, "resolution must be 2 numbers"),
        ({"original_video": {"duration": "long"}}, "duration must be up to a million"),
        ({"chunk_size": None}, "chunk_size must be a whole number"),
        ({"chunk_id": "../1"}, "chunk_id must be a whole number"),
        ({"game": "x" * 501}, "game must be 1 to 500 printable"),
        ({"bbox_controller_overlay": [0, 0, 10]}, "bbox_controller_overlay must be 4 numbers"),
        ({"bbox_controller_overlay": [0, 0, -1, 5]}, "must be a box with some area"),
        ({"bbox_controller_overlay": [0, 0, float("nan"), 5]}, "must be 4 numbers"),
        ({"bbox_game_area": {"xtl": 0}}, "bbox_game_area must be 4 numbers"),
        ({"bbox_others": [[0, 0, 1, 1]] * 33}, "bbox_others must be a list of up to 32"),
        ({"bbox_others": "all"}, "bbox_others must be a list"),
    ],
)
def test_what_the_card_does_not_say_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ShardError, match=message) as raised:
        parse(**changes)

    assert raised.value.cause == "metadata"


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b"[" * 100_000, b'{"original_video": 3}'])
def test_what_is_no_metadata_is_refused(data: bytes) -> None:
    with pytest.raises(ShardError) as raised:
        parse_piece_metadata(data)

    assert raised.value.cause == "metadata"


def test_numbers_count_and_not_their_types() -> None:
    loose = parse(
        chunk_id=3.0, chunk_size="600",
        original_video={"start_frame": 900.0, "resolution": ["180", 320.0], "duration": "20.0"},
    )  # fmt: skip

    assert loose == parse()


def test_boxes_are_clipped_to_the_picture() -> None:
    boxes = place(bbox_others=[[-20, -5, 30, 10], [500, 500, 10, 10]])

    # The second of the others lies outside.
    assert boxes == PictureBoxes(masked=((240, 120, 80, 60), (0, 0, 10, 5)), area=None)


@pytest.mark.parametrize("resolution", [[180, 320], [320, 180]])
def test_the_order_of_the_sides_is_found(resolution: list[int]) -> None:
    boxes = place(original_video={"resolution": resolution})

    assert boxes.masked == ((240, 120, 80, 60),)


def test_boxes_follow_the_size_of_the_video() -> None:
    boxes = place(
        width=214, height=120, bbox_controller_overlay=[31, 31, 20, 20],
        bbox_game_area={"xtl": 0.1, "ytl": 0, "xbr": 0.9, "ybr": 1}, crops=True,
    )  # fmt: skip

    # What is masked is rounded outwards (20.73 to 34.11 across), what is kept inwards.
    assert boxes.masked == ((20, 20, 15, 14),)
    assert boxes.area == (22, 0, 170, 120)
    assert place(bbox_game_area={"xtl": 0.1, "ytl": 0, "xbr": 0.9, "ybr": 1}).area is None


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"width": 180}, "size"),
        ({"original_video": {"resolution": [0, 0]}}, "size"),
        ({"bbox_controller_overlay": None}, "overlay"),
        ({"bbox_controller_overlay": [400, 0, 10, 10]}, "overlay"),
        ({"bbox_game_area": {"xtl": 2, "ytl": 0, "xbr": 3, "ybr": 1}, "crops": True}, "area"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(changes: dict[str, Any], cause: str) -> None:
    with pytest.raises(ShardError) as raised:
        place(**changes)

    assert raised.value.cause == cause
