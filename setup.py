"""The one part of the build that setup.cfg cannot say: the optional C extension.

Without a compiler, or with one that does not know vector types, the package is installed without
it, and hashlib computes every MD5.
"""

import sys
import sysconfig
from typing import Any

from setuptools import Extension, setup

# The limited API has buffers from Python 3.11 on, and knows no interpreter without a lock.
LIMITED = sys.version_info >= (3, 11) and not sysconfig.get_config_var("Py_GIL_DISABLED")
OPTIONS: dict[str, Any] = {"bdist_wheel": {"py_limited_api": "cp311"}} if LIMITED else {}

setup(
    ext_modules=[
        Extension(
            "streamtos3._md5lanes",
            ["native/_md5lanes.c"],
            depends=["native/md5.h", "native/md5_block.h"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")] if LIMITED else [],
            py_limited_api=LIMITED,
            optional=True,
        )
    ],
    options=OPTIONS,
)
