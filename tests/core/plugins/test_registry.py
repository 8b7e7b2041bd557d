import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

import weft
from weft.components.base import Component
from weft.components.execution import Sink
from weft.components.layer import Layer
from weft.foundation.errors import (
    IncompatiblePluginError,
    MissingDependencyError,
    PluginConflictError,
    PluginError,
    UnknownPluginError,
)
from weft.plugins.checks import check_class
from weft.plugins.discovery import discover
from weft.plugins.records import KINDS, PluginRecord, Status
from weft.plugins.registry import Registry

Install = Callable[..., Path]

MAJOR, MINOR = weft.API_VERSION

LAYER = """
from weft import Layer

class {cls}(Layer):
    name = "{name}"
    {extra}

    def score(self, view):
        return view.scores(0.0)
"""


def layer(name: str, cls: str = "Made", extra: str = "") -> str:
    """Return the source of a module with a layer in order."""
    return LAYER.format(name=name, cls=cls, extra=extra)


def registry() -> Registry:
    return Registry(discover())


def status(found: Registry, name: str) -> tuple[Status, str | None]:
    (record,) = [record for record in found.records() if record.name == name]
    return record.status, record.error


def one_line(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    return text


def test_a_plugin_in_order_is_loaded(install: Install) -> None:
    install("acme", {"acme_one": layer("one")}, {"one": "acme_one:Made"})
    found = registry()
    assert status(found, "one") == (Status.DISCOVERED, None)
    cls = found.load("layer", "one")
    assert issubclass(cls, Layer)
    assert found.load("layer", "acme:one") is cls
    record = found.find("layer", "one")
    assert (record.status, record.error) == (Status.ACTIVE, None)
    assert record.import_ms is not None
    assert record.import_ms > 0


def test_a_plugin_is_loaded_once(install: Install) -> None:
    install("acme", {"acme_one": layer("one")}, {"one": "acme_one:Made"})
    found = registry()
    found.load("layer", "one")
    before = found.records()
    found.load("layer", "one")
    assert found.records() == before


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero (acme_bad.py:1)"),
        ("import sys\nsys.exit(3)", "SystemExit: 3 (acme_bad.py:2)"),
        ("raise BaseException('odd')", "BaseException: odd (acme_bad.py:1)"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines (acme_bad.py:1)"),
        ("import acme_nowhere", "ModuleNotFoundError: No module named 'acme_nowhere'"),
        ("from os import acme", "ImportError: cannot import name 'acme' from 'os'"),
        ("def (", "SyntaxError: invalid syntax (acme_bad.py, line 1)"),
        ("Other = 1", "AttributeError: module 'acme_bad' has no attribute 'Made'"),
    ],
)
def test_what_goes_wrong_in_an_import_becomes_an_error(
    install: Install, source: str, said: str
) -> None:
    install("acme", {"acme_bad": source}, {"bad": "acme_bad:Made"})
    found = registry()
    with pytest.raises(PluginError) as caught:
        found.load("layer", "bad")
    text = one_line(caught.value)
    assert text.startswith("layer bad (acme 1.0): importing acme_bad:Made failed with ")
    assert said in text
    assert status(found, "bad") == (Status.FAILED, text)


def test_an_interrupt_is_no_failure_of_the_plugin(install: Install) -> None:
    install("acme", {"acme_slow": "raise KeyboardInterrupt"}, {"slow": "acme_slow:Made"})
    with pytest.raises(KeyboardInterrupt):
        registry().load("layer", "slow")


def test_a_module_that_is_not_there(install: Install) -> None:
    install("acme", {}, {"gone": "acme_gone:Made"})
    with pytest.raises(PluginError, match="No module named 'acme_gone'"):
        registry().load("layer", "gone")


def test_a_bad_plugin_does_not_stop_the_good_one_after_it(install: Install) -> None:
    modules = {"acme_a": "raise SystemExit", "acme_b": layer("b")}
    install("acme", modules, {"a": "acme_a:Made", "b": "acme_b:Made"})
    found = registry()
    with pytest.raises(PluginError):
        found.load("layer", "a")
    assert found.load("layer", "b").name == "b"
    assert status(found, "b")[0] is Status.ACTIVE


