"""Runs a module of another virtual environment as a child that ends with its parent.

Called as ``python -I launch.py PARENT_PID CHILD_PROCESS_PY MODULE ARGUMENTS...``. That environment has none of our
packages, so what ends the child is loaded from its file; nothing else of ours may be imported here.
"""

from __future__ import annotations

import runpy
import sys
from importlib.util import module_from_spec, spec_from_file_location


def main() -> None:
    """Tie this process to its parent, then become ``python -m MODULE ARGUMENTS``."""
    parent, child_process, module, *arguments = sys.argv[1:]
    spec = spec_from_file_location("child_process", child_process)
    assert spec is not None
    assert spec.loader is not None
    loaded = module_from_spec(spec)
    spec.loader.exec_module(loaded)
    loaded.die_with(int(parent))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
