"""The configuration of the server. Reads no file."""

from dataclasses import dataclass
from pathlib import Path

from vrl.config.fields import MISSING, above_zero, at_least, key, path_key, section
from vrl.inference.config import AnswerConfig, MediaConfig, StrategyConfig, answer_problems
from vrl.tasks import TASKS

UPLOADS = ".vrl-uploads"  # folder under media.root, which decode workers can read but requests cannot name


@dataclass(frozen=True)
class ServeConfig(AnswerConfig):
    """Everything that `vrl serve` needs. Requests may name only clips under `media.root`."""

    host: str = key("127.0.0.1", doc="Address to listen on; the default accepts no other machine.")
    port: int = at_least(0, 8000, doc="Port to listen on; 0: a free one.")
    token_file: str = path_key("vrl-serve.token", doc="File of the bearer token; created with mode 600 if missing.")
    task: str = key("vqa", doc="Task of requests that name none.")
    concurrency: int = at_least(1, 16, doc="Questions in flight.")
    queue: int = at_least(0, 256, doc="Questions that may wait; further ones are refused with 429.")
    body_mib: float = above_zero(64.0, doc="Largest request in MiB; an upload is a third larger than its file.")
    timeout_s: float = above_zero(600.0, doc="Seconds for one question, waiting included; then 504.")
    media: MediaConfig = section(
        lambda: MediaConfig(root=MISSING), "The folder of the clips and how they are read; root is required."
    )
    strategy: StrategyConfig = section(StrategyConfig, "Strategies; `name` applies to requests that name none.")


def check_serve(config: ServeConfig) -> list[str]:
    """Return every range and cross-field problem, as 'key: got, wanted'."""
    problems = answer_problems(config)
    if config.task not in TASKS:
        problems.append(f"task: got {config.task!r}, wanted one of {sorted(TASKS)}")
    if not Path(config.media.root).is_dir():
        problems.append(f"media.root: got {config.media.root!r}, wanted the folder whose clips requests may name")
    return problems
