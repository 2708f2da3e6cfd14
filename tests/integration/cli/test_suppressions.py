"""`suppressions`: a tenant's list by the API, everybody's by the database."""

import json

import pytest
from sqlalchemy import text

from cli.neighbours import opened_database


@pytest.fixture(params=["own", "global"])
def lists(request, shell):
    """Run a subcommand on a list, which is empty at the end."""
    which = ("--global",) if request.param == "global" else ()

    def run(command, *arguments):
        return shell.run("suppressions", command, *arguments, *which)

    yield run
    with opened_database(shell.data_dir) as database, database.statement() as all_lists:
        all_lists.execute(text("delete from suppressions"))


def addresses(lists):
    lines = lists("list", "--json")[1].splitlines()
    return [json.loads(line)["address"] for line in lines]


def test_addresses_come_onto_a_list_and_off_it(lists):
    """However they are spelled; a second time there is nothing to take off."""
    code, out, err = lists("add", "Ada@Example.com", "bob@example.com", "--reason", "x")
    assert (code, out) == (0, "2 added, 0 on the list before, 0 invalid.\n"), err
    assert addresses(lists) == ["ada@example.com", "bob@example.com"]

    assert lists("remove", "ADA@example.com") == (0, "1 off the list.\n", "")
    code, _, err = lists("remove", "ada@example.com")

    assert (code, "not on this list" in err) == (1, True)
    assert addresses(lists) == ["bob@example.com"]
    assert "bob@example.com" in lists("list")[1]


def test_a_file_is_imported_and_its_bad_rows_named(lists, shell):
    """By line of the file; the same file again changes nothing."""
    rows = "email,reason\nada@example.com,asked\nbroken,\nBob@example.com,\n"
    file = shell.file("stop.csv", rows)

    code, out, err = lists("import", file, "--json")

    done = json.loads(out)
    assert (code, done["added"], done["invalid"]) == (0, 2, 1), err
    assert [error["line"] for error in done["errors"]] == [3]
    _, out, err = lists("import", file)
    assert out == "0 added, 2 on the list before, 1 invalid.\n"
    assert "not a mail address" in err


def test_a_list_of_more_than_a_page_is_shown_whole(lists, shell):
    rows = "".join(f"a{n:04}@example.com\n" for n in range(1001))

    lists("import", shell.file("many.csv", f"email\n{rows}"))

    assert len(addresses(lists)) == 1001
