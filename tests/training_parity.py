"""Training here and in plain PyTorch: the same weights, batches and lambdas.

    python tests/training_parity.py            the table and the control of docs/parity.md
    python tests/training_parity.py --goldens  goldens/training.json

Both need PyTorch. The digits at 16 pixels, batches of 32, a ResNet-20; each trick alone, then all.
Weights are drawn with NumPy: those of a run are compiled, and differ in their last bits from
machine to machine.
"""

import dataclasses
import itertools
import json
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from generated_weights import condensed

from bot_jax import parallel
from bot_jax.augment.normalize import normalize
from bot_jax.device_batches import device_batches
from bot_jax.models.registry import get_model
from bot_jax.rng import purpose_of, sample_keys
from bot_jax.setup import make_setup
from bot_jax.state import initial_variables
from bot_jax.step import make_train_step
from configs import quickstart

FILE = Path(__file__).with_name("goldens") / "training.json"
STEPS, SHORT = 50, 10
BATCH, SIZE = 32, 16
WARMUP, TOTAL = 22, 88  # half an epoch and two epochs, of 44 steps
# At 0.1 this network multiplies any difference by ten in each of its first steps. In float32, where
# differences begin nine digits higher, it learns slower, from noise: no two pixels of it are equal.
RATE = {"float64": 0.01, "float32": 0.0003}
DECAY = 1e-2  # so that it shows within 50 steps
PLAIN = {
    "groups": 1,
    "weight_decay": 0.0,
    "no_bias_decay": False,
    "warmup": 0,
    "total": TOTAL,
    "cosine": False,
    "epsilon": 0.0,
    "form": "uniform",
    "mixup": False,
    "distillation": False,
    "temperature": 20.0,
}
TRICKS = {
    "Nesterov's momentum alone": {},
    "batch-norm groups": {"groups": 2},
    "weight decay": {"weight_decay": DECAY},
    "no bias decay": {"weight_decay": DECAY, "no_bias_decay": True},
    "warmup": {"warmup": WARMUP},
    "cosine": {"cosine": True},
    "label smoothing, eps / K": {"epsilon": 0.1},
    "label smoothing, eps / (K - 1)": {"epsilon": 0.1, "form": "paper"},
    "mixup": {"mixup": True, "groups": 2},
    "distillation": {"distillation": True},
}
CASES = TRICKS | {
    "all": {
        "groups": 2,
        "weight_decay": DECAY,
        "no_bias_decay": True,
        "warmup": WARMUP,
        "cosine": True,
        "epsilon": 0.1,
        "mixup": True,
        "distillation": True,
    }
}


def recipe_of(case, compute):
    return PLAIN | CASES[case] | {"peak": RATE[compute] * BATCH / 256}


def make_config(recipe, compute):
    config = quickstart.get_config()
    config.epochs = TOTAL / 44
    config.batch_size = BATCH
    config.batch_norm.group_size = BATCH // recipe["groups"]
    config.data.image_size = config.data.eval_resize = SIZE
    config.optimizer.base_learning_rate = RATE[compute]
    if compute == "float32":
        config.data.source = "synthetic"
        config.data.num_classes, config.data.num_synthetic = 10, 1437
    config.augment = {"mixup": {}} if recipe["mixup"] else {}
    config.model.name, config.model.options = "resnet20_cifar", {}
    config.precision.compute = config.distillation.compute = compute
    config.label_smoothing.epsilon = recipe["epsilon"]
    config.label_smoothing.form = recipe["form"]
    config.optimizer.weight_decay = recipe["weight_decay"]
    config.optimizer.no_bias_decay = recipe["no_bias_decay"]
    config.schedule.name = "cosine" if recipe["cosine"] else "constant"
    config.schedule.warmup_epochs = recipe["warmup"] / 44
    return config


def flat(tree):
    return flatten_dict(jax.device_get(tree), sep="/")


def with_drawn_kernels(params, seed, gain):
    """The parameters with other kernels, of the variance `gain` over their inputs."""
    named = flat(params)
    for name, array in named.items():
        if name.endswith("kernel"):
            draw = np.random.Generator(np.random.Philox(zlib.crc32(name.encode()) + seed))
            scale = np.sqrt(gain / np.prod(array.shape[:-1]))
            named[name] = (scale * draw.normal(size=array.shape)).astype(array.dtype)
    return unflatten_dict(named, sep="/")


