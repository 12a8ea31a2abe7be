"""Overlays, read back from the pixels of frames."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.clips import write_clip

from vrl.config import DataConfig, FrameConfig, ModelConfig, OverlayConfig
from vrl.data.decode.overlay import burn, stamp
from vrl.data.decode.process import DecodeProcess
from vrl.data.decode.subtitles import Cue, read_subtitles, subtitle_path
from vrl.data.worker import DataWorker
from vrl.errors import DataError
from vrl.types import Frames, Media, Sample

CLIP = Media(kind="video", path="a.mp4")
SIDE, GREY = 112, 60
SRT = "1\n00:00:00,000 --> 00:00:01,500\n<i>A red</i>\nball\n\n2\n00:01:00,250 --> 01:00:00,000\n{\\an8}gone\n"


def frames(times_s: list[float], shade: int = GREY, height: int = SIDE, width: int = SIDE) -> Frames:
    pixels = np.full((len(times_s), height, width, 3), shade, np.uint8)
    return Frames(pixels_THWC=pixels, timestamps_s=np.array(times_s), duration_s=8.0)


def burnt(given: Frames, cues: Sequence[Cue] = (), media: Media = CLIP, **overlay: bool) -> np.ndarray:
    return burn(given, cues, media, OverlayConfig(**overlay)).pixels_THWC  # type: ignore[arg-type]


def cues_of(folder: Path, text: str, name: str = "a.srt") -> tuple[tuple[Cue, ...], int]:
    (folder / name).write_text(text, encoding="utf-8")
    return read_subtitles(folder / name)


def changed(given: Frames, pixels: np.ndarray) -> np.ndarray:
    """Return bool [T, H, W]: true where a pixel was drawn."""
    return (given.pixels_THWC != pixels).any(-1)


def test_the_stamp_stands_at_the_top_left_and_tells_whole_seconds() -> None:
    given = frames([0.0, 0.9, 1.0, 3600.0])
    pixels = burnt(given, time=True)
    where = changed(given, pixels)
    assert where[:, : SIDE // 4].any((1, 2)).all() and not where[:, SIDE // 4 :].any()
    assert where[:, :, : SIDE // 4].any((1, 2)).all() and not where[:, :, -SIDE // 4 :].any()
    np.testing.assert_array_equal(pixels[0], pixels[1])  # the same second
    assert (pixels[1] != pixels[2]).any() and (pixels[0] != pixels[3]).any()


def test_stamps_are_written_as_hours_minutes_seconds() -> None:
    assert [stamp(s) for s in (0.0, 61.99, 3600.0)] == ["00:00:00", "00:01:01", "01:00:00"]


def test_the_number_stands_at_the_top_right_and_counts_from_one() -> None:
    given = frames([0.0, 1.0, 0.0])
    pixels = burnt(given, index=True)
    where = changed(given, pixels)
    assert where[:, : SIDE // 4, SIDE // 2 :].any((1, 2)).all() and not where[:, :, : SIDE // 2].any()
    assert (pixels[0] != pixels[1]).any() and (pixels[0] != pixels[2]).any()  # frame 1 and frame 3 show the same moment
    single = burnt(frames([5.0]), index=True)
    np.testing.assert_array_equal(single[0], pixels[0])  # frame 1 is 1 at any time


@pytest.mark.parametrize(
    ("ground", "ink"),
    [((20, 20, 20), (255, 255, 255)), ((220, 40, 40), (255, 255, 255)), ((230, 230, 230), (255, 0, 0))],
)
def test_ink_is_white_on_dark_and_red_ground_and_red_elsewhere(
    ground: tuple[int, int, int], ink: tuple[int, int, int]
) -> None:
    given = frames([0.0])
    given.pixels_THWC[:] = ground
    pixels = burnt(given, time=True)
    assert np.abs(pixels.astype(int) - ink).max(-1).min() < 40  # thin strokes only come close to the colour


def test_text_shrinks_until_it_fits_a_narrow_frame() -> None:
    given = frames([0.0], height=56, width=56)
    where = changed(given, burnt(given, time=True, index=True))
    assert not where[0, :, 0].any() and not where[0, :, -1].any()


def test_subtitles_of_the_moment_stand_at_the_bottom(tmp_path: Path) -> None:
    cues, _ = cues_of(tmp_path, SRT)
    given = frames([0.0, 1.0, 2.0])
    where = changed(given, burnt(given, cues))
    assert where[:2, SIDE // 2 :].any((1, 2)).all() and not where[:, : SIDE // 3].any()
    assert not where[2].any()
    cut = replace(CLIP, start_s=60.0)  # second 1 of the cut is second 61 of the file
    where = changed(given, burnt(given, cues, cut))
    assert where[1].any() and not where[0].any()


def test_a_clip_without_subtitles_and_an_image_stay_as_they_are() -> None:
    given = frames([0.0])
    assert not changed(given, burnt(given, (), subtitles=True)).any()
    assert not changed(given, burnt(given, media=Media(kind="image", path="a.png"), time=True, index=True)).any()
    assert burn(given, (), CLIP, OverlayConfig()) is given


@pytest.mark.parametrize("letters", ["café Ñandú — € “x” …", "Straße Žluťoučký", "Привет", "Αθήνα", "السلام", "→ ♪"])
def test_the_font_has_the_letters_that_people_write(letters: str) -> None:
    cue = Cue(start_s=0.0, end_s=9.0, text=letters)
    given = frames([0.0], height=240, width=320)
    assert changed(given, burnt(given, [cue])).any()


def test_letters_that_the_font_lacks_are_refused() -> None:
    with pytest.raises(DataError, match=r"\u7403.*data\.frames\.overlay\.font") as caught:
        burnt(frames([0.0]), [Cue(start_s=0.0, end_s=9.0, text="\u7403 ball")])
    assert caught.value.reason == "subtitles"


def test_subtitles_are_read_without_markup(tmp_path: Path) -> None:
    wanted = (Cue(start_s=0.0, end_s=1.5, text="A red ball"), Cue(start_s=60.25, end_s=3600.0, text="gone"))
    (tmp_path / "a.srt").write_bytes(b"\xef\xbb\xbf" + SRT.replace("\n", "\r\n").encode())
    assert read_subtitles(tmp_path / "a.srt") == (wanted, 0)
    vtt = "WEBVTT - a title\n\nNOTE a\nremark\n\n00:00.000 --> 00:01.500 align:left\n<b>A red</b>\nball\n\n"
    assert cues_of(tmp_path, vtt + "x\n00:01:00.250 --> 01:00:00.000\ngone\n", "b.vtt") == (wanted, 0)
    head = "[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, "
    lines = "MarginR, MarginV, Effect, Text\nDialogue: 0,0:00:00.00,0:00:01.50,D,,0,0,0,,{\\i1}A red{\\i0}\\Nball\n"
    lines += "Dialogue: 0,0:01:00.25,1:00:00.00,D,,0,0,0,,gone\n"
    assert cues_of(tmp_path, head + lines, "c.ass") == (wanted, 0)


GOOD = Cue(start_s=1.0, end_s=2.0, text="good")
FIRST = "1\n00:00:01,000 --> 00:00:02,000\ngood\n"


@pytest.mark.parametrize(
    ("rest", "cues", "skipped"),
    [
        ("\n2\n00:00:0x,000 --> 00:00:04,000\nbad\n", (GOOD,), 1),
        ("\n2\n00:00:05,000 --> soon\nbad\n\nmore of it\n", (GOOD,), 1),
        ("\n2\n00:00:06,000 --> 00:00:05,000\nreversed\n", (GOOD,), 1),
        ("\nand more\n", (replace(GOOD, text="good and more"),), 0),
        ("\n\n \n2\n00:00:03,000-->00:00:04.500 X1:10\ntight\n", (GOOD, Cue(start_s=3, end_s=4.5, text="tight")), 0),
        ("\n2\n00:00:03,000 --> 00:00:04,000\n\n", (GOOD, Cue(start_s=3, end_s=4, text="")), 0),
    ],
)
def test_a_cue_that_cannot_be_read_is_skipped_and_counted(tmp_path: Path, rest: str, cues: tuple, skipped: int) -> None:
    assert cues_of(tmp_path, FIRST + rest) == (cues, skipped)


@pytest.mark.parametrize("content", [b"1\nno times here\nhello\n", b"\xff\xfe\x00", b"x" * (2**22 + 1)])
def test_subtitles_without_any_cue_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.srt").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.srt") as caught:
        read_subtitles(tmp_path / "a.srt")
    assert caught.value.reason == "subtitles"


def test_subtitles_are_next_to_the_clip_or_in_a_folder_of_their_own(tmp_path: Path) -> None:
    media, own = tmp_path / "media", tmp_path / "own"
    clip = media / "part" / "a.mp4"
    assert subtitle_path(clip, media, None) is None and subtitle_path(clip, media, own) is None
    for folder, suffix in ((own, ".vtt"), (own / "part", ".srt"), (clip.parent, ".ass")):
        folder.mkdir(parents=True)
        (folder / f"a{suffix}").write_text(SRT)
    assert subtitle_path(clip, media, None) == clip.with_suffix(".ass")
    assert subtitle_path(clip, media, own) == own / "part" / "a.srt"
    (own / "part" / "a.srt").unlink()
    assert subtitle_path(clip, media, own) == own / "a.vtt"


def test_subtitles_behind_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.srt").write_text(SRT)
    (tmp_path / "a.srt").symlink_to(tmp_path / "b.srt")
    with pytest.raises(DataError, match="link"):
        subtitle_path(tmp_path / "a.mp4", tmp_path, None)


def test_the_decode_process_draws_the_true_seconds(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [i / 8 for i in range(32)])
    plain = FrameConfig(fps=1.0, min_frames=4, max_frames=4)
    shown = {}
    for name, config in (("plain", plain), ("timed", replace(plain, overlay=OverlayConfig(time=True)))):
        decoder = DecodeProcess(DataConfig(train="", frames=config))
        shown[name] = decoder.read(path, CLIP)
        decoder.close()
    np.testing.assert_array_equal(shown["timed"].pixels_THWC, burnt(shown["plain"], time=True))
    assert shown["plain"].timestamps_s.tolist() == [0.0, 1.0, 2.0, 3.0]


def test_subtitles_are_part_of_the_key_of_the_patches_where_they_are_drawn(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    write_clip(tmp_path / "a.mp4", [i / 8 for i in range(16)])
    asked = Sample(sample_id="s", task="vqa", question="How?", media=(CLIP,))
    model = ModelConfig(path=str(checkpoints["qwen2_vl"]), max_context_tokens=256)
    frames = FrameConfig(min_frames=4, max_frames=4, min_pixels=28 * 28, max_pixels=56 * 56)
    keys, patches = [], []
    for text, subtitles in (
        (None, True),
        (SRT, True),
        (SRT.replace("red", "blue"), True),
        (SRT, False),
        (FIRST, False),
    ):
        if text is not None:
            (tmp_path / "a.srt").write_text(text)
        overlay = OverlayConfig(subtitles=subtitles)
        data = DataConfig(train=str(tmp_path / "train.parquet"), frames=replace(frames, overlay=overlay))
        worker = DataWorker(model, data, max_tokens=16)
        prompt, shown = worker.prepare(asked)
        worker.close()
        keys.append(prompt.media_key)
        patches.append(shown)
    assert len(set(keys)) == 4 and keys[3] == keys[4]
    assert not np.array_equal(patches[0], patches[1]) and not np.array_equal(patches[1], patches[2])
    np.testing.assert_array_equal(patches[0], patches[3])
