"""Regularisation: what a penalty or a noise term does, in formulas."""
