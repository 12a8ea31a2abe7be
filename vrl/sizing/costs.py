"""The learner's cost of a token and of a patch: activation bytes and FLOPs, from the model's shape.

Our definitions, given in each function; `vrl plan` sums them and packing balances by them. Ignores attention's
quadratic part, which is small next to the matrices at a clip's few thousand tokens. Measures nothing.
"""

from vrl.algo.packing import PatchCost
from vrl.config import LearnerConfig, ModelConfig
from vrl.sizing.model_shape import ModelShape


def patch_cost(shape: ModelShape, model: ModelConfig, learner: LearnerConfig) -> PatchCost:
    """Return the cost of a vision patch in units of a language token, for `pack`."""
    token, patch = token_flops(shape, learner), patch_flops(shape, model, learner)
    memory = patch_activations(shape, model, learner) / token_activations(shape, model, learner)
    return PatchCost(work=patch / token, memory=memory)


def token_flops(shape: ModelShape, learner: LearnerConfig) -> float:
    """Return the FLOPs of one language token, forward and backward: 6 per weight (arXiv 2001.08361, section 2.1), or 4
    per weight with LoRA, where weights have no gradient of their own."""
    weights = sum(rows * columns for rows, columns in shape.linears.values())
    return (4.0 if learner.lora.rank else 6.0) * weights


def patch_flops(shape: ModelShape, model: ModelConfig, learner: LearnerConfig) -> float:
    """Return the FLOPs of one patch: 6 per weight of the tower, or 2 if it is frozen and only runs forward."""
    weights = sum(size for name, size in shape.parameters.items() if name.startswith("model.visual."))
    return (2.0 if tower_is_frozen(model, learner) else 6.0) * weights


def token_activations(shape: ModelShape, model: ModelConfig, learner: LearnerConfig) -> float:
    """Return activation bytes per token. A layer keeps its input, two normed copies, rotated and plain q, k and v,
    attention's output, and four tensors of the feed-forward's width; with checkpointing, every layer keeps its input
    and one layer the rest."""
    kv = shape.kv_heads * shape.head_dim
    layer = 4 * shape.hidden + 3 * shape.heads * shape.head_dim + 3 * kv + 4 * shape.intermediate
    kept = shape.layers * shape.hidden + layer if learner.gradient_checkpointing else shape.layers * layer
    return float(kept * value_bytes(model))


def patch_activations(shape: ModelShape, model: ModelConfig, learner: LearnerConfig) -> float:
    """Return activation bytes per patch, counted as for a token: of one layer if the tower is frozen, else of all."""
    layer = 10 * shape.vision_hidden + 2 * shape.vision_intermediate
    if tower_is_frozen(model, learner):
        kept = layer
    elif learner.gradient_checkpointing:
        kept = shape.vision_depth * shape.vision_hidden + layer
    else:
        kept = shape.vision_depth * layer
    return float(kept * value_bytes(model))


def tower_is_frozen(model: ModelConfig, learner: LearnerConfig) -> bool:
    """Return whether no weight of the vision tower trains."""
    return learner.lora.rank > 0 or any("model.visual".startswith(prefix) for prefix in model.freeze)


def value_bytes(model: ModelConfig) -> int:
    """Return the bytes per number in the model's dtype."""
    return 2 if model.dtype == "bfloat16" else 4
