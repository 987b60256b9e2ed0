"""The tables: what is measured beside what, in which order, and what of it is kept.

Every function measures one unit, a table or one row of it, and returns JSON: the samples as they came, so that whatever
is printed can be worked out again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from bench.jobs import CONTENDERS
from bench.results import OPERATORS, STEPS
from bench.rows import ROWS, Row, available, has_official_files, operations, products, rows_used, spelled
from bench.turns import Crew, Record, Say, arguments, begun, employed, in_turns, once, one_core
from bench.worker import Absent, cores
from chainrule.experiment.condition import Condition
from chainrule.experiment.training import seed_block

VMAP, VMAP_LARGE = 8, 2  # networks in one vmap; a stack of large ones leaves the cache and is slower
LARGE = 1_000_000  # parameters
OPTIONS: dict[str, dict[str, object]] = {
    "dropout 0.2": {"dropout": 0.2},
    "heavy ball": {"optimiser": "heavy_ball", "lr": 0.005},
    "Adam": {"optimiser": "adam", "lr": 0.001},
    "AdamW, weight decay": {"optimiser": "adamw", "lr": 0.001, "weight_decay": 0.01},
    "L2 penalty": {"l2": 1e-4},
    "L1, proximal": {"l1": 1e-5},
    "cosine schedule": {"schedule": "cosine"},
    "batch normalisation": {"batch_norm": True},
}
SETTINGS = (  # the table of 20 seeds: family, contender, processes, threads of each
    ("chainrule", "chainrule", 2, 1),
    ("chainrule, one worker", "chainrule", 1, 1),
    ("PyTorch loop", "PyTorch loop", 2, 1),
    ("PyTorch loop", "PyTorch loop", 1, 2),
    ("JAX", "JAX scan", 2, 1),
    ("JAX", "JAX scan", 1, 2),
    ("JAX", "JAX vmap", 2, 1),
    ("JAX", "JAX vmap", 1, 2),
    ("scikit-learn", "scikit-learn", 2, 1),
    ("scikit-learn", "scikit-learn", 1, 2),
)
TARGET = 0.98  # of MNIST's test rows
CURVED = Condition(widths=(784, 256, 10), data="mnist_5k", n_train=512, batch=128, lr=0.05)


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Args:
        rows: Names of the rows.
        repeats: Timed repeats of every contender, after one that does not count.
        seeds: Networks in the table of what a user waits for.
        networks: Networks in the table of memory.
        seconds: For each timing of a matrix product or of a derivative.
        target_seeds: Networks trained to the accuracy.
        target_epochs: Most passes on the way to it.
        epochs: Passes over California.
    """

    rows: tuple[str, ...] = tuple(ROWS)
    repeats: int = 5
    seeds: int = 20
    networks: int = 10_000
    seconds: float = 0.15
    target_seeds: int = 3
    target_epochs: int = 30
    epochs: int = 20


QUICK = Settings(
    rows=tuple(ROWS)[:-1], repeats=2, seeds=4, networks=200, seconds=0.02, target_seeds=1, target_epochs=12, epochs=12
)

# one network, one core ───────────────────────────────────────────────────────────────────


def rates(settings: Settings, name: str, say: Say) -> Record:
    """The fastest matrix products of this machine, over square shapes and those of the rows."""
    shapes = {(n, n, n) for n in (512, 768, 1024)}
    own = {row: products(ROWS[row].condition) for row in settings.rows}
    everything = sorted(shapes.union(*own.values()))
    found = once("bench.jobs:rates", {"shapes": everything, "seconds": settings.seconds}, say)
    if "absent" in found:
        return found
    return {"products": found["value"], "rows": {row: sorted(map(list, sizes)) for row, sizes in own.items()}}


def members_of(name: str, condition: Condition, seeds: int) -> int:
    """Networks that a contender trains in one repeat of the table of single networks."""
    if name.startswith("chainrule"):
        return min(seed_block(condition), seeds)
    stack = VMAP if condition.parameters < LARGE else VMAP_LARGE
    return min(stack, seeds) if name == "JAX vmap" else 1


def network(settings: Settings, name: str, say: Say) -> Record:
    """Seconds of an epoch per network, on one core, every contender."""
    row, told = available(ROWS[name])
    contenders = [one for one in CONTENDERS if one != "Keras"]
    members = {one: members_of(one, row.condition, settings.seeds) for one in contenders}
    with employed(say) as start:
        workers = {
            one: start("bench.jobs:training", arguments(one, row, row.epochs, range(members[one])), one_core())
            for one in contenders
        }
        found = in_turns(workers, settings.repeats, say)
    rows = rows_used(row.condition)
    return {
        **about(row, told, rows, row.epochs),
        "members": members,
        "operations": operations(row.condition, rows),
        "contenders": found,
    }


