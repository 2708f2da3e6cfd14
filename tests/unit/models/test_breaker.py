"""When a breaker opens, whom it lets through, and what closes it."""

from models.breaker import BreakerRule, BreakerSeen, Calls, Circuit, Passage

RULE = BreakerRule(failures=3, wait_s=5.0, longest_wait_s=15.0)
FAILED, ANSWERED = Calls(1, 1), Calls(1, 0)


def failing(circuit, now, *, times=1):
    """Let groups that had passed before find the provider failing."""
    for _ in range(times):
        circuit = circuit.reported(Passage(0.0, "early"), FAILED, now, RULE)
    return circuit


def test_after_a_failure_groups_go_one_at_a_time():
    """The first is the probe; the others wait for what becomes of it."""
    circuit = failing(Circuit(), 100.0)

    circuit, first = circuit.passed("a", 100.0, RULE)
    circuit, second = circuit.passed("b", 100.1, RULE)

    assert (first.wait_s, first.is_probe) == (0.0, True)
    assert second.wait_s == RULE.turn_s
    closed = circuit.reported(first, ANSWERED, 101.0, RULE)
    assert closed.passed("c", 101.0, RULE)[1] == Passage(0.0, "c")


def test_an_answer_to_an_earlier_call_closes_nothing():
    """It may have been given before the provider failed."""
    circuit = failing(Circuit(), 100.0)

    circuit = circuit.reported(Passage(0.0, "early"), ANSWERED, 100.1, RULE)

    assert circuit.failed == 1


def test_failures_in_a_row_open_it_and_failed_probes_prolong_that():
    """Twice as long each time, to a limit; groups begun before prolong nothing."""
    circuit = failing(Circuit(), 100.0, times=RULE.failures)
    circuit = failing(circuit, 101.0, times=4)
    waits = []
    now = 100.0
    for _ in range(3):
        waits.append(circuit.passed("a", now, RULE)[1].wait_s)
        now = circuit.until
        circuit, probe = circuit.passed("a", now, RULE)
        circuit = circuit.reported(probe, FAILED, now, RULE)
    waits.append(circuit.until - now)

    assert waits == [5.0, 10.0, 15.0, 15.0]
    assert circuit.passed("b", now + 1, RULE)[1].open_for_s == now + 1 - 100.0


def test_half_of_many_calls_open_it():
    """Though answers come in between, one probe after the other."""
    circuit = Circuit(since=100.0).noted(19, 100.0, RULE)
    circuit = circuit.reported(Passage(0.0, "a"), Calls(18, 18), 101.0, RULE)
    assert circuit.opened_at is None

    circuit = circuit.reported(Passage(0.0, "b"), Calls(2, 2), 102.0, RULE)

    assert circuit.opened_at == 102.0


def test_a_group_that_called_nobody_gives_its_turn_back():
    circuit = failing(Circuit(), 100.0)
    circuit, probe = circuit.passed("a", 100.0, RULE)

    circuit = circuit.reported(probe, Calls(0, 0), 100.1, RULE)

    assert circuit.passed("b", 100.1, RULE)[1].is_probe


def test_a_probe_that_is_never_reported_is_forgotten():
    """Its worker was killed."""
    circuit = failing(Circuit(), 100.0)
    circuit, _ = circuit.passed("a", 100.0, RULE)

    assert circuit.passed("b", 100.0 + RULE.probe_s, RULE)[1].is_probe


def test_what_is_kept_is_what_is_read():
    circuit = failing(Circuit(), 100.1, times=RULE.failures)

    assert Circuit.of_text(circuit.to_text().encode()) == circuit
    assert Circuit().to_text() == ""
    assert Circuit.of_text("") == Circuit()


def test_how_a_breaker_looks():
    """Open until its next probe, half-open while single ones go out."""
    opened = failing(Circuit(), 100.0, times=RULE.failures)
    looks = [
        BreakerSeen.of(circuit, now)
        for circuit, now in (
            (Circuit(), 100.0),
            (failing(Circuit(), 100.0), 100.0),
            (opened, 101.0),
            (opened, 220.0),
        )
    ]

    assert [look.state for look in looks] == [
        "closed",
        "half-open",
        "open",
        "half-open",
    ]
    assert looks[2].next_probe_in_s == 4.0
    assert [look.reason() for look in looks[:2]] == ["", ""]
    assert "for a moment" in looks[2].reason()
    assert "for 2 min" in looks[3].reason()
