"""A training step in PyTorch, channels last: a worker of `python -m bot_jax.benchmark`.

Eager, or with --compile by `torch.compile`; on a GPU where PyTorch sees one.
"""

import torch
import worker
from torch import nn
from torch.nn import functional

# Channels and stride of the blocks.
MOBILENET = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5)
MOBILENET = (*MOBILENET, (1024, 2), (1024, 1))


def conv_bn(features_in, features, kernel_size, stride=1, groups=1):
    """A convolution and its batch norm."""
    options = {"padding": kernel_size // 2, "groups": groups, "bias": False}
    conv = nn.Conv2d(features_in, features, kernel_size, stride, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(features))


class Block(nn.Module):
    """Basic (expansion 1) or bottleneck (expansion 4) block of variant B or D."""

    def __init__(self, features_in, features, stride, expansion, pool_shortcut, pad_shortcut):
        super().__init__()
        out = features * expansion
        if expansion == 1:
            shapes = [(features_in, features, 3, stride), (features, features, 3, 1)]
        else:
            shapes = [(features_in, features, 1, 1), (features, features, 3, stride)]
            shapes += [(features, out, 1, 1)]
        self.convs = nn.ModuleList(conv_bn(*shape) for shape in shapes)
        self.stride, self.new = stride, out - features_in
        self.pad_shortcut = pad_shortcut
        self.shortcut = nn.Identity()
        if not pad_shortcut and (stride > 1 or self.new):
            pool = pool_shortcut and stride > 1
            projection = conv_bn(features_in, out, 1, 1 if pool else stride)
            self.shortcut = nn.Sequential(nn.AvgPool2d(2), projection) if pool else projection

    def forward(self, x):
        """[b, c, h, w] -> [b, out, h / stride, w / stride]."""
        y = x
        for i, conv in enumerate(self.convs):
            y = conv(y)
            if i + 1 < len(self.convs):
                y = functional.relu(y)
        if self.pad_shortcut and self.stride > 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new // 2))
        return functional.relu(self.shortcut(x) + y)


def make_mobilenet(num_classes):
    """mobilenet_100."""
    layers, before = [conv_bn(3, 32, 3, 2), nn.ReLU()], 32
    for features, stride in MOBILENET:
        layers += [conv_bn(before, before, 3, stride, groups=before), nn.ReLU()]
        layers += [conv_bn(before, features, 1), nn.ReLU()]
        before = features
    head = nn.Linear(before, num_classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def make_model(name, num_classes):
    """resnet20_cifar, resnetN_b and resnetN_d of 18 and 50 layers, or mobilenet_100."""
    if name == "mobilenet_100":
        return make_mobilenet(num_classes)
    cifar = name == "resnet20_cifar"
    sizes = {"resnet20": (3, 3, 3), "resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}
    depth, variant = name.split("_")
    expansion, width = (4 if depth == "resnet50" else 1), (16 if cifar else 64)
    if cifar:
        layers = [conv_bn(3, width, 3), nn.ReLU()]
    elif variant == "d":
        layers = []
        for features_in, features, stride in ((3, 32, 2), (32, 32, 1), (32, 64, 1)):
            layers += [conv_bn(features_in, features, 3, stride), nn.ReLU()]
        layers.append(nn.MaxPool2d(3, 2, 1))
    else:
        layers = [conv_bn(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    features_in = width
    for stage, blocks in enumerate(sizes[depth]):
        for index in range(blocks):
            features, stride = width * 2**stage, 2 if stage and not index else 1
            layers.append(Block(features_in, features, stride, expansion, variant == "d", cifar))
            features_in = features * expansion
    head = nn.Linear(features_in, num_classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def main():
    """Builds the step, warms up, and serves."""
    flags = worker.parse_flags(__doc__, "compile")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # tries which algorithms are fastest, as XLA does
    model = make_model(flags.model, 10).to(device, memory_format=torch.channels_last)
    forward = torch.compile(model) if flags.compile else model
    size = flags.image_size
    images = torch.randn(flags.batch, 3, size, size, device=device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (flags.batch,), device=device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4
    )

    def step():
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=flags.dtype == "bfloat16"):
            logits = forward(images)
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()

    def run(steps=flags.units):
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()

    for _ in range(flags.warm_up):
        run(1)
    worker.serve(run, get_ready=lambda: run(1))


if __name__ == "__main__":
    main()
