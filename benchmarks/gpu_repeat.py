"""Whether the same steps on a GPU give the same bits again, and how far they are from a CPU's.

    python benchmarks/gpu_repeat.py --json repeat.json

Each mode is a set of XLA's flags. Two processes compile and run the same ten steps, each of them
twice from the same state: "again" says whether the second time gave the same parameters, batch
statistics and momentum to the bit, "anew" whether the other process did. The last rows compare
three steps in float32, products in full precision, with those of the CPU.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

MODES = {
    "default": "",
    "exclude_nondeterministic_ops": "--xla_gpu_exclude_nondeterministic_ops=true",
    "deterministic_ops": "--xla_gpu_deterministic_ops=true",
    "no autotuning": "--xla_gpu_exclude_nondeterministic_ops=true --xla_gpu_autotune_level=0",
}
STEPS = 10


def _state_and_step(dtype, model, device, precision=None):
    import jax
    import numpy as np

    from bot_jax import parallel
    from bot_jax.config import load_config
    from bot_jax.data.absent import absent_source
    from bot_jax.setup import make_setup
    from bot_jax.step import make_train_step

    jax.config.update("jax_default_matmul_precision", precision)
    overrides = [f"model.name={model}", f"precision.compute={dtype}", "data.image_size=64"]
    overrides += ["batch_size=64", "batch_norm.group_size=16", "augment.mixup=on"]
    overrides += ["label_smoothing.epsilon=0.1"]
    config = load_config("configs/default.py", overrides)
    source = absent_source(config.data, config.data.train_split)
    setup = make_setup(config, devices=[device], sources=(source, source))
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (64, 64, 64, 3), np.uint8),
        "label": rng.integers(0, setup.num_classes, 64).astype(np.int32),
        "sample_id": np.arange(64, dtype=np.uint32),
    }
    batch = parallel.put_batch(batch, setup.layout)
    step = make_train_step(config, setup)

    def run(steps):
        state = parallel.replicate(setup.initial_state(), setup.layout)
        for _ in range(steps):
            state, done = step(state, batch)
        return jax.device_get((state, done))

    return run


def hashes(dtype: str, model: str) -> dict:
    """Runs twice in this process: the hash of each state, and seconds of the second time."""
    import jax
    import numpy as np

    run = _state_and_step(dtype, model, jax.devices()[0])
    found = []
    for _ in range(2):
        began = time.perf_counter()
        arrays = jax.tree.leaves(run(STEPS))
        seconds = time.perf_counter() - began
        found.append(hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in arrays)).hexdigest())
    return {"device": jax.devices()[0].device_kind, "hashes": found, "seconds": seconds}


def from_cpu(model: str) -> dict:
    """The largest differences of three steps between the first GPU and the CPU."""
    import jax
    import numpy as np

    gpu, cpu = (
        _state_and_step("float32", model, device, "highest")(3)
        for device in (jax.devices()[0], jax.devices("cpu")[0])
    )

    def parts(found):
        state, done = found
        return {"parameters": state.params, "batch statistics": state.batch_stats, "metrics": done}

    result = {}
    for name, ours in parts(gpu).items():
        pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(parts(cpu)[name]), strict=True)
        result[name] = max(
            float(np.linalg.norm(np.float64(a) - b) / max(np.linalg.norm(np.float64(b)), 1e-30))
            for a, b in pairs
        )
    return result


def _start(arguments, flags=""):
    environment = os.environ | {"XLA_FLAGS": flags, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )


def _end(process):
    text = process.communicate()[0]
    return json.loads(text.splitlines()[-1]) if process.returncode == 0 else None


def main() -> int:
    """Runs every mode, or prints one as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet50_d")
    parser.add_argument("--dtype", action="append", help="float32, bfloat16 (both by default)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--alone", choices=("hashes", "cpu"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.alone == "hashes":
        print(json.dumps(hashes(flags.dtype[0], flags.model)))
        return 0
    if flags.alone == "cpu":
        print(json.dumps(from_cpu(flags.model)))
        return 0
    started = {
        (dtype, mode): [
            _start(["--alone=hashes", f"--dtype={dtype}", f"--model={flags.model}"], MODES[mode])
            for _ in range(2)
        ]
        for dtype in flags.dtype or ("float32", "bfloat16")
        for mode in MODES
    }
    beside = _start(["--alone=cpu", f"--model={flags.model}"])
    found = {}
    for (dtype, mode), processes in started.items():
        one, two = map(_end, processes)
        if one is None or two is None:
            print(f"{dtype:<9} {mode:<28} failed, see above")
            continue
        again = one["hashes"][0] == one["hashes"][1] and two["hashes"][0] == two["hashes"][1]
        anew = one["hashes"][0] == two["hashes"][0]
        found[f"{dtype}, {mode}"] = {"again": again, "anew": anew} | one
        print(f"{dtype:<9} {mode:<28} again: {again}  anew: {anew}", flush=True)
    found["from the CPU"] = _end(beside)
    print(f"three steps in float32, relative to the CPU's: {found['from the CPU']}")
    if flags.json:
        flags.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
