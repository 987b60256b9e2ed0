"""Walk a package, import every file, collect the one value that each file ends with."""

import importlib
import pkgutil
from types import ModuleType

from chainrule.errors import ChainruleError


def collect(package: ModuleType, name: str, kind: type) -> dict[str, object]:
    """The value called ``name`` of every module below ``package``, keyed by dotted path relative to it.

    A file that fails to import raises: discovery never skips one in silence.

    Args:
        package: The package to walk, sub-packages included.
        name: The name that every file must define: ``"claim"``, ``"dataset"``.
        kind: The type that the value must have.

    Returns:
        Relative module path → value, in alphabetical order.

    Raises:
        ChainruleError: E403, if a file defines no such value.
    """
    prefix = package.__name__ + "."
    found: dict[str, object] = {}
    for info in sorted(pkgutil.walk_packages(package.__path__, prefix), key=lambda info: info.name):
        if info.ispkg:
            continue
        module = importlib.import_module(info.name)
        value = getattr(module, name, None)
        if not isinstance(value, kind):
            place = info.name.replace(".", "/") + ".py"
            raise ChainruleError(
                "E403",
                f"{place} defines no {name}.",
                f"Every file of {package.__name__} ends with `{name} = {kind.__name__}(...)`.",
                f"add that line, or move the file out of {package.__name__.replace('.', '/')}",
            )
        found[info.name.removeprefix(prefix)] = value
    return found