def about(row: Row, told: str, rows: int, epochs: int) -> Record:
    """What a row of a table was."""
    c = row.condition
    return {"data": c.data, "note": told, "rows": rows, "batch": c.batch, "loss": c.loss, "epochs": epochs}


# what a user waits for ───────────────────────────────────────────────────────────────────


def seeds(settings: Settings, name: str, say: Say) -> Record:
    """All seeds of a row on the whole machine, each family in the setting that had the best first run."""
    row, told = available(ROWS[name])
    crews: dict[str, Crew] = {}
    trials: dict[str, float] = {}
    found: dict[str, Record] = {}
    try:
        for family, form, processes, threads in SETTINGS:
            try:
                one, first = begun(form, row, processes, threads, settings.seeds)
            except Absent as reason:
                found.setdefault(family, {"absent": str(reason)})
                continue
            say("+")
            trials[one.name] = first
            if family in crews and first >= trials[crews[family].name]:
                one.close()
                continue
            if family in crews:
                crews[family].close()
            crews[family] = one
            found[family] = {"setting": one.name, "start": one.waited, "first": first}
        samples: dict[str, list[float]] = {family: [] for family in crews}
        for turn in range(row.repeats(settings.repeats) + 1):
            for family, one in list(crews.items()):
                try:
                    if turn < row.repeats(settings.repeats):
                        samples[family].append(one.repeat())
                    else:
                        found[family] |= {"seconds": samples[family], "threads": one.finish()}
                except Absent as reason:
                    found[family] = {"absent": str(reason)}
                    crews.pop(family).close()
            say(".")
    finally:
        for one in crews.values():
            one.close()
    more = {"seeds": settings.seeds, "cores": len(cores()), "trials": trials, "contenders": found}
    return about(row, told, rows_used(row.condition), row.seeds_epochs) | more


# chainrule by itself ─────────────────────────────────────────────────────────────────────


def options(settings: Settings, name: str, say: Say) -> Record:
    """Plain descent and every option, in turns in one process, which runs the same engine for all."""
    row, told = available(ROWS[name])
    members = members_of("chainrule", row.condition, settings.seeds)
    changes = {"plain": {}, **OPTIONS}
    given = {"condition": spelled(row.condition), "changes": changes, "epochs": row.epochs, "members": members}
    rounds: list[dict[str, float]] = []
    kept = about(row, told, rows_used(row.condition), row.epochs) | {"members": members}
    with employed(say) as start:
        worker = start("bench.jobs:options", given, one_core())
        if isinstance(worker, str):
            return kept | {"absent": worker}
        try:
            for _ in range(row.repeats(settings.repeats) + 1):
                rounds.append(worker.repeat().value)
                say(".")
            threads = worker.finish()["threads"]
        except Absent as reason:
            return kept | {"absent": str(reason)}
    found = {option: {"seconds": [one[option] for one in rounds[1:]]} for option in changes}
    return kept | {"threads": threads, "options": found}


def memory(settings: Settings, name: str, say: Say) -> Record:
    """The most memory of many small networks, a few steps each."""
    row, told = available(ROWS["8-64-64-1"])
    given = {"condition": spelled(row.condition), "steps": 5}
    jobs = {
        "chainrule": ("bench.jobs:memory_of_shards", settings.networks),
        "JAX vmap": ("bench.jobs:memory_of_a_stack", settings.networks),
        "PyTorch loop": ("bench.jobs:memory_of_a_loop", settings.networks),
    }
    return {"note": told, "steps": 5} | {
        one: once(job, {**given, "networks": count}, say) for one, (job, count) in jobs.items()
    }


# to a target ─────────────────────────────────────────────────────────────────────────────

RACERS = ("chainrule", "PyTorch loop", "scikit-learn", "Keras", "JAX scan", "JAX vmap")


def target_mnist(settings: Settings, name: str, say: Say) -> Record:
    """Seconds of training to 98 % of MNIST's test rows, 784-256-128-10, heavy ball, one core."""
    if not has_official_files("mnist"):
        return {"absent": "the files of MNIST are not at hand: set CHAINRULE_DATA"}
    condition = Condition(
        widths=(784, 256, 128, 10), data="mnist", optimiser="heavy_ball", lr=0.05, batch=128, steps=10**6
    )
    given = {"condition": spelled(condition), "target": TARGET, "epochs": settings.target_epochs}
    found = {}
    for racer in RACERS[:-1]:  # one network: nothing to stack
        runs = [
            once("bench.jobs:to_accuracy", {"name": racer, "replica": r, **given}, say)
            for r in range(settings.target_seeds)
        ]
        found[racer] = next((run for run in runs if "absent" in run), {"runs": runs})
    return {"target": TARGET, "contenders": found}


