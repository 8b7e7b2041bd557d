"""Stories: counted once, weighed as a plain loop over rows, texts and feeds weighs them."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.foundation.times import HOUR
from weft.market.news import News
from weft_plugins.layers.sentiment.text.reading import Reader
from weft_plugins.layers.sentiment.text.stories import (
    REPEATS,
    Columns,
    ParsedTexts,
    Rules,
    StorySums,
    add_up,
)

ASSETS = ("BTC", "SOL", "AAPL")
COLUMNS = Columns({a: [c] for c, a in enumerate(ASSETS)}, np.array([True, True, False]))
RULES = Rules(0.6, 6 * HOUR, 24 * HOUR, 8.0 * HOUR, 2.5, 0.25)
READER = Reader(400, {})
READER.look_for({"BTC", "SOL"}, {"AAPL"})


@dataclass(frozen=True)
class Text:
    title: str
    known: float
    published: float | None = None
    trust: float = 0.5
    feed: str = "a"
    id: str = field(default="")


def told(*texts: Text) -> ParsedTexts:
    ordered = sorted(enumerate(texts), key=lambda t: (t[1].known, t[1].id or str(t[0])))
    known = np.array([round(t.known * HOUR) for _, t in ordered], dtype=np.int64)
    event = [t.known if t.published is None else t.published for _, t in ordered]
    blank = ("",) * len(texts)
    news = News(
        known_at=known,
        event_time=np.array([round(e * HOUR) for e in event], dtype=np.int64),
        sources=("rss",) * len(texts),
        ids=tuple(t.id or str(n) for n, t in ordered),
        titles=tuple(t.title for _, t in ordered),
        summaries=blank,
        feeds=tuple(t.feed for _, t in ordered),
        urls=blank,
        assets=((),) * len(texts),
        credibility=np.array([t.trust for _, t in ordered]),
    )
    return told_of(news)


def told_of(news: News) -> ParsedTexts:
    reads = [READER.read(title, "") for title in news.titles]
    tags = [READER.tags(title, "", ()) for title in news.titles]
    late = news.event_time >= 30 * HOUR
    return ParsedTexts(news, reads, tags, [read.tone for read in reads], late)


def sums(texts: ParsedTexts, *hours: float, rules: Rules = RULES, delay: int = 0) -> StorySums:
    rows = np.array([round(hour * HOUR) for hour in hours], dtype=np.int64)
    return add_up(texts, COLUMNS, rules, rows, rows + delay)


RISES = "Bitcoin surges after spot fund approval in Canada"
AGAIN = "Bitcoin surges after approval of spot fund in Canada, analysts say"


def test_a_story_told_by_several_counts_once_and_by_its_best_teller() -> None:
    texts = told(
        Text(RISES, 1, trust=0.4, feed="a"),
        Text(AGAIN, 2, trust=0.9, feed="b"),
        Text(RISES, 3, trust=0.2, feed="c"),
    )
    found = sums(texts, 1, 2, 3, 4)
    assert found.stories[:, 0].tolist() == [1, 1, 1, 1]
    assert found.tellers[:, 0].tolist() == [1, 2, 3, 3]
    half = 0.5 ** (np.arange(4) / 8)
    np.testing.assert_allclose(found.weight[:, 0], np.array([0.4, 0.9, 0.9, 0.9]) * half)
    assert found.feeds[3, 0] == 1


@pytest.mark.parametrize(
    ("first", "second", "stories"),
    [
        (RISES, AGAIN, 1),
        ("SEC approves spot Solana fund of Acme", "SEC rejects spot Solana fund of Acme", 2),
        ("Bitcoin rises above $60,000 in New York", "Bitcoin rises above $70,000 in New York", 2),
        ("Bitcoin rises above $60,000 in New York", "Bitcoin rises above 60000 in New York", 1),
        ("Solana chain was hacked on Monday", "Solana chain was not hacked on Monday", 2),
        ("Bitcoin surges", "Bitcoin surges today", 2),
        ("Bitcoin surges", "bitcoin SURGES!", 1),
        (RISES, "Bitcoin falls as miners sell their reserves", 2),
    ],
)
def test_what_is_the_same_story(first: str, second: str, stories: int) -> None:
    found = sums(told(Text(first, 1), Text(second, 2, feed="b")), 3)
    assert found.stories[0, :2].max() == stories


def test_stories_far_apart_are_two() -> None:
    assert sums(told(Text(RISES, 1), Text(AGAIN, 6.9)), 8).stories[0, 0] == 1
    assert sums(told(Text(RISES, 1), Text(AGAIN, 7.1)), 8).stories[0, 0] == 2


def test_a_copy_of_a_copy_adds_nothing_and_one_of_an_original_does() -> None:
    chain = [Text(RISES, 1), Text(AGAIN, 6, feed="b"), Text(AGAIN, 11, feed="c", trust=1.0)]
    found = sums(told(*chain), 12)
    assert found.stories[0, 0] == 1
    assert found.tellers[0, 0] == 2
    np.testing.assert_allclose(found.weight[0, 0], 0.5 * 0.5 ** (11 / 8))


def test_a_copy_never_changes_an_earlier_row() -> None:
    alone = sums(told(Text(RISES, 1)), 1, 2, 3)
    copied = sums(told(Text(RISES, 1), Text(AGAIN, 3, published=0.5, trust=1.0)), 1, 2, 3)
    np.testing.assert_array_equal(alone.weight[:2], copied.weight[:2])
    assert copied.weight[2, 0] > alone.weight[2, 0]


def test_an_edited_text_replaces_the_earlier_version_from_then_on() -> None:
    texts = told(
        Text("Solana chain was hacked on Monday", 1, id="x"),
        Text("Solana chain surges on Monday", 5, published=1, id="x"),
    )
    found = sums(texts, 4, 5)
    assert found.stories[:, 1].tolist() == [1, 1]
    assert found.tone[0, 1] < 0 < found.tone[1, 1]


def test_an_edit_keeps_its_story_though_others_copied_it_meanwhile() -> None:
    texts = told(
        Text(RISES, 1, id="x", trust=0.3),
        Text(RISES, 2, id="y", feed="b", trust=0.8),
        Text(AGAIN, 3, published=1, id="x", trust=0.3),
    )
    found = sums(texts, 1, 2, 3)
    assert found.stories[:, 0].tolist() == [1, 1, 1]
    np.testing.assert_allclose(found.weight[2, 0], 0.8 * 0.5 ** (2 / 8))


def test_one_feed_counts_no_more_than_its_cap() -> None:
    subjects = (
        "mines",
        "banks",
        "farms",
        "ports",
        "mills",
        "roads",
        "dams",
        "towns",
        "parks",
        "men",
    )
    flood = [Text(f"Bitcoin surges for {s} and {s}ers", 1, feed="x", trust=1.0) for s in subjects]
    other = Text("Bitcoin exchange hacked by thieves abroad", 1, feed="y", trust=1.0)
    found = sums(told(*flood, other), 1)
    assert found.stories[0, 0] == 11
    np.testing.assert_allclose(found.weight[0, 0], RULES.feed_cap + 1.0)
    more = sums(told(*flood, *flood, other), 1)
    assert more.tone[0, 0] == pytest.approx(found.tone[0, 0])


def test_market_news_counts_for_every_coin_and_for_no_stock() -> None:
    found = sums(told(Text("Crypto market surges", 1, trust=1.0)), 1)
    np.testing.assert_allclose(found.weight[0], [0.25, 0.25, 0.0])
    named = sums(told(Text("Bitcoin leads as crypto market surges", 1, trust=1.0)), 1)
    np.testing.assert_allclose(named.weight[0], [1.0, 0.25, 0.0])
    assert np.isnan(named.tone[0, 2])


def test_it_counts_when_it_was_seen_and_ages_from_when_it_was_published() -> None:
    found = sums(told(Text(RISES, 10, published=2, trust=1.0)), 9, 10, 26, 26.5)
    assert found.stories[:, 0].tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(found.age_hours[1, 0], 8)
    np.testing.assert_allclose(found.weight[1, 0], 0.5)
    # A date that lies ahead is taken for when it was seen.
    ahead = sums(told(Text(RISES, 10, published=99, trust=1.0)), 10)
    assert ahead.age_hours[0, 0] == 0
    late = sums(told(Text(RISES, 10 + 1 / 60, trust=1.0)), 10, delay=HOUR // 60)
    assert late.stories[0, 0] == 1


def test_share_published_after_the_reader_was_made() -> None:
    texts = told(
        Text(RISES, 29, trust=1.0), Text("Bitcoin exchange hacked by thieves", 31, trust=1.0)
    )
    found = sums(texts, 29, 31)
    fresh, old = 1.0, 0.5 ** (2 / 8)
    np.testing.assert_allclose(found.after_cutoff[:, 0], [0.0, fresh / (fresh + old)])


TITLES = (
    RISES, AGAIN, "Bitcoin exchange hacked by thieves abroad", "Crypto market surges on rate cut",
    "Solana chain was hacked on Monday", "Solana chain was not hacked on Monday",
    "AAPL beats estimates", "Weather is fine", "Bitcoin surges for 5 days in Canada",
    "Bitcoin surges for 6 days in Canada",
)  # fmt: skip

texts_of = st.lists(
    st.builds(
        Text,
        title=st.sampled_from(TITLES),
        known=st.integers(0, 60).map(lambda q: q / 2),
        published=st.one_of(st.none(), st.integers(-20, 62).map(lambda q: q / 2)),
        trust=st.sampled_from([0.2, 0.5, 1.0]),
        feed=st.sampled_from("abc"),
        id=st.sampled_from(["", "", "u", "v", "w"]),
    ),
    max_size=25,
)


def jaccard_same(a: str, b: str) -> bool:
    """Whether two titles tell one story, by sets."""
    one, two = READER.read(a, ""), READER.read(b, "")
    x, y = set(one.tokens.tolist()), set(two.tokens.tolist())
    f, g = set(one.figures.tolist()), set(two.figures.tolist())
    if not x or not y or one.mood * two.mood < 0 or not (f <= g or g <= f):
        return False
    return x == y or (min(len(x), len(y)) >= 4 and len(x & y) / len(x | y) >= 0.6)


def plain_sums(texts: ParsedTexts, hour: float) -> np.ndarray:
    """Weight, tone and tellers of one row (3, column), by the words of the contract."""
    n, row = texts.news, round(hour * HOUR)
    event = np.minimum(n.event_time, n.known_at)
    count, window = len(n), RULES.window
    titles = n.titles
    told_first = list(range(count))
    for i in range(count):
        own = [
            j for j in range(i)
            if n.ids[j] == n.ids[i] and event[j] >= event[i] - window
            and jaccard_same(titles[i], titles[j])
        ]  # fmt: skip
        told_first[i] = min(own, default=i)
    story = list[int]()
    for i in range(count):
        before = [
            j for j in range(i)
            if n.ids[j] != n.ids[i] and told_first[j] < told_first[i]
            and abs(event[j] - event[i]) <= window and jaccard_same(titles[i], titles[j])
        ]  # fmt: skip
        roots = [told_first[j] for j in before if story[j] == told_first[j]]
        story.append(told_first[i] if not before else min(roots, default=-1))
    out, by_feed = np.zeros((3, 3)), dict[tuple[int, str], list[float]]()
    for i in range(count):
        replaced = any(
            n.ids[j] == n.ids[i] and n.known_at[j] <= row and event[j] >= event[i] - window
            for j in range(i + 1, count)
        )
        unseen = n.known_at[i] > row or event[i] < row - RULES.horizon
        if replaced or unseen or story[i] != told_first[i]:
            continue
        tellers = [
            k for k in range(count)
            if story[k] == story[i] and story[k] != told_first[k] and n.known_at[k] <= row
        ]  # fmt: skip
        trust = max(n.credibility[k] for k in [i, *tellers])
        weight = trust * 0.5 ** ((row - event[i]) / RULES.half_life)
        for column, asset in enumerate(ASSETS):
            share = texts.tags[i].assets.get(asset, 0.0)
            if not share and texts.tags[i].is_market and asset != "AAPL":
                share = RULES.market
            if share:
                total = by_feed.setdefault((column, n.feeds[i]), [0.0, 0.0])
                total[0] += weight * share
                total[1] += weight * share * texts.tones[i]
                out[2, column] += 1 + sum(told_first[k] == k for k in tellers)
    for (column, _), (weight, tone) in by_feed.items():
        out[0, column] += min(weight, RULES.feed_cap)
        out[1, column] += tone * min(weight, RULES.feed_cap) / weight
    return out


@settings(max_examples=150, deadline=None)
@given(texts_of, st.lists(st.integers(-2, 80).map(lambda q: q / 2), min_size=1, max_size=4))
def test_sums_are_those_of_a_plain_loop(texts: list[Text], hours: list[float]) -> None:
    known = told(*texts)
    found = sums(known, *hours)
    for row, hour in enumerate(hours):
        weight, tone, tellers = plain_sums(known, hour)
        np.testing.assert_allclose(found.weight[row], weight, rtol=1e-12)
        np.testing.assert_allclose(np.nan_to_num(found.tone[row]) * weight, tone, atol=1e-12)
        np.testing.assert_array_equal(found.tellers[row], tellers)


@settings(max_examples=150, deadline=None)
@given(texts_of, st.integers(0, 80).map(lambda q: q / 2))
def test_a_row_alone_is_the_same_bits_from_fewer_texts(texts: list[Text], hour: float) -> None:
    """Texts known later, or published before what a row reaches back to, change no bit of it."""
    known = told(*texts)
    row = round(hour * HOUR)
    reach = RULES.horizon + REPEATS * RULES.window
    cut = told_of(known.news.between(row - reach, row))
    whole = sums(known, hour - 1, hour, hour + 5)
    alone = sums(cut, hour)
    for name in StorySums._fields:
        np.testing.assert_array_equal(getattr(alone, name)[0], getattr(whole, name)[1], name)
