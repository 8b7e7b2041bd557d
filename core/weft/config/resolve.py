"""Validates options of components, and digests a composition."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from weft.components.base import Component, ComponentConfig, Local
from weft.config.problems import check, config_error
from weft.config.secrets import holds_secret
from weft.config.settings import LayerSlot, Settings, Slot
from weft.config.tree import Origins
from weft.foundation.calls import Raised, guarded
from weft.foundation.errors import PluginError

_DIGITS = 16
_CHANGES_NO_SIGNAL = ("sinks", "executor", "portfolio_risk")


def validate_options(
    cls: type[Component], slot: Slot, key: str, origins: Origins
) -> ComponentConfig:
    """Return the options of a component, validated from its slot.

    Args:
        cls: the component.
        slot: the slot that names it.
        key: the slot's key, for instance ``layers.technical``.
        origins: where each setting was set.

    Raises:
        ConfigError: with one line in `problems` for every mistake.
        PluginError: the component's Config is at fault.
    """
    own_keys = type(slot).model_fields.keys()
    if hidden := sorted(own_keys & cls.Config.model_fields.keys()):
        raise PluginError(
            f"its option {hidden[0]!r} can never be set: the section has a key of that name",
            where=cls.title(),
            hint="Its authors have to rename the option",
        )
    under = tuple(key.split("."))
    checked = guarded(
        lambda: check(cls.Config, slot.options, origins, under=under, also_known=own_keys)
    )
    if isinstance(checked, Raised):
        # The error may quote an option, which may be secret.
        raise PluginError(
            f"its Config raised {type(checked.error).__name__} while reading the options",
            where=cls.title(),
            hint="A validator has to raise ValueError; this is a fault in the plugin",
        )
    if checked.model is None:
        raise config_error(checked.problems, "the options", key)
    return checked.model


def composition_hash(settings: Settings, configs: Mapping[str, ComponentConfig]) -> str:
    """Return a digest of all settings that can change a signal.

    These are the intervals, the horizon, the components, their weights and their options. Storage,
    server, runtime, sinks, options that name a place (`Local`) and secrets are left out.

    Args:
        settings: the settings.
        configs: options of the components that take part, by key: ``layers.technical``.
    """
    composition = {
        "interval": settings.interval,
        "base_interval": settings.base_interval or settings.interval,
        "horizon_candles": settings.horizon_candles,
        "max_age_candles": settings.max_age_candles,
        "max_gross_exposure": settings.max_gross_exposure,
        "decision_delay_seconds": settings.decision_delay_seconds,
        "reconcile": settings.reconcile.model_dump(mode="json"),
        "features": {name: slot.use for name, slot in settings.features.items()},
        # The order of providers is their preference; the keys below are sorted.
        "providers": [key for key in configs if key.startswith("providers.")],
        "components": {
            key: _component(settings.slot(key), config)
            for key, config in configs.items()
            if key.partition(".")[0] not in _CHANGES_NO_SIGNAL
        },
    }
    text = json.dumps(composition, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def canonical_options(config: ComponentConfig) -> str:
    """Return the options of a component as text, without secrets and places (`Local`).

    Equal options give equal texts.
    """
    return json.dumps(_canonical(config), sort_keys=True, separators=(",", ":"))


def _component(slot: Slot, config: ComponentConfig) -> dict[str, Any]:
    described: dict[str, Any] = {"use": slot.use, "options": _canonical(config)}
    if isinstance(slot, LayerSlot):
        described["weight"] = slot.weight
    return described


def _canonical(value: object) -> Any:  # noqa: ANN401  # any JSON value
    """Return plain JSON values in a fixed order, without local and secret fields."""
    if isinstance(value, BaseModel):
        return {
            name: _canonical(getattr(value, name))
            for name, info in type(value).model_fields.items()
            if not (holds_secret(info.annotation) or _is_local((info.annotation, *info.metadata)))
        }
    if isinstance(value, Mapping):
        return {str(key): _canonical(inner) for key, inner in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_canonical(inner) for inner in value), key=json.dumps)
    if isinstance(value, list | tuple):
        return [_canonical(inner) for inner in value]
    return to_jsonable_python(value)


def _is_local(marks: tuple[object, ...]) -> bool:
    return any(
        mark is Local
        or isinstance(mark, Local)
        or _is_local((*getattr(mark, "__args__", ()), *getattr(mark, "__metadata__", ())))
        for mark in marks
    )