def test_a_failure_is_tried_again(install: Install, tmp_path: Path) -> None:
    install("acme", {"acme_later": "1 / 0"}, {"later": "acme_later:Made"})
    found = registry()
    with pytest.raises(PluginError):
        found.load("layer", "later")
    (tmp_path / "acme_later.py").write_text(f"# mended\n{layer('later')}")
    assert found.load("layer", "later").name == "later"
    assert status(found, "later") == (Status.ACTIVE, None)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "from weft import Sink\n\nclass Made(Sink):\n    name = 'odd'",
            "is Made, expected a class derived from weft.Layer",
        ),
        ("class Made: pass", "is Made, expected a class derived from weft.Layer"),
        ("def Made(): pass", "is a function, expected a class derived from weft.Layer"),
        ("Made = 3", "is a int, expected a class derived from weft.Layer"),
        (layer("even"), "calls itself 'even', its entry point 'odd'"),
        ("from weft import Layer\nclass Made(Layer):\n    name = 'odd'", "lacks score"),
        (
            "from weft import Layer\nclass Made(Layer):\n    def score(self, view): return 0",
            "calls itself None",
        ),
        (layer("odd", extra="Config = dict"), "Config is not derived from weft.ComponentConfig"),
        (layer("odd", extra="api = '1.0'"), "its `api` is '1.0', expected a pair"),
    ],
)
def test_a_class_that_is_not_what_it_promises(install: Install, source: str, said: str) -> None:
    install("acme", {"acme_odd": source}, {"odd": "acme_odd:Made"})
    found = registry()
    with pytest.raises(PluginError) as caught:
        found.load("layer", "odd")
    assert said in one_line(caught.value)
    assert "layer odd (acme 1.0)" in str(caught.value)
    assert status(found, "odd")[0] is Status.FAILED


@pytest.mark.parametrize(
    ("api", "hint"),
    [
        ((MAJOR, MINOR + 1), "Update Weft"),
        ((MAJOR + 1, 0), "Update Weft"),
        ((MAJOR - 1, 9), "Update acme"),
    ],
)
def test_a_plugin_for_other_contracts(install: Install, api: tuple[int, int], hint: str) -> None:
    install("acme", {"acme_api": layer("api", extra=f"api = {api}")}, {"api": "acme_api:Made"})
    found = registry()
    with pytest.raises(IncompatiblePluginError) as caught:
        found.load("layer", "api")
    assert f"written for version {api[0]}.{api[1]} of the plugin contracts" in str(caught.value)
    assert one_line(caught.value).endswith(hint)
    assert status(found, "api")[0] is Status.INCOMPATIBLE


def test_a_plugin_for_another_weft_is_not_even_imported(install: Install) -> None:
    install(
        "acme",
        {"acme_future": layer("future")},
        {"future": "acme_future:Made"},
        metadata=["Requires-Dist: Weft>=99"],
    )
    found = registry()
    with pytest.raises(
        IncompatiblePluginError, match=f"needs weft >=99, this is {weft.__version__}"
    ):
        found.load("layer", "future")
    assert status(found, "future")[0] is Status.INCOMPATIBLE
    assert "acme_future" not in sys.modules


@pytest.mark.parametrize(
    "line",
    [
        f"weft>={weft.__version__}",
        "weft",
        "weft>=99; extra == 'next'",
        "weft>=99; python_version < '3'",
        "weft-extras>=99",
        "weft >>> 99",
    ],
)
def test_a_requirement_that_is_met_or_does_not_apply(install: Install, line: str) -> None:
    install(
        "acme",
        {"acme_met": layer("met")},
        {"met": "acme_met:Made"},
        metadata=[f"Requires-Dist: {line}", "Provides-Extra: next"],
    )
    assert registry().load("layer", "met").name == "met"


@pytest.mark.parametrize(
    ("module", "requirement"),
    [
        ("acme_deep", "acme-deep>=2; extra == 'deep'"),
        ("acme_deep.inner", "Acme.Deep; extra == 'deep'"),
    ],
)
def test_a_missing_extra_is_named(install: Install, module: str, requirement: str) -> None:
    install(
        "acme",
        {"acme_net": f"import {module}\n{layer('net')}"},
        {"net": "acme_net:Made"},
        metadata=[f"Requires-Dist: {requirement}", "Provides-Extra: api", "Provides-Extra: deep"],
    )
    found = registry()
    with pytest.raises(MissingDependencyError) as caught:
        found.load("layer", "net")
    assert one_line(caught.value) == (
        "layer net (acme 1.0): needs acme_deep, which is not installed. pip install 'acme[deep]'"
    )
    assert status(found, "net")[0] is Status.MISSING_DEPS


