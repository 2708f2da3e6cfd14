"""Files of recipients are cut between records, and lines stay those of the file."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.parts import RecipientFile
from models.addresses import Channel
from models.errors import InvalidInputError
from models.recipients import Format, read

_CELLS = st.text(st.sampled_from('a,;"\n\r\té '), max_size=8)
_ROWS = st.lists(st.lists(_CELLS, min_size=2, max_size=2), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("parts")


@given(rows=_ROWS, part_bytes=st.integers(1, 60), end=st.sampled_from(["\n", "\r\n"]))
def test_the_parts_of_a_csv_file_hold_its_records(folder, rows, part_bytes, end):
    """Whatever is quoted: each part is the header and some records, in order."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["email", "some\nnote"], *rows])
    path = folder / "all.csv"
    path.write_bytes(text.getvalue().encode())

    parts = list(RecipientFile(path, Format.CSV).parts(part_bytes=part_bytes))

    read_again = []
    for part in parts:
        header, *records = csv.reader(io.StringIO(part.body.decode(), newline=""))
        assert header == ["email", "some\nnote"]
        read_again += records
    assert read_again == rows
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))


@given(notes=st.lists(_CELLS, min_size=1, max_size=12), part_bytes=st.integers(1, 60))
def test_the_api_reads_parts_on_the_lines_of_the_file(folder, notes, part_bytes):
    """A line of a part plus its offset is the line of the file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["email", "note"], *(["a@b.example", note] for note in notes)])
    path = folder / "lines.csv"
    path.write_bytes(text.getvalue().encode())

    found = [
        line + part.line_offset
        for part in RecipientFile(path, Format.CSV).parts(part_bytes=part_bytes)
        for line in _lines(part.body)
    ]

    assert found == _lines(path.read_bytes())


def _lines(body):
    blocks = read([body], upload_format=Format.CSV, channel=Channel.EMAIL)
    return [line for block in blocks for line in block.lines]


@given(
    lines=st.lists(
        st.sampled_from([b'{"to":"a"}\n', b"\n", b'{"to":"\\"b"}\r\n']), min_size=1
    ).filter(lambda lines: any(not line.isspace() for line in lines)),
    part_bytes=st.integers(1, 40),
)
def test_ndjson_is_cut_between_lines(folder, lines, part_bytes):
    """No line is lost or cut, and each part tells how many came before it."""
    path = folder / "all.ndjson"
    path.write_bytes(b"".join(lines))

    parts = list(RecipientFile(path, Format.NDJSON).parts(part_bytes=part_bytes))

    whole = path.read_bytes()
    joined = b"".join(part.body for part in parts)
    assert whole.startswith(joined)
    assert whole[len(joined) :].isspace() or whole == joined
    for part in parts:
        before = b"".join(whole.splitlines(keepends=True)[: part.line_offset])
        assert whole[len(before) :].startswith(part.body)


def test_a_row_with_letters_after_its_quote_ends_with_its_line(tmp_path):
    """What the API reports as one invalid row does not swallow the next."""
    path = tmp_path / "odd.csv"
    path.write_bytes(b'email,note\n"a"b,"c\nd@e.example,f\n')

    parts = list(RecipientFile(path, Format.CSV).parts(part_bytes=1))

    assert [part.line_offset for part in parts] == [0, 1]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", b"x", "neither .csv nor .ndjson"),
        ("a.csv", b"", "holds no recipient"),
        ("a.csv", b"email,name\n\n \n", "holds no recipient"),
        ("a.ndjson", b"\n\n", "holds no recipient"),
        ("a.csv", b"email\na@b.example\n\xff@b.example\n", "Line 3 of"),
        ("a.csv", b"name\nAda\n", "No column holds the address"),
        ("a.csv", b"email\na@b.example\n" + b"x" * 2_000_000, "begins at line 3"),
        ("a.csv", b'email\n"' + b"x\n" * 1_000_000, "begins at line 2"),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_sent(
    tmp_path, name, content, sentence
):
    """The sentence names the file or the line."""
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(InvalidInputError, match=sentence):
        RecipientFile.at(path)
