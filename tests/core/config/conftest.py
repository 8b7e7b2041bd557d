from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from weft.config.loading import LoadedSettings, load_settings
from weft.foundation.errors import ConfigError

Load: TypeAlias = Callable[..., LoadedSettings]
Mistakes: TypeAlias = Callable[..., tuple[str, ...]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads the settings of a config.yaml with the text given, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def load_text(
        text: str | None = None,
        overrides: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> LoadedSettings:
        if text is not None:
            (tmp_path / "config.yaml").write_text(text, "utf-8")
        return load_settings(None, overrides, environ or {})

    return load_text


@pytest.fixture
def mistakes(load: Load) -> Mistakes:
    """Returns the lines that a wrong config.yaml gives."""

    def lines(
        text: str | None = None,
        overrides: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> tuple[str, ...]:
        with pytest.raises(ConfigError) as caught:
            load(text, overrides, environ)
        return caught.value.problems

    return lines
