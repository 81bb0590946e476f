from pathlib import Path

import av
import pytest
import torch
from chase_game import ChaseGame
from tiny_policy import build_tiny_policy

from nitrogen_train.evaluation.play import one_thread, record_video
from nitrogen_train.models.playing import PlaySettings, SamplingSettings


def test_the_video_shows_every_row_at_the_games_rate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    settings = PlaySettings(
        execution_horizon=2,
        start_row=0,
        frame_stride=1,
        action_hz=None,
        sampling=SamplingSettings(num_sampling_steps=1),
        seed=0,
    )

    outcome = record_video(
        build_tiny_policy(),
        "chase_game:ChaseGame",
        settings=settings,
        path=tmp_path / "videos" / "chase.mp4",
    )

    assert "film chase, seed 100: 9 frames in " in capsys.readouterr().err
    assert (outcome.seed, outcome.num_rows) == (ChaseGame.info.heldout_seeds[0], 9)
    with av.open(str(tmp_path / "videos" / "chase.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.frames, stream.average_rate) == (9, 10)
        (first, *_) = (frame.to_ndarray(format="rgb24") for frame in container.decode(stream))
    below_the_pad = first[-80:]
    assert below_the_pad.max() < 20
    assert first[:-84].max() > 100


def test_a_block_computes_on_one_core_and_gives_the_others_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
