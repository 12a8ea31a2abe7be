"""The keys of the reward: a rubric per task, the parameters of the reward functions, and the judge."""

from dataclasses import dataclass
from typing import Any

from vrl.config.fields import MISSING, above_zero, at_least, band, fraction, key, one_of, path_key, section


@dataclass(frozen=True)
class RewardTermConfig:
    """One term of a task's rubric."""

    reward: str = key(MISSING, doc="Name of a reward function, see `vrl config --list rewards`.")
    weight: float = key(1.0, doc="Weight in the sum; 0: measured and logged, but not part of the reward.")
    when: list[str] = key([], doc='Conditions such as "accuracy>=0.6"; the term is 0 unless all of them hold.')


@dataclass(frozen=True)
class TaskConfig:
    """The rubric of one task: the reward is the weighted sum of its terms."""

    task: str = key(MISSING, doc="Name of a task, see `vrl config --list tasks`.")
    rewards: list[RewardTermConfig] = key(
        [], doc="Terms of the rubric; empty: the task's own rewards, each of weight 1."
    )


@dataclass(frozen=True)
class JudgeEngineConfig:
    """The run's own vLLM engines for the judge (reward.judge.kind=vllm)."""

    engines: int = at_least(1, 1, doc="Number of engines.")
    tensor_parallel: int = at_least(1, 1, doc="GPUs per engine.")
    dtype: str = one_of("bfloat16", "float16", "float32", doc="Number format of the weights.")
    max_context_tokens: int = at_least(1, 8192, doc="Most tokens of a question and its reply together.")
    kv_cache_gib: float = above_zero(1.0, doc="Key-value cache of an engine on a CPU, in GiB.")
    gpu_memory_utilization: float = fraction(0.85, doc="Fraction of the GPU's memory that an engine uses.")
    threads: int = at_least(1, 1, doc="CPU threads of an engine.")


@dataclass(frozen=True)
class JudgeConfig:
    """The judge, which reads completions for rewards that depend on their meaning."""

    kind: str = one_of(
        "rules",
        "openai",
        "vllm",
        doc="rules: patterns, no model; openai: an endpoint of the OpenAI protocol; vllm: the run's own engines.",
    )
    base_url: str = key("", doc="Address of the endpoint, such as http://localhost:8000/v1.")
    model: str = key(
        "", doc="Name of the model at the endpoint; vllm: folder of a language model with a chat template."
    )
    api_key_env: str = key("", doc="Environment variable that holds the API key (never the key itself); empty: no key.")
    timeout_s: float = above_zero(
        30.0, doc="Seconds for one question, including waiting and retries; after that it stays unanswered."
    )
    retries: int = at_least(0, 2, doc="Retries of a failed request.")
    concurrency: int = at_least(1, 16, doc="Questions in flight from one reward worker.")
    max_tokens: int = at_least(1, 1024, doc="Most tokens of a reply.")
    request: dict[str, Any] = key(
        {},
        doc="Parameters of a request, over temperature 0, seed 0 and max_tokens; null leaves a default out.",
    )
    cache_dir: str = path_key("", doc="Folder of the cache of replies, by content of the question; empty: no cache.")
    engine: JudgeEngineConfig = section(JudgeEngineConfig)


@dataclass(frozen=True)
class RewardConfig:
    """The reward workers, and the parameters of the reward functions."""

    workers: int = at_least(1, 1, doc="Number of reward worker actors.")
    modules: list[str] = key([], doc="Import paths of modules with your own rewards, such as my_package.rewards.")
    timeout_s: float = above_zero(60.0, doc="Seconds for scoring one group.")
    number_tolerance: float = at_least(
        0, 0.0, doc="accuracy: relative error up to which numbers are equal; 0: equal to two decimals (Video-R1)."
    )
    rouge_words: str = one_of(
        "folded",
        "stems",
        doc="accuracy (free): words that ROUGE compares; stems: those of English words, Porter's (Video-R1).",
    )
    wer_words: str = one_of(
        "folded",
        "raw",
        doc="accuracy (ocr): words that are compared; raw: between white space, with case and punctuation (Video-R1).",
    )
    regression: str = one_of("relative", "mra", "mra_inclusive", doc="accuracy: how an inexact number is graded.")
    max_cited: float = fraction(
        1.0, doc="frame_sensitive: fraction of the frames beyond which citations are invalid (RLER: 1)."
    )
    thinking_tokens: list[int] = band(
        0, 768, doc="think_transparency: least and most tokens of thinking; the reward is 0 at both, 1 halfway."
    )
    repetition_n: int = at_least(1, 3, doc="anti_repetition: words per n-gram.")
    length_band: list[int] = band(
        320, 512, doc="length_band: least and most tokens of a completion that earns the reward."
    )
    order_margin: float = at_least(
        0, 1.0, doc="temporal_order: least ratio of accuracy on ordered to accuracy on permuted frames (T-GRPO)."
    )
    order_draws: int = at_least(1, 4, doc="temporal_order: completions on permuted frames per prompt (T-GRPO).")
    temporal_slack_s: float = at_least(0, 2.0, doc="temporal: seconds added to both ends of claims and captions.")
    temporal_score: str = one_of(
        "precision", "f1", doc="temporal: precision of the claims, or F1 of claims and captions."
    )
    min_similarity: float = fraction(
        0.75, doc="temporal: least similarity between a claim and the caption that confirms it."
    )
    similarity: str = one_of("embedding", "lexical", doc="temporal: cosine of sentence embeddings, or of word counts.")
    embedding_model: str = path_key(
        "sentence-transformers/all-MiniLM-L6-v2", doc="Mean-pooling sentence encoder, as a folder or a hub name."
    )
    judge: JudgeConfig = section(JudgeConfig)
