"""Who reads the texts: FinBERT, or the lexicon where its weights are not here."""

import logging
from collections.abc import Sequence
from pathlib import Path

from weft_plugins.layers.sentiment.text.finbert import FinBert
from weft_plugins.layers.sentiment.text.reading import Read
from weft_plugins.layers.sentiment.text.tone_cache import ToneCache

_log = logging.getLogger(__name__)


class ToneReader:
    """Gives the tone of texts. Who reads is settled at the first text, and stays so.

    Args:
        model: of FinBERT's kind; None for the lexicon.
        revision: of the model.
        may_fail: whether the lexicon reads where the model's weights are not here.
        may_download: whether they may be fetched.
        longest_tokens: read of each text.
        folder: where tones are kept; None for memory alone.
    """

    def __init__(
        self,
        model: str | None,
        *,
        revision: str = "main",
        may_fail: bool = True,
        may_download: bool = False,
        longest_tokens: int = 128,
        folder: Path | None = None,
    ) -> None:
        self._finbert = model and FinBert(
            model,
            revision=revision,
            may_download=may_download,
            longest_tokens=longest_tokens,
        )
        self._may_fail = may_fail
        self._folder = folder
        self._tones: ToneCache | None = None
        self._settled = False

    @property
    def is_finbert(self) -> bool:
        """Whether FinBERT reads."""
        self._settle()
        return self._tones is not None

    def tones(self, reads: Sequence[Read], wanted: Sequence[bool]) -> list[float]:
        """Return the tone of each text that is wanted, -1 to +1, and 0 for the others.

        Raises:
            ComponentError: the model's weights cannot be loaded, and must not be missing.
            MissingDependencyError: likewise, where a package is not installed.
            StorageError: the folder of the tones cannot be used.
        """
        self._settle()
        if self._tones is None:
            return [
                read.tone if is_wanted else 0.0
                for read, is_wanted in zip(reads, wanted, strict=True)
            ]
        asked = [place for place, is_wanted in enumerate(wanted) if is_wanted]
        found = [0.0] * len(reads)
        told = self._tones.of([reads[place].text for place in asked])
        for place, tone in zip(asked, told, strict=True):
            found[place] = tone
        return found

    def _settle(self) -> None:
        if self._settled:
            return
        finbert = self._finbert
        if finbert and self._may_fail and not finbert.is_here:
            _log.info("the weights of %s are not here: the lexicon reads", finbert.model)
        elif finbert:
            self._tones = ToneCache(finbert.identity, finbert.read, self._folder)
        self._settled = True
