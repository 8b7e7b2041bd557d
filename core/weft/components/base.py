"""What every component is: a name, a config that refuses unknown keys, and what it needs."""

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from weft.components.needs import Need
from weft.foundation.version import API_VERSION


class _LocalMark:
    """Marks a config field that says where something is, not what is computed from it."""

    def __repr__(self) -> str:
        return "Local()"


Local = _LocalMark
"""Annotate a config field with ``Local()`` when it names a place: a path, a URL, a port.

Such fields, and secrets, stay out of the composition hash: the same market read from another
folder composes the same signals.
"""


class ComponentConfig(BaseModel):
    """Options of a component. Unknown keys are refused; values are frozen."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )


class Component(ABC):
    """Base of every plugin class.

    Attributes:
        kind: which contract it fulfils; set by the base classes, never by a plugin.
        name: how config.yaml calls it; the entry point carries the same name.
        api: the version of the contracts it was written for.
        Config: its options, a nested class.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    api: ClassVar[tuple[int, int]] = API_VERSION

    class Config(ComponentConfig):
        """No options."""

    # Any, so that a plugin may use its own options without repeating their type; a plugin that
    # wants them checked declares `config: Config` in its body.
    config: Any

    def __init__(self, config: ComponentConfig | None = None) -> None:
        self.config = self.Config() if config is None else config

    @classmethod
    def title(cls) -> str:
        """Return kind and name, as messages say them: ``layer technical``."""
        return f"{cls.kind} {cls.name}"

    @property
    def needs(self) -> Sequence[Need]:
        """What it asks its view for; a plain list in the class body does as well."""
        return ()
