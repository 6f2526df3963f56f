"""What a notebook sees: one sentence where Beam cannot work, and the package's names."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types
from collections.abc import Callable

import pytest
from support.exports import ROOT

import beam_export
from beam_export.errors import InputError, RunError
from beam_export.pipeline import notebook

Install = Callable[[Exception | None, object], None]


@pytest.fixture
def ipython(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes this process look like IPython, where Beam's import of pandas ends with an error."""

    def install(error: Exception | None, shell: object = "a shell") -> None:
        fake = types.ModuleType("IPython")
        fake.get_ipython = lambda: shell  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", fake)

        def load(name: str) -> object:
            assert name == "apache_beam.runners.interactive.interactive_environment"
            if error is not None:
                raise error
            return None

        monkeypatch.setattr(notebook.importlib, "import_module", load)

    return install


@pytest.mark.parametrize(
    ("version", "error"),
    [
        ("3.1.1", AttributeError("type object 'DataFrame' has no attribute 'first'")),
        ("4.0.0", AttributeError("module 'pandas' has no attribute 'core'")),
        ("3.0.0", ImportError("cannot import name 'PandasDtype'")),
        ("1.5.3", ValueError("numpy.dtype size changed, may indicate binary incompatibility")),
        (None, ModuleNotFoundError("No module named 'pandas'")),
    ],
)
def test_a_pandas_that_beam_cannot_use_is_one_sentence(
    version: str | None, error: Exception, ipython: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(name: str) -> str:
        if name == "pandas":
            if version is None:
                raise importlib.metadata.PackageNotFoundError
            return version
        return "2.77.0"

    monkeypatch.setattr(notebook.importlib.metadata, "version", look_up)
    ipython(error, "a shell")
    with pytest.raises(InputError) as raised:
        notebook.check_notebook()
    sentence = raised.value.sentence
    assert "this is IPython, where Beam 2.77.0 takes a pandas from 2.2 on and below 3" in sentence
    assert "pip install 'beam_export[notebook]'" in sentence
    assert (f"pandas {version} is" if version else "none is") in sentence
    # No traceback of Beam's is shown above it, and none of ours in IPython.
    assert raised.value.__suppress_context__
    assert raised.value._render_traceback_() == [f"InputError: {sentence}"]


def test_a_pandas_that_beam_can_use_is_no_error(ipython: Install) -> None:
    ipython(None, "a shell")
    notebook.check_notebook()


def test_outside_of_ipython_nothing_is_looked_at(
    ipython: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    ipython(ImportError("would be raised"), None)
    notebook.check_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    notebook.check_notebook()


@pytest.mark.parametrize("name", ["Sample", "WriteShards", "ExportImages"])
def test_it_is_said_before_beam_meets_the_pipeline(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise InputError("not here.")

    monkeypatch.setattr(notebook, "check_notebook", refuse)
    with pytest.raises(InputError, match="not here"):
        getattr(beam_export, name)
    assert beam_export.InputError is InputError


def test_a_pandas_of_another_numpy_is_one_sentence_outside_of_ipython_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = ValueError("numpy.dtype size changed, may indicate binary incompatibility")

    def load(name: str) -> object:
        raise error

    assert notebook.pandas_misfit(ValueError("another")) is None
    found = notebook.pandas_misfit(error)
    assert found is not None
    assert "pip install 'pandas>=2.2,<3'" in found.sentence
    monkeypatch.setattr(notebook, "check_notebook", lambda: load(""))
    with pytest.raises(InputError, match="was built for another numpy"):
        _ = beam_export.WriteShards
    error.args = ("another",)
    with pytest.raises(ValueError, match="another"):
        _ = beam_export.WriteShards


def test_errors_are_a_sentence_in_ipython() -> None:
    assert RunError("Too many.")._render_traceback_() == ["RunError: Too many."]


def test_dir_shows_what_there_is() -> None:
    assert dir(beam_export) == sorted(beam_export.__all__)
    assert {"Sample", "WriteShards", "ExportOptions", "__version__"} <= set(dir(beam_export))
    with pytest.raises(AttributeError, match="no attribute 'NoSuch'"):
        _ = beam_export.NoSuch


def test_the_pins_hold_what_the_extras_need() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    setup = (ROOT / "setup.py").read_text()
    for name, bounds, least, below in [
        ("pandas", ">=2.2,<3", (2, 2), (3, 0)),
        ("pillow_heif", ">=1.8,<2", (1, 8), (2, 0)),
    ]:
        assert f'"{name.replace("_", "-")}{bounds}"' in setup
        assert least <= tuple(map(int, pins[name].split(".")[:2])) < below
    assert {"ipython", "ipykernel"} <= pins.keys()


def test_an_import_warns_of_nothing() -> None:
    code = "import beam_export\nfor name in dir(beam_export): getattr(beam_export, name)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
