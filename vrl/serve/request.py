"""The body of a chat-completions request, as the OpenAI protocol has it, and the question that it asks.

One user message with one clip and a text. Our own keys are `strategy`, `task`, `options` and `answer_type`. Keys of the
protocol that the strategies decide (temperature, n, max_tokens ...) are refused, so that nothing is ignored silently.
Opens no file.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vrl.serve.errors import Refusal
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
    """A request that could be read."""

    model: str = ""
    messages: Annotated[list[_Message], Field(min_length=1, max_length=1)]
    stream: bool = False
    strategy: Literal["single", "majority", "election", "backfill"] | None = None
    task: str | None = None
    options: Annotated[list[_Text], Field(max_length=26)] = []
    answer_type: Literal["choice", "number", "text", "ocr", "free", "regression"] | None = None

    @property
    def url(self) -> str:
        """Of the clip."""
        return next(part.video_url.url for part in self.messages[0].content if isinstance(part, _VideoPart))


def read_request(body: bytes) -> ChatRequest:
    """Raises Refusal (400) naming every key at fault."""
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        shown = [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in error.errors()]
        raise Refusal(400, "; ".join(shown[:_MAX_PROBLEMS])) from error
    kinds = sorted(part.type for part in request.messages[0].content)
    if kinds.count("video_url") != 1 or "text" not in kinds:
        raise Refusal(400, f"messages.0.content: got parts {kinds}, wanted one video_url and a text")
    if request.task is not None and request.task not in TASKS:
        raise Refusal(400, f"task: got {request.task!r}, wanted one of {sorted(TASKS)}")
    if bool(request.options) != (request.answer_type == "choice") and request.answer_type is not None:
        raise Refusal(400, f"options: got {len(request.options)}, with answer_type={request.answer_type!r}")
    return request


def question(request: ChatRequest, *, sample_id: str, path: str, task: str) -> Sample:
    """The sample that a request asks about; `path`: of its clip, relative to the media root."""
    texts = [part.text for part in request.messages[0].content if isinstance(part, _TextPart)]
    return Sample(
        sample_id=sample_id,
        task=request.task or task,
        question="\n".join(texts),
        answer_type=request.answer_type or ("choice" if request.options else "text"),
        options=tuple(request.options),
        media=(Media(kind="video", path=path),),
    )
