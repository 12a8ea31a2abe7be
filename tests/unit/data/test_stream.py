import json

import pytest

from vrl.data.stream import SampleStream
from vrl.errors import CheckpointError
from vrl.types import Sample

SAMPLES = tuple(Sample(sample_id=str(i), task="vqa", question="?", answer="x") for i in range(10))


def take(stream: SampleStream, count: int) -> list[str]:
    return [next(stream).sample_id for _ in range(count)]


def test_each_epoch_is_another_permutation_of_all_samples() -> None:
    ids = take(SampleStream(SAMPLES, seed=0, shuffle=True), 20)
    assert sorted(ids[:10]) == sorted(ids[10:]) == [str(i) for i in range(10)]
    assert ids[:10] != ids[10:]
    assert ids == take(SampleStream(SAMPLES, seed=0, shuffle=True), 20)
    assert ids != take(SampleStream(SAMPLES, seed=1, shuffle=True), 20)


def test_without_shuffling_file_order_repeats() -> None:
    assert take(SampleStream(SAMPLES[:3], seed=0, shuffle=False), 7) == ["0", "1", "2", "0", "1", "2", "0"]


@pytest.mark.parametrize("used", [0, 3, 10, 27, 30])
def test_a_restored_stream_resumes_with_the_next_sample(used: int) -> None:
    whole = take(SampleStream(SAMPLES, seed=5, shuffle=True), 45)
    stream = SampleStream(SAMPLES, seed=5, shuffle=True)
    take(stream, used)
    state = json.loads(json.dumps(stream.state()))
    resumed = SampleStream(SAMPLES, seed=5, shuffle=True)
    resumed.restore(state)
    assert take(resumed, 45 - used) == whole[used:]


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (SampleStream(SAMPLES, seed=1, shuffle=True), "seed"),
        (SampleStream(SAMPLES, seed=0, shuffle=False), "shuffle"),
        (SampleStream(SAMPLES[:9], seed=0, shuffle=True), "samples"),
    ],
)
def test_a_cursor_of_another_order_is_refused(other: SampleStream, named: str) -> None:
    with pytest.raises(CheckpointError, match=f"got {named}="):
        other.restore(SampleStream(SAMPLES, seed=0, shuffle=True).state())
