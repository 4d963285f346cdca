"""The evaluation step, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from step_helpers import BATCH, batch_of

from bot_jax import parallel
from bot_jax.eval_step import make_eval_step, zero_totals
from bot_jax.models.registry import get_model


def eval_totals(variables, batches, devices, num_known=None):
    layout = parallel.make_layout(BATCH, devices=jax.devices()[:devices])
    layout = parallel.evaluation_layout(BATCH, layout.mesh)
    model = get_model("tiny", num_classes=10)
    eval_step = make_eval_step(model, layout, num_known)
    totals = parallel.replicate(zero_totals(), layout)
    variables = parallel.replicate(variables, layout)
    examples = []
    for batch in batches:
        totals, of_batch = eval_step(totals, parallel.put_batch(batch, layout), variables)
        examples.append(of_batch)
    return jax.device_get(totals), jax.tree.map(lambda *x: np.concatenate(x), *examples)


@pytest.mark.parametrize("devices", [1, 8])
def test_evaluation_counts_against_numpy(tiny_model, devices):
    model = get_model("tiny", num_classes=10)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    rng = np.random.default_rng(0)
    batches = [{k: batch_of(rng)[k] for k in ("image", "label")} for _ in range(2)]
    batches[1]["label"][20:] = -1
    totals, examples = eval_totals(variables, batches, devices, num_known=7)

    mean, std = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])
    images = np.concatenate([b["image"] for b in batches])[:52]
    labels = np.concatenate([b["label"] for b in batches])[:52]
    logits = model.apply(variables, jnp.asarray((images - mean) / std, jnp.float32), train=False)
    ranking = np.argsort(-np.asarray(logits, np.float64), axis=1, kind="stable")
    assert totals["count"] == 52
    assert totals["top1"] == (ranking[:, 0] == labels).sum()
    assert totals["top5"] == (ranking[:, :5] == labels[:, None]).any(1).sum()
    np.testing.assert_array_equal(examples["label"][:52], labels)
    np.testing.assert_array_equal(examples["predicted"][:52], ranking[:, 0])
    assert np.all(examples["label"][52:] == -1)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    # The last three classes are the background's: their probability is nobody's.
    np.testing.assert_array_equal(examples["known"][:52], log_p[:, :7].argmax(1))
    assert (examples["known"][:52] != ranking[:, 0]).any()
    np.testing.assert_allclose(examples["confidence"][:52], np.exp(log_p[:, :7].max(1)), rtol=1e-5)
    np.testing.assert_allclose(totals["loss"], -log_p[np.arange(52), labels].sum(), rtol=1e-5)


def test_equal_or_broken_logits_do_not_count_as_correct(tiny_model):
    model = get_model("tiny", num_classes=10)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)
    rng = np.random.default_rng(0)
    batch = {k: batch_of(rng)[k] for k in ("image", "label")}
    for value, expected in ((0.0, (batch["label"] == 0).sum()), (np.nan, 0)):
        head = {name: np.full(x.shape, value) for name, x in variables["params"]["head"].items()}
        broken = {**variables, "params": {**variables["params"], "head": head}}
        assert eval_totals(broken, [batch], 1)[0]["top1"] == expected
