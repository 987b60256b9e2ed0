"""Trained networks for other programs: safetensors that a plain ``torch.nn.Sequential`` loads, and how to build it."""

import json
from collections.abc import Mapping
from itertools import pairwise

import msgspec
import numpy as np
from safetensors.numpy import load as tensors_from_bytes
from safetensors.numpy import save as bytes_from_tensors

from chainrule.calculus.activations import LEAK
from chainrule.errors import ChainruleError
from chainrule.evidence.evaluation import Evaluation
from chainrule.store.objects import Store
from chainrule.table import Table

MODULES: Table[tuple[str, dict[str, float | str]]] = Table(
    "activation",
    __file__,
    {
        "identity": ("Identity", {}),
        "sigmoid": ("Sigmoid", {}),
        "tanh": ("Tanh", {}),
        "relu": ("ReLU", {}),
        "leaky_relu": ("LeakyReLU", {"negative_slope": LEAK}),
        "elu": ("ELU", {}),
        "gelu": ("GELU", {}),
        "softplus": ("Softplus", {}),
        "silu": ("SiLU", {}),
    },
)
"""Each φ as a module of ``torch.nn`` with its arguments."""

HEAD_MODULES: Table[tuple[str, dict[str, float | str]]] = Table(
    "head",
    __file__,
    {"linear": ("Identity", {}), "softmax": ("Softmax", {"dim": -1}), "sigmoid": ("Sigmoid", {})},
)
"""Each head as a module, to be applied to the output of the Sequential."""

USE = (
    "import json, torch; from safetensors.torch import load_file; "
    "about = json.load(open('network.json')); "
    "net = torch.nn.Sequential(*(getattr(torch.nn, name)(**args) for name, args in about['layers'])); "
    "net.load_state_dict(load_file('seed-{replica}.safetensors')); net.eval(); "
    "seed = about['seeds']['{replica}']; logs = about['logarithmic']; "
    "features[:, logs] = features[:, logs].log() if logs else features[:, logs]; "
    "x = (features - torch.tensor(seed['input_mean'])) / torch.tensor(seed['input_std']); z = net(x.float())"
)


class Network(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the store keeps beside an evaluation, so that its networks can be found and built again.

    Args:
        widths: n_0 … n_L.
        activation: φ of the hidden layers.
        batch_norm: Whether hidden layers are batch-normalised.
        head: Map from the last pre-activations to predictions.
        inputs: Names of the features.
        logarithmic: Names of those whose logarithm is taken first.
        outputs: Names of the classes, or of the targets with their unit.
        cells: Replica → key of the object that holds its parameters.
        scales: Replica → mean and standard deviation of inputs and targets; a single number stands for all columns.
    """

    widths: tuple[int, ...]
    activation: str
    batch_norm: bool
    head: str
    inputs: tuple[str, ...]
    logarithmic: tuple[str, ...]
    outputs: tuple[str, ...]
    cells: dict[str, str]
    scales: dict[str, dict[str, tuple[float, ...]]]


def to_torch(store: Store, run: str) -> dict[str, bytes]:
    """The networks of a stored evaluation as files for PyTorch.

    Args:
        store: Where they are.
        run: ``Evaluation.run``.

    Returns:
        File name → content: ``network.json`` (layers, standardisation of each seed, names of classes and targets, how
        to load it) and one ``seed-N.safetensors`` per seed, with the names of ``torch.nn.Sequential.state_dict()``.

    Raises:
        ChainruleError: E205 if the store has no such run, or not its networks.
    """
    stored = store.get(run)
    if "network.json" not in stored:
        raise ChainruleError(
            "E205",
            f"the object {run[:12]}… holds no trained networks.",
            "Only what  chainrule train  stores can be exported to PyTorch.",
            "give the key that  chainrule train  printed",
        )
    network = msgspec.json.decode(stored["network.json"], type=Network)
    evaluation = msgspec.json.decode(stored["evaluation.json"], type=Evaluation)
    files = {}
    for replica, cell in network.cells.items():
        own = tensors_from_bytes(store.get(cell)["params.safetensors"])
        files[f"seed-{replica}.safetensors"] = bytes_from_tensors(state_dict(own, network))
    about = {
        "data": evaluation.data,
        "data_hash": evaluation.data_hash,
        "task": evaluation.task,
        "layers": modules(network),
        "head": HEAD_MODULES[network.head],
        "inputs": network.inputs,
        "logarithmic": [network.inputs.index(name) for name in network.logarithmic],
        "outputs": network.outputs,
        "seeds": network.scales,
        "run": run,
        "use": USE.format(replica=next(iter(network.cells))),
    }
    return files | {"network.json": json.dumps(about, indent=1, sort_keys=True).encode() + b"\n"}


def modules(network: Network) -> list[tuple[str, dict[str, object]]]:
    """The layers of the Sequential in order: name in ``torch.nn``, arguments. Dropout is none in use.

    Example:
        >>> small = Network((4, 3, 2), "relu", False, "softmax", (), (), (), {}, {})
        >>> [name for name, _ in modules(small)]
        ['Linear', 'ReLU', 'Linear']
    """
    layers: list[tuple[str, dict[str, object]]] = []
    for l, (n_in, n_out) in enumerate(pairwise(network.widths)):
        layers.append(("Linear", {"in_features": n_in, "out_features": n_out}))
        if l == len(network.widths) - 2:
            break
        if network.batch_norm:
            layers.append(("BatchNorm1d", {"num_features": n_out}))
        name, arguments = MODULES[network.activation]
        layers.append((name, dict(arguments)))
    return layers


def state_dict(own: Mapping[str, np.ndarray], network: Network) -> dict[str, np.ndarray]:
    """Parameters of one network under the names of a Sequential; torch's Linear stores W transposed, [n_out, n_in]."""
    named = {}
    stride = 3 if network.batch_norm else 2  # modules per hidden layer
    for l in range(len(network.widths) - 1):
        named[f"{stride * l}.weight"] = np.ascontiguousarray(own[f"weights.{l}"].T)
        named[f"{stride * l}.bias"] = own[f"biases.{l}"]
        if network.batch_norm and l < len(network.widths) - 2:
            place = stride * l + 1
            named[f"{place}.weight"], named[f"{place}.bias"] = own[f"gains.{l}"], own[f"shifts.{l}"]
            named[f"{place}.running_mean"], named[f"{place}.running_var"] = own[f"means.{l}"], own[f"variances.{l}"]
            named[f"{place}.num_batches_tracked"] = np.array(0, dtype=np.int64)
    return named
