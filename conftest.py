"""While tests run: compiled code of these sources only, every shape annotation checked at every call."""

import hashlib
import os
from pathlib import Path

from jaxtyping import install_import_hook

PACKAGE = Path(__file__).parent / "chainrule"

# compiled code of other sources is never found again
KERNEL = b"".join(path.read_bytes() for path in sorted((PACKAGE / "kernel").glob("*.py")))
os.environ.setdefault("NUMBA_CACHE_DIR", str(PACKAGE.parent / ".numba_cache" / hashlib.sha256(KERNEL).hexdigest()[:16]))

# the kernel is left out: its functions are compiled from their source, not called
install_import_hook(
    [f"chainrule.{path.stem}" for path in PACKAGE.iterdir() if path.stem not in ("__init__", "__main__", "kernel")],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",  # an int passes for a float
)
