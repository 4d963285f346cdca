"""Tries the promise that a run does not depend on how many devices and processes it has.

python -m bot_jax.topology --workdir DIR

The same configuration runs on 1, 2, 4 and 8 devices of one process, and on two processes of two
devices each. Compared with one device, step by step: the sample ids, the augmented, normalised and
mixed images, bit by bit, and the loss. The weights of the first run are evaluated on all of them.
Then a checkpoint from the middle of the run on the most devices goes on on fewer, and the other
way, and is compared with the run that was not interrupted.

Devices add up in different orders, so losses agree to rounding, which training amplifies: a ReLU
whose input is zero but for rounding passes a gradient on or does not. How fast is a property of the
network, the images and the rate, and so there is a control: the run on one device from weights that
are changed by one rounding of their size. No other run may drift much faster. With
--config.precision.compute=float64 the same drift begins nine digits further down.

On a CPU the devices are made of its cores. With accelerators it takes what is there.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from bot_jax.config import load_config, split_overrides
from bot_jax.errors import InputError, command

_EPILOG = """\
example:
  python -m bot_jax.topology --workdir runs/topology
  python -m bot_jax.topology --workdir runs/topology --steps 10 --devices 1 2

Exit code 1 where ids, images or an evaluation differ, or losses by more than --tolerance and more
than three times what the control comes to in as many steps.
"""
PROCESSES, DEVICES_EACH = 2, 2
# By how much of their size the weights of the control are changed: about one rounding.
CHANGE = {"float64": 2e-16}
CHANGE_ELSE = 1e-7
CONTROL = "control: one device, weights changed by"
# So many times faster than the control another run may drift: the control is one draw of many.
FASTER = 3.0


def compare(seen: dict, reference: dict) -> dict:
    """Two runs of the same steps.

    Returns:
      ids, images: whether they are equal in every step. loss_first, loss_early, loss: the largest
      relative difference of the first two steps, of the first ten, and of all.
    """
    import numpy as np

    off = np.abs(seen["losses"] - reference["losses"]) / np.abs(reference["losses"])
    return {
        "ids": bool(np.array_equal(seen["ids"], reference["ids"])),
        "images": bool(np.array_equal(seen["images"], reference["images"])),
        "loss_first": float(off[:2].max()),
        "loss_early": float(off[:10].max()),
        "loss": float(off.max()),
    }


def compare_evaluations(one: dict, reference: dict) -> dict:
    """{"evaluation": whether all that is counted is equal, "loss_of_evaluation": relative}."""
    counted = one.keys() - {"loss"}
    return {
        "evaluation": all(one[name] == reference[name] for name in counted),
        "loss_of_evaluation": abs(one["loss"] - reference["loss"]) / abs(reference["loss"]),
    }


def _measure(flags, config) -> dict:
    """All comparisons, as topology.json has them."""
    import jax

    from bot_jax.topology_site import Site, save

    counts = sorted(n for n in set(flags.devices) if n <= len(jax.devices()))
    middle = flags.steps // 2
    sites = {n: Site(config, jax.devices()[:n]) for n in counts}
    seen, rows, reference = {}, [], None
    for n, site in sites.items():
        print(f"{n} device(s) ...", flush=True)
        state, first = site.go(site.first_state(), 0, middle)
        save(state, middle, flags.workdir / f"middle_{n}")
        state, second = site.go(state, middle, flags.steps - middle)
        seen[n] = {"first": first, "second": second}
        seen[n]["all"] = _joined(first, second)
        if reference is None:
            save(state, flags.steps, flags.workdir / "end")
            reference = seen[n]["all"], site.evaluation(flags.workdir / "end")
            print("Control ...", flush=True)
            change = CHANGE.get(config.precision.compute, CHANGE_ELSE)
            _, control = site.go(site.first_state(change=change), 0, flags.steps)
            rows.append({"where": f"{CONTROL} {change:.0e}"} | compare(control, reference[0]))
        row = compare(seen[n]["all"], reference[0])
        row |= compare_evaluations(site.evaluation(flags.workdir / "end"), reference[1])
        rows.append({"where": f"{n} of one process"} | row)
    if jax.default_backend() == "cpu" and config.batch_size % (PROCESSES * DEVICES_EACH) == 0:
        print(f"{PROCESSES} processes of {DEVICES_EACH} devices each ...", flush=True)
        others, evaluation = _run_processes(flags)
        row = compare(others, reference[0]) | compare_evaluations(evaluation, reference[1])
        rows.append({"where": f"{PROCESSES} processes x {DEVICES_EACH}"} | row)
    return {"steps": flags.steps, "topology": rows, "elastic": _elastic(flags, sites, seen, middle)}


def _joined(first, second):
    import numpy as np

    return {name: np.concatenate([first[name], second[name]]) for name in first}


def _elastic(flags, sites, seen, middle):
    """Checkpoints of the most devices on fewer, and the other way."""
    most, rows = max(sites), []
    for few in sorted(set(sites) - {most}):
        for before, after in ((most, few), (few, most)):
            print(f"A checkpoint of {before} device(s) on {after} ...", flush=True)
            state = sites[after].restored(flags.workdir / f"middle_{before}")
            _, second = sites[after].go(state, middle, flags.steps - middle)
            row = compare(second, seen[before]["second"])
            rows.append({"where": f"{before} -> {after} devices"} | row)
    return rows


def _run_processes(flags):
    """The run on several processes; returns what they saw, and their evaluation."""
    from safetensors.numpy import load_file

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    output = flags.workdir / "processes.safetensors"
    # The same compiler, and so the same rounding, but other devices.
    xla = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ.get("XLA_FLAGS", ""))
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": str(DEVICES_EACH), "XLA_FLAGS": xla}
    command = [sys.executable, "-m", "bot_jax.topology", *flags.arguments]
    command += [f"--coordinator=localhost:{port}"]
    started = []
    try:
        for number in range(PROCESSES):
            log = (flags.workdir / f"process_{number}.log").open("w")
            started.append(
                subprocess.Popen(
                    [*command, f"--process-id={number}"],
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
            log.close()
        codes = [process.wait(timeout=flags.timeout) for process in started]
    except subprocess.TimeoutExpired:
        raise InputError(
            f"The processes did not end within {flags.timeout} seconds: see "
            f"{flags.workdir}/process_*.log, and give more with --timeout."
        ) from None
    finally:
        for process in started:
            process.kill()
    if any(codes):
        raise InputError(f"The processes failed: see {flags.workdir}/process_*.log.")
    return load_file(output), json.loads(output.with_suffix(".json").read_text())


def _be_one_of_several(flags, config) -> None:
    """What each of the processes does that `_run_processes` starts."""
    from safetensors.numpy import save_file

    from bot_jax import processes
    from bot_jax.topology_site import Site

    processes.start(flags.coordinator, PROCESSES, flags.process_id)
    site = Site(config)
    _, seen = site.go(site.first_state(), 0, flags.steps)
    evaluation = site.evaluation(flags.workdir / "end")
    if processes.is_primary():
        save_file(seen, flags.workdir / "processes.safetensors")
        (flags.workdir / "processes.json").write_text(json.dumps(evaluation))


def table(found: dict) -> str:
    """What was found, as a Markdown table."""
    lines = [
        "| devices | sample ids | images | loss, 2 steps | 10 steps | all | evaluation | its loss |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in [*found["topology"], *found["elastic"]]:
        words = ["equal" if row[name] else "DIFFERENT" for name in ("ids", "images")]
        words += [f"{row[name]:.0e}" for name in ("loss_first", "loss_early", "loss")]
        evaluation = row.get("evaluation")
        words.append("" if evaluation is None else "equal" if evaluation else "DIFFERENT")
        words.append("" if evaluation is None else f"{row['loss_of_evaluation']:.0e}")
        lines.append(f"| {row['where']} | {' | '.join(words)} |")
    return "\n".join(lines)


def is_kept(found: dict, tolerance: float) -> bool:
    """Whether the promise is kept: all equal, and losses as near as they can be.

    Args:
      found: as in topology.json; one of its rows is the control.
      tolerance: a relative difference of losses that is none.
    """
    rows = [*found["topology"], *found["elastic"]]
    equal = all(
        row[name] for row in rows for name in ("ids", "images", "evaluation") if name in row
    )
    control = next(row for row in rows if row["where"].startswith(CONTROL))
    close = all(row.get("loss_of_evaluation", 0) <= tolerance for row in rows)
    close &= all(
        row[name] <= max(FASTER * control[name], tolerance)
        for row in rows
        for name in ("loss_first", "loss_early", "loss")
    )
    return equal and close


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.topology",
        description="Tries whether a run is the same on any number of devices and processes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", required=True, type=Path, metavar="DIR")
    parser.add_argument(
        "--config",
        default="configs/reliability.py:topology",
        metavar="FILE.py[:ROW]",
        help="what runs (configs/reliability.py:topology)",
    )
    parser.add_argument("--steps", type=int, default=50, metavar="N", help="(50)")
    parser.add_argument(
        "--devices", type=int, nargs="+", default=[1, 2, 4, 8], metavar="N", help="(1 2 4 8)"
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-5, metavar="X", help="relative, of losses (0.00001)"
    )
    parser.add_argument(
        "--timeout", type=int, default=1800, metavar="S", help="for the processes, seconds (1800)"
    )
    parser.add_argument("--coordinator", help=argparse.SUPPRESS)
    parser.add_argument("--process-id", type=int, help=argparse.SUPPRESS)
    flags, rest = parser.parse_known_args(arguments)
    flags.arguments = list(sys.argv[1:] if arguments is None else arguments)
    if flags.steps < 2 or min(flags.devices) < 1:
        parser.error("--steps must be at least 2, and --devices at least 1 each")
    return flags, split_overrides(parser, rest)


def _make_cpu_devices(number):
    """So many devices of a CPU, where that is what JAX has; before anything else of JAX."""
    import jax

    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", number)


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code."""
    flags, overrides = _parse(arguments)
    config = load_config(flags.config, overrides)
    if flags.coordinator:
        _be_one_of_several(flags, config)
        return 0
    flags.workdir.mkdir(parents=True, exist_ok=True)
    if (flags.workdir / "end").exists():
        raise InputError(f"--workdir {flags.workdir} was used before; take another one.")
    _make_cpu_devices(max(flags.devices))
    found = _measure(flags, config)
    (flags.workdir / "topology.json").write_text(json.dumps(found, indent=2) + "\n")
    (flags.workdir / "topology.md").write_text(table(found) + "\n")
    kept = is_kept(found, flags.tolerance)
    print(f"\n{table(found)}\n\n{'The same run everywhere.' if kept else 'NOT the same run.'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
