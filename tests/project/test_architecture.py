"""The house rules that code can check: who imports what, what is public, what is documented."""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import streamtos3

PACKAGE = Path(streamtos3.__file__).parent

# The folders, and the modules beside them, highest first. One imports only from lines below its
# own, so two on one line know nothing of each other.
LAYERS = (
    "__main__",
    "cli",
    "cluster",
    "publish sink",
    "uploader",
    "downloader",
    "s3 sources receiver",
    "receipts",
    "runtime",
    "model integrity",
    "errors",
    "_version results units",
)
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer.split()}

# Who may import a library: a module, or a whole folder.
ONLY_IN = {
    "click": {"cli"},
    "tqdm": {"cli.progress"},
    "tenacity": {"runtime.retry"},
    "backports": {"sources.compressed"},
    "compression": {"sources.compressed"},
    "boto3": {"s3"},
    "botocore": {"s3"},
    "cloudevents": {"receiver.event_rules"},
    "jinja2": {"receipts.report"},
    "dask": {"cluster.connection", "cluster.worker_processes"},
    "distributed": {
        *("cluster.connection", "cluster.orders", "cluster.plugin", "cluster.worker_processes"),
    },
    "prometheus_client": {"receiver.metrics"},
    "starlette": {"receiver"},
    "uvicorn": {"receiver.uvicorn_server"},
    "tarfile": {"publish.tar_source"},
    "mypy_boto3_s3": {"s3", "uploader", "downloader", "publish", "sink"},
}
HEAVY = (
    *("backports.zstd", "boto3", "botocore", "cloudevents", "dask", "distributed", "jinja2"),
    *("prometheus_client", "starlette", "tenacity", "tqdm", "urllib3", "uvicorn"),
)


def is_folder(path: Path) -> bool:
    """Whether this is the `__init__` of a folder that only says what is in it."""
    if path.name != "__init__.py":
        return False
    return len(ast.parse(path.read_text(encoding="utf-8")).body) == 1


def module_files() -> dict[str, Path]:
    """All modules but the package and its folders, whose `__init__` is a docstring, by name."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        words = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(words[:-1] if words[-1] == "__init__" else words)
        if name and not is_folder(path):
            names[name] = path
    return names


MODULES = module_files()
names = pytest.mark.parametrize("name", MODULES)


@functools.cache
def parsed(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports_of(name: str) -> Iterator[str]:
    """The absolute names of all modules that a module imports, wherever it does."""
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            whence = ".".join(["streamtos3", *base, *filter(None, [node.module])])
            inner = [f"{whence}.{alias.name}" for alias in node.names]
            found = [each for each in inner if each.removeprefix("streamtos3.") in MODULES]
            yield from found or [whence]


def own_imports_of(name: str) -> set[str]:
    prefix = "streamtos3."
    return {each.removeprefix(prefix) for each in imports_of(name) if each.startswith(prefix)}


# Layers


def folder_of(name: str) -> str:
    return name.split(".")[0]


def test_every_folder_has_its_layer_and_every_name_in_the_layers_is_there() -> None:
    assert sorted(RANKS) == sorted({folder_of(name) for name in MODULES})


@names
def test_imports_between_folders_point_down_only(name: str) -> None:
    upward = {
        each
        for each in own_imports_of(name)
        if folder_of(each) != folder_of(name) and RANKS[folder_of(each)] <= RANKS[folder_of(name)]
    }
    assert upward == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = {name: own_imports_of(name) & set(MODULES) for name in MODULES}
    while imports:  # take away what imports nothing that is left
        free = {name for name, others in imports.items() if not others & set(imports)}
        assert free, f"a circle among {sorted(imports)}"
        imports = {name: others for name, others in imports.items() if name not in free}


def test_the_walk_over_the_imports_sees_all_their_forms() -> None:
    assert {"cli.reporting", "cli.console", "model.options"} <= own_imports_of(
        "cli.commands._upload"
    )
    assert "errors" in own_imports_of("cli.program")
    assert "s3.error_mapping" in own_imports_of("s3.sender")
    assert "tqdm" in set(imports_of("cli.progress"))


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_to_one_place_only(library: str) -> None:
    importers = {
        name for name in MODULES if any(each.split(".")[0] == library for each in imports_of(name))
    }
    allowed = ONLY_IN[library]
    assert {name for name in importers if not {name, folder_of(name)} & allowed} == set()


def test_the_extension_is_known_to_one_module_only() -> None:
    """Which alone knows what to do where there is none."""
    importers = {
        name
        for name in MODULES
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.ImportFrom | ast.Import)
        if any("_md5lanes" in alias.name for alias in node.names)
    }
    assert importers == {"integrity.md5"}


def test_only_the_command_line_prints_or_exits() -> None:
    """`print`, `sys.exit` and `os._exit`, and the standard streams, have no other place."""
    talkers = {
        (name, ast.unparse(node))
        for name in MODULES
        if name.split(".")[0] not in ("cli", "__main__")
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.Name | ast.Attribute)
        and ast.unparse(node)
        in ("print", "sys.exit", "os._exit", "exit", "quit", "sys.stdout", "sys.stderr")
    }
    assert talkers == set()


# What is loaded when


def loaded_by(program: str) -> set[str]:
    """Which of the heavy libraries a fresh interpreter has loaded after `program`."""
    shown = f"import sys\n{program}\nprint()\nprint(*set({HEAVY!r}) & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", shown], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split())


def test_importing_the_package_loads_no_library() -> None:
    assert loaded_by("import streamtos3") == set()


@pytest.mark.parametrize("words", [["--help"], ["put", "--help"], ["--version"], []])
def test_help_and_a_mistyped_command_line_load_no_library(words: list[str]) -> None:
    program = f"""
