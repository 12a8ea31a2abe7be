"""`vrl plan`: the tokens, patches, memory and actors of a run, computed from its configuration alone.

Token and patch counts are upper bounds from the frame settings; memory estimates are our definitions, given at each
term. Starts nothing, reads no clip and needs no GPU. A run checks Ray's resources at start-up.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from vrl.actors.placement import Role, roles
from vrl.checkpoint import resolve_model
from vrl.config import RunConfig
from vrl.data.load import load_samples
from vrl.data.wording import read_wording, user_text
from vrl.rollout.shuffled import shuffled_draws
from vrl.sizing.costs import patch_activations, token_activations, value_bytes
from vrl.sizing.model_shape import ModelShape, model_shape
from vrl.tasks import TASKS
from vrl.tasks.task import Clip

GIB = 2**30
_TEXT_TOKENS = 256  # question, options, prefix and chat format; our guess if the dataset is not available
_CHAT_TOKENS = 24  # of the chat format, system message included
_TIME_TOKENS = 10  # of the text before every time step of Qwen3-VL
_MEASURED_ROWS = 1000  # rows of the dataset whose text is measured
_SOURCE_FRAME_BYTES = 1920 * 1080 * 3  # a decoder holds frames at the clip's own size; full HD is our guess
_LOGIT_CHUNK = 2**26  # logits that the learner holds together
_ENGINE_OVERHEAD = 3 * GIB  # CUDA graphs, activations of a prefill, NCCL buffers; our guess
_LEARNER_OVERHEAD = 2 * GIB  # CUDA context, NCCL and reduction buffers; our guess
_ASLEEP = 2 * GIB  # CUDA context and graphs of a sleeping engine; our guess
_KEPT = ("weights", "context and buffers")  # memory of a learner rank while an engine uses its GPU


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """One line of the plan: a number and its meaning."""

    what: str
    value: float
    unit: str = "tokens"  # tokens | patches | bytes | groups | sequences | parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The needs of a run, and the faults that keep it from fitting."""

    model: ModelShape
    actors: tuple[Role, ...]
    work: tuple[Amount, ...]
    engine: tuple[Amount, ...]  # one GPU of an engine (the process, on a CPU)
    learner: tuple[Amount, ...]  # one rank
    shared: tuple[Amount, ...]  # a GPU that a rank and an engine share in turns
    host: tuple[Amount, ...]  # of the whole run
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tokens:
    """Upper bounds of the sizes of one group."""

    patches: int
    vision: int
    text: int
    prompt: int
    completion: int
    group: int
    unshared: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _EngineMemory:
    """Bytes on one GPU of an engine."""

    weights: float
    pool: float  # left for keys and values
    group: float  # keys and values of one group

    def amounts(self) -> tuple[Amount, ...]:
        return (
            Amount(what="weights", value=self.weights, unit="bytes"),
            Amount(what="left for keys and values", value=self.pool, unit="bytes"),
            Amount(what="keys and values of one group", value=self.group, unit="bytes"),
            Amount(what="concurrent groups", value=self.pool // self.group, unit="groups"),
        )


def plan(config: RunConfig, *, gpu_bytes: float) -> Plan:
    """Return the plan of an RL run on GPUs of `gpu_bytes`; 0 plans for CPUs, where only the host's memory counts.

    Raises ConfigError if the model's shape is not known, CheckpointError for a run folder without an export.
    """
    if (Path(config.model.path) / "checkpoints").is_dir():
        config = replace(config, model=replace(config.model, path=str(resolve_model(config.model.path))))
    shape = model_shape(config.model.path)
    tokens = _tokens(config, shape)
    engine, learner = _engine(config, shape, tokens, gpu_bytes), _learner(config, shape, tokens, gpu_bytes)
    shared = _shared(config, learner, gpu_bytes)
    slots = (config.algo.max_policy_age + 1) * config.algo.groups_per_step
    step = config.algo.groups_per_step
    work = (
        Amount(what="patches of one clip", value=tokens.patches, unit="patches"),
        Amount(what="vision tokens of one clip", value=tokens.vision),
        Amount(what=f"prompt ({tokens.text} of them text)", value=tokens.prompt),
        Amount(what=f"group: one prompt, {config.rollout.group_size} completions", value=tokens.group),
        Amount(what="the same, with one prompt per completion", value=tokens.unshared),
        Amount(what=f"step of {step} groups", value=tokens.group * step),
        *_shuffled(config, tokens),
    )
    return Plan(
        model=shape,
        actors=roles(config, gpus=gpu_bytes > 0),
        work=work,
        engine=engine.amounts(),
        learner=learner,
        shared=shared,
        host=_host(config, shape, tokens, slots),
        problems=tuple(_problems(config, tokens, engine, learner, shared, gpu_bytes)),
    )


def _tokens(config: RunConfig, shape: ModelShape) -> _Tokens:
    frames = config.data.frames
    steps = -(-frames.max_frames // shape.frames_per_step)
    vision = steps * (frames.max_pixels // (shape.patch * shape.merge) ** 2)
    patches = vision * shape.merge**2
    text = _text_tokens(config) + (steps * _TIME_TOKENS if shape.family == "qwen3_vl" else 0)
    prompt, completion = vision + text, config.rollout.max_tokens
    return _Tokens(
        patches=patches,
        vision=vision,
        text=text,
        prompt=prompt,
        completion=completion,
        group=prompt + config.rollout.group_size * completion,
        unshared=config.rollout.group_size * (prompt + completion),
    )


def _shuffled(config: RunConfig, tokens: _Tokens) -> tuple[Amount, ...]:
    """Return the engines' extra work for T-GRPO's permuted frames; none of it trains."""
    draws = shuffled_draws(config)
    if not draws.tasks:
        return ()
    what = f"a group of {', '.join(sorted(draws.tasks))} again, {draws.draws} completions on permuted frames"
    return (Amount(what=what, value=tokens.prompt + draws.draws * tokens.completion),)


def _text_tokens(config: RunConfig) -> int:
    """Return the tokens of the longest text in the first training rows; a guess without dataset or tokenizer."""
    model, data = Path(config.model.path), Path(config.data.train)
    if not (data.is_file() and (model / "tokenizer.json").is_file()):
        return _TEXT_TOKENS
    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=config.model.trust_remote_code)
    frames = config.data.frames.max_frames
    clip = Clip(duration_s=frames / config.data.frames.fps, timestamps_s=(0.0,) * frames)
    samples = load_samples(data, config.data, config.seed).samples[:_MEASURED_ROWS]
    wording = read_wording(config.prompt)
    asked = [(sample, TASKS[sample.task]) for sample in samples]
    texts = [wording.system + user_text(wording, one, task, clip) + wording.prefix(task) for one, task in asked]
    return _CHAT_TOKENS + max(len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])


def _engine(config: RunConfig, shape: ModelShape, tokens: _Tokens, gpu_bytes: float) -> _EngineMemory:
    """Return memory for weights, key-value cache and one group; its completions share the prompt's blocks."""
    size, ranks = value_bytes(config.model), config.rollout.tensor_parallel
    weights = shape.num_parameters * size / ranks
    kv_token = 2 * shape.layers * shape.kv_heads * shape.head_dim * size / ranks
    if gpu_bytes:
        pool = gpu_bytes * config.rollout.gpu_memory_utilization - weights - _ENGINE_OVERHEAD
    else:
        pool = config.rollout.kv_cache_gib * GIB
    return _EngineMemory(weights=weights, pool=max(pool, 0.0), group=tokens.group * kv_token)


def _learner(config: RunConfig, shape: ModelShape, tokens: _Tokens, gpu_bytes: float) -> tuple[Amount, ...]:
    """Return ZeRO's partitions (arXiv 1910.02054, section 3) and the activations of the largest micro-batch."""
    learner, size = config.learner, value_bytes(config.model)
    trained = shape.num_trained(config.model.freeze, config.learner.lora)
    shares = {stage: learner.ranks if learner.zero_stage >= stage else 1 for stage in (1, 2, 3)}
    master = 4 if size == 2 else 0  # float32 copy of bfloat16 weights
    optimizer = trained * (8 + master) / shares[1]
    token, patch = token_activations(shape, config.model, learner), patch_activations(shape, config.model, learner)
    group = token * tokens.group + patch * tokens.patches
    groups = min(max(learner.micro_batch_tokens * token / group, 1), -(-config.algo.groups_per_step // learner.ranks))
    sampled = groups * config.rollout.group_size * tokens.completion
    amounts = {
        "weights": 0.0 if learner.offload and learner.zero_stage == 3 else shape.num_parameters * size / shares[3],
        "gradients": trained * 4 / shares[2],  # accumulated in float32
        "optimizer state": 0.0 if learner.offload else optimizer,
        "reference policy": float(shape.num_parameters * size)
        if config.algo.kl_coef and not learner.lora.rank
        else 0.0,
        "activations of the language model": token * tokens.group * groups,
        "activations of the vision tower": patch * tokens.patches * groups,
        "logits and their gradient": 5 * 4 * min(sampled * shape.vocabulary, _LOGIT_CHUNK),  # bench_logprob_memory
        "context and buffers": float(_LEARNER_OVERHEAD if gpu_bytes else 0),
    }
    parts = tuple(Amount(what=what, value=value, unit="bytes") for what, value in amounts.items() if value)
    total = Amount(what="total", value=sum(amounts.values()), unit="bytes")
    return (*parts, total)


def _shared(config: RunConfig, learner: tuple[Amount, ...], gpu_bytes: float) -> tuple[Amount, ...]:
    """Return the memory of both phases on a shared GPU (push.backend=ipc), which must hold the larger one."""
    if config.push.backend != "ipc" or not gpu_bytes:
        return ()
    kept = sum(amount.value for amount in learner if amount.what in _KEPT)
    phases = {
        "learner at work, engine asleep": learner[-1].value + _ASLEEP,
        "engine at work, learner's weights kept": kept + gpu_bytes * config.rollout.gpu_memory_utilization,
    }
    phases["the larger of both"] = max(phases.values())
    return tuple(Amount(what=what, value=value, unit="bytes") for what, value in phases.items())


def _host(config: RunConfig, shape: ModelShape, tokens: _Tokens, slots: int) -> tuple[Amount, ...]:
    patch_bytes = 3 * shape.frames_per_step * shape.patch**2  # uint8
    clip = tokens.patches * patch_bytes
    held = slots + config.data.prefetch
    trained = shape.num_trained(config.model.freeze, config.learner.lora)
    offloaded = trained * 12 if config.learner.offload or config.push.backend == "ipc" else 0
    asleep = shape.num_parameters * value_bytes(config.model) if config.push.backend == "ipc" else 0
    amounts = {
        "patches of one clip": clip,
        f"object store: {held} clips ({slots} groups under way, {config.data.prefetch} ahead)": clip * held,
        "a data worker, full-HD frames": config.data.frames.max_frames * _SOURCE_FRAME_BYTES + 2 * clip,
        "offloaded optimizer state, all ranks": offloaded,
        "weights of all engines, while they sleep": asleep * config.rollout.engines,
        "one checkpoint on disk": trained * 12 + shape.num_parameters * value_bytes(config.model),
    }
    return tuple(Amount(what=what, value=float(value), unit="bytes") for what, value in amounts.items() if value)


def _problems(
    config: RunConfig,
    tokens: _Tokens,
    engine: _EngineMemory,
    learner: tuple[Amount, ...],
    shared: tuple[Amount, ...],
    gpu_bytes: float,
) -> list[str]:
    """Return every bound that the run exceeds, as 'got, wanted, what to change'."""
    found = []
    longest = tokens.prompt + tokens.completion
    if longest > config.model.max_context_tokens:
        found.append(
            f"the longest prompt and completion are {longest} tokens, wanted at most model.max_context_tokens="
            f"{config.model.max_context_tokens}: such samples would be dropped; lower data.frames.max_frames or "
            "max_pixels, or raise model.max_context_tokens"
        )
    if engine.pool < engine.group:
        found.append(
            f"an engine has {engine.pool / GIB:.1f} GiB left for keys and values, wanted "
            f"{engine.group / GIB:.1f} GiB for one group; raise rollout.tensor_parallel (or rollout.kv_cache_gib on "
            "a CPU), or lower rollout.group_size or rollout.max_tokens"
        )
    total = shared[0].value if shared else learner[-1].value
    if gpu_bytes and total > gpu_bytes:
        found.append(
            f"a learner rank needs {total / GIB:.1f} GiB, wanted at most {gpu_bytes / GIB:.1f}; raise "
            "learner.ranks or learner.zero_stage, set learner.gradient_checkpointing or learner.offload, or lower "
            "learner.micro_batch_tokens"
        )
    if shared and shared[1].value > gpu_bytes:
        found.append(
            f"an engine and the weights of a rank need {shared[1].value / GIB:.1f} GiB of one GPU, wanted at most "
            f"{gpu_bytes / GIB:.1f}; lower rollout.gpu_memory_utilization"
        )
    return found


def print_plan(found: Plan, console: Console) -> None:
    """Print a plan as one table, then its problems."""
    model = found.model
    table = Table(box=SIMPLE_HEAD, title_justify="left")
    table.add_column(f"{model.name} ({model.num_parameters / 1e9:.3g} B parameters)")
    table.add_column("", justify="right")
    actors = [
        (f"{r.name} x {r.count}", f"{r.num_cpus:g} CPU" + (f", {r.num_gpus:g} GPU" if r.num_gpus else ""))
        for r in found.actors
    ]
    parts = {
        "Actors": actors,
        "Work, at most": _lines(found.work),
        "One engine process": _lines(found.engine),
        "One learner rank": _lines(found.learner),
        "One GPU shared in turns": _lines(found.shared),
        "Host memory and disk": _lines(found.host),
    }
    for title, lines in [(title, lines) for title, lines in parts.items() if lines]:
        table.add_section()
        table.add_row(f"[bold]{title}", "")
        for what, value in lines:
            table.add_row(f"  {what}", value)
    console.print(table)
    for problem in found.problems:
        console.print(f"[bold red]does not fit:[/] {problem}", highlight=False)


def _lines(amounts: tuple[Amount, ...]) -> list[tuple[str, str]]:
    return [(amount.what, _human(amount)) for amount in amounts]


def _human(amount: Amount) -> str:
    if amount.unit != "bytes":
        return f"{amount.value:,.0f} {amount.unit}"
    return f"{amount.value / GIB:.2f} GiB" if amount.value >= 0.1 * GIB else f"{amount.value / 2**20:.2f} MiB"
