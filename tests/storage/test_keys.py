"""Keys: equal things have one name, different things have different names, and names never change."""

import json
import math
import os
import subprocess
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import ChainruleError
from chainrule.store.keys import canonical, digest, key

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    NUMBERS | st.text() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Old(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record before it got a new field."""

    lr: float = 0.1
    widths: tuple[int, ...] = (784, 10)


class New(msgspec.Struct, frozen=True, omit_defaults=True):
    """The same record, with the new field."""

    lr: float = 0.1
    widths: tuple[int, ...] = (784, 10)
    dropout: float = 0.0


@given(VALUES)
def test_canonical_json_reads_back(value: object) -> None:
    """Reading canonical JSON gives an equal value, whose canonical JSON is the same; it is ASCII on one line."""
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(json.loads(text)) == text
    assert text.isascii()
    assert b"\n" not in text


@given(st.dictionaries(st.text(), NUMBERS, max_size=6))
def test_order_does_not_matter(record: dict[str, float]) -> None:
    """A record has one key, in whatever order it was filled."""
    assert key(record) == key(dict(reversed(record.items())))


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_equal_numbers_have_one_spelling(number: int) -> None:
    """N and n.0 are equal, so they name the same result."""
    assert canonical(number) == canonical(float(number)) == str(number).encode()


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_different_floats_have_different_spellings(a: float, b: float) -> None:
    """Canonical JSON is as fine as the floats: equal if and only if the numbers are."""
    assert (canonical(a) == canonical(b)) == (a == b)


@pytest.mark.parametrize("number", [0.1, 1e-310, 1.7976931348623157e308, 2.0**53, 2.0**60, math.nextafter(1, 2)])
def test_floats_are_spelled_in_their_shortest_form(number: float) -> None:
    """The spelling is Python's, which is the shortest that reads back the same."""
    assert canonical(number) == repr(number).encode()


def test_signed_zero_is_zero() -> None:
    """-0.0 == 0.0 == 0, so they name the same result; True is no number here."""
    assert canonical([-0.0, 0.0, 0, False]) == b"[0,0,0,false]"


def test_a_new_field_changes_no_old_key() -> None:
    """Fields at their default are left out, so a record keeps its key when a field is added."""
    assert key(Old(lr=0.3)) == key(New(lr=0.3)) == key({"lr": 0.3})
    assert key(New(lr=0.3, dropout=0.5)) != key(New(lr=0.3))


def test_records_lists_and_tuples_nest() -> None:
    """Records may stand in lists and dictionaries; a tuple is a list."""
    assert canonical({"b": [Old(lr=1.0)], "a": (1, [2])}) == b'{"a":[1,[2]],"b":[{"lr":1}]}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_has_no_key(number: float) -> None:
    """NaN equals nothing, so nothing could be found by it: error E405, which says where it stands."""
    with pytest.raises(ChainruleError) as caught:
        key({"conditions": [Old(lr=0.5), Old(lr=number)]})
    assert str(caught.value) == (
        f"error E405: value.conditions[1].lr={number!r} cannot be part of the name of a result.\n"
        "  A result is found again by what it depends on, and only finite numbers can be compared.\n"
        "  fix: give a finite number"
    )
    assert caught.value.exit_status == 78


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, {1: "one"}, object(), 1j, {"a": {None: 1}}])
def test_other_types_have_no_canonical_json(value: object) -> None:
    """A set has no order and a number is no name: better no key than a doubtful one."""
    with pytest.raises(TypeError, match="value"):
        key(value)


def test_names_never_change() -> None:
    """Three keys, fixed for format 1: if this fails, every store in the world has lost its objects."""
    assert key({}) == digest(b'{"format":1,"of":{}}')
    assert key({"lr": 0.1, "widths": [784, 10]}) == "8bf2070ce308af03e67daef0817e7eae907a8a3bb0fc3ce101a8bff52de39b7e"
    assert key(["é", 1e-300, 2**70, None, True]) == "ff122d73e1de0be895a07bea0fcf041bdcda169c7251b2bc13125dfd614c25f5"


def test_a_key_depends_on_nothing_else() -> None:
    """Another process with another hash seed, time zone, user, home and locale gives the same key."""
    program = "from chainrule.store.keys import key; print(key({'b': [0.1, 'é'], 'a': {'y': 1, 'x': 2.5}}))"
    strange = {"PYTHONHASHSEED": "7", "TZ": "Asia/Kathmandu", "USER": "x", "HOME": "/nowhere", "LC_ALL": "C"}
    command = [sys.executable, "-c", program]
    keys = {
        subprocess.run(command, env=os.environ | more, capture_output=True, text=True, check=True).stdout
        for more in ({}, strange)
    }
    assert len(keys) == 1
