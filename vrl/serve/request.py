"""The body of a chat-completions request in the OpenAI protocol, and its question as a sample.

One user message with one clip and a text. Our own keys are `strategy`, `task`, `options` and `answer_type`. Keys of the
protocol that the strategies decide (temperature, n, max_tokens ...) are refused, so that nothing is ignored silently.
Opens no file.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vrl.serve.errors import HttpError
from vrl.tasks import TASKS
from vrl.types import Media, Sample

_MAX_PROBLEMS = 5
_Text = Annotated[str, Field(min_length=1, max_length=20_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _TextPart(_Part):
    type: Literal["text"]
    text: _Text


class _Url(_Part):
    url: Annotated[str, Field(min_length=1)]


class _VideoPart(_Part):
    type: Literal["video_url"]
    video_url: _Url


class _Message(_Part):
    role: Literal["user"]
    content: list[Annotated[_TextPart | _VideoPart, Field(discriminator="type")]]


class ChatRequest(_Part):
    """A valid request."""

    model: str = ""
    messages: Annotated[list[_Message], Field(min_length=1, max_length=1)]
    stream: bool = False
    strategy: Literal["single", "majority", "election", "backfill"] | None = None
    task: str | None = None
    options: Annotated[list[_Text], Field(max_length=26)] = []
    answer_type: Literal["choice", "number", "text", "ocr", "free", "regression"] | None = None

    @property
    def url(self) -> str:
        """URL of the clip."""
        return next(part.video_url.url for part in self.messages[0].content if isinstance(part, _VideoPart))

    def to_sample(self, *, sample_id: str, path: str, task: str) -> Sample:
        """Return the question as a sample. `path`: of the clip, relative to the media root; `task`: the default."""
        texts = [part.text for part in self.messages[0].content if isinstance(part, _TextPart)]
        return Sample(
            sample_id=sample_id,
            task=self.task or task,
            question="\n".join(texts),
            answer_type=self.answer_type or ("choice" if self.options else "text"),
            options=tuple(self.options),
            media=(Media(kind="video", path=path),),
        )


def parse_request(body: bytes) -> ChatRequest:
    """Return the request. Raises HttpError (400) naming the keys at fault."""
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors()]
        raise HttpError(400, "; ".join(problems[:_MAX_PROBLEMS])) from error
    kinds = sorted(part.type for part in request.messages[0].content)
    if kinds.count("video_url") != 1 or "text" not in kinds:
        raise HttpError(400, f"messages.0.content: got parts {kinds}, wanted one video_url and a text")
    if request.task is not None and request.task not in TASKS:
        raise HttpError(400, f"task: got {request.task!r}, wanted one of {sorted(TASKS)}")
    if bool(request.options) != (request.answer_type == "choice") and request.answer_type is not None:
        raise HttpError(400, f"options: got {len(request.options)}, with answer_type={request.answer_type!r}")
    return request
