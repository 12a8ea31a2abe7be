"""The promises of a run under faults and what shows each; one small Ray for the tests that use light actors.

Faults are real: signals, full disks, dead nodes, bad files. The last column names what was disabled to see the test
fail.

P1  a dead engine costs no group                     test_driver, test_run            a lost call's second attempt
P2  a new engine has the learner's weights           test_driver                      quarantine
P3  a silent engine is replaced                      test_driver, test_pool           the heartbeat; a call's time limit
P4  a dead core ends its actor, which is replaced    test_run                         naming the engine's death
P5  a dead, hung or raising reward costs its group   test_driver, unit/test_driver    dropping what was lost twice
P6  no engine left: the run ends, says how to resume test_driver, test_run            the count of live engines
P7  a dead learner: resume from the last checkpoint  unit/test_resume, test_run       resuming; noticing the death
P8  a dead driver: resume when submitted again       test_run, test_core              the parent watchdog
P9  a dead node costs its actors                     test_node                        replacing what is lost
P10 a save may be killed anywhere                    test_run, unit/test_checkpoint   comparing files to the manifest
P11 a corrupt latest checkpoint is skipped           unit/test_checkpoint             comparing files to the manifest
P12 a full disk leaves the older checkpoints         test_disk, unit/test_session     keeping them while a save begins
P13 bad and hanging clips cost only themselves       test_media                       the time limit; the list of bad
P14 frames and times are right                       unit/data/decode/test_video      trust in decord; times; torn ends
P15 a signal or a stopped job saves and ends         integration/test_run, cluster/test_job_submit  listening for it
P16 a loss that is not finite changes no weight      integration/test_learner_faults  gradients cleared; the bound
P17 a failed push leaves no engine with mixed weights test_driver                     the pause; the second push
P18 a new actor's metrics replace the old one's      test_metrics                     the new target file
P19 restarts leak nothing                            test_leaks                       forgetting groups; freeing actors
P20 one seed, one run                                integration/test_run             seeds by content
P21 policy age is bounded, after resumes too         test_leaks, unit/test_driver     the number of slots
P22 a soak                                           test_soak                        the heartbeat
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def light_ray() -> Iterator[None]:
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    paths = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]  # actors import chaos.light
    ray.init(
        address="local",
        num_cpus=1,  # the actors need none; Ray prestarts one idle worker per CPU
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200 * 2**20,
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, paths))}},
    )
    yield
    ray.shutdown()
