"""Memory for the log-probs of completions: ours against one logits tensor for the whole row.

    python benchmarks/bench_logprob_memory.py [vocabularies=[65536,151936]] [hidden=64] ...

Forward and backward from the row's hidden states to the summed log-probs, at every vocabulary x prompt length; each
case in a fresh process, measured by its peak resident memory beyond what it held before (on a GPU, the allocator's
peak). `growth_prompt` and `growth_vocabulary` are our peak at the largest over the smallest prompt and
vocabulary; the head's weight gradient, vocabulary x hidden, is subtracted from the latter: any learner has it.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from record import emit

MIB = 2**20


@dataclass
class Settings:
    """Keys of the command line."""

    vocabularies: tuple[int, ...] = (32768, 65536)
    prompts: tuple[int, ...] = (512, 2048)  # tokens before the completions
    completion_tokens: int = 2048  # of all completions of the row together
    hidden: int = 64


def main(arguments: list[str]) -> None:
    """Measure every case and print the record."""
    merged = OmegaConf.merge(OmegaConf.structured(Settings), OmegaConf.from_dotlist(arguments))
    settings: Any = OmegaConf.to_object(merged)
    context = get_context("forkserver")
    context.set_forkserver_preload(["vrl.learner.model"])  # imported once; a case is a fork of that process
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as fresh:
        peaks = {
            f"{way}_mib_v{vocabulary}_p{prompt}": fresh.submit(
                peak_bytes, way == "ours", vocabulary, prompt, settings.completion_tokens, settings.hidden
            ).result()
            / MIB
            for way in ("ours", "whole")
            for vocabulary in settings.vocabularies
            for prompt in settings.prompts
        }
    (v_low, *_, v_high), (p_low, *_, p_high) = settings.vocabularies, settings.prompts
    gradients = {vocabulary: 4 * vocabulary * settings.hidden / MIB for vocabulary in settings.vocabularies}
    metrics = {
        "growth_prompt": peaks[f"ours_mib_v{v_high}_p{p_high}"] / peaks[f"ours_mib_v{v_high}_p{p_low}"],
        "growth_vocabulary": (peaks[f"ours_mib_v{v_high}_p{p_high}"] - gradients[v_high])
        / (peaks[f"ours_mib_v{v_low}_p{p_high}"] - gradients[v_low]),
        "saving": peaks[f"whole_mib_v{v_high}_p{p_high}"] / peaks[f"ours_mib_v{v_high}_p{p_high}"],
        **peaks,
    }
    print("  ".join(f"{name} {value:.4g}" for name, value in metrics.items()), file=sys.stderr)
    emit("logprob_memory", asdict(settings), metrics)


def peak_bytes(ours: bool, vocabulary: int, prompt: int, completion: int, hidden: int) -> int:
    """Peak memory of one forward and backward, beyond weights and hidden states."""
    from vrl.learner.model import CompletionHead

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.randn(vocabulary, hidden, device=device))
    states = torch.randn(prompt + completion, hidden, device=device, requires_grad=True)
    targets = torch.randint(0, vocabulary, (completion,), device=device)
    predictors = torch.arange(prompt - 1, prompt + completion - 1, device=device)
    before = reset_peak()
    if ours:
        logprobs = CompletionHead(weight, 1.0, [])(states.index_select(0, predictors), targets).logprobs_L
    else:
        logits = torch.nn.functional.linear(states, weight)
        logprobs = torch.log_softmax(logits, dim=-1)[predictors].gather(1, targets[:, None])
    logprobs.sum().backward()
    return peak() - before


def reset_peak() -> int:
    """Reset the peak and return the memory in use."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """Bytes: the allocator's on a GPU, else the process's resident memory at its highest since `reset_peak`."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main(sys.argv[1:])
