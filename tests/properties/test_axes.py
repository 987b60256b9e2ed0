"""The grammar of axes: what a range, a list of alternatives and a single value mean, and every refusal."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import ChainruleError
from chainrule.workflows.axes import combinations, read_axes, read_axis, read_order

ENDS = st.floats(1e-6, 1e6)


@given(ENDS, st.floats(1.01, 1e6), st.integers(2, 50))
def test_a_geometric_range_has_equal_ratios_and_both_ends(low: float, ratio: float, points: int) -> None:
    """b/a = q^(N-1): every step has the ratio q, to the six digits of a point; the ends are as they were typed."""
    high = low * ratio
    axis = read_axis("lr", f"{low!r}..{high!r}:log{points}")
    values = [float(value) for value in axis.values]
    assert (axis.values[0], axis.values[-1], len(values)) == (repr(low), repr(high), points)
    for i, value in enumerate(values):
        assert value == pytest.approx(low * (high / low) ** (i / (points - 1)), rel=5.1e-6)


@given(st.floats(-1e3, 1e3), st.floats(1, 1e3), st.integers(2, 50))
def test_a_linear_range_has_equal_steps_and_both_ends(low: float, length: float, points: int) -> None:
    """Point i lies at a + i (b-a)/(N-1), to six digits of the point; ``lin`` may be said or left out."""
    high = low + length
    axis = read_axis("weight_std", f"{low!r}..{high!r}:lin{points}")
    assert axis.values == read_axis("weight_std", f"{low!r}..{high!r}:{points}").values
    for i, value in enumerate(map(float, axis.values)):
        assert value == pytest.approx(low + i * (high - low) / (points - 1), rel=5.1e-6, abs=1e-12 * abs(low))


def test_whole_numbers_stay_whole() -> None:
    """A range of a whole field has whole points: powers of two are met exactly."""
    assert read_axis("batch", "16..256:log5").values == ("16", "32", "64", "128", "256")
    assert read_axis("batch", "10..13:4").values == ("10", "11", "12", "13")


def test_alternatives_are_as_train_takes_them() -> None:
    """A bar separates; commas belong to the widths."""
    assert read_axis("widths", "64,64|208,208|8").values == ("64,64", "208,208", "8")
    assert read_axis("activation", "relu|tanh").values == ("relu", "tanh")
    fixed = read_axis("lr", "0.1")
    assert (fixed.values, fixed.varies, fixed.scale) == (("0.1",), False, "")


def test_a_range_without_points_is_for_a_search() -> None:
    """It has ends and a scale and no values; a grid refuses it with a number to type."""
    axis = read_axis("lr", "0.001..0.1:log")
    assert (axis.values, axis.scale, axis.low, axis.high, axis.varies) == ((), "log", 0.001, 0.1, True)
    assert read_axis("lr", "1..2").scale == "linear"
    with pytest.raises(ChainruleError, match="how many points") as refusal:
        combinations([axis])
    assert (refusal.value.code, refusal.value.fix) == ("E406", "lr=0.001..0.1:log9, or --search 100")


def test_the_grid_is_every_combination_once() -> None:
    """Their number is the product, the last axis is the fastest."""
    axes = read_axes({"lr": "0.1..1:4", "widths": "8|16", "activation": "relu|tanh|gelu", "batch": "8"})
    found = [tuple(combination.values()) for combination in combinations(axes)]
    assert len(set(found)) == len(found) == math.prod((4, 2, 3, 1))
    assert [row[2] for row in found[:4]] == ["relu", "tanh", "gelu", "relu"]


def test_data_and_seeds_stand_among_the_settings() -> None:
    """Both have a default; what is left are axes."""
    assert read_order({"data": "moons", "lr": "1", "seeds": "20"}, 5)[0::2] == ("moons", 20)
    data, axes, seeds = read_order({"lr": "1"}, 5)
    assert (data, [axis.name for axis in axes], seeds) == ("digits", ["lr"], 5)


MISTAKES = [
    # setting, text, code, a piece of the text that helps
    ("learning_rate", "0.1..1:3", "E401", "Known: widths"),
    ("widht", "8", "E401", "Did you mean 'widths'?"),
    ("lr", "0.1..", "E406", "for example lr=0.003..0.3:log9"),
    ("lr", "..1:3", "E406", "A range is a..b:logN"),
    ("lr", "0.1..1:geo5", "E406", "a..b:N (equal steps)"),
    ("lr", "0.1..1:3|5", "E406", "a..b:N (equal steps)"),
    ("lr", "0.1..one:3", "E406", "'one' is no number."),
    ("lr", "0.1..inf:3", "E406", "'inf' is no number."),
    ("batch", "1.5..8:3", "E406", "'1.5' is no whole number."),
    ("lr", "0..1:log9", "E406", "A geometric range needs ends above 0."),
    ("lr", "-1..1:log9", "E406", "A geometric range needs ends above 0."),
    ("lr", "1..0.1:log9", "E406", "give the smaller end first"),
    ("lr", "1..1:3", "E406", "give the smaller end first"),
    ("lr", "0.1..1:1", "E406", "A range has 2 to 1,000,000 points."),
    ("lr", "0.1..1:log0", "E406", "A range has 2 to 1,000,000 points."),
    ("lr", "0.1..1:2000000", "E406", "A range has 2 to 1,000,000 points."),
    ("batch", "1..4:9", "E406", "9 points fall on 4 whole numbers."),
    ("lr", "1..1.00001:9", "E406", "9 points fall on 2 numbers of 6 digits."),
    ("widths", "8..64:4", "E406", "alternatives: widths=A|B"),
    ("batch_norm", "0..1:2", "E406", "is no number, so it has no range."),
    ("lr", "0.1|", "E406", "One of its alternatives is empty."),
    ("lr", "0.1|0.1", "E401", "has a value twice."),
]


@pytest.mark.parametrize(("name", "text", "code", "words"), MISTAKES)
def test_what_is_no_axis_is_refused(name: str, text: str, code: str, words: str) -> None:
    """Each with its code, what was typed, and what to type instead."""
    with pytest.raises(ChainruleError) as refusal:
        read_axis(name, text)
    assert refusal.value.code == code
    assert words in str(refusal.value)
    assert refusal.value.what.startswith((f"{name}={text!r}", f"unknown setting {name!r}"))


def test_several_data_sets_and_wordy_seeds_are_refused() -> None:
    """Losses of two data sets cannot be compared; seeds are a number."""
    with pytest.raises(ChainruleError, match="names several data sets") as refusal:
        read_order({"data": "moons|iris"}, 5)
    assert refusal.value.code == "E401"
    with pytest.raises(ChainruleError, match="seeds='many' cannot be read") as refusal:
        read_order({"seeds": "many"}, 5)
    assert refusal.value.code == "E406"
