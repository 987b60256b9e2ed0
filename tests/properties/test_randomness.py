"""Streams: pure functions of their key."""

import numpy as np

from chainrule.randomness import stream

GOLDEN = {
    "0/weights/0": [0.40646276377443685, -1.6713304404062228, -1.1133117404118127],
    "1000/split": [0.9032383106291629, 0.7479205156813777, 0.31973298240161174],
    "1/batch order/7": [0, 3, 6, 9, 2, 7, 5, 8, 4, 1],
}


def test_golden_first_numbers() -> None:
    """The first numbers of three keys, held so that a change of numpy's normals is noticed."""
    assert stream(0, "weights/0").standard_normal(3).tolist() == GOLDEN["0/weights/0"]
    assert stream(1000, "split").random(3).tolist() == GOLDEN["1000/split"]
    assert stream(1, "batch order", 7).permutation(10).tolist() == GOLDEN["1/batch order/7"]


def test_no_two_keys_share_their_first_draw() -> None:
    """2·10⁴ keys of many replicas, purposes and epochs give as many first draws."""
    keys = [(r, p, e) for r in range(100) for p in ("split", "weights/0", "weights/1", "dropout/0") for e in range(50)]
    assert len({stream(r, p, e).bit_generator.random_raw() for r, p, e in keys}) == len(keys)


def test_a_draw_depends_on_no_other() -> None:
    """Whatever else was drawn, and however much, a stream begins with the same numbers."""
    alone = stream(3, "noise", 5).standard_normal(8)
    stream(3, "noise", 4).standard_normal(1000)
    assert np.array_equal(stream(3, "noise", 5).standard_normal(8), alone)


def test_a_longer_draw_begins_like_a_shorter_one() -> None:
    """Prefix consistency, which lets a cohort grow without changing what is there."""
    for length in (1, 7, 8, 15, 16, 33):
        assert np.array_equal(stream(0, "x").standard_normal(64)[:length], stream(0, "x").standard_normal(length))
