"""What all tests are run with: marks by folder, and the package where processes find it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

import hypothesis
import pytest
from support.export_fixtures import images, plain  # noqa: F401 (fixtures)
from support.exports import ROOT
from support.gcs_fixtures import bucket, emulator  # noqa: F401 (fixtures)
from support.waiting import slept  # noqa: F401 (a fixture)

TESTS = Path(__file__).parent

# How long an example takes says how busy the machine is, and nothing of the code. `quick` is
# what is run without `--hypothesis-profile=thorough`, which .ci/run gives for the core.
for _profile, _examples in (("quick", 40), ("thorough", 300)):
    hypothesis.settings.register_profile(
        _profile,
        deadline=None,
        max_examples=_examples,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile("quick")


class _NoBeam:
    """Refuses to import Beam: what stands in tests/unit is of the core, and quick."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "apache_beam":
            # No ImportError, which code may take for "not installed".
            raise AssertionError("tests/unit does without Beam: what needs it is in tests/pipeline")
        return None


def _only_core(arguments: Sequence[str]) -> bool:
    """Returns whether pytest was asked for nothing but files and folders of tests/unit."""
    paths = [Path(argument.partition("::")[0]).resolve() for argument in arguments]
    return bool(paths) and all(path.is_relative_to(TESTS / "unit") for path in paths)


def pytest_configure(config: pytest.Config) -> None:
    """Holds the core to its rule where it is run alone; elsewhere Beam is there already."""
    if _only_core(config.args):
        sys.meta_path.insert(0, _NoBeam())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spares searches for garbage: what is imported and collected stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        gc.enable()


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test by its folder: `-m unit` is what stands in `tests/unit`.

    A test of another folder that asks for an object store is `cloud` too.
    """
    for item in items:
        item.add_marker(_folder(item))
        if "emulator" in getattr(item, "fixturenames", ()):
            item.add_marker("cloud")


@pytest.fixture(scope="session", autouse=True)
def _package_on_path() -> None:
    """Lets processes that tests start find the package, wherever pytest was started from."""
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


@pytest.fixture(scope="session", autouse=True)
def _quick_beam(request: pytest.FixtureRequest) -> Iterator[None]:
    """Spares each run of a pipeline what Beam works out the same way each time."""
    if all(_folder(item) == "unit" for item in request.session.items):
        yield
        return
    from support.quick_beam import make_quick

    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        yield
