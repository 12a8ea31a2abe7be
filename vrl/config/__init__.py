"""The configuration of a run. `schema` and its sections hold the keys, `load` reads files, `checks` compares keys."""

# ruff: noqa: F401
from vrl.config.data import CacheConfig, DataConfig, FrameConfig, MediaLimitsConfig, OverlayConfig
from vrl.config.learning import AlgoConfig, LearnerConfig, LoraConfig, SftConfig
from vrl.config.prompt import PromptConfig
from vrl.config.reward import JudgeConfig, JudgeEngineConfig, RewardConfig, RewardTermConfig, TaskConfig
from vrl.config.schema import (
    CheckpointConfig,
    EngineConfig,
    FaultConfig,
    GateConfig,
    LogConfig,
    ModelConfig,
    PushConfig,
    RolloutConfig,
    RunConfig,
    ValConfig,
)
