from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data_tools.ingest.recording.lag import read_picture_motion
from data_tools.shards.shard_writer import encode_stretch
from data_tools.shards.source_video import read_video_table
from nitrogen_train.data.schema import Box, ShardError
from nitrogen_train.data.video import PyAVDecoder

RED, GREEN, BLUE, WHITE = (230, 20, 20), (20, 200, 20), (20, 20, 220), (255, 255, 255)
PATCHES = [WHITE, (128, 128, 128), (20, 20, 20), RED, GREEN, BLUE, (200, 120, 60), (255, 220, 180)]
BT2020 = np.array(
    [[0.627404, 0.329283, 0.043313], [0.069097, 0.919540, 0.011362], [0.016391, 0.088013, 0.895595]]
)


def draw_corners(width: int, height: int) -> np.ndarray:
    """Draw a picture of which each quarter has its own colour: no two turns look alike."""
    picture = np.empty((height, width, 3), np.uint8)
    top, left = slice(height // 2), slice(width // 2)
    bottom, right = slice(height // 2, None), slice(width // 2, None)
    picture[top, left], picture[top, right] = RED, GREEN
    picture[bottom, left], picture[bottom, right] = BLUE, WHITE
    return picture


def write_video(
    path: Path,
    pictures: list[av.VideoFrame],
    *,
    codec: str = "libx264",
    prepare: Callable[[av.VideoStream], None] = lambda _: None,
) -> Path:
    """Write pictures of any format at the highest quality, with their own tags."""
    first = pictures[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, first.format.name
        stream.options = {"crf": "1"} if codec.startswith("libx") else {}
        for tag in ("colorspace", "color_trc", "color_primaries", "color_range"):
            setattr(stream.codec_context, tag, getattr(first, tag))
        prepare(stream)
        for index, picture in enumerate(pictures):
            picture.pts, picture.time_base = index, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def encode(path: Path, *, boxes: tuple[Box, ...] = (), area: Box | None = None) -> np.ndarray:
    video = read_video_table(path)
    data = encode_stretch(video, fps=30.0, size=64, masked_boxes=boxes, area=area)
    return PyAVDecoder().decode(data).astype(int)


def corners(picture: np.ndarray) -> list[tuple[int, int, int]]:
    """Name the colours of the quarters: top left, top right, bottom left, bottom right."""
    quarter = picture.shape[0] // 4
    places = [(quarter, quarter), (quarter, -quarter), (-quarter, quarter), (-quarter, -quarter)]
    colours = [RED, GREEN, BLUE, WHITE]
    seen = [picture[place] for place in places]
    return [min(colours, key=lambda c: np.abs(np.array(c) - s).sum()) for s in seen]


def write_turned(path: Path, *, degrees: int, hflip: bool = False, vflip: bool = False) -> Path:
    frame = av.VideoFrame.from_ndarray(draw_corners(160, 96), format="rgb24")
    return write_video(
        path,
        [frame.reformat(format="yuv444p") for _ in range(4)],
        prepare=lambda stream: stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip),
    )


@pytest.mark.parametrize("flips", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_or_mirrored_video_is_stored_upright(
    tmp_path: Path, degrees: int, flips: tuple[bool, bool]
) -> None:
    path = write_turned(tmp_path / "v.mp4", degrees=degrees, hflip=flips[0], vflip=flips[1])
    # Counter-clockwise, and then mirrored.
    upright = np.rot90(draw_corners(160, 96), degrees // 90)
    upright = upright[:: -1 if flips[1] else 1, :: -1 if flips[0] else 1]

    video = read_video_table(path)

    assert (video.height, video.width) == upright.shape[:2]
    assert corners(encode(path)[0]) == corners(upright)
    assert {(frame.height, frame.width) for frame in video.read()} == {upright.shape[:2]}


def test_boxes_and_areas_are_of_the_upright_picture(tmp_path: Path) -> None:
    path = write_turned(tmp_path / "v.mp4", degrees=90)

    # Upright it is 96 wide and 160 high: green and white above red and blue.
    masked = encode(path, boxes=((0, 80, 96, 80),))[0]
    area = encode(path, area=(48, 0, 48, 80))[0]

    assert masked[36:].max() < 40
    assert corners(masked)[:2] == [GREEN, WHITE]
    assert set(corners(area)) == {WHITE}


def test_motion_is_measured_in_the_upright_picture(tmp_path: Path) -> None:
    texture = np.random.default_rng(0).integers(0, 255, (12, 20, 3), dtype=np.uint8)
    texture = texture.repeat(8, axis=0).repeat(8, axis=1)
    pictures = [
        av.VideoFrame.from_ndarray(np.roll(texture, 3 * step, axis=1), format="rgb24").reformat(
            format="yuv444p"
        )
        for step in range(6)
    ]
    path = write_video(
        tmp_path / "v.mp4", pictures, prepare=lambda stream: stream.set_display_rotation(90)
    )

    motion = read_picture_motion(read_video_table(path), 0, 6)

    # To the right as stored is up as shown.
    down, right = np.median(motion.values[:, :2], axis=0)
    assert down < -0.5
    assert abs(right) < 0.2


def test_an_odd_angle_is_refused_by_name(tmp_path: Path) -> None:
    path = write_turned(tmp_path / "v.mp4", degrees=30)

    with pytest.raises(ShardError, match=r"v\.mp4 is to be shown turned by \d+ degrees"):
        read_video_table(path)


def patches(codes: np.ndarray) -> av.VideoFrame:
    """Draw a column of 32 pixels for each row of RGB values in [0, 1]."""
    picture = np.round(codes * 65535).astype(np.uint16)
    picture = np.broadcast_to(picture.repeat(32, axis=0)[None], (64, 32 * len(codes), 3))
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb48le")


def to_light(srgb: np.ndarray) -> np.ndarray:
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_pq(light: np.ndarray) -> np.ndarray:
    power = (light / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def to_hlg(light: np.ndarray) -> np.ndarray:
    scene = (light / 1000) ** (1 / 1.2)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def write_colours(path: Path, codes: np.ndarray, *, transfer: int, primaries: int = 9) -> Path:
    matrix = 9 if primaries == 9 else 1
    frame = patches(codes).reformat(
        format="yuv444p10le", dst_colorspace=matrix, src_color_range=2, dst_color_range=1
    )
    frame.colorspace, frame.color_trc = matrix, transfer
    frame.color_primaries, frame.color_range = primaries, 1
    return write_video(path, [frame], codec="ffv1")


def read_patches(path: Path) -> np.ndarray:
    (frame,) = read_video_table(path).read()
    picture = frame.to_ndarray(format="rgb24").astype(int)
    return picture[32, 16::32]


@pytest.mark.parametrize("transfer", [16, 18, 14], ids=["PQ", "HLG", "wide SDR"])
def test_white_stays_white_and_colours_stay_near_in_hdr_and_wide_colours(
    tmp_path: Path, transfer: int
) -> None:
    srgb = np.array(PATCHES)
    wide = to_light(srgb / 255) @ BT2020.T
    encode_light = {16: lambda x: to_pq(203 * x), 18: lambda x: to_hlg(203 * x)}
    if transfer == 14:
        codes = np.where(wide <= 0.0031308, 12.92 * wide, 1.055 * wide ** (1 / 2.4) - 0.055)
    else:
        codes = encode_light[transfer](wide)

    seen = read_patches(write_colours(tmp_path / "v.mkv", codes, transfer=transfer))

    error = np.abs(seen - srgb)
    assert error[:3].max() <= 3
    # HLG's gamma is of brightness, and is taken here per colour.
    assert error.max() <= 6 if transfer != 18 else error.mean() <= 8


def test_what_is_brighter_than_white_is_white(tmp_path: Path) -> None:
    codes = to_pq(np.array([[203.0] * 3, [600.0] * 3, [4000.0] * 3]))

    assert read_patches(write_colours(tmp_path / "v.mkv", codes, transfer=16)).min() >= 252


def test_stored_white_of_hdr_is_white(tmp_path: Path) -> None:
    path = write_colours(tmp_path / "v.mkv", np.full((2, 3), to_pq(np.array(203.0))), transfer=16)

    assert encode(path).min() >= 252


def test_colours_that_nothing_here_knows_are_refused_with_the_command_that_converts(
    tmp_path: Path,
) -> None:
    path = write_colours(tmp_path / "v.mkv", np.full((2, 3), 0.5), transfer=8)

    with pytest.raises(ShardError, match=r"v\.mkv has colours of a kind.*ffmpeg -i v\.mkv"):
        read_video_table(path)


FORMATS = {
    "limited": ("yuv420p", 1, "libx264"),
    "full": ("yuvj420p", 2, "libx264"),
    "10 bits": ("yuv420p10le", 1, "libx264"),
    "4:4:4": ("yuv444p", 1, "libx264"),
    "4:2:2 full": ("yuvj422p", 2, "libx264"),
    "rgb": ("gbrp", 2, "libx264rgb"),
    "alpha": ("yuva420p", 1, "ffv1"),
}


@pytest.mark.parametrize("matrix", [1, 5], ids=["BT.709", "BT.601"])
@pytest.mark.parametrize("name", FORMATS)
def test_colours_are_right_in_every_format_of_sdr(tmp_path: Path, name: str, matrix: int) -> None:
    pix_fmt, colour_range, codec = FORMATS[name]
    frame = patches(np.array(PATCHES) / 255).reformat(
        format="rgb24" if codec == "libx264rgb" else pix_fmt,
        dst_colorspace=matrix,
        src_color_range=2,
        dst_color_range=colour_range,
    )
    # 0 is RGB.
    frame.colorspace = 0 if codec == "libx264rgb" else matrix
    frame.color_range = colour_range
    path = write_video(tmp_path / "v.mkv", [frame], codec=codec)

    stored = encode(path)[0, 32, 4::8]

    # Neighbours share colour where it is stored at half the size.
    assert np.abs(stored - np.array(PATCHES)).max() <= 12
    assert np.abs(stored[:3] - np.array(PATCHES)[:3]).max() <= 5


def test_interlaced_pictures_have_no_combs(tmp_path: Path) -> None:
    # A bar that moves by 32 pixels between the two halves of a picture.
    pictures = []
    for step in range(6):
        picture = np.full((64, 256, 3), 16, np.uint8)
        picture[0::2, 32 * step : 32 * step + 32] = 235
        picture[1::2, 32 * step + 16 : 32 * step + 48] = 235
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        pictures.append(frame)

    def interlace(stream: av.VideoStream) -> None:
        stream.options = {"crf": "5", "flags": "+ildct+ilme", "x264-params": "tff=1"}

    video = read_video_table(write_video(tmp_path / "v.mp4", pictures, prepare=interlace))

    shown = [frame.to_ndarray(format="gray").astype(int) for frame in video.read()]
    assert len(shown) == 6
    for picture in shown:
        assert np.abs(np.diff(picture[8:-8], axis=0)).mean() < 3
