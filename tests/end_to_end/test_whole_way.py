"""`up --detach`, `demo`, `send --wait`, `down`: the way of a user, with real parts."""

import json
import signal
import subprocess
import sys

import psutil

#: The command, also where a shell in the background made its children deaf to Ctrl-C.
HEEDING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from cli import main
raise SystemExit(main())
"""


def test_a_user_comes_sends_looks_and_leaves(run, tmp_path):
    """Nobody is lost or repeated, and nothing is left running."""
    up = run("up", "--detach")
    assert up.returncode == 0, up.stderr
    pids = [
        row["pid"] for row in json.loads(run("status", "--json").stdout)["processes"]
    ]

    demo = run("demo", "--rows", "2500")

    assert demo.returncode == 0, demo.stderr
    figures = json.loads(demo.stdout.splitlines()[-1])
    counts = {name: figures[name] for name in ("rows", "sent", "lost", "repeated")}
    assert counts == {"rows": 2500, "sent": 2498, "lost": 0, "repeated": 0}

    file = tmp_path / "mine.ndjson"
    file.write_text("".join(f'{{"email": "a{i}@b.example"}}\n' for i in range(10)))
    sent = run("send", str(file), "--config", "demo", "--text", "x", "--wait", "--json")

    assert sent.returncode == 0, sent.stderr
    assert sent.stdout.count("\n") == 1
    result = json.loads(sent.stdout)
    assert (result["sent"], result["lost"], result["repeated"]) == (10, 0, 0)

    one = run("send-one", "ada@b.example", "--config", "demo", "--text", "x", "--wait")

    assert one.returncode == 0, one.stderr
    assert one.stdout.endswith(" is sent.\n")

    down = run("down")

    assert (down.returncode, down.stdout) == (0, "BatchSender is down.\n")
    assert [pid for pid in pids if _lives(pid)] == []


def _lives(pid: int) -> bool:
    # In a container nobody may collect a process whose parent has gone.
    gone = psutil.STATUS_ZOMBIE
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != gone


def test_interrupting_the_demo_stops_every_process(environment, data_dir, tmp_path):
    """Ctrl-C while it starts leaves nothing behind, and no traceback."""
    arguments = ("demo", "--data", str(data_dir))
    demo = subprocess.Popen(
        [sys.executable, "-c", HEEDING, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout
    assert demo.stdout.readline().startswith("Starting NATS")

    demo.send_signal(signal.SIGINT)
    _, err = demo.communicate(timeout=60)

    assert demo.returncode == 130
    assert "Traceback" not in err
    ours = [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if str(tmp_path) in " ".join(process.info["cmdline"] or ())
    ]
    assert ours == []