class Ours:
    """The real path: set-up, batches from the host pipeline, the compiled step."""

    def __init__(self, case, compute):
        self.recipe = recipe_of(case, compute)
        self.config = make_config(self.recipe, compute)
        self.setup = make_setup(self.config, devices=jax.devices()[:1])
        if self.recipe["distillation"]:
            dtype = np.dtype(compute)
            model = get_model("resnet20_cifar", num_classes=10, dtype=dtype)
            variables = jax.device_get(initial_variables(model, SIZE, seed=0))
            variables["params"] = with_drawn_kernels(variables["params"], seed=5, gain=1)
            self.setup = dataclasses.replace(
                self.setup, teacher=SimpleNamespace(model=model, variables=variables)
            )
        first = jax.device_get(self.setup.initial_state())
        self.first = first.replace(params=with_drawn_kernels(first.params, seed=0, gain=2))

    def batches(self, steps):
        return itertools.islice(device_batches(self.config, self.setup), steps)

    def train(self, steps):
        """Yields the loss before each step, and weights and statistics after it."""
        teacher, layout = self.setup.teacher, self.setup.layout
        constants = (parallel.replicate(teacher.variables, layout),) if teacher else ()
        step = make_train_step(self.config, self.setup)
        state, before = parallel.replicate(self.first, layout), (0.0, 0.0)
        for batch in self.batches(steps):
            state, _ = step(state, batch, *constants)
            sums = jax.device_get(state.metrics)
            now = float(sums["loss"]), float(sums["count"])
            loss = (now[0] - before[0]) / (now[1] - before[1])
            before = now
            yield loss, flat(state.params), flat(state.batch_stats)

    def given(self, steps):
        """What the other side is given: normalised images, labels and lambdas of each step."""
        # Compiled, since in the step they are so and some of their roundings are others then.
        as_the_step = jax.jit(normalize)
        draw = jax.jit(jax.vmap(lambda key: jax.random.beta(key, 0.2, 0.2, dtype=np.float32)))
        size = self.config.batch_norm.group_size
        for batch in self.batches(steps):
            batch = {k: v.reshape(-1, *v.shape[2:]) for k, v in jax.device_get(batch).items()}
            images = np.asarray(as_the_step(batch["image"].astype(np.float32)))
            lambdas = None
            if self.recipe["mixup"]:
                firsts = np.repeat(batch["sample_id"][::size], size)
                keys = sample_keys(self.config.seed, purpose_of("mixup"), firsts)
                lambdas = np.asarray(draw(keys))
            yield images, batch["label"], lambdas


def theirs(ours, compute, steps):
    """The same from PyTorch."""
    import torch
    from pytorch_recipe import train

    teacher = ours.setup.teacher
    teacher = teacher and [flat(teacher.variables[k]) for k in ("params", "batch_stats")]
    first = flat(ours.first.params), flat(ours.first.batch_stats)
    recipe = ours.recipe | {"teacher": teacher}
    yield from train(*first, ours.given(steps), recipe, getattr(torch, compute))


def difference(a, b):
    """The largest difference of arrays by name, over the largest size of each array."""
    assert set(a) == set(b)
    return max(np.abs(a[k] - b[k]).max() / max(np.abs(b[k]).max(), 1e-3) for k in a)


def compared(case, compute, steps):
    """Relative differences [steps, 3]: of the loss, weights and statistics of each step."""
    ours = Ours(case, compute)
    found = [
        (abs(a[0] - b[0]) / abs(b[0]), difference(a[1], b[1]), difference(a[2], b[2]))
        for a, b in zip(ours.train(steps), theirs(ours, compute, steps), strict=True)
    ]
    return np.array(found)


def control(case, change, steps):
    """Relative differences [steps] of losses in float64, of weights that are changed so much."""
    ours, draw = Ours(case, "float64"), np.random.default_rng(0)
    losses = [loss for loss, *_ in ours.train(steps)]
    changed = jax.tree.map(
        lambda x: x * (1 + change * draw.standard_normal(x.shape)), ours.first.params
    )
    ours.first = ours.first.replace(params=changed)
    return np.array(
        [abs(a - b[0]) / abs(a) for a, b in zip(losses, ours.train(steps), strict=True)]
    )


def summary(steps):
    """Numbers that depend on all of a run: losses, and weights and statistics condensed."""
    return [
        [loss, *(condensed("all", np.concatenate([d[k].ravel() for k in sorted(d)])) for d in both)]
        for loss, *both in steps
    ]


def main():
    if "--goldens" in sys.argv:
        import torch

        goldens = {case: summary(theirs(Ours(case, "float64"), "float64", SHORT)) for case in CASES}
        made = {"pytorch": torch.__version__, "goldens": goldens}
        FILE.write_text(json.dumps(made, indent=1) + "\n")
        return
    print("| trick | loss | weights | statistics | float32: loss | weights | statistics |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        numbers = [x for compute in RATE for x in compared(case, compute, STEPS).max(axis=0)]
        print(f"| {case} | {' | '.join(f'{x:.0e}' for x in numbers)} |", flush=True)
    plain = next(iter(CASES))
    loss = control(plain, 1e-7, STEPS)
    print(f"control, {plain}, float64: 3 steps {loss[:3].max():.0e}, {STEPS} {loss.max():.0e}")


if __name__ == "__main__":
    main()
