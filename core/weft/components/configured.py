"""A component together with the options of its slot in config.yaml."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from weft.components.base import Component

C_co = TypeVar("C_co", bound=Component, covariant=True)


@dataclass(frozen=True, slots=True)
class Policy:
    """How a composition uses a component, apart from the component's own options.

    Attributes:
        name: its key in config.yaml.
        required: whether a failure stops the composition; otherwise signals name the failure.
        deadline_seconds: for one call.
    """

    name: str
    required: bool = True
    deadline_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Configured(Generic[C_co]):
    """A component and its policy."""

    component: C_co
    policy: Policy
