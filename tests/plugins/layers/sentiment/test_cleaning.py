"""Texts made plain: what hides in them comes out, and none takes long."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weft_plugins.layers.sentiment.text.cleaning import is_readable, plain, words


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Bit\u200bcoin \u2060rises", "Bitcoin rises"),
        ("\uff22\uff34\uff23 \ufb01nally", "BTC finally"),
        ("\u202eBitcoin\u202c", "Bitcoin"),
        ("<p>Bitcoin <b>rises</b></p>", "Bitcoin rises"),
        ("Bitcoin &amp; Ether", "Bitcoin & Ether"),
        ("&lt;b&gt;Bitcoin&lt;/b&gt;", "Bitcoin"),
        ("<script>alert('scam')</script>Bitcoin", "Bitcoin"),
        ("It\u2019s\n\tup", "It's up"),
        ("5 < 6", "5 < 6"),
        ("🚀 Bitcoin 🚀", "🚀 Bitcoin 🚀"),
    ],
)
def test_plain(raw: str, expected: str) -> None:
    assert plain(raw, 100) == expected


@given(st.text(), st.integers(1, 50))
@example("000\r0", 4)
def test_plain_is_short_and_settled(text: str, longest: int) -> None:
    once = plain(text, longest)
    assert len(once) <= longest
    assert once == once.strip()


@pytest.mark.parametrize("unit", ["a", "<", "<script>", "&lt;", "\u200b", "ﷺ", "<a ", "</script "])
def test_a_megabyte_costs_no_more_than_a_page(unit: str) -> None:
    raw = unit * (1_000_000 // len(unit))
    made = plain(raw, 600)
    assert len(made) <= 600
    assert made == plain(raw[: 4 * 600], 600)


def test_words_keep_signs_and_apostrophes() -> None:
    assert words("$BTC isn't all-time (high)!") == ["$BTC", "isn't", "all-time", "high"]


@pytest.mark.parametrize(
    ("text", "known", "readable"),
    [
        ("Bitcoin rises", 1, True),
        ("比特币价格上涨至历史新高", 0, False),
        ("Биткоин растет до нового максимума сегодня", 0, False),
        ("Der Kurs steigt heute wieder stark gegen alle Erwartungen", 0, False),
        ("🚀🚀🚀", 0, False),
        ("Solana Breakpoint", 0, True),
    ],
)
def test_what_is_no_english_is_not_read(text: str, known: int, readable: bool) -> None:
    assert is_readable(text, known) == readable
