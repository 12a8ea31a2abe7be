"""What a token and a patch cost the learner: activation bytes, and arithmetic, from the model's shape.

Our definitions, spelt out in each function; `vrl plan` adds them up and packing balances by them. Attention's quadratic
part is left out: within a clip's few thousand tokens it is small beside the matrices. Measures nothing.
"""

from vrl.algo.packing import PatchCost
from vrl.config import LearnerConfig, ModelConfig
from vrl.sizing.model_shape import ModelShape


def patch_cost(shape: ModelShape, model: ModelConfig, learner: LearnerConfig) -> PatchCost:
    """A vision patch in units of a language token: what `pack` cuts and balances by."""
    token, patch = token_flops(shape, learner), patch_flops(shape, model, learner)
    memory = patch_activations(shape, model, learner) / token_activations(shape, model, learner)
    return PatchCost(work=patch / token, memory=memory)


def token_flops(shape: ModelShape, learner: LearnerConfig) -> float:
    """Of one language token, forward and backward: 6 a weight (arXiv 2001.08361, section 2.1), and 4 a weight that has
    adapters instead of a gradient of its own."""
    weights = sum(rows * columns for rows, columns in shape.linears.values())
    return (4.0 if learner.lora.rank else 6.0) * weights


def patch_flops(shape: ModelShape, model: ModelConfig, learner: LearnerConfig) -> float:
    """Of one patch: 6 a weight of the tower, or 2 where it does not train and is only run forward."""
    weights = sum(size for name, size in shape.parameters.items() if name.startswith("model.visual."))
    return (2.0 if tower_is_frozen(model, learner) else 6.0) * weights


def token_activations(shape: ModelShape, model: ModelConfig, learner: LearnerConfig) -> float:
    """Bytes a token. A layer keeps its input, two normed copies, rotated and plain q, k and v, attention's output, and
    four tensors of the feed-forward's width; with checkpointing all layers keep their input and one keeps the rest."""
    kv = shape.kv_heads * shape.head_dim
    layer = 4 * shape.hidden + 3 * shape.heads * shape.head_dim + 3 * kv + 4 * shape.intermediate
    kept = shape.layers * shape.hidden + layer if learner.gradient_checkpointing else shape.layers * layer
    return float(kept * value_bytes(model))


def patch_activations(shape: ModelShape, model: ModelConfig, learner: LearnerConfig) -> float:
    """Bytes a patch, counted like the language model's: of one layer where the tower is frozen, else of all."""
    layer = 10 * shape.vision_hidden + 2 * shape.vision_intermediate
    if tower_is_frozen(model, learner):
        kept = layer
    elif learner.gradient_checkpointing:
        kept = shape.vision_depth * shape.vision_hidden + layer
    else:
        kept = shape.vision_depth * layer
    return float(kept * value_bytes(model))


def tower_is_frozen(model: ModelConfig, learner: LearnerConfig) -> bool:
    """No weight of the vision tower trains."""
    return learner.lora.rank > 0 or any("model.visual".startswith(prefix) for prefix in model.freeze)


def value_bytes(model: ModelConfig) -> int:
    """Of one number in the model's dtype."""
    return 2 if model.dtype == "bfloat16" else 4
