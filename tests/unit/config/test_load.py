from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from vrl.config import RewardTermConfig, RunConfig, TaskConfig, ValConfig
from vrl.config.load import RENAMED, as_yaml, load
from vrl.errors import ConfigError
from vrl.evaluation.config import EvalConfig, check_eval
from vrl.inference.config import InferConfig, check_infer
from vrl.serve.config import ServeConfig, check_serve

REQUIRED = ["name=x", "model.path=m", "data.train=d.parquet"]


def problems_of(*overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(None, [*REQUIRED, *overrides])
    return str(caught.value)


def loaded(path: Path | None, words: Sequence[str] = ()) -> RunConfig:
    """A configuration whose values are not checked."""
    return load(path, words, check=lambda config: [])


PRESETS = sorted(path for path in Path("conf").rglob("*.yaml") if path.parent.name != "base")


@pytest.mark.parametrize("path", PRESETS, ids=str)
def test_every_committed_preset_loads(path: Path):
    if path.stem == "infer":
        assert load(path, schema=InferConfig, check=check_infer).name
    elif path.stem == "serve":
        assert load(path, ["media.root=."], schema=ServeConfig, check=check_serve).port
    elif "eval" in (path.stem, path.parent.name):
        given = ["benchmark.path=a", "model.path=b"] if path.parent.name == "eval" else []
        assert load(path, given, schema=EvalConfig, check=check_eval).name
    else:
        assert load(path).name


@pytest.mark.parametrize("schema", [RunConfig, EvalConfig, InferConfig, ServeConfig])
def test_every_key_is_documented_in_one_sentence(schema: type):
    def documented(section: Any) -> Iterator[tuple[str, str]]:
        for entry in fields(section):
            yield f"{type(section).__name__}.{entry.name}", entry.metadata.get("doc", "")
            if is_dataclass(value := getattr(section, entry.name)):
                yield from documented(value)

    found = [*documented(schema()), *documented(TaskConfig()), *documented(RewardTermConfig())]
    assert not [name for name, doc in found if not doc.endswith(".") or "\n" in doc or len(doc) > 120]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def test_a_file_builds_on_its_base_files(tmp_path: Path):
    (tmp_path / "shared").mkdir()
    write(
        tmp_path / "shared",
        one="base: two.yaml\nlearner: {lr: 0.5, ranks: 2}\n",
        two="learner: {lr: 1.0, beta1: 0.5}\n",
    )
    write(tmp_path, more="data: {tasks: [vqa, grounding], workers: 3}\nseed: 1\n")
    own = "base: [shared/one.yaml, more.yaml]\nname: x\nmodel: {path: m}\ndata: {train: d.parquet, tasks: [vqa]}\n"
    write(tmp_path, own=own)
    config = load(tmp_path / "own.yaml", ["seed=2"])
    assert (config.learner.lr, config.learner.ranks, config.learner.beta1) == (0.5, 2, 0.5)
    assert (config.data.tasks, config.data.workers, config.seed) == (["vqa"], 3, 2)


@pytest.mark.parametrize("base", ["5", "{a: 1}", "[1]", "[[a.yaml]]"])
def test_a_base_that_is_no_file_is_named(tmp_path: Path, base: str):
    write(tmp_path, own=f"base: {base}\n")
    with pytest.raises(ConfigError, match=r"base: got .*, wanted a YAML file or a list of them"):
        load(tmp_path / "own.yaml")


def test_faults_of_base_files_are_named(tmp_path: Path):
    write(tmp_path, a="base: b.yaml\n", b="base: a.yaml\n", lost="base: nowhere.yaml\n", listed="[1, 2]\n")
    with pytest.raises(ConfigError, match=r"base: got a cycle, a\.yaml -> b\.yaml -> a\.yaml"):
        load(tmp_path / "a.yaml")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: not found, base of .*lost\.yaml"):
        load(tmp_path / "lost.yaml")
    with pytest.raises(ConfigError, match=r"listed\.yaml: got a list"):
        load(tmp_path / "listed.yaml")


def test_several_files_and_arguments_apply_in_their_order(tmp_path: Path):
    write(tmp_path, a="name: a\nsteps: 1\nmodel: {path: m}\n", b="name: b\nsteps: 2\ndata: {train: d.parquet}\n")
    config = load(tmp_path / "a.yaml", ["name=c", str(tmp_path / "b.yaml"), "steps=3"])
    assert (config.name, config.steps, config.model.path) == ("b", 3, "m")


def test_overrides_beat_the_file_and_the_file_beats_defaults(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("name: a\nmodel: {path: m}\ndata: {train: d.parquet}\nlearner: {lr: 0.5, ranks: 2}\n")
    config = load(file, ["--learner.lr=0.25", "+steps=7"])
    assert (config.learner.lr, config.learner.ranks, config.steps, config.learner.eps) == (0.25, 2, 7, 1e-8)


def test_the_printed_config_loads_to_the_same_config(tmp_path: Path):
    config = load(None, [*REQUIRED, "tasks=[{task: vqa, rewards: [{reward: accuracy, weight: 0.5}]}]"])
    file = tmp_path / "c.yaml"
    file.write_text(as_yaml(config))
    assert load(file) == config
    assert config.tasks[0].rewards[0].weight == 0.5


def test_all_problems_are_listed_together():
    with pytest.raises(ConfigError) as caught:
        load(None, ["algo.lrr=1", "steps=abc", "nonsense", "seed=[1:]]", "learner.ranks=0", "tasks=[{rewards: []}]"])
    text = str(caught.value)
    for part in ("algo.lrr", "steps", "nonsense", "seed=[1", "learner.ranks: got 0", "tasks[0].task: missing", "name:"):
        assert part in text


def test_range_and_cross_field_problems_say_got_and_wanted():
    text = problems_of(
        "learner.zero_stage=4",
        "data.frames.max_frames=3",
        "rollout.max_tokens=20000",
        "learner.lr=nan",
        "data.frames.fps=-3",
    )
    assert "learner.zero_stage: got 4, wanted one of (2, 0, 1, 3)" in text
    assert "wanted even numbers" in text
    assert "rollout.max_tokens: got 20000" in text
    assert "learner.lr" in text and "finite" in text
    assert "data.frames.fps: got -3.0, wanted more than 0" in text


def test_learner_options_without_effect_are_refused():
    text = problems_of("learner.offload=true", "learner.zero_stage=0", "learner.lora.rank=4", "learner.lora.targets=[]")
    assert "learner.offload: got true with learner.zero_stage=0" in text
    assert "learner.lora.targets: got an empty list" in text


def test_an_engine_that_shares_memory_needs_the_gpu_of_a_rank():
    ipc = "push.backend=ipc"
    for wrong in (["rollout.engines=3", "learner.ranks=2"], ["rollout.tensor_parallel=2", "learner.ranks=2"]):
        assert "push.backend: got ipc with" in problems_of(ipc, *wrong)
    assert "algo.max_policy_age: got 1 with push.backend=ipc, wanted 0" in problems_of(ipc, "algo.max_policy_age=1")
    for stage in (0, 1, 3):
        assert f"got {stage} with push.backend=ipc, wanted 2" in problems_of(ipc, f"learner.zero_stage={stage}")
    assert load(None, [*REQUIRED, ipc, "learner.zero_stage=3", "learner.offload=true"]).learner.offload
    assert load(None, [*REQUIRED, ipc, "rollout.engines=2", "learner.ranks=2"]).push.backend == "ipc"


def test_a_renamed_key_fails_and_names_the_new_one(tmp_path: Path):
    """Both in a file and as an argument; every new name in the table exists."""
    (tmp_path / "c.yaml").write_text("fault: {place_s: 3, silence_s: 4}\n")
    text = problems_of(str(tmp_path / "c.yaml"), "fault.heartbeat_s=1", "fault.unheard=1")
    for old, new in RENAMED.items():
        assert f"{old}: unknown key, it was renamed to {new}\n" in text
        assert load(None, [*REQUIRED, f"{new}=7"])
    assert "fault.unheard: Key 'unheard' not in 'FaultConfig'" in text.splitlines()[-1]


def test_missing_values_are_named():
    with pytest.raises(ConfigError) as caught:
        load(None, ["name=x"])
    assert "model.path: missing" in str(caught.value) and "data.train: missing" in str(caught.value)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("a: [1\nb: 2")
    with pytest.raises(ConfigError, match=r"c\.yaml: not valid YAML"):
        load(file)


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: not found"):
        load("nowhere.yaml")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["algo.kl_coef=0.1", "algo.kl_estimator=k1"], "the gradient of k1 does not depend on the reference"),
        (["algo.correction=token_mask", "algo.old_logprobs=rollout"], "the weight is old over rollout"),
        (["algo.kl_coef=0.1", "algo.kl_in=reward"], "as a reward, only k1 gives the gradient of the KL"),
        (["algo.mini_batches=17"], "algo.mini_batches: got 17, wanted at most algo.groups_per_step=16"),
        (["algo.epochs=2", "algo.policy_loss=reinforce"], "wanted one update a step"),
        (["algo.overlong_tokens=999"], "algo.overlong_tokens: got 999, wanted at most rollout.max_tokens=768"),
        (["algo.advantage=reinforce_batch", "algo.max_refills=1"], "a group of equal rewards carries signal"),
        (["algo.advantage=pass_at_k", "algo.pass_k=9"], "algo.pass_k: got 9, wanted less than rollout.group_size=8"),
        (["algo.advantage=pass_at_k", "algo.pass_k=8"], "algo.pass_k: got 8, wanted less than rollout.group_size=8"),
        *(
            (["rollout.group_size=1", f"algo.advantage={name}"], f"got 1 with algo.advantage={name}, wanted at least 2")
            for name in ("grpo", "grpo_no_std", "rloo", "pass_at_k", "reinforce_plus_plus_baseline")
        ),
        (
            ["rollout.group_size=1", "algo.groups_per_step=1", "algo.advantage=reinforce_batch"],
            "algo.groups_per_step: got 1 with rollout.group_size=1",
        ),
        (["algo.correction=token_truncate", "algo.policy_loss=gspo"], "gspo has one ratio per completion"),
        (["algo.policy_loss=reinforce", "algo.old_logprobs=rollout"], "reinforce has no ratio"),
        (["rollout.top_p=0.95"], "log-probs over the tokens it kept"),
        (["rollout.top_k=20"], "log-probs over the tokens it kept"),
        (["learner.zero_stage=0"], "stage 0 would add up gradients in bfloat16"),
    ],
)
def test_objectives_that_contradict_themselves_are_refused(overrides: list[str], said: str):
    assert said in problems_of(*overrides)


