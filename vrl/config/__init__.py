"""The configuration of a run. `schema` and its sections hold the keys, `load` reads files, `checks` compares keys."""

from vrl.config.data import CacheConfig as CacheConfig
from vrl.config.data import DataConfig as DataConfig
from vrl.config.data import FrameConfig as FrameConfig
from vrl.config.data import MediaLimitsConfig as MediaLimitsConfig
from vrl.config.data import OverlayConfig as OverlayConfig
from vrl.config.learning import AlgoConfig as AlgoConfig
from vrl.config.learning import LearnerConfig as LearnerConfig
from vrl.config.learning import LoraConfig as LoraConfig
from vrl.config.learning import SftConfig as SftConfig
from vrl.config.reward import JudgeConfig as JudgeConfig
from vrl.config.reward import JudgeEngineConfig as JudgeEngineConfig
from vrl.config.reward import RewardConfig as RewardConfig
from vrl.config.reward import RewardTermConfig as RewardTermConfig
from vrl.config.reward import TaskConfig as TaskConfig
from vrl.config.schema import CheckpointConfig as CheckpointConfig
from vrl.config.schema import EngineConfig as EngineConfig
from vrl.config.schema import FaultConfig as FaultConfig
from vrl.config.schema import GateConfig as GateConfig
from vrl.config.schema import LogConfig as LogConfig
from vrl.config.schema import ModelConfig as ModelConfig
from vrl.config.schema import PushConfig as PushConfig
from vrl.config.schema import RolloutConfig as RolloutConfig
from vrl.config.schema import RunConfig as RunConfig
from vrl.config.schema import ValConfig as ValConfig
