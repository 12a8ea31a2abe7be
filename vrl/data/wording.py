"""The words of a prompt: system turn, user text, assistant prefix and target of a question, from templates.

A template is text with named fields, `$question` or `${question}`; `$$` is a dollar sign. Without templates the words
are the task's own, character for character. Reads the files of `prompt.*` once, where a command starts; what is read
travels to the data workers. Does not know tokens.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from string import Template
from typing import Any

from vrl.config.prompt import PromptConfig
from vrl.errors import ConfigError, DataError
from vrl.tasks import TASKS
from vrl.tasks.answer import ANSWER_TYPES, hint, option_lines, true_answer
from vrl.tasks.grounding import ASK, event_of
from vrl.tasks.tags import after_header
from vrl.tasks.task import EVENT_START, Clip, Task
from vrl.types import Sample

FIELDS = (
    *("question", "event", "options", "hint", "instruction"),
    *("duration", "frames", "times", "subtitles"),
)
TARGET_FIELDS = ("target", "answer", "option", "option_text", "thinking", "reply", "lead")
CHAT_TOKENS = ("<|im_start|>", "<|im_end|>", "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
_PARSED_TAGS = ("<think>", "<keyframes>", "<answer>")
_TYPES = (*ANSWER_TYPES, "span", "elements")


@dataclass(frozen=True, kw_only=True, slots=True)
class Wording:
    """The texts of `prompt.*`; all empty: the words of the tasks."""

    system: str = ""
    template: str = ""
    templates: Mapping[str, str] = field(default_factory=dict)  # by task, or task/answer_type
    hints: Mapping[str, str] = field(default_factory=dict)  # by answer type
    prefixes: Mapping[str, str] = field(default_factory=dict)  # by task
    targets: Mapping[str, str] = field(default_factory=dict)  # by task
    text_first: bool = False  # the user's text before the media

    def prefix(self, task: Task) -> str:
        """Return the assistant text that begins a reply."""
        return self.prefixes.get(task.name, task.prefix)

    def template_for(self, sample: Sample, task: Task) -> str:
        """Return the template of the user's text; empty: the task's own words."""
        names = (f"{task.name}/{sample.answer_type}", task.name)
        return next((self.templates[name] for name in names if name in self.templates), self.template)

    def shows_subtitles(self, sample: Sample, task: Task) -> bool:
        """Return whether the user's text of a sample contains its subtitles."""
        return "subtitles" in Template(self.template_for(sample, task)).get_identifiers()


def user_text(wording: Wording, sample: Sample, task: Task, clip: Clip) -> str:
    """Return the user's text next to the media. Raises DataError as the task's instruction does."""
    template = Template(wording.template_for(sample, task))
    if not template.template:
        return task.instruction(sample, clip)
    used = template.get_identifiers()
    return template.substitute(
        question=sample.question,
        event=event_of(sample),
        options="\n".join(option_lines(sample)),
        hint=wording.hints.get(sample.answer_type, hint(sample)),
        instruction=task.instruction(sample, clip) if "instruction" in used else "",
        duration=f"{clip.duration_s:.2f}",
        frames=str(len(clip.timestamps_s)),
        times=",".join(f"{time_s:.2f}s" for time_s in clip.timestamps_s),
        subtitles="\n".join(clip.subtitles),
    )


def target_text(wording: Wording, sample: Sample, task: Task, clip: Clip) -> str:
    """Return the text that a cold start teaches after the prefix.

    One space separates it from a prefix that does not end in white space; a `<think>` that ends the prefix is not
    written twice. Raises DataError if the sample lacks a field.
    """
    prefix, template = wording.prefix(task), wording.targets.get(task.name)
    text = task.target(sample, clip) if template is None else _filled(template, sample, task, clip)
    if prefix == task.prefix and template is None:
        return text
    text = text.removeprefix(" ")
    rest = after_header(prefix, text)
    if rest != text:
        return rest
    return f" {text}" if prefix and not prefix[-1].isspace() else text


def _filled(template: str, sample: Sample, task: Task, clip: Clip) -> str:
    written = Template(template)
    used = set(written.get_identifiers())
    given = {
        "thinking": sample.thinking,
        "reply": sample.reply,
        "lead": sample.reply.partition(EVENT_START)[0].rstrip(),
    }
    values = {name: value for name, value in given.items() if name in used}
    missing = [name for name, value in values.items() if not value.strip()]
    if missing:
        raise DataError(
            f"sample {sample.sample_id}: got no {', '.join(missing)}, wanted it for prompt.targets.{task.name}",
            reason=missing[0],
        )
    if "target" in used:
        values["target"] = task.target(sample, clip).removeprefix(" ")
    if used & {"answer", "option", "option_text"}:
        answer = true_answer(sample)
        line = option_lines(sample)[ord(answer) - 65] if sample.answer_type == "choice" else answer
        words = sample.options[ord(answer) - 65] if sample.answer_type == "choice" else answer
        values |= {"answer": answer, "option": line, "option_text": words}
    return written.substitute(values)


