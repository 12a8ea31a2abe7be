"""Real files, good and bad: every frame has its own shade, which reveals a wrong frame or time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from support.clips import blank, shade, shades, shorten_edit_list, turn, write_clip, write_sound

from vrl.config import FrameConfig, MediaLimitsConfig
from vrl.data.decode import video
from vrl.errors import DataError
from vrl.types import Frames, Media

ALL = FrameConfig(fps=1000.0, min_frames=2, max_frames=1000)  # all frames
CLIP, IMAGE = Media(kind="video", path=""), Media(kind="image", path="")
LIMITS = MediaLimitsConfig()
TIMES_S = [i / 8 for i in range(48)]


def read(path: Path, media: Media = CLIP, config: FrameConfig = ALL, limits: MediaLimitsConfig = LIMITS) -> Frames:
    return video.read(path, media, config, limits)


def refusal(path: Path, media: Media = CLIP, limits: MediaLimitsConfig = LIMITS) -> DataError:
    with pytest.raises(DataError, match=path.name) as caught:
        read(path, media, limits=limits)
    return caught.value


def assert_frames(pixels_THWC: np.ndarray, indices: list[int]) -> None:
    np.testing.assert_allclose(shades(pixels_THWC), [shade(i) for i in indices], atol=3)  # lossy coding


def as_shown(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Play the whole file with PyAV; return seconds from the first frame, and shades."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]
    times_s, greys = np.array(frames).T
    return times_s - times_s[0], greys


B_FRAMES = {"x264-params": "bframes=3:b-adapt=0:scenecut=0"}
OPEN_GOP = "open-gop=1:bframes=3:b-adapt=0:scenecut=0"
NASTY: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("a.mp4", {}),
    "fragmented": ("a.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "matroska": ("a.mkv", {}),
    "live matroska": ("a.mkv", {"container_options": {"live": "1"}}),  # the file does not state its length
    "mpegts": ("a.ts", {}),
    "flv": ("a.flv", {}),
    "avi": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "wrong suffix": ("a.avi.txt", {"container": "mp4"}),
    "b-frames": ("a.mp4", {"options": B_FRAMES}),
    "open gop h264": ("a.mp4", {"options": {"x264-params": OPEN_GOP}}),
    "open gop hevc": ("a.mp4", {"codec": "libx265", "size": 64, "options": {"x265-params": OPEN_GOP}}),
    "10 bit h264": ("a.mp4", {"pix_fmt": "yuv420p10le"}),
    "10 bit hevc": ("a.mp4", {"codec": "libx265", "size": 64, "pix_fmt": "yuv420p10le"}),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "size": 64}),
    "av1": ("a.mp4", {"codec": "libsvtav1", "size": 64}),
    "gif": ("a.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "variable rate": ("a.mp4", {"times_s": np.cumsum(np.tile([0.04, 0.5, 0.1, 0.25], 12)).tolist()}),
    "late start": ("a.mp4", {"times_s": [3 + time_s for time_s in TIMES_S]}),
    "two frames": ("a.mp4", {"times_s": [0.0, 0.125]}),
}


@pytest.mark.parametrize("case", NASTY)
def test_each_frame_is_the_one_that_is_shown_at_its_time(tmp_path: Path, case: str) -> None:
    name, how = NASTY[case]
    times_s = how.get("times_s", TIMES_S)
    how = {key: value for key, value in how.items() if key not in ("times_s", "container")}
    path = write_clip(tmp_path / name.removesuffix(".txt").replace(".avi", ".mp4"), times_s, **how)
    path = path.rename(tmp_path / name)
    shown_s, greys = as_shown(path)
    assert len(shown_s) == len(times_s)
    for config in (ALL, FrameConfig(fps=2.0, min_frames=2, max_frames=8)):
        frames = read(path, config=config)
        at = [int(np.abs(shown_s - time_s).argmin()) for time_s in frames.timestamps_s]
        np.testing.assert_allclose(shown_s[at], frames.timestamps_s, atol=0.006)  # a GIF counts in 1/100 s
        np.testing.assert_allclose(shades(frames.pixels_THWC), greys[at], atol=2)
        assert_frames(frames.pixels_THWC, at)
        targets_s = np.arange(len(at)) * frames.duration_s / len(at)
        nearest = [int(np.abs(shown_s - target_s).argmin()) for target_s in targets_s]
        assert max(abs(a - b) for a, b in zip(at, nearest, strict=True)) <= 1
    assert frames.duration_s == pytest.approx(times_s[-1] - times_s[0] + 0.125, abs=0.7)


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), [("a.mp4", "libx264", "yuv420p"), ("a.gif", "gif", "rgb8")])
def test_a_single_frame_is_shown_twice(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    frames = read(write_clip(tmp_path / name, [0.0], codec=codec, pix_fmt=pix_fmt))
    assert_frames(frames.pixels_THWC, [0, 0])
    assert frames.timestamps_s.tolist() == [0.0, 0.0]


def test_probe_reads_true_times_of_a_variable_rate_clip(tmp_path: Path) -> None:
    times_s = [0.0, 0.1, 0.15, 0.5, 1.25, 1.3, 2.0]
    clip = video.probe(write_clip(tmp_path / "vfr.mp4", times_s))
    np.testing.assert_allclose(clip.timestamps_s, times_s, atol=1e-4)
    assert (clip.num_frames, clip.num_hidden, clip.codec, clip.width, clip.height) == (7, 0, "h264", 56, 56)
    assert clip.duration_s > 2.0


def test_frames_and_times_are_those_that_were_written(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", TIMES_S[:32])
    frames = read(path, config=FrameConfig(fps=2.0, min_frames=4, max_frames=16))
    assert_frames(frames.pixels_THWC, [0, 4, 8, 12, 16, 20, 24, 28])
    np.testing.assert_allclose(frames.timestamps_s, np.arange(8) / 2, atol=2e-3)
    assert frames.duration_s == pytest.approx(4.0, abs=0.1)


def test_decord_and_pyav_decode_the_same_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", TIMES_S)
    clip = video.probe(path)
    indices = np.array([0, 1, 11, 12, 13, 13, 30, 39])
    by_decord = video._decode_decord(path, clip, indices)
    assert by_decord is not None
    assert_frames(by_decord, indices.tolist())
    np.testing.assert_allclose(video.decode_pyav(path, clip, indices), by_decord.astype(float), atol=2)


def test_packets_hidden_by_an_edit_list_are_not_frames(tmp_path: Path) -> None:
    path = shorten_edit_list(write_clip(tmp_path / "a.mp4", [i / 8 for i in range(80)]), 0.7)
    clip = video.probe(path)
    assert clip.num_frames == 56
    assert clip.num_hidden > 0
    frames = read(path)
    assert_frames(frames.pixels_THWC, list(range(56)))
    assert frames.duration_s == pytest.approx(7.0, abs=0.01)


def test_a_stream_copied_cut_starts_where_players_start(tmp_path: Path) -> None:
    source, cut = write_clip(tmp_path / "a.mp4", [i / 8 for i in range(40)]), tmp_path / "cut.mp4"
    with av.open(str(source)) as whole, av.open(str(cut), "w", options={"avoid_negative_ts": "disabled"}) as part:
        stream = part.add_stream_from_template(whole.streams.video[0])
        shift = 2 * whole.streams.video[0].time_base.denominator  # frame 16, four after the keyframe 12
        for packet in whole.demux(video=0):
            if packet.dts is not None and packet.pts >= shift * 0.74:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                part.mux(packet)
    assert video.probe(cut).num_hidden == 4
    frames = read(cut)
    assert_frames(frames.pixels_THWC, list(range(16, 40)))
    np.testing.assert_allclose(frames.timestamps_s, np.arange(24) / 8, atol=1e-3)


def test_time_starts_where_the_file_starts(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", TIMES_S[:16])  # its clock starts at about 1.4 s
    assert video.probe(path).pts[0] > 0
    frames = read(path, config=FrameConfig(fps=2.0, min_frames=4, max_frames=16))
    np.testing.assert_allclose(frames.timestamps_s, [0.0, 0.5, 1.0, 1.5], atol=1e-3)
    assert_frames(frames.pixels_THWC, [0, 4, 8, 12])


def test_media_cuts_are_honoured(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", TIMES_S)
    frames = read(path, replace(CLIP, start_s=1.0, end_s=2.0))
    assert_frames(frames.pixels_THWC, list(range(8, 16)))
    np.testing.assert_allclose(frames.timestamps_s, np.arange(8) / 8, atol=1e-4)
    assert frames.duration_s == pytest.approx(1.0)
    assert refusal(path, replace(CLIP, start_s=9.0)).reason == "cut"


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [((1, 0, 0, 1), (0, 0)), ((0, 1, -1, 0), (0, 1)), ((-1, 0, 0, -1), (1, 1)), ((0, -1, 1, 0), (1, 0))],
)
@pytest.mark.parametrize("width", [64, 96])
def test_rotated_clips_come_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], bright: tuple[int, int], width: int
) -> None:
    path = tmp_path / "turned.mp4"
    image = np.zeros((64, width, 3), np.uint8)
    image[:32, : width // 2] = 255  # top left; a clockwise quarter turn moves it to the top right
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = width, 64, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    turn(path, matrix)
    by_pyav = video.decode_pyav(path, video.probe(path), np.array([0]))
    for pixels_THWC in (read(path).pixels_THWC, by_pyav):
        _, height, wide, _ = pixels_THWC.shape
        assert (height, wide) == ((64, width) if matrix[0] else (width, 64))
        quarters = pixels_THWC[0].reshape(2, height // 2, 2, wide // 2, 3).mean((1, 3, 4))
        assert tuple(np.unravel_index(quarters.argmax(), (2, 2))) == bright


def test_images_are_one_upright_frame(tmp_path: Path) -> None:
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    image.save(tmp_path / "a.png", exif=exif)
    frames = read(tmp_path / "a.png", IMAGE)
    np.testing.assert_array_equal(frames.pixels_THWC[0], np.rot90(np.asarray(image), k=-1))
    assert frames.duration_s == 0.0 and frames.timestamps_s.tolist() == [0.0]


def torn(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def faststart(path: Path) -> Path:
    """Write a clip whose index comes first, so that a torn file still lists all its frames."""
    return write_clip(path, TIMES_S, container_options={"movflags": "faststart"})


BAD: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "no index": ("a.mp4", "corrupt", lambda path: torn(write_clip(path, TIMES_S), 0.5)),
    "torn behind the index": ("a.mp4", "corrupt", lambda path: torn(faststart(path), 0.7)),
    "torn fragments": ("a.mp4", "corrupt", lambda path: torn(write_clip(path, TIMES_S, **NASTY["fragmented"][1]), 0.7)),
    "torn matroska": ("a.mkv", "corrupt", lambda path: torn(write_clip(path, TIMES_S), 0.9)),
    "torn webm": ("a.webm", "corrupt", lambda path: torn(write_clip(path, TIMES_S, **NASTY["vp9"][1]), 0.5)),
    "torn avi": ("a.avi", "corrupt", lambda path: torn(write_clip(path, TIMES_S, **NASTY["avi"][1]), 0.5)),
    "torn gif": ("a.gif", "corrupt", lambda path: torn(write_clip(path, TIMES_S, **NASTY["gif"][1]), 0.5)),
    "blank images": ("a.mp4", "corrupt", lambda path: blank(write_clip(path, TIMES_S), 0.3, 0.5)),
    "empty": ("a.mp4", "corrupt", lambda path: path.write_bytes(b"")),
    "text": ("a.mp4", "corrupt", lambda path: path.write_text("hello " * 100)),
    "sound alone": ("a.mp4", "no_video", write_sound),
    "playlist": ("a.m3u8", "format", lambda path: playlist(path)),
    "concat list": ("a.mp4", "format", lambda path: concat(path)),
    "session description": ("a.mp4", "format", lambda path: path.write_text(SDP)),
    "dash manifest": ("a.mpd", "corrupt", lambda path: path.write_text(MPD)),
}
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
MPD = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>'


def playlist(path: Path) -> None:
    write_clip(path.with_name("part.ts"), TIMES_S[:16])
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\npart.ts\n#EXT-X-ENDLIST\n")


def concat(path: Path) -> None:
    write_clip(path.with_name("part.mp4"), TIMES_S[:16])
    path.write_text("ffconcat version 1.0\nfile part.mp4\n")


@pytest.mark.parametrize("case", BAD)
def test_a_bad_clip_is_refused_with_its_name_and_a_reason(tmp_path: Path, case: str) -> None:
    name, reason, make = BAD[case]
    make(tmp_path / name)
    assert refusal(tmp_path / name).reason == reason


@pytest.mark.parametrize("case", ["plain", "matroska", "live matroska", "avi", "gif"])
def test_what_stands_behind_the_end_of_a_clip_does_no_harm(tmp_path: Path, case: str) -> None:
    name, how = NASTY[case]
    path = write_clip(tmp_path / name, TIMES_S, **how)
    path.write_bytes(path.read_bytes() + bytes(1000))
    assert_frames(read(path).pixels_THWC, list(range(48)))


@pytest.mark.parametrize("text", ["hello", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"])
def test_an_image_is_an_image_and_not_a_program(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.png").write_text(text)
    assert refusal(tmp_path / "a.png", IMAGE).reason == "corrupt"


def test_what_goes_beyond_a_limit_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "a.mp4", TIMES_S)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    for name in ("_decode_decord", "decode_pyav"):
        monkeypatch.setattr(video, name, lambda *_: pytest.fail("decoded"))
    for limits, text in [
        (replace(LIMITS, file_gib=1e-7), "data.limits.file_gib=1e-07"),
        (replace(LIMITS, frame_pixels=56 * 56 - 1), "got 3136, wanted at most data.limits.frame_pixels=3135"),
        (replace(LIMITS, duration_s=5.9), "got 6, wanted at most data.limits.duration_s=5.9"),
    ]:
        error = refusal(path, limits=limits)
        assert error.reason == "limit" and text in str(error)
    assert refusal(tmp_path / "a.png", IMAGE, replace(LIMITS, frame_pixels=1199)).reason == "limit"


def test_a_broken_frame_is_an_error_and_not_a_missing_one(tmp_path: Path) -> None:
    path = blank(write_clip(tmp_path / "a.mp4", TIMES_S[:40]), 0.2, 0.5)
    with pytest.raises(DataError) as caught:
        video.decode_pyav(path, video.probe(path), np.arange(40))
    assert caught.value.reason == "corrupt"


def test_a_check_sees_every_frame_of_a_good_file(tmp_path: Path) -> None:
    info = video.check(write_clip(tmp_path / "a.mp4", TIMES_S), CLIP, LIMITS)
    assert (info.codec, info.width, info.height, info.num_frames) == ("h264", 56, 56, 48)
    assert info.duration_s == pytest.approx(6.0, abs=0.01)
    hidden = shorten_edit_list(write_clip(tmp_path / "b.mp4", TIMES_S), 0.5)
    assert video.check(hidden, CLIP, LIMITS).num_frames == 24
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert video.check(tmp_path / "a.png", IMAGE, LIMITS).num_frames == 1


def test_a_check_finds_rot_that_decord_passes_over_in_silence(tmp_path: Path) -> None:
    good = write_clip(tmp_path / "good.mp4", TIMES_S, gop=48)
    silent, found = 0, 0
    for start in range(30, 90, 4):
        path = tmp_path / f"{start}.mp4"
        path.write_bytes(good.read_bytes())
        blank(path, start / 100, 0.004)
        try:
            read(path, config=FrameConfig(fps=1.0, min_frames=2, max_frames=6))
        except DataError:
            continue
        silent += 1
        try:
            video.check(path, CLIP, LIMITS)
        except DataError as error:
            assert error.reason == "corrupt" and path.name in str(error)
            found += 1
    assert found > silent / 2 > 0