def target_california(settings: Settings, name: str, say: Say) -> Record:
    """Seconds of the seeds of California, with a look at the validation rows after every epoch, one core."""
    if not has_official_files("california"):
        return {"absent": "the file of California housing is not at hand: set CHAINRULE_DATA"}
    condition = Condition(
        widths=(8, 64, 64, 1),
        data="california",
        splits=1,
        loss="squared_error",
        optimiser="adam",
        lr=0.002,
        batch=64,
        steps=10**6,
    )
    given = {"condition": spelled(condition), "replicas": list(range(settings.seeds)), "epochs": settings.epochs}
    runs = {racer: once("bench.jobs:to_best_validation", {"name": racer, **given}, say) for racer in RACERS}
    return {"seeds": settings.seeds, "epochs": settings.epochs, "contenders": runs}


# curvature ───────────────────────────────────────────────────────────────────────────────


def curvature(settings: Settings, name: str, say: Say) -> Record:
    """784-256-10 with 512 images: a product beside a gradient, five eigenvalues beside scipy's, the density.

    Eigenvalues are taken twice, since the gaps between them, which decide how many products are needed, grow in
    training; everything else after some steps.
    """
    double, single = (spelled(msgspec.structs.replace(CURVED, dtype=dtype)) for dtype in ("float64", "float32"))
    seconds = 10 * settings.seconds
    found: Record = {
        dtype: once("bench.curvature:product", {"condition": condition, "steps": 100, "seconds": seconds}, say)
        for dtype, condition in (("float64", double), ("float32", single))
    }
    for steps in STEPS:
        given = {"condition": double, "steps": steps, "tolerance": 1e-6, "k": 5}
        found[f"chainrule, {steps} steps"] = once("bench.curvature:eigenvalues", given, say)
        for operator in OPERATORS:
            arguments = {**given, "operator": operator}
            found[f"{operator}, {steps} steps"] = once("bench.curvature:eigenvalues_scipy", arguments, say)
    found["density"] = once(
        "bench.curvature:density", {"condition": single, "steps": 100, "probes": 4, "iterations": 60}, say
    )
    return found


def gpu(settings: Settings, name: str, say: Say) -> Record:
    """The eager PyTorch loop on CUDA beside chainrule's recorded engine there, from one network to 4,096 at once."""
    import torch

    if not torch.cuda.is_available():
        return {"absent": "not timed: no CUDA device"}
    found: Record = {"device": torch.cuda.get_device_name()}
    for one in ("8-64-64-1", "784-256-128-10"):
        row, _ = available(ROWS[one])
        given = {"name": "PyTorch loop", "condition": spelled(row.condition), "epochs": row.epochs, "members": 1}
        found[f"PyTorch loop, {one}"] = once("bench.jobs:on_the_gpu", given, say)
        for members in (1, 16, 256, 4096):
            ours = {**given, "name": "chainrule on the device", "members": members}
            found[f"chainrule, {one}, R = {members}"] = once("bench.jobs:on_the_gpu", ours, say)
    return found


Unit = Callable[[Settings, str, Say], Record]
BY_ROW: dict[str, Unit] = {"network": network, "options": options, "seeds": seeds}
SINGLE: dict[str, Unit] = {
    "rates": rates,
    "memory": memory,
    "curvature": curvature,
    "mnist": target_mnist,
    "california": target_california,
    "gpu": gpu,
}


def units(settings: Settings, only: Sequence[str]) -> list[tuple[str, str, Unit]]:
    """What is measured, in order: (table, row or nothing, function); ``only`` names tables, rows, or both.

    Rows alone mean their tables. Single networks are compared with the fastest matrix products of the same run.

    Example:
        >>> [unit[:2] for unit in units(Settings(), ["network", "64-32-10"])]
        [('rates', ''), ('network', '64-32-10')]
    """
    rows = [name for name in settings.rows if name in only]
    wanted = {name for name in only if name in BY_ROW or name in SINGLE}
    wanted = wanted or {*BY_ROW, *([] if rows else SINGLE)}
    if "network" in wanted:
        wanted.add("rates")
    first = [("rates", "", rates)] if "rates" in wanted else []
    by_row = [(name, row, BY_ROW[name]) for name in BY_ROW if name in wanted for row in rows or settings.rows]
    return first + by_row + [(name, "", SINGLE[name]) for name in SINGLE if name in wanted and name != "rates"]
