"""The whole way under load, bounded in count and time."""

import json
import subprocess
import sys

import pytest


@pytest.mark.load
@pytest.mark.timeout(240)
def test_a_large_batch_loses_nobody_and_repeats_nobody():
    """The benchmark itself ends with 1 where somebody is lost or repeated."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.pipeline", "--recipients", "50000"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["recipients"], told["lost"], told["repeated"]) == (50_000, 0, 0)


@pytest.mark.load
@pytest.mark.timeout(240)
def test_a_batch_does_not_delay_single_messages():
    """The p99 is under 500 ms while every worker is busy."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.pipeline"),
            *("--priority", "--recipients", "100000"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["priority"]["beside_a_batch"]["messages"] > 20
    assert told["priority"]["kept"], told["priority"]
