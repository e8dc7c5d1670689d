"""Watches a stage from inside; Python imports it at start-up because the tests put its folder on PYTHONPATH.

PROBE_OUT=FOLDER: at the end write which project modules were loaded, which files were read and where it connected to.
PROBE_KILL=PART: kill -9 oneself just before a file whose path contains PART gets its final name.
PROBE_HANG=PART: stop there instead, with the process id in the file hanging.pid of the current folder.
"""

import atexit
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

OPENED: set[str] = set()
CONNECTED: list[str] = []


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str) and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
        OPENED.add(os.path.abspath(arguments[0]))
    elif event == "socket.connect":
        CONNECTED.append(repr(arguments[1]))
    elif event == "os.rename":
        target = os.fsdecode(arguments[1])
        if (part := os.environ.get("PROBE_KILL")) and part in target:
            os.kill(os.getpid(), signal.SIGKILL)
        if (part := os.environ.get("PROBE_HANG")) and part in target:
            Path("hanging.pid").write_text(str(os.getpid()))
            time.sleep(600)


def write(folder: Path) -> None:
    files = {getattr(module, "__file__", None) for module in sys.modules.values()}
    seen = {"modules": sorted(filter(None, files)), "opened": sorted(OPENED), "connected": CONNECTED}
    stage = os.environ.get("DVC_STAGE", "-".join(sys.orig_argv[3:]))
    (folder / f"{stage}.json").write_text(json.dumps(seen))


if sys.orig_argv[1:3] == ["-m", "stages"]:
    sys.addaudithook(hook)
    if "PROBE_OUT" in os.environ:
        atexit.register(write, Path(os.environ["PROBE_OUT"]))