@pytest.mark.parametrize("name", ["reinforce_batch", "reinforce_plus_plus"])
def test_a_baseline_of_the_step_allows_groups_of_one(name: str):
    config = load(None, [*REQUIRED, "rollout.group_size=1", f"algo.advantage={name}"])
    assert config.rollout.group_size == 1


def test_a_correction_for_a_sequence_ratio_is_fine():
    config = load(None, [*REQUIRED, "algo.policy_loss=gspo", "algo.correction=sequence_mask"])
    assert config.algo.correction == "sequence_mask"


def test_validations_are_periodic_from_the_first_on():
    assert [step for step in range(1, 31) if ValConfig(every=10).due(step)] == [10, 20, 30]
    assert [step for step in range(1, 31) if ValConfig(every=5, first=18).due(step)] == [20, 25, 30]
    assert not any(ValConfig().due(step) for step in range(31))


@pytest.mark.parametrize(
    "text",
    ["001", "2024_01_05", "1e5", "0x10", "007.50", "yes", "true", "1_000", "12:30:45", "2024-01-05", "+3", "x=y"],
)
def test_text_keys_keep_what_was_typed(tmp_path: Path, text: str):
    """Neither a file nor an argument may turn a name into a number, a date or a truth value."""
    file = tmp_path / "run.yaml"
    file.write_text(f"name: {text}\ndata: {{train: {text}, tasks: [a]}}\nmodel:\n  path: {text}\n")
    words = [f"name={text}", f"data.train={text}", f"--model.path={text}"]
    for config in (loaded(file), loaded(None, words)):
        assert (config.name, config.data.train, config.model.path) == (text, text, text)


def test_other_keys_are_read_as_yaml(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text("name: 'a b'\nseed: 007\ndata: {train: \"007\"}\nmodel: {path: m}\n")
    config = loaded(file, ["data.root='x y'", "data.tasks=[vqa]", "data.shuffle=no"])
    assert (config.name, config.seed, config.data.train, config.data.root) == ("a b", 7, "007", "x y")
    assert config.data.tasks == ["vqa"] and config.data.shuffle is False


def test_the_home_folder_is_expanded_in_paths_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    words = ["name=x", "data.train=~/d/a.parquet", "model.path=~/m", "runs_dir=~", "data.cache.dir=~/c", "data.val=a~b"]
    config = loaded(None, words)
    assert (config.data.train, config.model.path) == (f"{tmp_path}/d/a.parquet", f"{tmp_path}/m")
    assert (config.runs_dir, config.data.cache.dir, config.data.val) == (str(tmp_path), f"{tmp_path}/c", "a~b")
