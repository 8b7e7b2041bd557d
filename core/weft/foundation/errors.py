"""The errors that Weft raises on purpose, as one tree.

::

    WeftError
    ├── ConfigError               config.yaml, an environment override or --set is wrong
    ├── PluginError               a component cannot be loaded or did not behave
    │   ├── UnknownPluginError        config names a component that is not installed
    │   ├── PluginConflictError       two distributions offer the same component
    │   ├── IncompatiblePluginError   written for another version of the contracts
    │   ├── MissingDependencyError    installed, but something it imports is not
    │   └── ComponentError            raised, overran its deadline or returned nonsense
    ├── LearningError             a trained component
    │   ├── NotTrainedError           it has no artifact yet
    │   ├── TrainingError             the history allows no training
    │   └── ArtifactError             an artifact is damaged, or of another version
    ├── DataError                 data is unusable or absent
    │   ├── SchemaError               a column is missing or has the wrong type
    │   ├── NoDataError               an empty folder, an empty window
    │   ├── UnknownSymbolError        no provider has brought this symbol
    │   └── LookAheadError            a request for data that was not yet known
    ├── ProviderError             a source could not be read
    └── StorageError              the lake or the ledger
        └── LedgerTamperedError       the hash chain does not add up

Each message names the component, the expected and the actual value, and what to do next.
"""

from collections.abc import Sequence
from difflib import get_close_matches


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the entry of `known` closest to a misspelt `name`, or None."""
    folded = {candidate.casefold(): candidate for candidate in known}
    matches = get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


class WeftError(Exception):
    """Base of every error raised on purpose: catch it to show the message and go on.

    Args:
        message: the expected and the actual value.
        where: component, file or config key; the rendered message begins with it.
        hint: what to do next; the rendered message ends with it.
    """

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text.rstrip('.')}. {self.hint}" if self.hint else text


class ConfigError(WeftError):
    """Configuration is wrong. `problems` has a readable line for each mistake."""

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        problems: Sequence[str] = (),
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        head = super().__str__()
        # A single mistake may be the message itself.
        return "\n".join([head, *(f"  {line}" for line in self.problems if line not in head)])


class PluginError(WeftError):
    """A component cannot be loaded or did not behave."""


class UnknownPluginError(PluginError):
    """Config names a component that no installed distribution offers."""


class PluginConflictError(PluginError):
    """Two distributions offer a component of the same kind and name."""


class IncompatiblePluginError(PluginError):
    """A component was written for another version of the plugin contracts."""


class MissingDependencyError(PluginError):
    """A component is installed, but a package it imports is not.

    Plugins raise it themselves when an optional import fails, naming the extra that brings it.
    """


class ComponentError(PluginError):
    """A component raised, overran its deadline, or returned something outside its contract."""


class LearningError(WeftError):
    """A component cannot be trained, or its artifact cannot be used."""


class NotTrainedError(LearningError):
    """A component has no artifact as of an instant."""


class TrainingError(LearningError):
    """The history allows no training, or the training failed or diverged."""


class ArtifactError(LearningError):
    """An artifact is damaged, was tampered with, or is of another version."""


class DataError(WeftError):
    """Data is unusable or absent."""


class SchemaError(DataError):
    """A column is missing, has the wrong type or holds values that cannot be what they claim."""


class NoDataError(DataError):
    """There is no data: an empty folder, or no candle in a window."""


class UnknownSymbolError(DataError):
    """No provider has brought this symbol."""


class LookAheadError(DataError):
    """A request for data later than the instant of the view or clock."""


class ProviderError(WeftError):
    """A source could not be read."""


class StorageError(WeftError):
    """The lake or the ledger could not be read or written."""


class LedgerTamperedError(StorageError):
    """The ledger's hash chain does not add up: a row was changed, removed or inserted."""
