"""Tone of texts by FinBERT, a language model for finance, through transformers."""

import math
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from weft.foundation.dependencies import require
from weft.foundation.errors import ComponentError

DECIMALS: Final = 3
"""Decimals of a tone: between processors a tone may differ in the seventh."""

_SIGNS: Final = {"positive": 1.0, "bullish": 1.0, "negative": -1.0, "bearish": -1.0, "neutral": 0.0}


class FinBert:
    """Classifies texts as positive, negative or neutral.

    The tone of a text is the chance of positive less that of negative (Araci 2019, "FinBERT:
    Financial Sentiment Analysis with Pre-trained Language Models", arXiv:1908.10063), rounded to
    three decimals.

    Args:
        model: a name on the Hugging Face hub, or a folder.
        revision: of the model on the hub: a branch, tag or commit.
        may_download: whether weights that are not on this machine may be fetched.
        longest_tokens: tokens of a text that are read; the rest is cut off.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str = "main",
        may_download: bool = False,
        longest_tokens: int = 128,
    ) -> None:
        self.model = model
        self._revision = revision
        self._may_download = may_download
        self._longest_tokens = longest_tokens
        self._lock = threading.Lock()
        self._ready: tuple[Any, Any, Any] | None = None

    @property
    def is_here(self) -> bool:
        """Whether the packages are installed, and the weights on disk or allowed to be fetched."""
        if find_spec("transformers") is None or find_spec("torch") is None:
            return False
        return self._may_download or _has_weights(self.model, self._revision)

    @property
    def identity(self) -> str:
        """What its tones depend on besides the text."""
        return f"{self.model}@{self._revision}/{self._longest_tokens}/{DECIMALS}"

    def read(self, texts: Sequence[str]) -> list[float]:
        """Return the tone of each text, -1 to +1.

        Raises:
            MissingDependencyError: transformers or torch is not installed.
            ComponentError: the weights cannot be loaded, or are of a model for something else.
        """
        with self._lock:
            if self._ready is None:
                self._ready = self._load()
            from weft_plugins.torch_runtime import each_apart  # noqa: PLC0415  # imports torch

            return each_apart(self._tone, texts)

    def _tone(self, text: str) -> float:
        """Return the tone of a text, without padding, so that other texts do not change it."""
        import torch  # noqa: PLC0415  # heavy

        tokenizer, model, signs = self._ready or self._load()
        inputs = tokenizer(
            text, truncation=True, max_length=self._longest_tokens, return_tensors="pt"
        )
        with torch.inference_mode():
            chances = torch.softmax(model(**inputs).logits[0].double(), dim=-1).tolist()
        tone: float = sum(chance * sign for chance, sign in zip(chances, signs, strict=True))
        if not math.isfinite(tone):
            raise ComponentError(
                f"{self.model} gives no number for a text",
                where="layer sentiment",
                hint="Its weights are damaged: fetch them again, or set model: null",
            )
        return round(tone, DECIMALS)

    def _load(self) -> tuple[Any, Any, Any]:
        require(
            "torch",
            "safetensors",
            "transformers",
            extra="text",
            where=f"layer sentiment, model {self.model}",
            otherwise="set model: null to score texts by the lexicon",
        )
        from safetensors import SafetensorError  # noqa: PLC0415  # comes with transformers
        from transformers import (  # noqa: PLC0415  # heavy
            AutoModelForSequenceClassification,
            AutoTokenizer,
        )
        from transformers.utils import logging  # noqa: PLC0415  # heavy

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # they publish no types
        options = {"revision": self._revision, "local_files_only": not self._may_download}
        try:
            tokenizer = AutoTokenizer.from_pretrained(self.model, **options)
            # Pickled weights could run arbitrary code.
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                self.model, use_safetensors=True, output_loading_info=True, **options
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise self._unusable(
                f"cannot be loaded: {str(error).strip().splitlines()[0]}"
            ) from error
        if loading["missing_keys"] or loading["mismatched_keys"]:
            # transformers would initialise the missing weights at random.
            raise self._unusable("cannot be loaded: they lack a part of the model")
        model.eval()
        return tokenizer, model, self._signs(model.config.id2label)

    def _unusable(self, why: str) -> ComponentError:
        return ComponentError(
            f"the weights of {self.model} {why}",
            where="layer sentiment",
            hint="Fetch them once with may_download: true, name a folder or a revision that holds "
            "them as safetensors, or set model: null to read by the lexicon",
        )

    def _signs(self, labels: "dict[int, str]") -> list[float]:
        """Return the sign of each output of the model, by the labels in its config."""
        named = [str(labels[number]).casefold() for number in sorted(labels)]
        if not {"positive", "negative"} <= set(named) and not {"bullish", "bearish"} <= set(named):
            raise ComponentError(
                f"{self.model} tells {', '.join(named)} apart; expected positive and negative",
                where="layer sentiment",
                hint="Name a model of sentiment, such as ProsusAI/finbert",
            )
        return [_SIGNS.get(name, 0.0) for name in named]


_WEIGHTS: Final = ("model.safetensors", "model.safetensors.index.json")


def _has_weights(model: str, revision: str) -> bool:
    """Return whether weights as safetensors are in the folder, or were fetched before."""
    if Path(model).is_dir():
        return any((Path(model) / name).is_file() for name in _WEIGHTS)
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  # comes with transformers
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415  # as above

    try:
        paths = [try_to_load_from_cache(model, name, revision=revision) for name in _WEIGHTS]
    except HFValidationError:
        return False
    return any(isinstance(path, str) for path in paths)
