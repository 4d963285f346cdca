"""The paper's recipe written plainly in PyTorch, for a ResNet-20 on small images.

Nothing of bot_jax is used. Weights are a dictionary with this project's names and layouts (kernels
[height, width, in, out]), so that what comes out can be compared element by element.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812

MOMENTUM = 0.9
EPSILON, RUNNING = 1e-5, 0.9


def batch_norm(x, w, stats, name, groups, new):
    """x [n, channels, h, w]; statistics are those of each of `groups` parts of the batch, or the
    running ones where `groups` is 0. The running ones move towards the mean of the parts'."""
    shape = (1, -1, 1, 1)
    gamma, beta = w[f"{name}/scale"].view(shape), w[f"{name}/bias"].view(shape)
    mean, var = stats[f"{name}/mean"], stats[f"{name}/var"]
    if not groups:
        return (x - mean.view(shape)) / torch.sqrt(var.view(shape) + EPSILON) * gamma + beta
    parts = x.chunk(groups)
    means = [part.mean((0, 2, 3)) for part in parts]
    variances = [part.var((0, 2, 3), unbiased=False) for part in parts]
    for leaf, old, found in (("mean", mean, means), ("var", var, variances)):
        found = torch.stack(found).mean(0).detach()
        new[f"{name}/{leaf}"] = RUNNING * old + (1 - RUNNING) * found
    normalized = [
        (part - m.view(shape)) / torch.sqrt(v.view(shape) + EPSILON)
        for part, m, v in zip(parts, means, variances, strict=True)
    ]
    return torch.cat(normalized) * gamma + beta


def convolution(x, w, name, stride=1):
    kernel = w[f"{name}/kernel"].permute(3, 2, 0, 1)
    return F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)


def resnet20(w, stats, images, groups):
    """Logits of images [n, h, w, 3], and the running statistics after it."""
    new = dict(stats)
    x = convolution(images.permute(0, 3, 1, 2), w, "stem_conv")
    x = F.relu(batch_norm(x, w, stats, "stem_bn", groups, new))
    for stage in (1, 2, 3):
        for block in (1, 2, 3):
            name = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            y = convolution(x, w, f"{name}/conv1", stride)
            y = F.relu(batch_norm(y, w, stats, f"{name}/bn1", groups, new))
            y = convolution(y, w, f"{name}/conv2")
            y = batch_norm(y, w, stats, f"{name}/bn2", groups, new)
            x = x[:, :, ::stride, ::stride]
            more = y.shape[1] - x.shape[1]
            x = F.relu(y + F.pad(x, (0, 0, 0, 0, more // 2, more - more // 2)))
    return x.mean((2, 3)) @ w["head/kernel"] + w["head/bias"], new


def smoothed(labels, classes, epsilon, form):
    """Wrong classes have eps / (K - 1) in the paper's text, all eps / K in the released code."""
    off = epsilon / (classes - 1) if form == "paper" else epsilon / classes
    on = 1 - epsilon if form == "paper" else 1 - epsilon + epsilon / classes
    targets = torch.full((len(labels), classes), off, dtype=torch.float64)
    targets[torch.arange(len(labels)), labels] = on
    return targets


def reversed_groups(x, groups):
    return torch.cat([part.flip(0) for part in x.chunk(groups)])


def learning_rate(step, peak, warmup, total, cosine):
    if step < warmup:
        return peak * (step + 1) / warmup
    if not cosine:
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def cross_entropy(targets, logits):
    return -(targets * F.log_softmax(logits, 1)).sum(1).mean()


def train(weights, stats, batches, recipe, dtype):
    """Trains over all batches.

    Args:
      weights, stats: arrays by name, before the first step.
      batches: of each step images [n, h, w, 3], labels [n] and mixup's lambdas [n] or None.
      recipe: groups, peak, weight_decay, no_bias_decay, warmup (steps), total (steps), cosine,
        epsilon, form, teacher (weights and statistics, or None), temperature.
      dtype: torch.float64 or torch.float32.

    Yields:
      After each step the loss before it, and weights and statistics after it, by name.
    """

    def tensors(arrays):
        return {name: torch.tensor(array).to(dtype) for name, array in arrays.items()}

    weights, stats = tensors(weights), tensors(stats)
    velocity = {name: torch.zeros_like(w) for name, w in weights.items()}
    teacher = recipe["teacher"] and [tensors(arrays) for arrays in recipe["teacher"]]
    for step, (images, labels, lambdas) in enumerate(batches):
        x = torch.tensor(images).to(dtype)
        labels = torch.tensor(labels, dtype=torch.long)
        targets = smoothed(labels, 10, recipe["epsilon"], recipe["form"]).to(dtype)
        if lambdas is not None:
            mixing = torch.tensor(lambdas).to(dtype)
            x, targets = (
                mixing.view(-1, *[1] * (a.dim() - 1)) * a
                + (1 - mixing.view(-1, *[1] * (a.dim() - 1))) * reversed_groups(a, recipe["groups"])
                for a in (x, targets)
            )
        w = {name: value.requires_grad_() for name, value in weights.items()}
        logits, stats = resnet20(w, stats, x, recipe["groups"])
        loss = cross_entropy(targets, logits)
        if teacher:
            t = recipe["temperature"]
            with torch.no_grad():
                theirs = F.softmax(resnet20(*teacher, x, 0)[0] / t, 1)
            loss = loss + t**2 * cross_entropy(theirs, logits / t)
        gradients = dict(zip(w, torch.autograd.grad(loss, list(w.values())), strict=True))
        rate = learning_rate(
            step, recipe["peak"], recipe["warmup"], recipe["total"], recipe["cosine"]
        )
        weights = {}
        for name, value in w.items():
            gradient, value = gradients[name], value.detach()
            if name.endswith("kernel") or not recipe["no_bias_decay"]:
                gradient = gradient + recipe["weight_decay"] * value
            velocity[name] = MOMENTUM * velocity[name] + gradient
            weights[name] = value - rate * (gradient + MOMENTUM * velocity[name])
        yield (
            float(loss.detach()),
            {name: value.numpy() for name, value in weights.items()},
            {name: value.numpy() for name, value in stats.items()},
        )
