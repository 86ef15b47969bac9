"""Plug-ins found by file name: `MODELS["mlp"]` imports models/mlp.py and nothing else.

There is no table to keep. A name is a file; the plug-in is the one class in it that derives from the family's base; entry points
(group "luban.models", ...) are asked only when no file has the name. The user's own file is run by `from_file` and by nothing else: a
name looked up may come from a bundle, and loading a bundle runs no code of it.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
import types
from importlib import metadata
from pathlib import Path
from typing import Any

from luban.core.errors import UserError, did_you_mean, listed


class Registry:
    """The plug-ins of one family, e.g. Registry("luban.models", "model")."""

    def __init__(self, package: str, noun: str):
        self.package = package
        self.noun = noun
        self.sources: dict[str, bytes] = {}
        """The user's own files by name ("my.py:Net"), as they were when they ran: an edit later is not what was trained."""

    def names(self) -> list[str]:
        """All names, built-in and installed by others, sorted."""
        package = importlib.import_module(self.package)
        built_in = {module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")}
        return sorted(built_in | {point.name for point in _installed(self.package)})

    def __getitem__(self, name: str) -> Any:
        """The class called `name`. Raises UserError for an unknown name (with the nearest one) or a missing optional package."""
        if name.isidentifier() and not name.startswith("_") and importlib.util.find_spec(f"{self.package}.{name}"):
            try:
                return self._class_in(importlib.import_module(f"{self.package}.{name}"))
            except ModuleNotFoundError as error:
                raise UserError(f"{self.noun} {name!r} needs the package {error.name!r}: {how_to_install(error.name)}") from error
        for point in _installed(self.package):
            if point.name == name:
                return point.load()
        raise UserError(f"there is no {self.noun} {name!r}.{did_you_mean(name, self.names())} There are: {listed(self.names(), 40)}.")

    def items(self) -> list[tuple[str, Any]]:
        """(name, class) of every plug-in whose packages are installed."""
        found = []
        for name in self.names():
            try:
                found.append((name, self[name]))
            except UserError:  # an optional package is not installed: the name stays listed, the class cannot be had
                continue
        return found

    def _class_in(self, module) -> type:
        own = [
            cls
            for _, cls in inspect.getmembers(module, inspect.isclass)
            if cls.__module__ == module.__name__
            and not inspect.isabstract(cls)
            and not cls.__name__.startswith("_")
            and any(base.__module__ in ("luban.core.contract", "luban.core.source") for base in cls.__mro__)
        ]
        assert len(own) == 1, f"{module.__name__} must hold exactly one public {self.noun} class, it has {own}"
        return own[0]

    def from_file(self, name: str) -> type:
        """The class in the user's own file, "my.py:Net". Runs the file, so `name` must be the user's own word.

        The file may import its neighbours, but not in a bundle, where anyone may have planted them; and its bytes are compiled here,
        because an import would rather run a planted .pyc.
        """
        path, _, attribute = name.rpartition(".py:")
        file = Path(path + ".py").resolve()
        try:
            source = file.read_bytes()
        except FileNotFoundError:
            raise UserError(f"{self.noun} {name!r}: there is no file {file}.") from None
        except OSError as error:
            raise UserError(f"{self.noun} {name!r}: {file} cannot be read: {error.strerror}.") from error
        # it stays in sys.modules under a name of its own: dataclasses and type hints look there for what their annotations mean
        module = types.ModuleType(f"luban_user_{hashlib.sha256(bytes(file) + source).hexdigest()[:12]}")
        module.__file__ = str(file)
        sys.modules[module.__name__] = module
        beside = [] if (file.parent / "luban.json").exists() else [str(file.parent)]
        sys.path[:0] = beside
        try:
            exec(compile(source, str(file), "exec", dont_inherit=True), vars(module))
        except _AT_IMPORT as error:
            del sys.modules[module.__name__]
            raise UserError(f"{self.noun} {name!r}: {_where_and_why(error, file)}.") from error
        finally:
            for folder in beside:
                sys.path.remove(folder)
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        if attribute not in classes:
            raise UserError(f"{self.noun} {name!r}: {file.name} has no class {attribute!r}.{did_you_mean(attribute, classes)}")
        self.sources[name] = source
        return getattr(module, attribute)


_AT_IMPORT = (ImportError, NameError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError, AssertionError, SyntaxError,
              RuntimeError, OSError, SystemExit)  # fmt: skip


def _where_and_why(error: BaseException, file: Path) -> str:
    """The line of `file` that failed, or that called what failed, and the reason."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"{file.name} line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{file.name} line {lines[-1] if lines else 1}: {type(error).__name__}: {' '.join(str(error).split())}"


@functools.cache
def _installed(group: str) -> tuple[metadata.EntryPoint, ...]:
    """What other packages offer; kept, for it takes 4 ms to ask and a wide table asks once a column."""
    return tuple(metadata.entry_points(group=group))


def how_to_install(module: str) -> str:
    """The extra that brings `module`, read from our own metadata so that no second list has to be kept."""
    module = module.partition(".")[0]
    for requirement in metadata.requires("luban") or []:
        package, _, marker = requirement.partition(";")
        if package.lower().replace("-", "_").startswith(module.lower()) and "extra ==" in marker and "all" not in marker:
            extra = marker.split("extra ==")[1].strip(" '\"")
            return f"pip install 'luban[{extra}]'"
    return f"pip install {module}"


FIELDS = Registry("luban.fields", "field")
MODELS = Registry("luban.models", "model")
TASKS = Registry("luban.tasks", "task")
SOURCES = Registry("luban.sources", "source")


class Later:
    """Stands for a library that is loaded at its first use: `sk = Later("sklearn.metrics")`, then `sk.f1_score` as ever.

    scikit-learn, SciPy and what they drag in take a second, and neither `predict` nor `serve` needs them.
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        try:
            module = importlib.import_module(self._name)
        except ModuleNotFoundError as error:  # of a bundle that was made where it is installed, or of an option
            raise UserError(f"this needs the package {error.name!r}, which is not installed: {how_to_install(error.name)}.") from error
        return getattr(module, name)
