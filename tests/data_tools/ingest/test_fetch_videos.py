import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from data_tools.__main__ import main
from data_tools.ingest.video_list import Attempt, open_ledger, read_attempts, read_list

VIDEO = bytes(range(256)) * 4000


@dataclass
class Site:
    """A site on loopback with direct videos."""

    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, Range) of each GET."""
    breaks_at: int | None = None
    """Bytes after which a connection is cut."""
    status: dict[str, int] = field(default_factory=dict)
    content_type: str = "video/mp4"

    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            span = self.headers.get("Range")
            site.asked.append((self.path, span))
            status = site.status.get(self.path, 200)
            if status != 200:
                self.send_error(status)
                return
            match = re.match(r"bytes=(\d+)-", span or "")
            first = int(match[1]) if match else 0
            data = VIDEO[first:]
            self.send_response(206 if match else 200)
            self.send_header("Content-Type", site.content_type)
            self.send_header("Accept-Ranges", "bytes")
            if match:
                self.send_header("Content-Range", f"bytes {first}-{len(VIDEO) - 1}/{len(VIDEO)}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data if site.breaks_at is None else data[: site.breaks_at])

        def do_HEAD(self) -> None:
            self.send_error(405)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def write_list(folder: Path, site: Site, *ids: str, **changes: Any) -> Path:
    path = folder / "videos.jsonl"
    lines = [
        {"video_id": each, "url": f"{site.url}/{each}.mp4", "source": "youtube", "game": "doom"}
        for each in ids
    ]
    path.write_text("".join(json.dumps(line | changes) + "\n" for line in lines))
    return path


def fetch(list_path: Path, out_dir: Path, *more: str) -> int:
    return main(
        [
            "videos", "fetch", str(list_path), "--out", str(out_dir), "--allow-host", "127.0.0.1",
            "--pause-s", "0", "--retries", "0", *more,
        ]
    )  # fmt: skip


def survival(out_dir: Path) -> dict[str, Any]:
    return json.loads((out_dir / "survival.json").read_text())


def test_videos_are_got_once(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_dir = tmp_path / "videos"
    path = write_list(tmp_path, site, "one", "-two.", hours=1.5)

    assert fetch(path, out_dir) == 0
    asked = len(site.asked)
    assert fetch(path, out_dir) == 0

    assert (out_dir / "one.mp4").read_bytes() == VIDEO
    assert (out_dir / "-two..mp4").read_bytes() == VIDEO
    assert len(site.asked) == asked
    assert survival(out_dir)["survival"] == [
        {
            "source": "youtube", "game": "doom", "got": 2, "gone": 0, "failed": 0, "not_asked": 0,
            "hours_got": 3.0,
        }
    ]  # fmt: skip
    assert "doom (youtube)     2     0       0          0                 3.00" in (
        capsys.readouterr().out
    )


def test_what_is_gone_is_asked_for_again_only_when_told(site: Site, tmp_path: Path) -> None:
    out_dir = tmp_path / "videos"
    path = write_list(tmp_path, site, "gone", "here")
    site.status["/gone.mp4"] = 404

    assert fetch(path, out_dir) == 0

    (line,) = survival(out_dir)["survival"]
    assert (line["got"], line["gone"], line["failed"]) == (1, 1, 0)
    assert "HTTP Error 404" in survival(out_dir)["reasons"]["gone"]
    del site.status["/gone.mp4"]
    asked = len(site.asked)
    assert fetch(path, out_dir) == 0
    assert len(site.asked) == asked
    assert fetch(path, out_dir, "--retry") == 0
    assert (out_dir / "gone.mp4").read_bytes() == VIDEO
    assert set(site.paths()[asked:]) == {"/gone.mp4"}
    assert survival(out_dir)["reasons"] == {}


def test_an_interrupted_download_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    out_dir = tmp_path / "videos"
    path = write_list(tmp_path, site, "one")
    site.breaks_at = 300_000

    assert fetch(path, out_dir) == 1

    assert not list(out_dir.glob("one*"))
    assert survival(out_dir)["survival"][0]["failed"] == 1
    (partial,) = (out_dir / ".downloading").iterdir()
    size = partial.stat().st_size
    assert 0 < size <= 300_000
    site.breaks_at = None
    site.asked.clear()
    assert fetch(path, out_dir) == 0
    assert (out_dir / "one.mp4").read_bytes() == VIDEO
    assert ("/one.mp4", f"bytes={size}-") in site.asked


def test_what_passes_is_asked_for_again_and_many_in_a_row_stop_it(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out_dir = tmp_path / "videos"
    ids = [f"v{index}" for index in range(7)]
    path = write_list(tmp_path, site, *ids)
    site.status |= {f"/{each}.mp4": 429 for each in ids}

    assert fetch(path, out_dir) == 1

    error = capsys.readouterr().err
    assert "5 videos in a row failed" in error
    assert "wait an hour, then give a longer --pause-s; then start again" in error
    (line,) = survival(out_dir)["survival"]
    assert (line["failed"], line["not_asked"]) == (5, 2)
    site.status.clear()
    assert fetch(path, out_dir, "--limit", "2") == 0
    assert {each.name for each in out_dir.glob("*.mp4")} == {"v0.mp4", "v1.mp4"}


def test_a_start_after_a_stop_asks_first_for_what_was_never_asked_for(
    site: Site, tmp_path: Path
) -> None:
    out_dir = tmp_path / "videos"
    ids = [f"v{index}" for index in range(6)]
    path = write_list(tmp_path, site, *ids)
    site.status |= {f"/{each}.mp4": 403 for each in ids[:5]}
    assert fetch(path, out_dir) == 1
    assert not list(out_dir.glob("*.mp4"))

    fetch(path, out_dir)

    assert [each.name for each in out_dir.glob("*.mp4")] == ["v5.mp4"]


def test_a_video_that_fails_does_not_stop_the_others_and_shows_in_the_status(
    site: Site, tmp_path: Path
) -> None:
    path = write_list(tmp_path, site, "one", "two")
    site.status["/one.mp4"] = 500

    assert fetch(path, tmp_path / "videos") == 1

    assert [each.name for each in (tmp_path / "videos").glob("*.mp4")] == ["two.mp4"]
    del site.status["/one.mp4"]
    assert fetch(path, tmp_path / "videos") == 0


def test_why_videos_are_not_here_is_counted_by_cause_on_the_terminal(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_list(tmp_path, site, "one", "two", "three")
    site.status |= {"/one.mp4": 500, "/two.mp4": 500, "/three.mp4": 403}

    assert fetch(path, tmp_path / "videos") == 1

    said = capsys.readouterr().out
    (line,) = [line for line in said.splitlines() if "HTTP Error 500" in line]
    assert line.startswith("dropped 2: failed: ")
    assert line.endswith("; for example one")
    assert "HTTP Error 403" in said


def test_a_list_of_which_nothing_is_left_ends_with_1(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_list(tmp_path, site, "one")
    (tmp_path / "videos").mkdir()
    gone = {"video_id": "one", "status": "gone", "reason": "[youtube] one: Private video"}
    (tmp_path / "videos" / "fetch.jsonl").write_text(json.dumps(gone) + "\n")

    assert fetch(path, tmp_path / "videos") == 1

    assert "gone: Private video" in capsys.readouterr().out


def test_the_downloaders_warnings_are_shown_once(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # What it is told of such a file makes yt-dlp guess.
    site.content_type = "application/x-unheard-of"

    fetch(write_list(tmp_path, site, "one", "two"), tmp_path / "videos")

    lines = [line for line in capsys.readouterr().err.splitlines() if "yt-dlp warns: " in line]
    assert len(lines) == len(set(lines)) > 0


def test_what_an_earlier_version_called_gone_is_asked_for_again_unless_the_site_said_so(
    site: Site, tmp_path: Path
) -> None:
    out_dir = tmp_path / "videos"
    out_dir.mkdir()
    path = write_list(tmp_path, site, "here", "private")
    reasons = {
        "here": "[youtube] here: Requested format is not available. Use --list-formats for a list",
        "private": "[youtube] private: Private video. Sign in if you've been granted access",
    }
    for name, reason in reasons.items():
        open_ledger(out_dir).add(Attempt(video_id=name, status="gone", reason=reason))

    assert fetch(path, out_dir) == 0

    assert [each.name for each in out_dir.glob("*.mp4")] == ["here.mp4"]
    assert "/private.mp4" not in site.paths()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"video_id": "../up"}, "video_id must be 1 to 64"),
        ({"url": "file:///etc/passwd"}, "does not lead to"),
        ({"url": "http://169.254.169.254/latest"}, "does not lead to"),
        ({"url": "https://youtube.com.evil.org/"}, "does not lead to"),
        ({"url": "https://user@[evil/"}, "is no URL"),
        ({"url": 3}, "url must be str"),
        ({"fps": "60"}, "fps must be float"),
    ],
)
def test_a_hostile_list_is_refused(tmp_path: Path, line: dict[str, Any], message: str) -> None:
    path = tmp_path / "videos.jsonl"
    good = {"video_id": "one", "url": "https://www.youtube.com/watch?v=one"}
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | {"video_id": "two"} | line))

    with pytest.raises(ValueError, match=f"line 2: .*{message}"):
        read_list(path, hosts=("youtube.com",))


def test_a_video_listed_twice_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 2: one comes twice"):
        read_list(write_list(tmp_path, site, "one", "one"), hosts=("127.0.0.1",))


def test_a_line_cut_short_by_a_kill_is_as_if_it_never_was(tmp_path: Path) -> None:
    open_ledger(tmp_path).add(Attempt(video_id="a", status="gone", reason="Private video"))
    with (tmp_path / "fetch.jsonl").open("ab") as file:
        file.write(b'{"video_id": "b", "sta')
    open_ledger(tmp_path).add(Attempt(video_id="c", status="got"))

    assert {key: attempt.status for key, attempt in read_attempts(tmp_path).items()} == {
        "a": "gone",
        "c": "got",
    }


def test_without_the_downloader_the_extra_is_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)

    assert fetch(write_list(tmp_path, site, "one"), tmp_path / "videos") == 2

    error = capsys.readouterr().err
    assert 'pip install "nitrogen-train[videos]"' in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "more", [["--max-height", "1"], ["--rate-mb", "0"], ["--pause-s", "-1"], ["--cookies", "none"]]
)
def test_settings_out_of_range_are_one_line(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    assert fetch(write_list(tmp_path, site, "one"), tmp_path / "videos", *more) == 2

    assert len(capsys.readouterr().err.strip().splitlines()) == 1
