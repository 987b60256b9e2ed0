"""Learning-rate schedules: against torch.optim.lr_scheduler, closed forms, bounds."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from chainrule.calculus.schedules import SCHEDULES

STEPS, DECAY, PERIOD = 60, 0.7, 12

# Each row in torch's words. ExponentialLR knows no period: gamma is the decay of one step.
ORACLES = {
    "constant": lambda o: lr_scheduler.ConstantLR(o, factor=1.0),
    "step": lambda o: lr_scheduler.StepLR(o, step_size=PERIOD, gamma=DECAY),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, gamma=DECAY ** (1 / PERIOD)),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=STEPS),
    "inverse_time": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + DECAY * t)),
    "warmup": lambda o: lr_scheduler.LinearLR(o, start_factor=1 / PERIOD, total_iters=PERIOD - 1),
    "warmup_cosine": lambda o: lr_scheduler.SequentialLR(
        o,
        [
            lr_scheduler.LinearLR(o, start_factor=1 / PERIOD, total_iters=PERIOD - 1),
            lr_scheduler.CosineAnnealingLR(o, T_max=STEPS - PERIOD),
        ],
        milestones=[PERIOD],
    ),
}
each_row = pytest.mark.parametrize("name", SCHEDULES)


# SequentialLR calls the deprecated form of its own members' step().
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step:UserWarning")
@each_row
def test_factors_equal_torch_at_every_step(name):
    """The learning rate of torch's scheduler over the initial one, for a whole run, to 1e-12.

    torch multiplies up to 60 factors, each rounded, where we evaluate the closed form: 60 ε is 1.3e-14.
    """
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = ORACLES[name](optimiser)
    for t in range(STEPS):
        ours = SCHEDULES[name].factor(t, STEPS, DECAY, PERIOD)
        assert ours == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-12, abs=1e-14)
        optimiser.step()
        scheduler.step()


def test_closed_forms():
    """Stairs meet the exponential at multiples of the period; 1/t halves at 1/decay; the cosine is symmetric."""
    factor = {name: row.factor for name, row in SCHEDULES.items()}
    for k in range(5):
        t = k * PERIOD
        assert factor["step"](t, STEPS, 0.5, PERIOD) == pytest.approx(0.5**k, rel=1e-15)
        assert factor["exponential"](t, STEPS, 0.5, PERIOD) == pytest.approx(0.5**k, rel=1e-15)
    assert factor["step"](PERIOD - 1, STEPS, 0.5, PERIOD) == 1
    assert factor["inverse_time"](100, STEPS, 0.01, 1) == 0.5
    for t in range(STEPS + 1):
        mirrored = factor["cosine"](t, STEPS, 0.0, 1) + factor["cosine"](STEPS - t, STEPS, 0.0, 1)
        assert mirrored == pytest.approx(1, abs=1e-15)


def test_warm_up_rises_evenly_to_one_and_stays_or_falls_to_zero():
    """(t+1)/period while t < period, then 1, or half a cosine whose next value after the last step would be 0."""
    warmup, both = SCHEDULES["warmup"].factor, SCHEDULES["warmup_cosine"].factor
    rising = [(t + 1) / PERIOD for t in range(PERIOD)]
    assert [warmup(t, STEPS, 0.0, PERIOD) for t in range(PERIOD)] == rising
    assert [both(t, STEPS, 0.0, PERIOD) for t in range(PERIOD)] == rising
    assert {warmup(t, STEPS, 0.0, PERIOD) for t in range(PERIOD - 1, STEPS)} == {1.0}
    assert both(PERIOD, STEPS, 0.0, PERIOD) == 1
    assert both((PERIOD + STEPS) // 2, STEPS, 0.0, PERIOD) == pytest.approx(0.5, abs=1e-15)
    assert both(STEPS, STEPS, 0.0, PERIOD) == 0
    tail = [both(t, STEPS, 0.0, PERIOD) for t in range(PERIOD, STEPS)]
    assert all(later < sooner for sooner, later in itertools.pairwise(tail))


@each_row
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(data=st.data(), steps=st.integers(1, 10_000), decay=st.floats(0, 1), period=st.integers(1, 20_000))
def test_factors_lie_between_zero_and_one(name, data, steps, decay, period):
    """No schedule raises the learning rate above lr or turns it round, also where the period exceeds the run."""
    t = data.draw(st.integers(0, steps - 1))
    factor = SCHEDULES[name].factor(t, steps, decay, period)
    assert isinstance(factor, float)
    assert 0 <= factor <= 1
    assert math.isfinite(factor)


@each_row
def test_reads_names_the_settings_that_matter_and_no_other(name):
    """Changing decay or period changes some factor if and only if the row says that it reads it."""
    row = SCHEDULES[name]

    def factors(decay=DECAY, period=PERIOD):
        return [row.factor(t, STEPS, decay, period) for t in range(STEPS)]

    assert ("decay" in row.reads) == (factors(decay=0.6) != factors())
    assert ("period" in row.reads) == (factors(period=9) != factors())
