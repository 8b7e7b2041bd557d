"""A component as one config.yaml uses it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from weft.components.base import Component

C_co = TypeVar("C_co", bound=Component, covariant=True)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a composition uses a component, apart from the component's own options.

    Attributes:
        name: its key in config.yaml.
        required: whether its failure stops the composition; otherwise the signal says so.
        deadline_seconds: time for one call.
    """

    name: str
    required: bool = True
    deadline_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Configured(Generic[C_co]):
    """A component, and how a composition uses it."""

    component: C_co
    policy: Policy
