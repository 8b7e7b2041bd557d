"""The base of every component: its name, its options and the data it needs."""

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from weft.components.needs import Need
from weft.foundation.version import API_VERSION


class _LocalMark:
    """Marks a config field that is a place, on which no computed value depends."""

    def __repr__(self) -> str:
        return "Local()"


Local = _LocalMark
"""Annotation ``Local()`` of a config field that names a place: a path, a URL, a port.

Such fields, and secrets, stay out of the digest of the composition: the same market read from
another folder composes the same signals.
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
        kind: the contract it fulfils; set by the base classes, never by a plugin.
        name: its name in config.yaml; the entry point has the same name.
        api: the version of the contracts it was written for.
        Config: its options, a nested class.

    Example::

        class Momentum(Layer):
            name = "momentum"
            needs = [candles(warmup=24)]

            class Config(ComponentConfig):
                scale: float = 10.0

            def score(self, view):
                close = view.candles().close
                change = np.log(close[24:] / close[:-24])
                return view.scores(100 * np.tanh(self.config.scale * change))
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    api: ClassVar[tuple[int, int]] = API_VERSION

    class Config(ComponentConfig):
        """No options."""

    # Any, so that a plugin can read its options without repeating their type. A plugin whose
    # options mypy should check declares `config: Config` in its body.
    config: Any

    def __init__(self, config: ComponentConfig | None = None) -> None:
        self.config = self.Config() if config is None else config

    @classmethod
    def title(cls) -> str:
        """Return kind and name as messages write them: ``layer technical``."""
        return f"{cls.kind} {cls.name}"

    @property
    def needs(self) -> Sequence[Need]:
        """Data that its view must contain; a plain list in the class body works too."""
        return ()
