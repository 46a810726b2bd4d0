"""What pyproject.toml cannot say: the compiled parts of CHGNet and SevenNet, once per instruction set. Without a compiler the package installs without it."""

import platform
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FLAGS = ["-O3", "-g0", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden"]
LEVELS = {"avx512": "x86-64-v4", "avx2": "x86-64-v3", "default": "x86-64"} if platform.machine().lower() in ("x86_64", "amd64") else {"default": None}


HEADERS = {"chgnet": "chgnet_network.h", "sevennet": "sevennet_convolution.h"}


def kernel(name: str, level: str, march: str | None) -> Extension:
    folder = "matterloop/potential/kernels"
    return Extension(
        f"matterloop.potential.kernels._{name}_{level}", [f"{folder}/{name}.c"], depends=[f"{folder}/{HEADERS[name]}"],
        extra_compile_args=FLAGS + ([f"-march={march}"] if march else []), libraries=[] if sys.platform == "win32" else ["m"], optional=True)


class Build(build_ext):
    """All levels from one source: each gets a folder for its object of its own."""

    def build_extension(self, ext: Extension) -> None:
        top, self.build_temp = self.build_temp, f"{self.build_temp}/{ext.name}"
        try:
            super().build_extension(ext)
        finally:
            self.build_temp = top


setup(ext_modules=[kernel(name, *level) for name in HEADERS for level in LEVELS.items()], cmdclass={"build_ext": Build})
