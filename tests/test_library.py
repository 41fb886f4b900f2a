"""What `import streamtos3` gives to programs that use it as a library."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import streamtos3


def python(code: str) -> str:
    """What a fresh interpreter prints for `code`."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_upload_is_a_function_whoever_imports_what_first() -> None:
    code = "import streamtos3, streamtos3.engine; print(type(streamtos3.upload).__name__)"
    assert python(code) == "function"


def test_no_module_has_the_name_of_a_public_name() -> None:
    """Importing it would put the module in the place of the function."""
    modules = {module.name for module in pkgutil.iter_modules(streamtos3.__path__)}
    assert modules & set(streamtos3.__all__) == set()


@pytest.mark.parametrize("name", streamtos3.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(streamtos3, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'download_everything'"):
        _ = streamtos3.download_everything


def test_importing_the_package_loads_no_library() -> None:
    code = "import sys, streamtos3; print({'botocore', 'click', 'tqdm'} & set(sys.modules))"
    assert python(code) == "set()"
