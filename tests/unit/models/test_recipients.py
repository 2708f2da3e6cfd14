"""Uploads: what is read, what is reported, what refuses the whole file."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.addresses import Channel
from models.errors import InvalidInputError
from models.recipients import BLOCK_ROWS, Format, read


def upload(data: bytes | list[bytes], kind="csv", channel="email"):
    """Return all good rows, all bad ones, and the variables' names."""
    chunks = [data] if isinstance(data, bytes) else data
    good, bad, names = [], [], set()
    for block in read(chunks, upload_format=Format(kind), channel=Channel(channel)):
        variables = map(json.loads, block.variables)
        good += zip(block.lines, block.addresses, variables, strict=True)
        bad += block.invalid
        names |= block.names
        assert block.rows <= BLOCK_ROWS
    return good, bad, names


def test_csv_rows_keep_the_line_they_begin_on():
    """Blank lines and line feeds in quotes count as lines, not as rows."""
    data = (
        b'\xef\xbb\xbf name ,E-Mail\r\n\r\nAnn,A@Ex.ORG\r\n"B\nb", b@ex.org \nC,c@d.e'
    )

    good, bad, names = upload(data)

    assert good == [
        (3, "A@ex.org", {"name": "Ann"}),
        (4, "b@ex.org", {"name": "B\nb"}),
        (6, "c@d.e", {"name": "C"}),
    ]
    assert bad == []
    assert names == {"name"}


def test_bad_rows_are_reported_and_stop_nothing():
    """Each by its line with the reason; an absent cell is an empty text."""
    data = b'to,a,b\nx,1,2\nk@l.m,1,2,3\nk@l.m,1\n"k"@l.m,1,2\nk@l.m,\0,2\nm@n.o,,\n'

    good, bad, _ = upload(data)

    assert good == [(4, "k@l.m", {"a": "1", "b": ""}), (7, "m@n.o", {"a": "", "b": ""})]
    assert [line for line, _ in bad] == [2, 3, 5, 6]
    assert bad[1][1] == "The row has 4 cells, the header 3."


def test_only_a_real_nul_is_refused():
    """A backslash before the digits is a text like any other."""
    good, bad, _ = upload(b"to,a\nk@l.m,\\u0000\nk@l.m,\0\n")

    assert [row[2]["a"] for row in good] == ["\\u0000"]
    assert bad == [(3, "A variable holds the character NUL.")]


def test_ndjson_takes_variables_beside_the_address_and_under_variables():
    """A broken line is a bad row."""
    data = (
        b'{"address":"a@b.c","variables":{"n":1,"m":null}}\n\n{"email":"d@e.f","n":"x"}'
        b'\nno\n[1]\n{"n":1}\n{"to":"a@b.c","variables":3}\n'
    )

    good, bad, names = upload(data, "ndjson")

    assert good == [(1, "a@b.c", {"n": 1, "m": None}), (3, "d@e.f", {"n": "x"})]
    assert [line for line, _ in bad] == [4, 5, 6, 7]
    assert names == {"n", "m"}


def test_a_json_array_is_read_by_item():
    """The line is the item's number."""
    good, bad, _ = upload(b'[{"phone":"+4930123456","n":[1]},7]', "json", "sms")

    assert good == [(1, "+4930123456", {"n": [1]})]
    assert bad == [(2, "The row is not a JSON object.")]


