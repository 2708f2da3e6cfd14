"""What a mail may have beside its texts, and what no row may do to its headers."""

import pytest

from models.content import Content
from models.errors import InvalidInputError
from models.message import Templates

SHA256 = "a" * 64
FILE = {"sha256": SHA256, "filename": "a.pdf", "contentType": "application/pdf"}


def render(content, *rows, addresses=None, links=None):
    templates = Templates.compile(Content.of(content), links)
    addresses = addresses or [f"r{i}@example.com" for i in range(len(rows))]
    return templates.render("b1", 7, addresses, rows)


def test_copies_and_tags_are_rendered_in_their_places():
    """They stand behind the texts; constants are the same for all."""
    content = {
        "text": "x",
        "cc": ["{{ agent }}", "Team <team@example.com>"],
        "bcc": ["log@example.com"],
        "tags": {"plan": "{{ plan }}", "kind": "news"},
    }
    found = render(content, {"agent": "Al <al@x.io>", "plan": "pro"})

    assert found.failed == {}
    assert list(found.messages[0].items())[3:] == [
        ("text", "x"),
        ("cc", ["Al <al@x.io>", "Team <team@example.com>"]),
        ("bcc", ["log@example.com"]),
        ("tags", {"plan": "pro", "kind": "news"}),
    ]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        *(
            (content, value)
            for content in (
                {"from": "{{v}}"},
                {"subject": "{{v}}"},
                {"replyTo": "{{v}}"},
                {"headers": {"X-A": "{{v}}"}},
                {"cc": ["{{v}}"]},
                {"tags": {"a": "{{v}}"}},
            )
            for value in ("a\r\nBcc: x@x.io", "a\nb", "a\rb", "a\0b")
        ),
        ({"cc": ["{{v}}"]}, "a@x.io, b@x.io"),
        ({"bcc": ["{{v}}"]}, "nobody"),
        ({"bcc": ["Al <{{v}}>"]}, "a@x.io>, <b@x.io"),
        ({"tags": {"a": "{{v}}"}}, "a b"),
        ({"tags": {"a": "{{v}}"}}, ""),
    ],
)
def test_a_row_cannot_add_headers_or_recipients(content, value):
    """Its recipient fails and is told the field; the next one is not touched."""
    good = "good@x.io" if {"cc", "bcc"} & content.keys() else "good"

    found = render(content, {"v": value}, {"v": good})

    assert list(found.failed) == [0]
    assert found.messages[0] is None
    assert found.messages[1] is not None
    assert f"“{next(iter(content))}" in found.failed[0]
    assert value not in found.failed[0] or not value


@pytest.mark.parametrize("broken", ["a\r\n@x.io", "a\0@x.io", "a@x.io\nBcc: b@x.io"])
def test_an_address_with_a_line_break_fails_its_recipient(broken):
    """Uploads refuse it; rows that came another way are looked at here."""
    found = render({"text": "x"}, {}, {}, addresses=["ok@x.io", broken])

    assert found.messages[0]["to"] == "ok@x.io"
    assert found.messages[1] is None
    assert found.failed == {1: "The address holds a line break."}


def test_with_list_unsubscribe_each_mail_has_its_own_link():
    """In both headers' form, and for the body; rows cannot put another in."""
    content = {
        "listUnsubscribe": True,
        "html": '<a href="{{ unsubscribe_url }}">',
        "headers": {"X-A": "{{ a }}"},
    }
    rows = [{"a": "1", "unsubscribe_url": "theirs"}, {"a": "2"}]

    found = render(
        content,
        *rows,
        links=lambda first, n: [f"u:{i}" for i in range(first, first + n)],
    )

    assert [message["headers"] for message in found.messages] == [
        {
            "X-A": a,
            "List-Unsubscribe": f"<u:{seq}>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }
        for a, seq in (("1", 7), ("2", 8))
    ]
    assert found.messages[1]["html"] == '<a href="u:8">'
    assert Templates.compile(Content.of(content)).names == {"a"}


def test_without_it_the_name_is_a_variable_like_any_other():
    """Many files have such a column already."""
    found = render({"text": "{{ unsubscribe_url }}"}, {"unsubscribe_url": "theirs"})

    assert found.messages[0]["text"] == "theirs"
    assert "headers" not in found.messages[0]


def test_no_mail_that_asks_for_a_link_is_made_without_one():
    """It would be a mail that nobody can unsubscribe from."""
    with pytest.raises(InvalidInputError, match="UNSUBSCRIBE_KEYS"):
        render({"text": "x", "listUnsubscribe": True}, {})


def test_files_are_no_part_of_the_messages():
    """They go along with a call, not with each message of a chunk."""
    content = {"text": "x", "attachments": [FILE, FILE | {"contentId": "logo"}]}

    assert "attachments" not in render(content, {}).messages[0]
    assert [one.content_id for one in Content.of(content).attachments] == [None, "logo"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"cc": "a@x.io"}, "cc"),
        ({"cc": [1]}, "cc"),
        ({"cc": ["a@x.io"] * 30, "bcc": ["a@x.io"] * 20}, "cc"),
        ({"cc": ["a@x.io, b@x.io"]}, "cc.0"),
        ({"bcc": ["a\n@x.io"]}, "bcc.0"),
        ({"subject": "a\0b"}, "subject"),
        ({"tags": []}, "tags"),
        ({"tags": {"a b": "x"}}, "tags.a b"),
        ({"tags": {"batch": "x"}}, "tags.batch"),
        ({"tags": {"a": 1}}, "tags.a"),
        ({"tags": {"a": "x y"}}, "tags.a"),
        ({"tags": {f"t{i}": "x" for i in range(21)}}, "tags"),
        ({"attachments": {}}, "attachments"),
        ({"attachments": [1]}, "attachments.0"),
        ({"attachments": [FILE] * 21}, "attachments"),
        ({"attachments": [FILE | {"path": "/etc"}]}, "attachments.0.path"),
        ({"attachments": [FILE | {"sha256": "A" * 64}]}, "attachments.0.sha256"),
        ({"attachments": [FILE | {"filename": "../a"}]}, "attachments.0.filename"),
        ({"attachments": [FILE | {"filename": "a\r\nb"}]}, "attachments.0.filename"),
        ({"attachments": [FILE | {"contentType": "pdf"}]}, "attachments.0.contentType"),
        ({"attachments": [FILE | {"contentId": None}]}, "attachments.0.contentId"),
        ({"attachments": [FILE | {"contentId": "a"}] * 2}, "attachments"),
        ({"listUnsubscribe": 1}, "listUnsubscribe"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(content, field):
    """The user learns which one."""
    with pytest.raises(InvalidInputError) as refused:
        Templates.compile(Content.of(content))

    assert refused.value.field == field
