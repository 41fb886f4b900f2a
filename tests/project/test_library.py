"""What `import streamtos3` gives to programs that use it as a library."""

from __future__ import annotations

import subprocess
import sys

import pytest

import streamtos3


def python(code: str) -> str:
    """What a fresh interpreter prints for `code`."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "first",
    [
        "pass",
        "import streamtos3.uploader.upload",
        "from streamtos3.uploader.upload import upload",
        "from streamtos3 import upload",
    ],
)
def test_upload_is_the_function_whoever_imports_its_module_first(first: str) -> None:
    shown = python(f"import streamtos3; {first}; print(type(streamtos3.upload).__name__)")
    assert shown == "function"


@pytest.mark.parametrize("name", streamtos3.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(streamtos3, name) is not None


def test_a_former_name_leads_to_what_bears_another_now() -> None:
    assert streamtos3.Latch is streamtos3.CancelScope


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'download_everything'"):
        _ = streamtos3.download_everything


def test_importing_the_package_loads_no_library() -> None:
    code = "import sys, streamtos3; print({'botocore', 'click', 'tqdm'} & set(sys.modules))"
    assert python(code) == "set()"
