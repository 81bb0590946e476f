import pytest

from data_tools.ingest.video_list import guess_cause, is_gone

# As yt-dlp reports what the sites say.
GONE = (
    "[youtube] a: Private video. Sign in if you've been granted access to this video. Use "
    "--cookies-from-browser or --cookies for the authentication",
    "[youtube] a: Video unavailable. This video is private",
    "[youtube] a: Video unavailable. This video has been removed by the uploader",
    "[youtube] a: This video has been removed for violating YouTube's Terms of Service",
    "[youtube] a: Video unavailable. This video is no longer available because the YouTube account "
    "associated with this video has been terminated.",
    "[youtube] a: Video unavailable. This video is no longer available because the uploader has "
    "closed their YouTube account.",
    "[youtube] a: Video unavailable. This video is no longer available due to a copyright claim by "
    "B",
    "[youtube] a: Video unavailable. This video contains content from B, who has blocked it on "
    "copyright grounds",
    "[youtube] a: Video unavailable. This video isn't available anymore",
    "[youtube] a: Video unavailable. This video has been removed because it was too long",
    "[youtube:tab] a: This channel has been terminated",
    "[twitch:vod] 1: Video 1 does not exist",
    "[twitch:clips] a: This clip is no longer available",
    "[generic] Unable to download webpage: HTTP Error 404: Not Found (caused by <HTTPError 404>)",
)
# What passes, what is this machine's, and what has another answer elsewhere.
NOT_GONE = {
    "[youtube] a: Requested format is not available. Use --list-formats": "JavaScript runtime",
    "[youtube] a: Only images are available for download": "JavaScript runtime",
    "[youtube] a: Video unavailable. This content isn't available, try again later. The current "
    "session has been rate-limited by YouTube for up to an hour.": "--pause-s",
    "[youtube] a: Sign in to confirm you're not a bot. Use --cookies": "--cookies",
    "[youtube] a: Sign in to confirm your age. This video may be inappropriate": "--cookies",
    "[youtube] a: The page needs to be reloaded.": "older than the site",
    "unable to download video data: HTTP Error 403: Forbidden": "older than the site",
    "You have requested merging of multiple formats but ffmpeg is not installed.": "ffmpeg",
    "unable to write data: [Errno 28] No space left on device": "disk is full",
    "[youtube] a: Unable to download API page: Failed to resolve 'www.youtube.com' ([Errno -3] "
    "Temporary failure in name resolution)": "DNS",
    "[youtube] a: The uploader has not made this video available in your country": "country",
    "[youtube] a: Video unavailable. This video contains content from B, who has blocked it in "
    "your country on copyright grounds": "country",
    "[youtube] a: Video unavailable": "wait",
    "[youtube] a: Join this channel to get access to members-only content": "wait",
    "[youtube] a: This live stream recording is not available.": "wait",
    "Unsupported URL: https://www.youtube.com/a": "wait",
}


@pytest.mark.parametrize("message", GONE)
def test_a_video_is_gone_where_the_site_says_so(message: str) -> None:
    assert is_gone(message)


@pytest.mark.parametrize("message", NOT_GONE)
def test_no_other_message_makes_a_video_gone(message: str) -> None:
    assert not is_gone(message)


@pytest.mark.parametrize(("message", "advice"), NOT_GONE.items())
def test_the_likely_cause_is_named(message: str, advice: str) -> None:
    assert advice in guess_cause([message])


def test_a_warning_tells_the_cause_where_the_error_does_not() -> None:
    warning = "[youtube] No supported JavaScript runtime could be found."

    assert "deno" in guess_cause(["[youtube] a: Video unavailable", warning])