@pytest.mark.parametrize(
    ("channel", "address", "is_good"),
    [
        ("email", "a.b+c@ex-am.ple.org", True),
        ("email", "a" * 64 + "@b.cd", True),
        ("email", "a" * 65 + "@b.cd", False),
        ("email", "a@" + "b" * 63 + ".org", True),
        ("email", "a@" + "b" * 64 + ".org", False),
        ("email", "a@" + "bcd." * 63 + "org", False),
        ("email", "a..b@c.de", False),
        ("email", ".a@c.de", False),
        ("email", "a@b", False),
        ("email", "a@-b.de", False),
        ("email", "a@b-.de", False),
        ("email", "a@1.2.3.4", False),
        ("email", "a b@c.de", False),
        ("email", "a@c.de\u00e9", False),
        ("email", "", False),
        ("sms", "+14155550123", True),
        ("sms", "+1234567890123456", False),
        ("sms", "04155550123", False),
        ("webhook", "user 17", True),
        ("webhook", "x" * 320, True),
        ("webhook", "x" * 321, False),
        ("webhook", "", False),
        ("webhook", "a\tb", False),
    ],
)
def test_an_address_is_judged_by_the_channel(channel, address, is_good):
    """The channel alone decides what an address looks like."""
    row = json.dumps({"to": address}).encode()

    good, bad, _ = upload(row, "ndjson", channel)

    assert (len(good), len(bad)) == ((1, 0) if is_good else (0, 1))


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("csv", b"", "empty"),
        ("csv", b"email\n\n", "no recipients"),
        ("ndjson", b"\n", "no recipients"),
        ("json", b" ", "no recipients"),
        ("json", b"{}", "array"),
        ("json", b"[1,\n,]", "Line 2"),
        ("json", [b"[" + b" " * 9_999_999, b"]"], "NDJSON"),
        ("csv", b"name,mail\nA,a@b.c\n", "the header has name, mail. Name one column"),
        ("csv", b"email,a,a\n", "“a”"),
        ("csv", b"email,\n", "no name"),
        ("csv", b"email\na@b.c\n\xe4@b.c\n", "Line 3 is not UTF-8"),
        ("csv", b"email,a\na@b.c," + b"x" * 1_000_001 + b"\n", "line 2 is longer"),
        ("csv", [b"email,a\na@b.c,"] + [b"x" * 70_000] * 20, "line 2 is longer"),
        ("csv", b'email,a\na@b.c,"x\nb@c.d,y\n', "line 2 cannot be read to its end"),
        ("csv", b'email,a\na@b.c,"' + b'x\n","' * 400_000, "is longer"),
        ("ndjson", [b'{"a":"' + b"x" * 2_000_000], "line 1 is longer"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_as_a_whole(kind, data, words):
    """One sentence names the line or what is missing."""
    with pytest.raises(InvalidInputError, match=words):
        upload(data, kind)


def test_rows_that_are_no_csv_are_bad_rows_where_they_are_one_line():
    """What follows them is still read."""
    good, bad, _ = upload(b'to,a\nk@l.m,"x"y\nm@n.o,z\n')

    assert good == [(3, "m@n.o", {"a": "z"})]
    assert [line for line, _ in bad] == [2]


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.emails(), st.text(st.characters(codec="utf-8"), max_size=8)),
        min_size=1,
        max_size=20,
    ),
    cut=st.integers(1, 50),
)
def test_no_row_is_lost_however_the_upload_is_cut(rows, cut):
    """Rows are good or bad, and good ones keep every character."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("email", "v"), *rows])
    data = text.getvalue().encode()

    good, bad, _ = upload([data[i : i + cut] for i in range(0, len(data), cut)])

    assert len(good) + len(bad) == len(rows)
    values = {value for _, value in rows}
    assert all(variables["v"] in values for _, _, variables in good)


@pytest.mark.parametrize("kind", ["csv", "ndjson", "json"])
def test_blocks_hold_a_few_thousand_rows(kind):
    """Good and bad together, so memory does not grow with the upload."""
    rows = [{"to": f"u{i}@ex.org" if i % 3 else "?"} for i in range(BLOCK_ROWS + 10)]
    data = {
        "csv": "to\n" + "\n".join(row["to"] for row in rows),
        "ndjson": "\n".join(map(json.dumps, rows)),
        "json": json.dumps(rows),
    }[kind].encode()

    good, bad, _ = upload(data, kind)

    assert len(good) + len(bad) == len(rows)
    assert len(bad) == len([row for row in rows if row["to"] == "?"])
