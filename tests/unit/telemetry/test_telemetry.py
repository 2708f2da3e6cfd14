"""What a log line holds."""

import logging

import orjson
import pytest

from telemetry import EVENT_ROWS, METRICS, configure_logging, log_context

LOGGER = logging.getLogger("tasks.send")


@pytest.fixture(autouse=True)
def root_logger():
    """Give the root logger back as it was."""
    root = logging.getLogger()
    before = (root.level, root.handlers[:])
    yield root
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def test_a_json_line_holds_text_process_and_context(capsys):
    """One object a line; the context's fields are keys of their own."""
    configure_logging("worker", json=True)

    with log_context(batch_id="b1"), log_context(chunk=3):
        LOGGER.warning("Held back for %s s", 5)

    line = orjson.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "process": "worker",
        "logger": "tasks.send",
        "message": "Held back for 5 s",
        "batch_id": "b1",
        "chunk": 3,
    }


def test_the_context_ends_with_its_block(capsys):
    """What happens later belongs to another job."""
    configure_logging("worker", json=True)

    with log_context(batch_id="b1"):
        pass
    LOGGER.info("Idle")

    assert "batch_id" not in orjson.loads(capsys.readouterr().err)


def test_a_line_names_what_else_it_is_given(capsys):
    """Asked when the line is written; the context's own word wins."""
    job = {}
    configure_logging("worker", json=True, fields=lambda: job)

    job |= {"actor": "send_chunk", "chunk": 1}
    with log_context(chunk=3):
        LOGGER.info("Sent")

    line = orjson.loads(capsys.readouterr().err)
    assert (line["actor"], line["chunk"]) == ("send_chunk", 3)


@pytest.mark.parametrize("json", [True, False])
def test_a_trace_is_written_with_its_line(capsys, json):
    """Nobody has to look for the cause elsewhere."""
    configure_logging("worker", json=json)

    try:
        {}["gone"]
    except LookupError:
        LOGGER.exception("Failed")

    assert "KeyError: 'gone'" in capsys.readouterr().err


def test_a_readable_line_is_for_people(capsys):
    """Time, level, process, logger, text, context, in this order."""
    configure_logging("worker", json=False)

    with log_context(chunk=3):
        LOGGER.info("Sent")

    line = capsys.readouterr().err.rstrip()
    assert line[12:] == " INFO    worker tasks.send: Sent chunk=3"


def test_configuring_again_does_not_double_lines(capsys):
    """The second call replaces the first, level included."""
    configure_logging("worker", level="DEBUG", json=True)
    configure_logging("worker", level="WARNING", json=True)

    LOGGER.info("Quiet")
    LOGGER.warning("Loud")

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_metrics_are_counted_in_our_own_registry():
    """Whoever serves METRICS serves exactly ours."""
    before = METRICS.get_sample_value("batchsender_event_rows_total")

    EVENT_ROWS.inc(500)

    assert METRICS.get_sample_value("batchsender_event_rows_total") - before == 500
