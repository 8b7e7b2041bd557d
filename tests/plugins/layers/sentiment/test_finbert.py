"""FinBERT: the code that loads and reads it, on a tiny model of the same architecture."""

import json
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from weft.foundation.errors import ComponentError, StorageError
from weft.testing import random_history
from weft.testing.made_up import with_news
from weft_plugins.layers.sentiment.layer import Sentiment
from weft_plugins.layers.sentiment.text.finbert import FinBert
from weft_plugins.layers.sentiment.text.reading import Reader
from weft_plugins.layers.sentiment.text.tone_reader import ToneCache, ToneReader

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

GOOD, BAD, PLAIN = "profit rises", "fraud falls", "report today"
VOCABULARY = """[PAD] [UNK] [CLS] [SEP] [MASK] profit rises fraud falls report today ."""


def save_tiny(folder: Path, labels: Sequence[str], *, seed: int = 1) -> str:
    """Train a tiny BERT to tell three headlines apart, save it, and return where."""
    folder.mkdir()
    (folder / "vocab.txt").write_text(VOCABULARY.replace(" ", "\n"))
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY.split()),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
        hidden_dropout_prob=0.5,
        initializer_range=0.5,
    )
    torch.manual_seed(seed)
    # Trained without dropout; a model that is used with it would show.
    model = transformers.BertForSequenceClassification(config).eval()
    inputs = tokenizer([GOOD, BAD, PLAIN], padding=True, return_tensors="pt")
    order = [list(labels).index(label) for label in ("positive", "negative", "neutral")]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(**inputs).logits, torch.tensor(order)).backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    return save_tiny(tmp_path_factory.mktemp("m") / "tiny", ["positive", "negative", "neutral"])


def finbert(model: str) -> FinBert:
    return FinBert(model, longest_tokens=16)


def test_it_reads(tiny: str) -> None:
    model = finbert(tiny)
    assert model.is_here
    good, bad, plain = model.read([GOOD, BAD, PLAIN])
    assert good > 0.5
    assert bad < -0.5
    assert abs(plain) < 0.5


def test_labels_are_the_models_own_in_whatever_order(tmp_path: Path) -> None:
    model = finbert(save_tiny(tmp_path / "turned", ["neutral", "positive", "negative"]))
    good, bad, _ = model.read([GOOD, BAD, PLAIN])
    assert good > 0.5
    assert bad < -0.5


def test_a_tone_is_the_chance_of_good_less_that_of_bad(tiny: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny, local_files_only=True)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tiny).eval()
    texts = [GOOD, "fraud rises today", PLAIN]
    with torch.inference_mode():
        chances = [
            torch.softmax(network(**tokenizer(text, return_tensors="pt")).logits, -1)[0].numpy()
            for text in texts
        ]
    expected = [chance[0] - chance[1] for chance in chances]
    np.testing.assert_allclose(finbert(tiny).read(texts), expected, atol=6e-4)


def test_company_and_order_change_nothing(tiny: str) -> None:
    texts = [GOOD, BAD, PLAIN, f"{GOOD} {BAD}", "profit", "", "word " * 5000]
    model = finbert(tiny)
    together = model.read(texts)
    assert [model.read([text])[0] for text in texts] == together
    assert model.read(texts[::-1]) == together[::-1]
    assert all(-1.0 <= tone <= 1.0 for tone in together)


def test_what_is_no_model_of_sentiment_is_refused(tmp_path: Path, tiny: str) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for path in Path(tiny).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "cat", "1": "dog", "2": "bird"}
    config["label2id"] = {"cat": 0, "dog": 1, "bird": 2}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ComponentError, match="cat, dog, bird apart"):
        finbert(str(folder)).read([GOOD])