def read_wording(config: PromptConfig) -> Wording:
    """Read the files of `prompt.*`. Raises ConfigError that lists every fault, with file and field.

    One line break at the end of a file is left out, since editors add it.
    """
    problems: list[str] = []
    types = {f"{task}/{kind}" for task in TASKS for kind in _TYPES}
    problems += _unknown("prompt.templates", config.templates, {*TASKS, *types})
    problems += _unknown("prompt.hints", config.hints, set(_TYPES))
    problems += _unknown("prompt.prefix", config.prefix, set(TASKS))
    problems += _unknown("prompt.targets", config.targets, set(TASKS))
    if config.hints and not (config.template or config.templates):
        problems.append("prompt.hints: got hints without prompt.template, wanted both: a hint is the field $hint of it")
    for name, text in config.prefix.items():
        thinks = name in TASKS and TASKS[name].thinks
        rest = text.rstrip().removesuffix("<think>") if thinks else text
        tags = [tag for tag in _PARSED_TAGS if tag in rest]
        if tags:
            problems.append(
                f"prompt.prefix.{name}: got {tags}, wanted text without tags but for <think> at the end of a prefix of "
                "a task that thinks: a completion is read without its prefix"
            )
    for name, text in config.targets.items():
        problems += _faults(f"prompt.targets.{name}", text, TARGET_FIELDS)
    texts = {}
    for name, file in (("template", config.template), *((f"templates.{k}", v) for k, v in config.templates.items())):
        texts[name] = _read(f"prompt.{name}", file, problems)
        problems += _faults(f"prompt.{name}: file {file}", texts[name], FIELDS)
    wording = Wording(
        system=_read("prompt.system", config.system, problems),
        template=texts.pop("template"),
        templates={name.removeprefix("templates."): text for name, text in texts.items()},
        hints=dict(config.hints),
        prefixes=dict(config.prefix),
        targets=dict(config.targets),
        text_first=config.text_first,
    )
    problems += _chat_tokens("prompt.system", wording.system)
    for name, values in (("hints", config.hints), ("prefix", config.prefix), ("targets", config.targets)):
        problems += [fault for k, text in values.items() for fault in _chat_tokens(f"prompt.{name}.{k}", text)]
    if problems:
        raise ConfigError(*problems)
    return wording


def prompt_settings(config: PromptConfig) -> dict[str, Any]:
    """Return the texts of `prompt.*` as a setting that answers depend on; {} for the words of the tasks."""
    wording = read_wording(config)
    return {"prompt": asdict(wording)} if wording != Wording() else {}


def _unknown(name: str, given: Mapping[str, str], known: set[str]) -> list[str]:
    wrong = sorted(given.keys() - known)
    return [f"{name}: got {wrong}, wanted some of {sorted(known)}"] if wrong else []


def _read(name: str, file: str, problems: list[str]) -> str:
    """Return the text of a file, empty for no name; add to `problems` a file that cannot be read or says nothing."""
    if not file:
        return ""
    try:
        text = Path(file).expanduser().read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{name}: got the file {file}, wanted a text file in UTF-8: {error}")
        return ""
    if not text.strip():
        problems.append(f"{name}: got the empty file {file}, wanted text (no name: the words of the task)")
    return text


def _faults(where: str, text: str, fields: tuple[str, ...]) -> list[str]:
    """Return the unknown fields of a template, and a dollar sign that begins none."""
    template = Template(text)
    wanted = f"some of {', '.join(f'${name}' for name in fields)}; a dollar sign is written $$"
    if not template.is_valid():
        line = next((one for one in text.splitlines() if not Template(one).is_valid()), text)
        return [f"{where}: got a dollar sign without a field in {line[:80]!r}, wanted {wanted}"]
    unknown = [name for name in template.get_identifiers() if name not in fields]
    found = [f"{where}: got the fields {unknown}, wanted {wanted}"] if unknown else []
    return found + _chat_tokens(where, text)


def _chat_tokens(where: str, text: str) -> list[str]:
    found = [token for token in CHAT_TOKENS if token in text]
    return [f"{where}: got {found}, wanted text without the tokens of chat and pixels"] if found else []


EXAMPLE = Sample(
    sample_id="example",
    task="vqa",
    question="Which shape is red?",
    options=("circle", "square", "star"),
    answer="B",
    answer_type="choice",
)
_EXAMPLE_EVENT = "the red shape moves"
EXAMPLE_CLIP = Clip(duration_s=8.0, timestamps_s=tuple(float(second) for second in range(8)))


def describe(wording: Wording, name: str) -> str:
    """Return the words of one fixed question asked as `task` or `task/answer_type`, each with its SHA-256.

    Raises ConfigError for an unknown name.
    """
    task_name, _, kind = name.partition("/")
    if not kind and task_name in TASKS:
        kind = "choice" if "answer" in TASKS[task_name].needs else "span"
    if task_name not in TASKS or kind not in _TYPES:
        raise ConfigError(f"--prompt: got {name!r}, wanted a task of {sorted(TASKS)}, or a task and one of {_TYPES}")
    question = ASK.format(event=_EXAMPLE_EVENT) if kind == "span" else EXAMPLE.question
    options = EXAMPLE.options if kind == "choice" else ()
    sample = replace(EXAMPLE, task=task_name, answer_type=kind, question=question, options=options)
    task = TASKS[task_name]
    parts = {
        "system": wording.system,
        "user": user_text(wording, sample, task, EXAMPLE_CLIP),
        "prefix": wording.prefix(task),
    }
    return "\n".join(f"{part} {hashlib.sha256(text.encode()).hexdigest()}\n{text}\n" for part, text in parts.items())
