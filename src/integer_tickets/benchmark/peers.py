"""The contestants of the engine study: a file loaded into an engine, as a function from a padded batch to logits.

PyTorch is imported only where it runs, so that a fresh process shows what each engine needs.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from integer_tickets.errors import UserError
from integer_tickets.integer import native_engine
from integer_tickets.integer.onnx_engine import open_session
from integer_tickets.integer.rounding import Array

Runner = Callable[[Array, Array], Array]
"""Token ids (batch, n) int64, right-padded with 0, and counts (batch,) int64 -> logits (batch, classes)."""


@dataclass(frozen=True)
class Contestant:
    """An engine with one of the files.

    compiles: for half a minute at each shape of batch; told: it can be told to keep to AVX2.
    """

    name: str
    package: str
    file: str
    load: Callable[[Path, int], Runner]
    compiles: bool = False
    told: bool = True


def native(path: Path, threads: int, isa: str = "native") -> Runner:
    """A ticket on the project's engine."""
    from integer_tickets.integer import artefact

    network, isa = artefact.load(path).network, os.environ.get("TICKET_ISA", isa)
    return lambda ids, counts: native_engine.padded_logits(network, ids, counts, threads, isa)


def pytorch(path: Path, threads: int, compiled: bool = False) -> Runner:
    import torch
    from safetensors.torch import load_file

    from integer_tickets.benchmark.peer_files import Encoder, EncoderShape

    torch.set_num_threads(threads)
    model = Encoder(EncoderShape(**json.loads((path.parent / "shape.json").read_text()))).eval()
    model.load_state_dict(load_file(path))
    if compiled:
        torch._inductor.config.freezing = True  # weights as constants
        torch._dynamo.config.recompile_limit = 64  # shapes; beyond it, it would run eagerly and not say so
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        model.compile(dynamic=False)

    def run(ids: Array, counts: Array) -> Array:
        with torch.inference_mode():
            return model(torch.from_numpy(ids), torch.from_numpy(counts)).numpy()

    return run


def onnx_runtime(path: Path, threads: int) -> Runner:
    session = open_session(path, threads)
    return lambda ids, counts: session.run(None, {"ids": ids, "counts": counts})[0]


def openvino(path: Path, threads: int, precision: str = "f32", static: bool = False) -> Runner:
    import openvino as ov

    core = ov.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
    }  # fmt: skip
    requests: dict[Any, Any] = {}

    def run(ids: Array, counts: Array) -> Array:
        key = ids.shape if static else None
        if key not in requests:
            model = core.read_model(path)
            if static:
                model.reshape({"ids": list(ids.shape), "counts": list(counts.shape)})
            requests[key] = core.compile_model(model, "CPU", settings).create_infer_request()
        result: Array = requests[key].infer({"ids": ids, "counts": counts}, share_inputs=True, share_outputs=True)[0]
        return result

    return run


def ctranslate2(path: Path, threads: int) -> Runner:
    """The encoder, and the classifier of tokens' means in NumPy."""
    import ctranslate2 as ct2

    model = ct2.Encoder(str(path), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads)
    numbers = np.load(path / "classifier.npz")
    weight, bias = numbers["weight"], numbers["bias"]

    def run(ids: Array, counts: Array) -> Array:
        lengths = ct2.StorageView.from_array(counts.astype(np.int32))
        hidden = model.forward_batch(ct2.StorageView.from_array(ids.astype(np.int32)), lengths).last_hidden_state
        x = np.asarray(hidden)
        if counts.min() < ids.shape[1]:
            x = x * (np.arange(ids.shape[1]) < counts[:, None])[..., None]
        means = x.sum(1) / counts[:, None]
        logits: Array = (means[:, None] * weight).sum(-1) + bias  # no product of NumPy, which may differ by batch
        return logits

    return run


TICKETS = {"dense": (1.0, 1), "90 % pruned": (0.1, 1), "90 % pruned in blocks": (0.1, 4)}
"""The project's own: kept share of the weights, and how many are pruned as one."""


