"""The keys of a prompt's words, shared by training, evaluation, inference and serving."""

from dataclasses import dataclass

from vrl.config.fields import key, path_key


@dataclass(frozen=True)
class PromptConfig:
    """The words around a question; empty everywhere: the words of its task."""

    system: str = path_key("", doc="File of the system turn; empty: none, so that the chat template may add its own.")
    template: str = path_key(
        "", doc="File of the user's text, with fields such as $question; empty: the words of the task."
    )
    templates: dict[str, str] = key(
        {}, doc="Files in place of template for a task, or a task and an answer type: {vqa: a.txt, vqa/choice: b.txt}."
    )
    hints: dict[str, str] = key(
        {}, doc="The field $hint by answer type, such as {choice: ...}; for types not named, the hint of vrl."
    )
    prefix: dict[str, str] = key(
        {}, doc="Start of the reply by task, such as {vqa: ...}; for tasks not named, the prefix of the task."
    )
    targets: dict[str, str] = key(
        {}, doc="Reply that `vrl sft` teaches after the prefix, by task, with fields: {vqa: $option}; else the task's."
    )
    text_first: bool = key(False, doc="Put the user's text before the clips and images, not after them.")
