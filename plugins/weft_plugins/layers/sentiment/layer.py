"""The sentiment layer: tone of news and posts about a coin, and measures of mood and attention."""

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from weft.components.base import ComponentConfig, Local
from weft.components.layer import Layer, Scores
from weft.components.needs import MetricNeed, Need, metric, news
from weft.domain.instruments import Instrument, Kind
from weft.foundation.arrays import FloatPanel
from weft.foundation.times import HOUR, parse_time
from weft.market.news import News
from weft.market.view import View
from weft.text.tagging import Tags
from weft_plugins.layers.sentiment.text.lexicon_words import KNOWLEDGE_CUTOFF
from weft_plugins.layers.sentiment.text.reading import Reader
from weft_plugins.layers.sentiment.text.social import MEASURED, METRICS, OF_POSTS, SAMPLES, parts
from weft_plugins.layers.sentiment.text.stories import (
    REPEATS,
    Columns,
    ParsedTexts,
    Rules,
    StorySums,
    add_up,
)
from weft_plugins.layers.sentiment.text.tone_reader import ToneReader

PARTS: Final = ("texts", *METRICS)
"""Parts of the score; the option of the same name is the part's weight."""

_ABOUT_NOTHING: Final = Tags({}, is_market=False)


class Sentiment(Layer):
    """Scores a coin by the news about it, and by measures of mood and attention.

    A text counts from when it was first seen until an edited version replaces it. FinBERT (Araci
    2019) gives its tone, or a lexicon where FinBERT's weights are missing and `on_missing` allows
    it. A text is weighted by the credibility of its source, and its weight halves every
    `half_life_hours`. A story in several texts counts once, with the credibility of its most
    credible text so far. A feed counts no more than `feed_cap` fresh stories. News of the market
    counts for every coin, with a smaller share. The texts' part is their mean tone, shrunk towards
    0 where they are few and old.

    The other parts are metrics (see `weft_plugins.layers.sentiment.text.social`). The score is the
    weighted mean of the known parts, times 100; a negative weight inverts a part. The confidence is
    the known share of the weight: missing metrics, few texts and many spam posts lower it. Where
    nothing is known there is no opinion.

    The evidence holds the points of each part, which add up to the score, the metrics as they came
    (``..._value``), and of the texts: `tone`, `stories`, `tellers`, `feeds`, `age_hours`, whether
    FinBERT read them (`finbert`), and the share of their weight that was published after the
    reader's knowledge cutoff (`after_cutoff`). The reader may have learnt from earlier texts: over
    history, judge this layer by the rows where that share is 1.
    """

    name = "sentiment"

    class Config(ComponentConfig):
        """Options. Only the ratios of the weights matter."""

        texts: float = Field(default=0.40, ge=-1, le=1, description="weight of news and posts")
        social_sentiment: float = Field(default=0.15, ge=-1, le=1, description="weight of that")
        news_sentiment: float = Field(default=0.10, ge=-1, le=1, description="weight of that")
        galaxy_score: float = Field(default=0.08, ge=-1, le=1, description="weight of that")
        fear_greed: float = Field(
            default=0.10, ge=-1, le=1, description="weight; above 0 against the crowd at extremes"
        )
        social_volume: float = Field(default=0.05, ge=-1, le=1, description="weight of a surge")
        social_dominance: float = Field(default=0.05, ge=-1, le=1, description="weight of a surge")
        alt_rank: float = Field(default=0.07, ge=-1, le=1, description="weight of a better rank")
        history_rows: int = Field(
            default=720, ge=SAMPLES, description="rows of history for volume and ranks"
        )

        model: str | None = Field(
            default="ProsusAI/finbert",
            description="name on the Hugging Face hub, or folder; null for the lexicon",
        )
        revision: str = Field(default="main", description="branch, tag or commit of the model")
        knowledge_cutoff: date = Field(
            default=date(2019, 8, 27), description="day after which the model has read nothing"
        )
        on_missing: Literal["lexicon", "fail"] = Field(
            default="lexicon", description="what to do where the model's weights are not here"
        )
        may_download: bool = Field(default=False, description="whether weights may be fetched")
        longest_tokens: int = Field(
            default=128, ge=16, le=512, description="tokens read of each text"
        )
        cache: Annotated[Path | None, Local()] = Field(
            default=None, description="folder in which tones of texts are kept; null for memory"
        )
        longest_text: int = Field(
            default=600, ge=50, le=10_000, description="characters read of a title and a summary"
        )

        half_life_hours: float = Field(default=12.0, gt=0, description="after which news halve")
        horizon_hours: float = Field(default=72.0, gt=0, le=720, description="oldest news")
        same_story: float = Field(
            default=0.6, gt=0.3, le=1, description="share of a title's words that makes it a copy"
        )
        same_story_hours: float = Field(
            default=24.0, gt=0, le=168, description="furthest apart that copies are"
        )
        feed_cap: float = Field(
            default=3.0, gt=0, description="most that one feed counts, in fresh stories"
        )
        few_stories: float = Field(
            default=1.0, gt=0, description="fresh stories at which texts have half their weight"
        )
        market_share: float = Field(
            default=0.25, ge=0, le=1, description="share of market-wide news in each coin's"
        )
        names: Mapping[str, str] = Field(
            default_factory=dict, description="further names of assets: {maker: MKR}"
        )

        @model_validator(mode="after")
        def _some_weight(self) -> Self:
            if not any(getattr(self, part) for part in PARTS):
                raise ValueError(f"one of {', '.join(PARTS)} must be other than 0")
            return self

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._reader = Reader(self.config.longest_text, self.config.names)
        self._tone_reader = ToneReader(
            self.config.model,
            revision=self.config.revision,
            may_fail=self.config.on_missing == "lexicon",
            may_download=self.config.may_download,
            longest_tokens=self.config.longest_tokens,
            folder=self.config.cache,
        )
        # A call that overran its deadline may still run beside the next one.
        self._lock = threading.Lock()

    @property
    def needs(self) -> Sequence[Need]:
        """The texts, and every metric that has a weight."""
        wanted = [self._need(name) for name in METRICS if getattr(self.config, name)]
        if any(need.name in OF_POSTS for need in wanted):
            wanted.append(metric("spam_share"))
        reach = self.config.horizon_hours + REPEATS * self.config.same_story_hours
        return [*wanted, *([news(days=reach / 24.0)] if self.config.texts else [])]

    def _need(self, name: str) -> MetricNeed:
        return metric(name, warmup=self._spacing * SAMPLES if name in MEASURED else 0)

    @property
    def _spacing(self) -> int:
        return max(1, self.config.history_rows // SAMPLES)

    def score(self, view: View) -> Scores:
        """Return the weighted mean of the parts that are known.

        Raises:
            ComponentError: the model's weights are not here, or are no model of sentiment, and
                `on_missing` is ``fail``.
            MissingDependencyError: likewise, where a package is missing.
        """
        names = {need.name for need in self.needs if isinstance(need, MetricNeed)}
        values = {name: view.metric(name).values for name in sorted(names)}
        spam = values.pop("spam_share", np.full((view.steps, len(view.symbols)), np.nan))
        spam = spam[-view.steps :]
        opinions = parts(values, view.steps, self._spacing)
        honest = 1.0 - np.clip(np.nan_to_num(spam), 0.0, 1.0)
        trusts = {name: honest if name in OF_POSTS else np.ones_like(honest) for name in opinions}
        evidence = {f"{name}_value": values[name][-view.steps :] for name in opinions}
        if self.config.texts:
            sums = self._texts(view)
            trusts["texts"] = sums.weight / (sums.weight + self.config.few_stories)
            opinions["texts"] = sums.tone * trusts["texts"]
            evidence |= self._of_texts(sums)
        return self._fuse(view, opinions, trusts, {**evidence, "spam_share": spam})

    def _fuse(
        self,
        view: View,
        opinions: Mapping[str, FloatPanel],
        trusts: Mapping[str, FloatPanel],
        evidence: Mapping[str, FloatPanel],
    ) -> Scores:
        weights = {name: float(getattr(self.config, name)) for name in PARTS}
        shape = (view.steps, len(view.symbols))
        known = {name: ~np.isnan(panel) for name, panel in opinions.items()}
        known_weights = {
            name: abs(weights[name]) * np.where(known[name], trusts[name], 0.0) for name in opinions
        }
        total = sum(known_weights.values(), np.zeros(shape))
        is_known = total > 0.0
        points = {
            name: np.divide(
                100.0 * np.sign(weights[name]) * known_weights[name] * np.nan_to_num(panel),
                total,
                out=np.full(shape, np.nan),
                where=is_known & known[name],
            )
            for name, panel in opinions.items()
        }
        score = sum((np.nan_to_num(panel) for panel in points.values()), np.zeros(shape))
        all_weights = sum(map(abs, weights.values()))
        return view.scores(
            # Rounding may carry a sum of points slightly beyond the range of a score.
            np.where(is_known, np.clip(score, -100.0, 100.0), np.nan),
            confidence=np.clip(total / all_weights, 0.0, 1.0),
            evidence={**points, **evidence},
        )

    def _texts(self, view: View) -> StorySums:
        config = self.config
        rules = Rules(
            alike=config.same_story,
            window=round(config.same_story_hours * HOUR),
            horizon=round(config.horizon_hours * HOUR),
            half_life=config.half_life_hours * HOUR,
            feed_cap=config.feed_cap,
            market=config.market_share,
        )
        with self._lock:
            parsed = self._parsed(view.news(), view.instruments)
        return add_up(parsed, _columns(view.instruments), rules, view.times, view.decided)

    def _parsed(self, texts: News, instruments: Sequence[Instrument]) -> ParsedTexts:
        stocks = {i.base for i in instruments if i.kind is Kind.EQUITY}
        self._reader.look_for({i.base for i in instruments} - stocks, stocks)
        reads = [
            self._reader.read(*text) for text in zip(texts.titles, texts.summaries, strict=True)
        ]
        texts_read = zip(reads, texts.titles, texts.summaries, texts.assets, strict=True)
        tags = [
            self._reader.tags(title, summary, marks) if read.is_readable else _ABOUT_NOTHING
            for read, title, summary, marks in texts_read
        ]
        about = [bool(tag.assets) or tag.is_market for tag in tags]
        tones = self._tone_reader.tones(reads, about)
        late = texts.event_time >= self._cutoff
        return ParsedTexts(texts, reads, tags, tones, late)

    @property
    def _cutoff(self) -> int:
        """Instant from which on the reader has learnt from no text, microseconds since 1970."""
        if self._tone_reader.is_finbert:
            day = datetime.combine(self.config.knowledge_cutoff, datetime.min.time(), UTC)
            return parse_time(day.isoformat()) + 24 * HOUR
        return parse_time(f"{KNOWLEDGE_CUTOFF}T00:00:00Z")

    def _of_texts(self, sums: StorySums) -> dict[str, FloatPanel]:
        finbert = np.full_like(sums.weight, float(self._tone_reader.is_finbert))
        return {
            "tone": sums.tone,
            "stories": sums.stories,
            "tellers": sums.tellers,
            "feeds": sums.feeds,
            "age_hours": sums.age_hours,
            "after_cutoff": sums.after_cutoff,
            "finbert": finbert,
        }


def _columns(instruments: Sequence[Instrument]) -> Columns:
    of_asset = dict[str, list[int]]()
    for column, instrument in enumerate(instruments):
        of_asset.setdefault(instrument.base.upper(), []).append(column)
    coins = [i.kind not in {Kind.EQUITY, Kind.INDEX, Kind.UNKNOWN} for i in instruments]
    return Columns(of_asset, np.array(coins, dtype=np.bool_))
