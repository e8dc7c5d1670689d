"""Several processes that train one model together, as torchrun starts them: each has a share of every batch.

All of them do the same work but for the sentences of a batch, and their gradients are added up; so each holds the same
model. The first one alone writes files (files.py). Without torchrun there is one process and nothing here does a thing.
"""

import atexit
import os

import torch
from torch import Tensor, distributed

from integer_tickets.errors import UserError


def started() -> int:
    """How many processes torchrun (or what else sets its variables) has started; 1 without."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(expected: int, device: str) -> None:
    """Meet the other processes: through gloo on CPUs, nccl on GPUs, of which each process takes its own.

    Raises UserError where `expected` processes have not been started.
    """
    if expected == 1 < started():
        raise UserError(f"runtime.processes = 1, but {started()} started; set it to {started()}, or leave out LAUNCH")
    if started() != expected:
        raise UserError(
            f"runtime.processes = {expected}, but {started()} started; several are started by "
            f'LAUNCH="torchrun --standalone --nproc-per-node {expected} --no-python" before dvc repro'
        )
    if expected > 1 and not distributed.is_initialized():
        if device == "cuda":
            own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
            if own >= there:
                raise UserError(f"{own + 1} processes or more on this machine, but {there} GPUs; each takes one")
            torch.cuda.set_device(own)
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        atexit.register(distributed.destroy_process_group)


def rank() -> int:
    return distributed.get_rank() if _several() else 0


def share(rows: int) -> slice:
    """Which of the rows of a batch are those of this process: every n-th, as rows are sorted by length."""
    return slice(rank(), rows, distributed.get_world_size()) if _several() else slice(None)


def add_up(tensors: list[Tensor]) -> None:
    """Replace each tensor by its sum over all processes."""
    if _several():
        for tensor in tensors:
            distributed.all_reduce(tensor)


def wait() -> None:
    """Until every process is here: what the first one has written can be read."""
    if _several():
        distributed.barrier()


def _several() -> bool:
    return distributed.is_available() and distributed.is_initialized()
