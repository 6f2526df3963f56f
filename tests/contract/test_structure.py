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


def home_of(module: str, name: str) -> str | None:
    """Returns the module that defines a name, or that an import gives; None for a module itself."""
    if f"{module}.{name}" in TREES:
        return None
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.module and own_module(node.module):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return home_of(own_module(node.module), alias.name)
    return module


def borrowed_names(tree: ast.Module) -> list[str]:
    """Returns what a module imports from another than the one that defines it."""
    return [
        f"line {node.lineno}: {alias.name} of {node.module} is of {home}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "beam_export"
        if node.module and (module := own_module(node.module))
        for alias in node.names
        if (home := home_of(module, alias.name)) not in {None, module}
    ]


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
    """Returns whether a call of `os.open` says by its flags that it only reads."""
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


#: How pyarrow reads Parquet.
READS_PARQUET = {"iter_batches", "read_row_group", "read_row_groups"}


def threaded_reads(tree: ast.Module) -> list[str]:
    """Returns calls that have Arrow's threads read a Parquet file.

    They may still hold memory of Python's when the call has returned: `parquet.whole_table`.
    """
    found = []
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        is_threaded = call.func.attr in READS_PARQUET and given.get("use_threads") != "False"
        if is_threaded or ast.unparse(call.func) == "pq.read_table":
            found.append(f"line {call.lineno}: {ast.unparse(call.func)}")
    return found


@pytest.mark.parametrize("module", sorted(TREES))
def test_parquet_is_read_without_threads_of_arrow(module: str) -> None:
    assert threaded_reads(TREES[module]) == []


def test_a_read_by_threads_of_arrow_is_seen() -> None:
    code = "pq.read_table(fh); file.iter_batches(9); file.read_row_group(0, use_threads=False)"
    assert threaded_reads(ast.parse(code)) == ["line 1: pq.read_table", "line 1: file.iter_batches"]


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
def test_names_are_imported_from_where_they_are_defined(module: str) -> None:
    assert borrowed_names(TREES[module]) == []


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "templates"])
def test_names_are_imported_from_where_they_are_defined_outside_the_package(folder: str) -> None:
    borrowed = {
        str(path.relative_to(ROOT)): borrowed_names(ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    assert borrowed
    assert {path: names for path, names in borrowed.items() if names} == {}


def test_a_name_imported_by_way_of_another_module_is_seen() -> None:
    tree = ast.parse("from beam_export.shards.output import Snapshot")
    assert borrowed_names(tree) == [
        "line 1: Snapshot of beam_export.shards.output is of shards.directory"
    ]
    assert borrowed_names(ast.parse("from beam_export import Sample, samples")) == []


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


#: Public names that mean the same action in two modules.
SAME_ACTION = {"main", "walk"}


def public_names(tree: ast.Module) -> set[str]:
    """Returns the names of a module's own classes and functions that other modules may use."""
    return {
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    }


def test_a_public_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for module, tree in TREES.items():
        for name in public_names(tree) - SAME_ACTION:
            homes.setdefault(name, []).append(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


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


def own_methods() -> set[str]:
    """Returns the names of methods of this package that take more than three arguments."""
    return {
        method.name
        for tree in TREES.values()
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if isinstance(method, ast.FunctionDef) and len(method.args.args) > 4
    }


METHODS = own_methods()


def module_aliases(tree: ast.Module) -> set[str]:
    """Returns the names under which a module knows other modules of this package."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}".removeprefix("beam_export.") in TREES
    }


def unnamed_calls(tree: ast.Module, known: set[str]) -> list[str]:
    """Returns calls of own functions that give more than three arguments by their place alone.

    Methods are known by their names, and functions of other modules by the module's; records
    (`NamedTuple`) may be made by place, since they come by the million.
    """
    aliases = module_aliases(tree)

    def is_own(function: ast.expr) -> bool:
        match function:
            case ast.Name(id=name):
                return name in known
            case ast.Attribute(value=ast.Name(id=owner), attr=attr) if owner in aliases:
                return attr[:1].islower()
            case ast.Attribute(attr=attr):
                return attr in METHODS
        return False

    return [
        f"line {call.lineno}: {ast.unparse(call.func)}"
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        if len(call.args) > 3
        and not any(isinstance(value, ast.Starred) for value in call.args)
        and is_own(call.func)
    ]


@pytest.mark.parametrize("module", TREES)
def test_calls_with_more_than_three_arguments_name_them(module: str) -> None:
    assert unnamed_calls(TREES[module], own_callables(module)) == []


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("check_it(a, b, c, d)", True),
        ("self.faults.add(a, b, c, d)", True),
        ("from beam_export import naming\nnaming.member_name(a, b, c, d)", True),
        ("check_it(a, b, c, d=d)", False),
        ("self.faults.add(*arguments, b, c, d)", False),
        ("struct.pack(a, b, c, d)", False),
    ],
)
def test_a_call_that_does_not_name_its_arguments_is_seen(code: str, seen: bool) -> None:
    assert bool(unnamed_calls(ast.parse(code), {"check_it"})) == seen


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


#: Rooms whose modules have tests of their own, and from how many lines on.
CORE = {"exports", "planning", "verify", "sources", "shards", "images", "metadata", "storage"}
LEAST_LINES = 60
#: Folders where a module's own test may stand that needs more than the core has.
OTHER_TESTS = ("dali", "cloud", "pipeline", "command")
#: Tests of a promise that several modules keep.
SHARED_TESTS = {"storage.google_writer": "cloud/test_writers.py"}


def mirror_of(module: str) -> list[Path]:
    """Returns the tests in a module's mirror that begin with its name or import it."""
    room, _, name = module.rpartition(".")
    tests = ROOT / "tests"
    if module in SHARED_TESTS:
        return [path for path in [tests / SHARED_TESTS[module]] if path.exists()]
    mirror = tests / "unit" / room.replace(".", "/")
    named = [
        path
        for folder in (mirror, *(tests / one for one in OTHER_TESTS))
        for path in folder.glob(f"test_{name}*.py")
    ]
    return named or [path for path in mirror.glob("test_*.py") if module in modules_used(path)]


def modules_used(path: Path) -> set[str]:
    """Returns the modules of this package that a file imports something of."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {own for name in imported(tree) if (own := own_module(name))}


@pytest.mark.parametrize(
    "module",
    [name for name in TREES if name.split(".")[0] in CORE and LINES[name] > LEAST_LINES],
)
def test_a_module_of_the_core_has_its_mirror(module: str) -> None:
    assert mirror_of(module)


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


@pytest.mark.parametrize("command", ["export", "verify", "report"])
def test_help_of_a_command_loads_neither_beam_nor_pillow(command: str) -> None:
    # Options of filters and columns are checked with pyarrow's types.
    assert loaded_by(ROOT, command, "--help") <= {"numpy", "pyarrow"}


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
