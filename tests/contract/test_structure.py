"""Holds what import-linter (`lint-imports`, see pyproject.toml) cannot say of the modules."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.exports import ROOT

import beam_export

PACKAGE = ROOT / "beam_export"

#: The only module outside storage that opens paths for writing.
OUTPUT = "shards.output"
#: What no command needs that only prints its help; each takes a quarter of a second or more.
LARGE = ("PIL", "apache_beam", "duckdb", "google.cloud", "grpc", "numpy", "pyarrow")
MAX_MODULE_LINES = 400
MAX_BODY_LINES = 45

#: Calls that open, make or move what stands under a path, by the name they are called on.
WRITING_CALLS = {
    "FileSystems": {"copy", "create", "mkdirs", "rename"},
    "os": {"fdopen", "link", "makedirs", "mkdir", "open", "rename", "renames", "replace"},
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move"},
}
WRITING_METHODS = {"hardlink_to", "symlink_to", "touch", "write_bytes", "write_text"}
MODE = re.compile(r"[rwxabt+]{1,4}")


def module_name(path: Path) -> str:
    """Returns `images.color` for beam_export/images/color.py, `images` for its package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


TREES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
LINES = {
    module_name(path): len(path.read_text(encoding="utf-8").splitlines())
    for path in sorted(PACKAGE.rglob("*.py"))
}
#: Packages are rooms without furniture: importing one loads nothing.
PACKAGES = {module_name(path) for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE}


