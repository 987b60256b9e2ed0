"""The record of a workflow: networks trained on one dataset by many seeds, chosen on validation, tested once."""

import msgspec

from chainrule.evidence.figure import Figure


class Quantity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mean over seeds with its 95 % t-interval. ``None`` where it is undefined, ``note`` says why.

    ``binomial_low`` and ``binomial_high`` bound a proportion for the size of the test set (Wilson 1927); they answer
    "another test set", the interval over seeds answers "another seed".
    """

    name: str
    mean: float | None
    low: float | None
    high: float | None
    unit: str = ""
    binomial_low: float | None = None
    binomial_high: float | None = None
    note: str = ""


class Sheet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of quantities: one row per method or class, one column per metric."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Quantity, ...]], ...]


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A workflow, ready to print.

    Args:
        data: Name of the dataset; ``title``, ``description``, ``licence``, ``citation`` are its own words.
        data_hash: Content hash.
        task: ``"classification"`` or ``"regression"``.
        condition: The settings of the network, field by field.
        seeds: Number of independent seeds (initial weights, batch order and split).
        rows: Training, validation and test rows.
        parameters: Number of trainable parameters.
        diverged: Members that diverged; they count as failures in every figure.
        chosen: How the model was chosen, in words: on validation, at which epochs.
        sheets: Tables: test metrics beside baselines; per class; cross-validation.
        facts: Single quantities that prose refers to by name: ``"test accuracy"``.
        figures: Learning curves, confusion matrix, worst mistakes, residuals, map.
        run: Key of the stored run.
        versions: As in Provenance.
    """

    data: str
    title: str
    description: str
    licence: str
    citation: str
    data_hash: str
    task: str
    condition: dict[str, str]
    seeds: int
    rows: tuple[int, int, int]
    parameters: int
    diverged: int
    chosen: str
    sheets: tuple[Sheet, ...]
    facts: dict[str, Quantity]
    figures: dict[str, Figure]
    run: str
    versions: dict[str, str]
