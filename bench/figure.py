"""The figure: seconds of one epoch per network, every contender, every row; readable in grey."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from bench import results as numbers
from bench.results import Results, rows, spread, unit

OURS, OTHERS = "black", "0.75"


def draw(results: Results, folder: Path) -> list[Path]:
    """Write ``bench.svg`` and ``bench.png``; nothing, if no row of single networks was measured."""
    names = rows(results, "network")
    if not names:
        return []
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(4.2 * columns, 2.6 * lines), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, row in zip(axes.flat, names, strict=False):
        panel(axis, results, row)
    written = [folder / "bench.svg", folder / "bench.png"]
    with plt.rc_context({"svg.hashsalt": "chainrule"}):
        figure.savefig(written[0], metadata={"Date": None})
    figure.savefig(written[1], dpi=150)
    plt.close(figure)
    return written


def panel(axis: plt.Axes, results: Results, row: str) -> None:
    """One row: a bar per contender with its quartiles, and the arithmetic as a line."""
    record = unit(results, "network", row)
    samples = {one: numbers.per_network(record, one) for one in record["contenders"]}
    there = {one: spread(s) for one, s in samples.items() if s}
    for place, (name, found) in enumerate(there.items()):
        ours = name.startswith("chainrule")
        axis.barh(place, found.median, color=OURS if ours else OTHERS, edgecolor="black", linewidth=0.6)
        axis.plot([found.low, found.high], [place, place], color="0.45", linewidth=2.5, solid_capstyle="butt")
    floor = numbers.arithmetic(results, row)
    if floor:
        axis.axvline(floor, color="black", linestyle="--", linewidth=1)
        axis.annotate("arithmetic", (floor, -0.9), fontsize=7, ha="left", va="center")
    axis.set_yticks(range(len(there)), list(there), fontsize=7)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_title(f"{row}, batch {record['batch']}, {record['rows']:,} rows", fontsize=8)
    axis.set_xlabel("time of one epoch per network [s]", fontsize=7)
    axis.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