from streamtos3.cli import program
try:
    program.main({words!r}, prog_name="streamtos3")
except SystemExit:
    pass
"""
    assert loaded_by(program) == set()


@pytest.mark.parametrize(("word", "loaded"), [("--help", "False"), ("--version", "True")])
def test_help_does_not_load_the_extension(word: str, loaded: str) -> None:
    pytest.importorskip("streamtos3._md5lanes", reason="installed without a compiler")
    program = f"""
import sys
from streamtos3.cli import program
try:
    program.main([{word!r}], prog_name="streamtos3")
except SystemExit:
    print()
print("streamtos3._md5lanes" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == loaded


@pytest.mark.parametrize(("word", "loaded"), [("--help", set()), ("put", {"put"})])
def test_the_help_of_the_program_loads_no_command(word: str, loaded: set[str]) -> None:
    """To load them all, for a line of each, once doubled its time; `put` shows it can fail."""
    shown = f"""
import sys
from streamtos3.cli import program
try:
    program.main([{word!r}, "--help"], prog_name="streamtos3")
except SystemExit:
    pass
names = [f"streamtos3.cli.commands.{{name}}" for name in program.list_commands(None)]
print("loaded", *(name.rpartition(".")[2] for name in names if name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", shown], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stdout.splitlines()[-1].split()[1:]) == loaded


def test_the_library_loads_what_it_needs_when_it_is_used() -> None:
    """Or the two tests above could not fail."""
    retries = "from streamtos3.runtime import retry"
    assert {"tenacity"} <= loaded_by(f"{retries}; retry.get_ready()")


def test_a_short_stream_pays_for_no_retries() -> None:
    assert "tenacity" not in loaded_by("import streamtos3; streamtos3.upload")


# What is public


def imported(name: str) -> ModuleType:
    return importlib.import_module(f"streamtos3.{name}")


def defined_names(name: str) -> set[str]:
    """The public names that a module defines at its top, type variables left out."""
    found: set[str] = set()
    for node in parsed(name).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign) and "TypeVar(" not in ast.unparse(node.value):
            found |= {each.id for each in node.targets if isinstance(each, ast.Name)}
    return {each for each in found if not each.startswith("_")}


RUNNABLE = [name for name in MODULES if name != "__main__"]
runnable = pytest.mark.parametrize("name", RUNNABLE)


@runnable
def test_all_names_what_a_module_defines_for_others(name: str) -> None:
    module = imported(name)
    listed = set(module.__all__)
    assert len(listed) == len(module.__all__)
    assert {each for each in listed if not hasattr(module, each)} == set()
    assert defined_names(name) - listed == set()


@names
def test_nobody_imports_what_another_module_keeps_to_itself(name: str) -> None:
    private = {
        alias.name
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.ImportFrom) and node.level and node.module  # else a module itself
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    }
    assert private == set()


def test_the_package_offers_what_it_promises() -> None:
    assert {each for each in streamtos3.__all__ if not hasattr(streamtos3, each)} == set()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = streamtos3.nothing
    assert callable(streamtos3.upload)


# What is documented


@names
def test_every_module_says_what_it_does(name: str) -> None:
    assert ast.get_docstring(parsed(name)) or name == "__main__"


def undocumented(body: list[ast.stmt], where: str) -> Iterator[str]:
    """Public classes, functions and methods without a docstring."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if ast.get_docstring(node) is None:
                yield f"{where}.{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node.body, f"{where}.{node.name}")


@names
def test_every_public_class_function_and_method_has_a_docstring(name: str) -> None:
    assert list(undocumented(parsed(name).body, name)) == []


def test_no_name_belongs_to_nobody() -> None:
    """House words: names come from the field."""
    vague = ("Manager", "Helper", "Util", "Handler")
    classes = {
        f"{name}.{node.name}"
        for name in MODULES
        for node in ast.walk(parsed(name))
        if isinstance(node, ast.ClassDef)
    }
    assert {each for each in classes if any(word in each for word in vague)} == set()
