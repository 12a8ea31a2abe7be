import struct
from pathlib import Path

import av
import numpy as np
import pytest
from clips import shade, write_clip
from PIL import Image

from vrl.config import FrameConfig
from vrl.data import video
from vrl.errors import DataError
from vrl.types import Media

ALL = FrameConfig(fps=1000.0, min_frames=2, max_frames=1000)  # every frame that there is
CLIP = Media(kind="video", path="")


def shades(pixels_THWC: np.ndarray) -> list[int]:
    return pixels_THWC.mean((1, 2, 3)).round().astype(int).tolist()


def assert_frames(pixels_THWC: np.ndarray, indices: list[int]) -> None:
    np.testing.assert_allclose(shades(pixels_THWC), [shade(i) for i in indices], atol=3)  # lossy coding


def shorten_edit_list(path: Path, fraction: float) -> None:
    """Tell players to stop early: the container then holds packets that nobody shows."""
    data = bytearray(path.read_bytes())
    entry = data.find(b"elst") + 12
    (duration,) = struct.unpack(">I", data[entry : entry + 4])
    data[entry : entry + 4] = struct.pack(">I", int(duration * fraction))
    path.write_bytes(data)


def turn(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix [a b; c d] into the track header."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value * 65536 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def test_probe_reads_true_times_of_a_variable_rate_clip(tmp_path: Path) -> None:
    times_s = [0.0, 0.1, 0.15, 0.5, 1.25, 1.3, 2.0]
    clip = video.probe(write_clip(tmp_path / "vfr.mp4", times_s))
    np.testing.assert_allclose(clip.timestamps_s, times_s, atol=1e-4)
    assert (clip.num_frames, clip.num_hidden, clip.codec, clip.width, clip.height) == (7, 0, "h264", 56, 56)
    assert clip.duration_s > 2.0


@pytest.mark.parametrize(
    ("codec", "name"), [("libx264", "a.mp4"), ("libx265", "a.mp4"), ("libvpx-vp9", "a.webm"), ("libsvtav1", "a.mp4")]
)
def test_frames_and_times_are_those_that_were_written(tmp_path: Path, codec: str, name: str) -> None:
    path = write_clip(tmp_path / name, [i / 8 for i in range(32)], codec=codec, size=64)
    frames = video.read(path, CLIP, FrameConfig(fps=2.0, min_frames=4, max_frames=16))
    assert_frames(frames.pixels_THWC, [0, 4, 8, 12, 16, 20, 24, 28])
    np.testing.assert_allclose(frames.timestamps_s, np.arange(8) / 2, atol=2e-3)
    assert frames.duration_s == pytest.approx(4.0, abs=0.1)


def test_decord_and_pyav_decode_the_same_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [i / 8 for i in range(40)])
    clip = video.probe(path)
    indices = np.array([0, 1, 11, 12, 13, 13, 30, 39])
    by_decord = video._decode_decord(path, clip, indices)
    assert by_decord is not None
    assert_frames(by_decord, indices.tolist())
    np.testing.assert_allclose(video.decode_pyav(path, clip, indices), by_decord.astype(float), atol=2)


def test_packets_hidden_by_an_edit_list_are_not_frames(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [i / 8 for i in range(80)])
    shorten_edit_list(path, 0.7)
    clip = video.probe(path)
    assert clip.num_frames == 56
    assert clip.num_hidden > 0
    frames = video.read(path, CLIP, ALL)
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
    frames = video.read(cut, CLIP, ALL)
    assert_frames(frames.pixels_THWC, list(range(16, 40)))
    np.testing.assert_allclose(frames.timestamps_s, np.arange(24) / 8, atol=1e-3)


def test_time_starts_where_the_file_starts(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", [i / 8 for i in range(16)])  # its clock starts at 1.4 s or so
    assert video.probe(path).pts[0] > 0
    frames = video.read(path, CLIP, FrameConfig(fps=2.0, min_frames=4, max_frames=16))
    np.testing.assert_allclose(frames.timestamps_s, [0.0, 0.5, 1.0, 1.5], atol=1e-3)
    assert_frames(frames.pixels_THWC, [0, 4, 8, 12])


def test_media_cuts_are_honoured(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [i / 8 for i in range(40)])
    frames = video.read(path, Media(kind="video", path="", start_s=1.0, end_s=2.0), ALL)
    assert_frames(frames.pixels_THWC, list(range(8, 16)))
    np.testing.assert_allclose(frames.timestamps_s, np.arange(8) / 8, atol=1e-4)
    assert frames.duration_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [((1, 0, 0, 1), (0, 0)), ((0, 1, -1, 0), (0, 1)), ((-1, 0, 0, -1), (1, 1)), ((0, -1, 1, 0), (1, 0))],
)
@pytest.mark.parametrize("width", [64, 96])
def test_rotated_clips_come_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], bright: tuple[int, int], width: int
) -> None:
    path = tmp_path / "turned.mp4"
    picture = np.zeros((64, width, 3), np.uint8)
    picture[:32, : width // 2] = 255  # top left; a clockwise quarter turn takes it to the top right
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = width, 64, "yuv420p"
        for _ in range(4):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    turn(path, matrix)
    by_pyav = video.decode_pyav(path, video.probe(path), np.array([0]))
    for pixels_THWC in (video.read(path, CLIP, ALL).pixels_THWC, by_pyav):
        _, height, wide, _ = pixels_THWC.shape
        assert (height, wide) == ((64, width) if matrix[0] else (width, 64))
        quarters = pixels_THWC[0].reshape(2, height // 2, 2, wide // 2, 3).mean((1, 3, 4))
        assert tuple(np.unravel_index(quarters.argmax(), (2, 2))) == bright


def test_pictures_are_one_upright_frame(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    picture.save(tmp_path / "a.png", exif=exif)
    frames = video.read(tmp_path / "a.png", Media(kind="image", path=""), ALL)
    np.testing.assert_array_equal(frames.pixels_THWC[0], np.rot90(np.asarray(picture), k=-1))
    assert frames.duration_s == 0.0 and frames.timestamps_s.tolist() == [0.0]


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    good = write_clip(tmp_path / "a.mp4", [i / 8 for i in range(40)])
    (tmp_path / "torn.mp4").write_bytes(good.read_bytes()[:1500])
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "text.png").write_text("hello " * 100)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    late = Media(kind="video", path="", start_s=9.0)
    for name, media, reason in [
        ("torn.mp4", CLIP, "corrupt"),
        ("text.mp4", CLIP, "corrupt"),
        ("text.png", Media(kind="image", path=""), "corrupt"),
        ("sound.mp4", CLIP, "no_video"),
        ("a.mp4", late, "cut"),
    ]:
        with pytest.raises(DataError, match=name) as caught:
            video.read(tmp_path / name, media, ALL)
        assert caught.value.reason == reason


def test_a_broken_frame_is_an_error_and_not_a_missing_one(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", [i / 8 for i in range(40)])
    data = bytearray(path.read_bytes())
    start = data.find(b"mdat") + 800
    data[start : start + 2000] = b"\0" * 2000
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        video.decode_pyav(path, video.probe(path), np.arange(40))
    assert caught.value.reason == "corrupt"
