"""Names from files, as they are printed."""

import pytest

import rational_icl as ri
from rational_icl._errors import shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("D4-s0", "D4-s0"),
        ("größe 日本", "größe 日本"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x00\x7f\x9b", r"\x00\x7f\x9b"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        ("line\u2028end\u200b", r"line\u2028end\u200b"),
        ("\udcff", r"\udcff"),  # a file name that is not UTF-8
        (12, "12"),
    ],
)
def test_what_would_move_the_cursor_is_escaped(name: object, expected: str):
    assert shown(name) == expected
    assert shown(expected) == expected
    expected.encode()


def test_long_names_are_cut():
    assert shown("a" * 1000) == "a" * 1000
    assert shown("\n" * 600) == r"\n" * 499 + "\\…"
    assert len(shown("a" * 10_000)) == 1000


@pytest.mark.parametrize("address", ["s3://bucket/log", "hf://datasets/me/log", "gs:/bucket/c.nc"])
def test_an_address_is_told_to_be_copied_first(address, tmp_path):
    for read in (ri.open_log, ri.summarize, ri.inspect_log, ri.load_cells):
        with pytest.raises(ri.LogError, match=r"is an address .* copy it here first"):
            read(address)
    with pytest.raises(ri.LogError, match=r"is an address .* copy it here first"):
        ri.import_runs([address], tmp_path / "log")
    with pytest.raises(ri.LogError, match="no such file or folder; check the path"):
        ri.open_log("somewhere/else")
