"""Rendering: templates, values and those who cannot be rendered."""

import pytest

from models.errors import InvalidInputError
from models.message import Content, Rendered, Templates


def render(content: dict, *rows: dict, addresses: list[str] | None = None) -> Rendered:
    templates = Templates.compile(Content.of(content))
    addresses = addresses or [f"r{i}@example.com" for i in range(len(rows))]
    return templates.render("b1", 7, addresses, rows)


def test_a_message_holds_its_place_and_the_fields_of_the_content():
    """Only fields that the content has appear, always in the same order."""
    found = render(
        {"subject": "Hi {{ name }}", "from": "us@example.com", "text": "{{address}}!"},
        {"name": "Ann"},
        {"name": "Bo"},
    )

    assert found.failed == {}
    assert [list(message.items()) for message in found.messages] == [
        [
            ("batch", "b1"),
            ("seq", seq),
            ("to", to),
            ("from", "us@example.com"),
            ("subject", f"Hi {name}"),
            ("text", f"{to}!"),
        ]
        for seq, to, name in ((7, "r0@example.com", "Ann"), (8, "r1@example.com", "Bo"))
    ]


def test_a_missing_variable_fails_its_recipient_alone():
    """Missing and null are the same; the others are rendered."""
    found = render(
        {"text": "{{ name }} in {{ city }}"},
        {"name": "Ann", "city": "Oslo"},
        {"name": "Bo"},
        {"name": None, "city": "Rome"},
        {"name": "Di", "city": ["a", "list"]},
    )

    assert found.messages[0]["text"] == "Ann in Oslo"
    assert found.messages[1:] == [None, None, None]
    assert found.failed == {
        1: 'Variable "city" is missing.',
        2: 'Variable "name" is missing.',
        3: 'Variable "city" is not a text or a number.',
    }


def test_numbers_and_truth_values_are_written_as_json_writes_them():
    """A text stays as it is, empty ones too."""
    found = render({"text": "{{v}}"}, *({"v": v} for v in (3, 2.5, True, "", "{{x}}")))

    assert [m["text"] for m in found.messages] == ["3", "2.5", "true", "", "{{x}}"]


def test_html_escapes_values_but_not_in_three_braces():
    """Text fields escape nothing; a value may even hold the column's separator."""
    row = {"v": '<b a="1">&\0'}
    found = render({"html": "<p>{{v}}|{{{ v }}}</p>", "text": "{{v}}{{{v}}}"}, row)

    assert found.messages[0]["html"] == (
        '<p>&lt;b a=&quot;1&quot;&gt;&amp;\0|<b a="1">&\0</p>'
    )
    assert found.messages[0]["text"] == row["v"] * 2


@pytest.mark.parametrize("line_break", ["\n", "\r"])
@pytest.mark.parametrize(
    "content",
    [{"subject": "{{v}}"}, {"replyTo": "{{v}}"}, {"headers": {"X-A": "a {{v}}"}}],
)
def test_a_line_break_in_a_header_fails_the_recipient(content, line_break):
    """Else a value could add headers of its own."""
    found = render(content, {"v": f"a{line_break}Bcc: x"}, {"v": "fine"})

    assert found.messages[0] is None
    assert found.messages[1] is not None
    assert list(found.failed) == [0]


def test_data_is_rendered_wherever_it_holds_a_template():
    """Objects, arrays and constants keep their shape; messages share no slots."""
    data = {"user": {"id": "{{id}}", "k": 1}, "tags": ["{{id}}", "x", {"n": None}, [1]]}
    found = render({"data": data}, {"id": "1"}, {"id": "2"})

    assert [m["data"] for m in found.messages] == [
        {"user": {"id": i, "k": 1}, "tags": [i, "x", {"n": None}, [1]]} for i in "12"
    ]


def test_a_content_without_templates_needs_no_variables():
    """Each recipient still has a message of its own."""
    found = render({"text": "Hello"}, {}, {})

    assert [m["text"] for m in found.messages] == ["Hello", "Hello"]
    assert found.messages[0] is not found.messages[1]


def test_variables_that_no_recipient_has_are_found_before_sending():
    """The address is always there."""
    templates = Templates.compile(
        Content.of({"text": "{{a}} {{b.c}} {{address}}", "data": {"x": ["{{d}}"]}})
    )

    assert templates.names == {"a", "b.c", "d"}
    assert templates.missing_everywhere({"a", "z"}) == {"b.c", "d"}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"subjekt": "x"}, "subjekt"),
        ({"subject": 3}, "subject"),
        ({"headers": "x"}, "headers"),
        ({"headers": {"X A": "x"}}, "headers.X A"),
        ({"headers": {"X-A": 1}}, "headers.X-A"),
        ({"data": []}, "data"),
        ({"subject": "a\nb"}, "subject"),
        ({"headers": {"X-A": "a\r\nb"}}, "headers.X-A"),
        ({"text": "{{ 1a }}"}, "text"),
        ({"text": "{{ name }"}, "text"),
        ({"data": {"a": ["{{"]}}, "data.a.0"),
    ],
)
def test_a_wrong_content_is_refused_by_its_field(content, field):
    """The user learns which one."""
    with pytest.raises(InvalidInputError) as refused:
        Templates.compile(Content.of(content))

    assert refused.value.field == field
