"""Keys: the sha256 of the canonical JSON of all that a result depends on.

What belongs in a key: the kind of result, the condition, the root seed, the replica, the hash of the data, the
schedule, the instrument. What never does: the clock, the host, a path, the user, the number of threads, versions of
libraries (they stand in the provenance). Fields at their default are left out by ``omit_defaults=True``, so a new
field changes no old key; changing a *default* raises ``FORMAT``, which enters every key.
"""

import hashlib
import json
import math

import msgspec

from chainrule.errors import ChainruleError

FORMAT = 1
EXACT_INTEGERS = 2.0**53  # below it every integer-valued float is exactly that integer

Plain = dict[str, object] | list[object] | str | int | float | bool | None


def plain(value: object, place: str = "value") -> Plain:
    """A value as dict, list, str, int, float, bool or None; equal numbers get one spelling (1.0 is 1, -0.0 is 0).

    Args:
        value: The same types, tuples and ``msgspec.Struct``, nested as you like.
        place: Where the value stands, for the error text.

    Raises:
        ChainruleError: E405, if a number is not finite.
        TypeError: Any other type; a dictionary whose keys are not strings.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ChainruleError(
                "E405",
                f"{place}={float(value)!r} cannot be part of the name of a result.",
                "A result is found again by what it depends on, and only finite numbers can be compared.",
                "give a finite number",
            )
        return int(value) if value.is_integer() and abs(value) < EXACT_INTEGERS else float(value)
    if isinstance(value, list | tuple):
        return [plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise TypeError(f"{place}: the keys of a dictionary must be strings, got {list(value)!r}.")
        return {name: plain(item, f"{place}.{name}") for name, item in value.items()}
    if isinstance(value, msgspec.Struct):
        return plain(msgspec.to_builtins(value, order="deterministic"), place)
    raise TypeError(f"{place} is a {type(value).__name__}, which has no canonical JSON.")


def canonical(value: object) -> bytes:
    """Canonical JSON: sorted names, no spaces, ASCII, floats in the shortest form that reads back the same.

    Args:
        value: dict, list, tuple, str, int, float, bool, None or ``msgspec.Struct``, nested as you like.

    Raises:
        ChainruleError: E405, if a number is not finite.
        TypeError: Any other type.

    Example:
        >>> canonical({"lr": 0.1, "widths": (784, 10), "l2": 1.0})
        b'{"l2":1,"lr":0.1,"widths":[784,10]}'
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest(data: bytes) -> str:
    """The sha256 of bytes, as 64 hexadecimal digits.

    Example:
        >>> digest(b"")[:16]
        'e3b0c44298fc1c14'
    """
    return hashlib.sha256(data).hexdigest()


def key(value: object) -> str:
    """The name of the result that depends on ``value`` and on nothing else: 64 hexadecimal digits.

    Raises:
        ChainruleError: E405, if a number is not finite.
        TypeError: A type that has no canonical JSON.

    Example:
        >>> key({"lr": 1, "l2": 0.0}) == key({"l2": -0.0, "lr": 1.0})
        True
    """
    return digest(canonical({"format": FORMAT, "of": plain(value)}))
