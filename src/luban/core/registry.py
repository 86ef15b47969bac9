"""Plug-ins found by file name: `MODELS["mlp"]` imports models/mlp.py and nothing else.

There is no table to keep. A name is a file; the plug-in is the one class in it that derives from the family's base; entry points
(group "luban.models", ...) are asked only when no file has the name; "my.py:Net" names a class in the user's own file.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from luban.core.errors import UserError, did_you_mean, listed


class Registry:
    """The plug-ins of one family, e.g. Registry("luban.models", "model")."""

    def __init__(self, package: str, noun: str):
        self.package = package
        self.noun = noun

    def names(self) -> list[str]:
        """All names, built-in and installed by others, sorted."""
        package = importlib.import_module(self.package)
        built_in = {module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_")}
        return sorted(built_in | {point.name for point in _installed(self.package)})

    def __getitem__(self, name: str) -> Any:
        """The class called `name`. Raises UserError for an unknown name (with the nearest one) or a missing optional package."""
        if ".py:" in name:
            return self._from_file(name)
        if name.isidentifier() and importlib.util.find_spec(f"{self.package}.{name}"):
            try:
                return self._class_in(importlib.import_module(f"{self.package}.{name}"))
            except ModuleNotFoundError as error:
                raise UserError(f"{self.noun} {name!r} needs the package {error.name!r}: {_how_to_install(error.name)}") from error
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
            and any(base.__module__ == "luban.core.contract" for base in cls.__mro__)
        ]
        assert len(own) == 1, f"{module.__name__} must hold exactly one public {self.noun} class, it has {own}"
        return own[0]

    def _from_file(self, name: str) -> type:
        path, _, attribute = name.partition(".py:")
        file = Path(path + ".py").resolve()
        if not file.is_file():
            raise UserError(f"{self.noun} {name!r}: there is no file {file}.")
        spec = importlib.util.spec_from_file_location(f"luban_user_{file.stem}", file)
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(file.parent))  # so that the user's file can import its neighbours
        try:
            spec.loader.exec_module(module)
        except SyntaxError as error:
            raise UserError(f"{self.noun} {name!r}: {file.name} line {error.lineno}: {error.msg}.") from error
        finally:
            sys.path.remove(str(file.parent))
        classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
        if attribute not in classes:
            raise UserError(f"{self.noun} {name!r}: {file.name} has no class {attribute!r}.{did_you_mean(attribute, classes)}")
        return getattr(module, attribute)


@functools.cache
def _installed(group: str) -> tuple[metadata.EntryPoint, ...]:
    """What other packages offer; kept, for it takes 4 ms to ask and a wide table asks once a column."""
    return tuple(metadata.entry_points(group=group))


def _how_to_install(module: str) -> str:
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