def contestants() -> list[Contestant]:
    """All of them, installed or not; the project's own come first."""
    found = [Contestant(f"native, {name}", "", f"{name}.safetensors", native) for name in TICKETS]
    if native_engine.has_tiles():
        load = partial(native, isa="avx512")
        found += [Contestant(f"native, {name}, without AMX", "", f"{name}.safetensors", load) for name in TICKETS]
    found.append(Contestant("PyTorch", "torch", "torch.safetensors", pytorch))
    compiled = partial(pytorch, compiled=True)
    found.append(Contestant("torch.compile", "torch", "torch.safetensors", compiled, compiles=True))
    for name, file in (("float32", "float"), ("dynamic int8", "dynamic"), ("static int8", "static")):
        found.append(Contestant(f"ONNX Runtime {name}", "onnxruntime", f"{file}.onnx", onnx_runtime, told=False))
    forms = ("float32", "openvino", "f32"), ("bfloat16", "openvino", "bf16"), ("int8", "nncf", "f32")
    for (name, file, precision), static in product(forms, (False, True)):
        shape = "static" if static else "dynamic"
        run = partial(openvino, precision=precision, static=static)
        found.append(Contestant(f"OpenVINO {name}, {shape} shape", "openvino", f"{file}.xml", run))
    found.append(Contestant("CTranslate2 int8", "ctranslate2", "ctranslate2", ctranslate2))
    return found


def present(folder: Path) -> list[Contestant]:
    """Those whose file was made and whose package is installed."""
    return [
        one
        for one in contestants()
        if (folder / one.file).exists()
        and (find_spec(one.package) is not None if one.package else native_engine.available() is None)
    ]


def versions() -> dict[str, str]:
    """Of what is installed of the packages."""
    names = ("torch", "onnxruntime", "openvino", "nncf", "ctranslate2")
    return {name: version(name) for name in names if find_spec(name) is not None}


def size_on_disk(path: Path) -> int:
    """Bytes of a file (with the weights beside it, where OpenVINO puts them) or of a folder."""
    parts = path.rglob("*") if path.is_dir() else [path, path.with_suffix(".bin")]
    return sum(part.stat().st_size for part in parts if part.is_file())


def peak_memory(process: int | str) -> float | None:
    """MB that a process has held at most; None where the system does not say, or no more.

    The peak that getrusage gives may be that of the process from which it was forked.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)


AVX2 = {
    "TICKET_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "ONEDNN_MAX_CPU_ISA": "AVX2", "CT2_FORCE_CPU_ISA": "AVX2",
}  # fmt: skip
"""The environment that tells engines, and the libraries in them, to keep to AVX2."""


def fresh(
    folder: Path, name: str, batches: Path | None = None, environment: dict[str, str] | None = None
) -> dict[str, Any]:
    """What a new process with this contestant needs: seconds to its first logits, peak memory; and its logits.

    `batches`: an .npz of ids_0, counts_0, ids_1, ...; without it one sentence is classified. Raises UserError where the
    process fails, as with an instruction set that the engine refuses.
    """
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", __name__, str(folder), name, str(batches or "")],
        capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})},
    )  # fmt: skip
    if done.returncode:
        raise UserError(f"{name}: {(done.stderr.splitlines() or ['no message'])[-1]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer | {"seconds": time.perf_counter() - begin}


def _main(folder: Path, name: str, batches: str) -> None:
    contestant = next(one for one in contestants() if one.name == name)
    run = contestant.load(folder / contestant.file, 1)
    if batches:
        arrays = np.load(batches)
        pairs = [(arrays[f"ids_{i}"], arrays[f"counts_{i}"]) for i in range(len(arrays.files) // 2)]
    else:
        pairs = [(np.arange(3, 19, dtype=np.int64)[None], np.array([16]))]
    logits = [np.array(run(*pair), np.float64).tolist() for pair in pairs]
    print(json.dumps({"logits": logits, "memory_mb": peak_memory("self")}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
