"""What Dragonfly asks of a script, proved on a server that would let it pass."""

import itertools
from importlib.resources import files

import redis

from hot_state import client as client_module
from hot_state.breaker import Breakers
from hot_state.limiter import Limiter
from hot_state.lock import Lease
from models.breaker import Calls
from models.limit import Bucket, Limit, Told
from models.outcome import Outcome

NAMES = [
    "acquire_lease",
    "count_final",
    "forget_outcomes",
    "heed_provider",
    "list_waiting",
    "mark_lifetime",
    "record_outcome",
    "release_lease",
    "swap_breaker",
    "take_tokens",
]


def use_everything(client, outcomes) -> None:
    """Walk every branch of every script that touches a key."""
    for _ in range(2):
        outcomes.record("b", 0, 1, 3, 40, Outcome(0b1, 0b10, 0b11100, 1 << 39))
    outcomes.record("b", 0, 1, 3, 40, Outcome(sent=0b11111))
    outcomes.all_final("b", 3, 40)
    outcomes.batches_waiting()
    outcomes.forget("b", [(0, 1)])
    limiter = Limiter(client)
    buckets = [Bucket("system", Limit.of(1e6)), Bucket("config", Limit.of(10))]
    limiter.take(buckets, 1)
    limiter.give_back(buckets, 1)
    limiter.heed(buckets[1], Told(5.0, for_s=9.0, pause_s=1.0))
    limiter.take(buckets, 1)
    limiter._told.clear()
    limiter.take(buckets, 1)
    lease = Lease(client, "leader", ttl_s=9)
    lease.acquire()
    lease.acquire()
    lease.release()
    breakers = Breakers(client)
    breakers.report("config:1", breakers.passage("config:1"), Calls(1, 1))
    breakers.report("config:1", breakers.passage("config:1"), Calls(1, 0))
    client_module.mark_lifetime(client)


def keys_of(client, words) -> set[str]:
    """Return what the server itself takes to be a command's keys."""
    try:
        return set(client.command_getkeys(*words))
    except redis.ResponseError:
        return set()


def test_every_script_touches_only_the_keys_it_declares(
    client, outcomes, admin, server
):
    """Dragonfly refuses a script that reaches for a key it did not name."""
    use_everything(client, outcomes)
    client.flushdb()
    client_module.mark_lifetime(client)

    with admin(server) as other, other.monitor() as watcher:
        use_everything(client, outcomes)
        client.echo("the end")
        seen = itertools.takewhile(
            lambda command: "the end" not in command["command"], watcher.listen()
        )
        commands = [(seen["client_type"], seen["command"].split()) for seen in seen]

    declared: set[str] = set()
    touched = 0
    for kind, words in commands:
        if kind == "lua":
            found = keys_of(client, words)
            assert found <= declared, words
            touched += len(found)
        elif words[0] == "EVALSHA":
            declared = set(words[3 : 3 + int(words[2])])
    assert touched > 50


def test_forgotten_scripts_are_sent_again(client, outcomes):
    """A restarted server knows no script; nobody has to notice."""
    use_everything(client, outcomes)

    client.script_flush()
    use_everything(client, outcomes)

    begins = {name: ["read_bucket"] for name in ("heed_provider", "take_tokens")}
    scripts = [client_module.Script(n, after=begins.get(n, ())) for n in NAMES]
    hashes = [script._sha for script in scripts]
    assert all(client.script_exists(*hashes))


def test_all_scripts_are_tried_here():
    """A new file must be walked above."""
    folder = files("hot_state.scripts")

    found = {item.name for item in folder.iterdir() if item.name.endswith(".lua")}

    assert found == {f"{name}.lua" for name in [*NAMES, "read_bucket"]}