def test_a_module_under_another_name_than_its_distribution(install: Install) -> None:
    install(
        "acme",
        {"acme_cv": "import cv2"},
        {"cv": "acme_cv:Made"},
        metadata=["Requires-Dist: opencv-python; extra == 'vision'", "Provides-Extra: vision"],
    )
    with pytest.raises(MissingDependencyError, match=r"acme\[vision\]"):
        registry().load("layer", "cv")


def test_an_optional_package_that_is_there_but_broken_is_a_failure(install: Install) -> None:
    install(
        "acme",
        {"acme_net": "import acme_deep.nothing", "acme_deep": ""},
        {"net": "acme_net:Made"},
        metadata=["Requires-Dist: acme-deep; extra == 'deep'", "Provides-Extra: deep"],
    )
    found = registry()
    with pytest.raises(PluginError, match="failed with ModuleNotFoundError"):
        found.load("layer", "net")
    assert status(found, "net")[0] is Status.FAILED


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [("hint='pip install acme[gpu]'", "pip install acme[gpu]"), ("", "pip install 'acme[...]'")],
)
def test_a_plugin_may_say_itself_what_it_lacks(install: Install, arguments: str, hint: str) -> None:
    source = (
        "from weft.foundation.errors import MissingDependencyError\n"
        f"raise MissingDependencyError('needs a GPU', {arguments})\n"
    )
    install("acme", {"acme_gpu": source}, {"gpu": "acme_gpu:Made"})
    found = registry()
    with pytest.raises(MissingDependencyError) as caught:
        found.load("layer", "gpu")
    assert str(caught.value).startswith("layer gpu (acme 1.0): needs a GPU. ")
    assert one_line(caught.value).endswith(hint)
    assert status(found, "gpu")[0] is Status.MISSING_DEPS


def two_of_a_name(install: Install) -> Registry:
    install("acme", {"acme_x": layer("same")}, {"same": "acme_x:Made"}, version="1.5")
    install("zeta", {"zeta_x": layer("same")}, {"same": "zeta_x:Made"}, version="2.5")
    return registry()


def test_two_plugins_of_one_name_are_both_refused(install: Install) -> None:
    found = two_of_a_name(install)
    with pytest.raises(PluginConflictError) as caught:
        found.load("layer", "same")
    assert one_line(caught.value) == (
        "layer same: offered by acme 1.5 and zeta 2.5. Say which one you mean: `use: acme:same`"
    )
    statuses = {r.dist: r.status for r in found.records() if r.name == "same"}
    assert statuses == {"acme": Status.BLOCKED, "zeta": Status.BLOCKED}


def test_config_may_say_which_one_it_means(install: Install) -> None:
    found = two_of_a_name(install)
    with pytest.raises(PluginConflictError):
        found.find("layer", "same")
    assert found.load("layer", "Zeta:same").__module__ == "zeta_x"
    assert found.find("layer", "zeta:same").status is Status.ACTIVE


def test_a_built_in_wins_over_an_outsider_of_its_name_until_config_says_otherwise(
    install: Install,
) -> None:
    install("acme", {"acme_t": layer("technical")}, {"technical": "acme_t:Made"})
    found = registry()
    assert found.load("layer", "technical").__module__ == "weft_plugins.layers.technical"
    note = found.find("layer", "acme:technical")
    assert note.status is Status.DISCOVERED
    assert note.error == "the built-in layer is used; `use: acme:technical` chooses this one"
    assert found.load("layer", "acme:technical").__module__ == "acme_t"


def test_a_plugin_that_one_key_uses_is_active_whatever_another_key_says(
    install: Install,
) -> None:
    install("acme", {"acme_one": layer("one")}, {"one": "acme_one:Made"})
    found = registry()
    found.load("layer", "one")
    found.note_use(found.find("layer", "one"), "layers.first")
    found.disable("layer", "one")
    record = found.find("layer", "one")
    assert (record.status, record.used_as) == (Status.ACTIVE, ("layers.first",))
    found.note_waiting("layer", "one", "layers.first", "waiting for ONE_KEY")
    record = found.find("layer", "one")
    assert (record.status, record.error) == (Status.WAITING, "waiting for ONE_KEY")


def test_a_conflict_nobody_names_harms_nobody(install: Install) -> None:
    install("other", {"other_x": layer("fine")}, {"fine": "other_x:Made"})
    found = two_of_a_name(install)
    assert found.load("layer", "fine").name == "fine"
    assert {r.status for r in found.records() if r.name == "same"} == {Status.DISCOVERED}


