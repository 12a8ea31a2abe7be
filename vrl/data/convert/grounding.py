"""What converters of event grounding share: the sample of one sentence that names one event."""

from vrl.tasks.grounding import ASK
from vrl.types import Media, Sample


def grounding_sample(sample_id: str, sentence: str, span_s: tuple[float, float], media: Media, source: str) -> Sample:
    """Return the sample that asks when `sentence` happens; `span_s` is [start, end] in seconds."""
    return Sample(
        sample_id=sample_id,
        task="grounding",
        question=ASK.format(event=sentence),
        answer_type="span",
        media=(media,),
        spans=(span_s,),
        source=source,
    )
