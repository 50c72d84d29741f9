"""Tables: whole in a pipe, fitted to a terminal, and nothing in their cells is taken for markup."""

from __future__ import annotations

import pytest
from mindloom.tables import table


def test_a_table_fits_a_terminal_and_is_never_cut_in_a_pipe() -> None:
    rows = [("name", 7, "[bold]word[/bold] :smile: " * 40), ("a_longer_name", 1234, "ü")]
    whole = table(["plugin", "size", "text"], rows, right={"size"}).splitlines()
    assert len(whole) == 4
    assert whole[2].endswith(rows[0][2].rstrip())
    assert (whole[2].index("7"), whole[3].index("4")) == (18, 18)
    narrow = table(["plugin", "size", "text"], rows, right={"size"}, width=40)
    assert max(map(len, narrow.splitlines())) <= 40
    assert narrow.count("[bold]word") == 40
    assert "a_longer_name" in narrow
    assert narrow.splitlines()[1].strip("- ") == ""


def test_only_the_last_column_is_wrapped_where_that_leaves_it_room() -> None:
    rows = [("plugin", "configs/a_long_path.yaml", "words " * 20)]
    assert "configs/a_long_path.yaml" in table(["a", "b", "c"], rows, width=52)
    assert "configs/a_long_path.yaml" not in table(["a", "b", "c"], rows, width=30)


@pytest.mark.parametrize("columns", [["one"], ["one", "two"]])
def test_a_table_without_rows_is_its_header(columns: list[str]) -> None:
    header, rule = table(columns, []).splitlines()
    assert header.split() == columns
    assert set(rule) <= {"-", " "}
