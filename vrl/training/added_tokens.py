"""Special tokens that a cold start adds to a model: a folder of the model with a larger tokenizer and embedding.

The folder is an ordinary Hugging Face folder, so learner, engines, weight sync and export need not know of it. Only the
files with an embedding are written; the other weights are links to the model's own. Trains nothing.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from vrl.errors import ConfigError

_MARK = "vrl_added_tokens.json"
_EMBEDDINGS = ("embed_tokens.weight", "lm_head.weight")  # ends of the names of weights with a row a token


def with_tokens(model: Path, tokens: Sequence[str], folder: Path) -> Path:
    """Return a folder of `model` whose tokenizer has `tokens`: `folder`, or `model` if it has them all.

    A `folder` that holds the same model and tokens is kept. Raises ConfigError for tokens that cannot be added, and for
    weights that are not safetensors.
    """
    from transformers import AddedToken, AutoTokenizer  # not at the top: the driver imports this module

    faulty = [token for token in tokens if not token.strip() or any(letter.isspace() for letter in token)]
    if faulty or len(set(tokens)) < len(tokens):
        raise ConfigError(f"sft.add_tokens: got {list(tokens)}, wanted different tokens without white space")
    tokenizer: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    known = len(tokenizer)
    new = [token for token in tokens if token not in tokenizer.get_vocab()]
    if not new:
        return model
    mark = json.dumps({"model": str(model.resolve()), "tokens": new})
    if (folder / _MARK).is_file() and (folder / _MARK).read_text() == mark:
        return folder
    tmp = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    weights = sorted(model.glob("*.safetensors"))
    if not weights:
        raise ConfigError(f"model.path {model}: got no *.safetensors, wanted them to add tokens (sft.add_tokens)")
    for file in model.iterdir():
        if file.is_file() and file not in weights:
            shutil.copyfile(file, tmp / file.name)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in new], special_tokens=True)
    tokenizer.save_pretrained(tmp)
    rows = _grow_weights(weights, tmp, known, len(tokenizer))
    _grow_config(tmp / "config.json", rows)
    (tmp / _MARK).write_text(mark)
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(tmp, folder)
    return folder


def own_model(run_dir: Path, model: Path) -> Path:
    """Return the model that a run trained from: its folder with added tokens if it has one, else `model`."""
    folder = run_dir / "model"
    return folder if (folder / _MARK).is_file() else model


def freezes_embedding(prefixes: Sequence[str]) -> bool:
    """Return whether `model.freeze` holds an embedding of tokens fixed."""
    names = ("model.language_model.embed_tokens.weight", "lm_head.weight")
    return any(name.startswith(prefix) for name in names for prefix in prefixes)


def _grow_weights(weights: Sequence[Path], folder: Path, known: int, wanted: int) -> int:
    """Write or link the weights; return the number of rows of the embeddings."""
    rows = 0
    for file in weights:
        with safe_open(file, framework="pt") as source:
            names = [name for name in source.keys() if name.endswith(_EMBEDDINGS)]  # noqa: SIM118  (no iterator)
            if not names:
                os.symlink(file.resolve(), folder / file.name)
                continue
            tensors = {name: source.get_tensor(name) for name in source.keys()}  # noqa: SIM118
            metadata = source.metadata()
        tensors |= {name: _grown(tensors[name], known, wanted) for name in names}
        rows = max(rows, *(len(tensors[name]) for name in names))
        save_file(tensors, folder / file.name, metadata=metadata)
    return rows


def _grown(matrix: Tensor, known: int, wanted: int) -> Tensor:
    """Return an embedding [rows, D] with at least `wanted` rows, those from `known` on the mean of the others.

    Source of the mean: J. Hewitt, "Initializing new word embeddings for pretrained language models", 2021. Published
    models have spare rows, which are used before rows are added.
    """
    mean = matrix[:known].float().mean(0).to(matrix.dtype)
    grown = torch.cat([matrix, matrix.new_zeros((max(0, wanted - len(matrix)), matrix.shape[1]))])
    grown[known:wanted] = mean
    return grown


def _grow_config(file: Path, rows: int) -> None:
    config = json.loads(file.read_text())
    for section in (config, config.get("text_config", {})):
        if "vocab_size" in section:
            section["vocab_size"] = rows
    file.write_text(json.dumps(config, indent=2) + "\n")