def test_one_name_in_two_kinds_is_no_conflict(install: Install) -> None:
    points = "[weft.layers]\nsame = acme_x:Made\n[weft.sinks]\nsame = acme_y:Made\n"
    install("acme", {"acme_x": layer("same")}, points)
    assert registry().load("layer", "same").name == "same"


@pytest.mark.parametrize(
    ("use", "line"),
    [
        ("tecnical", "no layer 'tecnical' is installed. Did you mean technical? Installed: "),
        ("nobody:technical", "no layer 'nobody:technical' is installed. Did you mean technical?"),
        ("zzz", "no layer 'zzz' is installed. Installed: "),
        ("files", "no layer 'files' is installed"),
    ],
)
def test_an_unknown_plugin(use: str, line: str) -> None:
    with pytest.raises(UnknownPluginError) as caught:
        registry().load("layer", use)
    assert one_line(caught.value).startswith(line)
    assert "pip install" in str(caught.value)


def test_an_unknown_plugin_where_none_of_its_kind_is_installed() -> None:
    with pytest.raises(UnknownPluginError, match="No model is installed"):
        Registry(()).load("model", "boosted")


class Quiet(Sink):
    name = "quiet"

    async def emit(self, signals: object) -> None:
        """Say nothing."""


class Unfinished(Sink):
    name = "unfinished"


class Nameless(Sink):
    async def emit(self, signals: object) -> None:
        """Say nothing."""


class Kindless(Component):
    kind: ClassVar[str] = "gadget"
    name = "kindless"


def test_a_program_may_bring_its_own_classes() -> None:
    found = Registry((), extra=[Quiet])
    assert found.load("sink", "quiet") is Quiet
    assert found.load("sink", "in-process:quiet") is Quiet
    record = found.find("sink", "quiet")
    assert (record.dist, record.status, record.import_ms) == ("in-process", Status.ACTIVE, None)


def test_classes_that_are_brought_are_checked_when_they_are_used() -> None:
    found = Registry((), extra=[Quiet, Unfinished])
    with pytest.raises(PluginError, match="lacks emit"):
        found.load("sink", "unfinished")
    assert found.load("sink", "quiet") is Quiet


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (Nameless, "has no name"),
        (Kindless, "of no known kind"),
        (3, "expected a component class, got 3"),
        (Quiet(), "expected a component class"),
    ],
)
def test_what_is_no_component_class_cannot_be_brought(thing: type[Component], said: str) -> None:
    with pytest.raises(PluginError, match=said):
        Registry((), extra=[thing])


def test_a_class_may_replace_one_brought_before() -> None:
    other = type("Quiet", (Quiet,), {})
    found = Registry((), extra=[Quiet])
    found.load("sink", "quiet")
    found.add([other])
    assert found.load("sink", "quiet") is other


def test_what_config_switches_off_is_recorded(install: Install) -> None:
    found = two_of_a_name(install)
    found.disable("layer", "technical")
    found.disable("layer", "same")
    found.disable("layer", "not_installed")
    assert status(found, "technical")[0] is Status.DISABLED


def test_records_are_sorted_and_complete() -> None:
    found = Registry(reversed(discover()), extra=[Quiet]).records()
    assert list(found) == sorted(found, key=lambda r: (r.kind, r.name, r.dist))
    assert len(found) == len(discover()) + 1


def test_loading_from_many_threads_gives_one_class(install: Install) -> None:
    source = f"import time; time.sleep(0.05)\n{layer('one')}"
    install("acme", {"acme_slow": source}, {"one": "acme_slow:Made"})
    found = registry()
    with ThreadPoolExecutor(8) as pool:
        classes = set(pool.map(lambda _: found.load("layer", "one"), range(16)))
    assert len(classes) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_base_class_of_every_kind_is_there(kind: str) -> None:
    module, _, attribute = KINDS[kind].partition(":")
    base = getattr(__import__(module, fromlist=[attribute]), attribute)
    assert base.kind == kind
    assert getattr(weft, attribute) is base


def test_hooks_are_loaded_as_they_are(install: Install) -> None:
    install("acme", {"acme_hooks": "x = 1"}, {"mine": "acme_hooks"}, group="weft.hooks")
    found = registry()
    plugin = found.load_hook("mine")
    assert isinstance(plugin, ModuleType)
    assert found.load_hook("acme:mine") is plugin
    assert status(found, "mine")[0] is Status.ACTIVE


def test_checking_needs_no_registry() -> None:
    record = PluginRecord("sink", "quiet", "acme", "1.0", "acme:Quiet")
    assert check_class(record, Quiet) is Quiet
