"""Every built-in layer and feature keeps to its contract, by the kit that outsiders use."""

from collections.abc import Callable
from importlib.metadata import entry_points

from weft.components.feature import Feature
from weft.components.layer import Layer
from weft.testing import parametrize_with_checks


def built_in(group: str) -> list[Layer | Feature]:
    """Return one component of every entry point of ours in a group, with its default options."""
    points = entry_points(group=group)
    return [point.load()() for point in points if point.value.startswith("weft_plugins.")]


LAYERS = built_in("weft.layers")
FEATURES = built_in("weft.features")


@parametrize_with_checks(LAYERS)
def test_layers(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks(FEATURES)
def test_features(check: Callable[[], None]) -> None:
    check()


def test_there_are_some() -> None:
    assert {layer.name for layer in LAYERS} >= {"technical"}
    assert len(FEATURES) >= 15