def imported(tree: ast.Module) -> Iterator[str]:
    """Yields the full names of what a module imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # Relative imports would need the module's own place; there are none.
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_import(node: ast.stmt) -> bool:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def own_module(name: str) -> str | None:
    """Returns the module of this package that an imported name is or is in, None for others."""
    root, _, rest = name.partition(".")
    if root != "beam_export":
        return None
    while rest and rest not in TREES:
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


def own_imports(module: str) -> set[str]:
    return {own for name in imported(TREES[module]) if (own := own_module(name))}


def opens_for_writing(call: ast.Call) -> bool:
    match call.func:
        case ast.Name(id="open"):
            if ast.unparse(call.args[0]) == "os.devnull":
                return False
            modes = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "mode")]
            # A mode that is worked out may be any mode.
            return any(not isinstance(mode, ast.Constant) or is_writing(mode) for mode in modes)
        case ast.Attribute(value=ast.Name(id="os"), attr="open") if opens_for_reading(call):
            return False
        case ast.Attribute(value=ast.Name(id=owner), attr=attr) if owner in WRITING_CALLS:
            return attr in WRITING_CALLS[owner]
        case ast.Attribute(attr="open"):
            return any(map(is_writing, [*call.args, *(k.value for k in call.keywords)]))
        case ast.Attribute(attr=attr):
            return attr in WRITING_METHODS
    return False


def opens_for_reading(call: ast.Call) -> bool:
    """Tells whether a call of `os.open` says by its flags that it only reads."""
    flags = set(re.findall(r"O_[A-Z]+", " ".join(map(ast.unparse, call.args[1:2]))))
    return "O_RDONLY" in flags and flags.isdisjoint({"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"})


def is_writing(mode: ast.expr) -> bool:
    if not isinstance(mode, ast.Constant) or not isinstance(mode.value, str):
        return False
    return bool(MODE.fullmatch(mode.value)) and not set("wxa+").isdisjoint(mode.value)


def writing_lines(tree: ast.Module) -> list[int]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sorted(call.lineno for call in calls if opens_for_writing(call))


def writer_classes() -> dict[str, str]:
    """Returns the classes of storage that write, each with its module: `{"LocalWriter": ...}`."""
    return {
        node.name: module
        for module, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and module.startswith("storage.")
        and node.name.endswith("Writer")
        and "Protocol" not in map(ast.unparse, node.bases)
    }


WRITERS = writer_classes()


def importers(name: str) -> set[str]:
    """Returns the modules that import a name, given in full."""
    return {module for module, tree in TREES.items() if name in imported(tree)}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Returns the lines of a function's body, its docstring left out."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_package_is_empty(package: str) -> None:
    assert TREES[package].body == []


@pytest.mark.parametrize("module", sorted(set(TREES) - {OUTPUT, *WRITERS.values()}))
def test_only_the_output_and_storage_open_paths_for_writing(module: str) -> None:
    assert writing_lines(TREES[module]) == []


def test_only_the_output_asks_for_what_writes() -> None:
    assert importers("beam_export.storage.registry.writer_of") == {OUTPUT}


@pytest.mark.parametrize("kind", sorted(WRITERS))
def test_only_the_registry_knows_what_writes(kind: str) -> None:
    assert importers(f"beam_export.storage.{WRITERS[kind].removeprefix('storage.')}.{kind}") == {
        "storage.registry"
    }


def test_google_cloud_storage_is_loaded_where_it_is_needed() -> None:
    known = {
        module
        for module, tree in TREES.items()
        if {"google.cloud.storage", "google_crc32c"} & set(imported(tree))
    }
    assert known
    assert all(module.startswith("storage.google_") for module in known)
    loaders = {module for module in TREES if own_imports(module) & known} - known
    assert loaders == {"storage.registry"}
    for module in loaders:
        at_once = ast.Module([node for node in TREES[module].body if is_import(node)], [])
        assert not [name for name in imported(at_once) if "storage.google" in name]


def test_public_names_are_where_type_checkers_find_them() -> None:
    checked = {
        alias.name: f"{node.module}".removeprefix("beam_export.")
        for branch in TREES["__init__"].body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert checked == beam_export._HOMES
    assert sorted([*checked, "__version__"]) == beam_export.__all__


@pytest.mark.parametrize("module", sorted(set(TREES) - PACKAGES))
def test_module_says_what_is_public(module: str) -> None:
    if module != "__init__" and module.startswith("_"):
        return  # `__main__`, and modules that are private as a whole
    targets = [
        target.id
        for node in TREES[module].body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert "__all__" in targets


def is_record(tree: ast.Module, name: str) -> bool:
    """Returns whether a name is a class of plain fields, as refs are that come by the million."""
    kinds = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return bool(kinds) and "NamedTuple" in {ast.unparse(base) for base in kinds[0].bases}


def own_callables(module: str) -> set[str]:
    """Returns the names under which a module can call what this package defines, but records."""
    tree, names = TREES[module], set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and own_module(node.module):
            source = TREES.get(node.module.removeprefix("beam_export."), tree)
            names |= {
                one.asname or one.name for one in node.names if not is_record(source, one.name)
            }
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return names | {name for name in defined if not is_record(tree, name)}


def unnamed_calls(module: str) -> list[str]:
    """Returns calls of own functions that give more than three arguments by their place alone."""
    known = own_callables(module)
    calls = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    return [
        f"line {call.lineno}: {ast.unparse(call.func)}"
        for call in calls
        if len(call.args) > 3
        and not any(isinstance(value, ast.Starred) for value in call.args)
        and isinstance(call.func, ast.Name)
        and call.func.id in known
    ]


@pytest.mark.parametrize("module", TREES)
def test_calls_with_more_than_three_arguments_name_them(module: str) -> None:
    assert unnamed_calls(module) == []


@pytest.mark.parametrize("module", sorted(TREES))
def test_module_and_its_functions_are_short(module: str) -> None:
    assert LINES[module] <= MAX_MODULE_LINES
    functions = [
        node
        for node in ast.walk(TREES[module])
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    long = {f.name: body_lines(f) for f in functions if body_lines(f) > MAX_BODY_LINES}
    assert long == {}


def loaded_by(folder: Path, *arguments: str) -> set[str]:
    """Returns the large modules that the command loads, with the package that lies in a folder."""
    line = [sys.executable, "-X", "importtime", "-m", "beam_export", *arguments]
    result = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "beam-export" in result.stdout
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", result.stderr, re.MULTILINE))
    assert "beam_export.cli.main" in loaded
    return loaded.intersection(LARGE)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_loads_nothing_large(arguments: list[str]) -> None:
    assert loaded_by(ROOT, *arguments) == set()


@pytest.mark.parametrize("place", ["__init__", "cli/__init__", "cli/main", "text"])
def test_a_large_import_on_the_way_to_help_is_seen(tmp_path: Path, place: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "beam_export")
    module = tmp_path / "beam_export" / f"{place}.py"
    module.write_text(module.read_text() + "\nimport pyarrow\n")
    assert "pyarrow" in loaded_by(tmp_path, "--help")


@pytest.mark.parametrize(
    "code",
    [
        "open(p, 'w')",
        "open(p, mode='xb')",
        "open(p, 'r+b')",
        "open(p, mode)",
        "Path(p).open('wb')",
        "gzip.open(p, 'wb')",
        "tarfile.open(p, mode='w')",
        "Path(p).write_text('')",
        "os.replace(a, b)",
        "os.open(p, flags)",
        "os.open(p, os.O_RDONLY | os.O_CREAT)",
        "FileSystems.create(p)",
    ],
)
def test_writing_is_seen(code: str) -> None:
    assert writing_lines(ast.parse(code)) == [1]


@pytest.mark.parametrize(
    "code",
    [
        *("open(p)", "open(p, 'rb')", "FileSystems.open(p)", "encoder.open()"),
        *("text.replace('a', 'w')", "os.open(p, os.O_RDONLY | os.O_NONBLOCK)"),
    ],
)
def test_reading_is_not_taken_for_writing(code: str) -> None:
    assert writing_lines(ast.parse(code)) == []


def test_imports_are_seen_wherever_they_stand() -> None:
    tree = ast.parse("def f():\n    from apache_beam.io import filesystems\n    import a.b")
    assert list(imported(tree)) == ["apache_beam.io.filesystems", "a.b"]
    assert own_module("beam_export.shards.tar.TarWriter") == "shards.tar"
    assert own_module("beam_export.WriteShards") == "__init__"
    assert own_module("beam_exporter.naming") is None