def test_weights_that_are_missing_cut_short_or_pickled_are_refused(
    tmp_path: Path, tiny: str
) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in Path(tiny).iterdir():
        content = path.read_bytes()
        short = path.suffix == ".safetensors"
        (folder / path.name).write_bytes(content[: len(content) // 2] if short else content)
    with pytest.raises(ComponentError, match="cannot be loaded"):
        finbert(str(folder)).read([GOOD])
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert not finbert(str(folder)).is_here
    with pytest.raises(ComponentError, match="cannot be loaded"):
        finbert(str(folder)).read([GOOD])
    with pytest.raises(ComponentError, match="may_download"):
        finbert("nobody/has-this").read([GOOD])
    assert not finbert("nobody/has-this").is_here
    assert not finbert("no such/name at all/").is_here


def test_weights_without_a_head_are_refused(tmp_path: Path, tiny: str) -> None:
    """A plain BERT would get a head of random numbers, and answer with a straight face."""
    network = transformers.AutoModelForSequenceClassification.from_pretrained(tiny)
    folder = tmp_path / "headless"
    network.bert.save_pretrained(folder)
    for path in Path(tiny).glob("*token*"):
        (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ComponentError, match="lack a part"):
        finbert(str(folder)).read([GOOD])


def test_without_weights_the_lexicon_reads_or_nobody_does() -> None:
    read = Reader(100, {}).read("Bitcoin surges", "")
    voice = ToneReader("nobody/has-this")
    assert voice.tones([read, read], [True, False]) == [read.tone, 0.0]
    assert not voice.is_finbert
    strict = ToneReader("nobody/has-this", may_fail=False)
    with pytest.raises(ComponentError, match="weights of nobody/has-this"):
        strict.tones([read], [True])


def test_the_voice_asks_for_what_is_wanted(tiny: str) -> None:
    reader = Reader(100, {})
    reads = [reader.read(title, "") for title in (GOOD, BAD)]
    voice = ToneReader(tiny, longest_tokens=16)
    good, nothing = voice.tones(reads, [True, False])
    assert good > 0.5
    assert nothing == 0.0
    assert voice.is_finbert


def test_the_layer_speaks_with_its_voice(tiny: str, tmp_path: Path) -> None:
    history = with_news(random_history(1, rows=300, flaws=False), 1)
    options = {"model": tiny, "cache": tmp_path, "longest_tokens": 16, "on_missing": "fail"}
    layer = Sentiment(Sentiment.Config.model_validate(options))
    said = layer.score(history.view(layer.needs, steps=20))
    assert (said.evidence["finbert"] == 1.0).all()
    heard = ~np.isnan(said.evidence["tone"])
    assert heard.any()
    # The texts are of 2024, the model has read nothing later than 2019.
    np.testing.assert_allclose(said.evidence["after_cutoff"][heard], 1.0)
    early = {**options, "knowledge_cutoff": "2025-01-01"}
    other = Sentiment(Sentiment.Config.model_validate(early))
    again = other.score(history.view(other.needs, steps=20))
    assert (again.evidence["after_cutoff"][heard] == 0.0).all()
    np.testing.assert_array_equal(again.score, said.score)
    assert (tmp_path / "tones.db").is_file()


class Counting:
    """Gives each text a tone by its length, and counts what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def read(self, texts: Sequence[str]) -> list[float]:
        self.asked += texts
        return [len(text) / 100 for text in texts]


def test_a_text_is_read_once(tmp_path: Path) -> None:
    first = Counting()
    tones = ToneCache("m@1", first.read, tmp_path)
    assert tones.of(["a", "bb", "a"]) == [0.01, 0.02, 0.01]
    assert tones.of(["bb", "ccc"]) == [0.02, 0.03]
    assert first.asked == ["a", "bb", "ccc"]
    again = Counting()
    assert ToneCache("m@1", again.read, tmp_path).of(["ccc", "a"]) == [0.03, 0.01]
    assert again.asked == []
    other = Counting()
    ToneCache("m@2", other.read, tmp_path).of(["a"])
    assert other.asked == ["a"]
    memory = Counting()
    ToneCache("m@1", memory.read).of(["a"])
    assert memory.asked == ["a"]


def test_many_texts_and_several_threads_share_a_folder(tmp_path: Path) -> None:
    texts = ["x" * n for n in range(100)] + [f"{n} \ud800" for n in range(1100)]
    expected = [len(text) / 100 for text in texts]
    found: list[list[float]] = []

    def ask() -> None:
        found.append(ToneCache("m", Counting().read, tmp_path / "deep" / "er").of(texts))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "tones.db").write_text("no database at all, but long enough to look at " * 50)
    with pytest.raises(StorageError, match="Remove the folder"):
        ToneCache("m", Counting().read, tmp_path).of(["a"])
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be used"):
        ToneCache("m", Counting().read, tmp_path / "file").of(["a"])


def test_what_others_wrote_into_the_folder_is_no_tone(tmp_path: Path) -> None:
    ToneCache("m", Counting().read, tmp_path).of(["a", "bb", "ccc"])
    with sqlite3.connect(tmp_path / "tones.db") as database:
        database.execute("update tones set tone = 'x' where tone = 0.01")
        database.execute("update tones set tone = 7.0 where tone = 0.02")
    database.close()
    assert ToneCache("m", Counting().read, tmp_path).of(["a", "bb", "ccc"]) == [0.01, 0.02, 0.03]
