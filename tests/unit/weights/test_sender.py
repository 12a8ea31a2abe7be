from concurrent.futures import Future
from typing import Any

import pytest
import torch

from vrl.config import PushConfig
from vrl.errors import ConfigError, WeightPushError
from vrl.weights.sender import EngineClient, choose_backend, differences
from vrl.weights.wire import digest_of, value_digest


def test_backend_follows_the_hardware_unless_configured():
    assert choose_backend(PushConfig(), has_gpus=True) == "nccl"
    assert choose_backend(PushConfig(), has_gpus=False) == "gloo"
    assert choose_backend(PushConfig(backend="gloo"), has_gpus=True) == "gloo"
    with pytest.raises(ConfigError, match=r"push\.backend: got 'ipc' without a GPU"):
        choose_backend(PushConfig(backend="ipc"), has_gpus=False)


Q, K, NORM = torch.randn(4, 6), torch.randn(2, 6), torch.randn(3)
SENT = {"q": digest_of(Q), "k": digest_of(K), "norm": digest_of(NORM)}
QKV, HELD_NORM = value_digest(torch.cat([Q, K])), value_digest(NORM)
NAMES = {"q": "qkv", "k": "qkv", "norm": "norm"}


def test_fused_and_sharded_parameters_add_up():
    assert differences(SENT, NAMES, [{"qkv": QKV, "norm": HELD_NORM}]) == []
    parts = value_digest(Q), value_digest(K, row=4)
    assert differences(SENT, NAMES, [{"qkv": part, "norm": HELD_NORM} for part in parts]) == []
    swapped = value_digest(torch.cat([K, Q]))
    assert differences(SENT, NAMES, [{"qkv": swapped, "norm": HELD_NORM}]) == ["qkv"]


def test_every_kind_of_difference_is_named():
    good = {"qkv": QKV, "norm": HELD_NORM}
    assert differences(SENT, NAMES, [{"qkv": QKV + 1, "norm": HELD_NORM}]) == ["qkv"]
    assert differences(SENT, NAMES, [good, good | {"norm": HELD_NORM + 1}]) == ["norm"]
    assert differences(SENT, NAMES, [{"qkv": QKV}]) == ["norm"]
    assert differences(SENT, NAMES, [good | {"head": 3}]) == ["head"]


class Handle:
    """A Ray actor handle as the client uses it: it answers immediately, later, or never."""

    def __init__(self, outcome: Any = None) -> None:
        self.outcome = outcome
        self.calls: list[tuple] = []

    def __getattr__(self, method: str) -> Any:
        handle = self

        class Call:
            def remote(self, *args: Any) -> Any:
                handle.calls.append((method, *args))
                return self

            def future(self) -> Future:
                future: Future = Future()
                if isinstance(handle.outcome, Exception):
                    future.set_exception(handle.outcome)
                elif handle.outcome != "never":
                    future.set_result(None)
                return future

        return Call()


def test_engines_of_two_workers_take_consecutive_ranks():
    engines = [Handle(), Handle(), Handle()]
    client = EngineClient(engines, timeout_s=1, workers_per_engine=2)
    client.init_weight_transfer_engine({"rank_offset": 1, "port": 9})
    assert client.num_workers == 6
    assert [engine.calls[0][1]["rank_offset"] for engine in engines] == [1, 3, 5]
    client.init_weight_transfer_engine({"packed": True})
    assert engines[2].calls[1] == ("init_weight_transfer_engine", {"packed": True})


def test_finish_carries_the_version():
    engine = Handle()
    client = EngineClient([engine], timeout_s=1, workers_per_engine=1)
    client.policy_version = 7
    client.finish_weight_update()
    assert engine.calls == [("finish_weight_update", "7")]


def test_a_failed_call_raises_before_the_others_answer():
    client = EngineClient([Handle("never"), Handle(WeightPushError("norm"))], timeout_s=60, workers_per_engine=1)
    futures = client.begin("update_weights", {})
    with pytest.raises(WeightPushError, match="norm") as caught:
        client.check(futures)
    assert caught.value.engine == 1


def test_silence_is_an_error():
    client = EngineClient([Handle("never")], timeout_s=0.05, workers_per_engine=1)
    with pytest.raises(WeightPushError, match=r"no answer from engine 0 of 1 in 0\.05 s") as caught:
        client.start_weight_update()
    assert caught.value.engine == 0
