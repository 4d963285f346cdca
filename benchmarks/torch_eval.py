"""Evaluation in PyTorch with torchvision's loader: a worker of the benchmark."""

import math
import os

import torch
import torch_step
import worker
from torchvision import datasets, transforms


def main():
    """Builds the model, evaluates once, and serves."""
    flags = worker.parse_flags(__doc__)
    torch.manual_seed(0)
    transform = transforms.Compose(
        [
            transforms.Resize(math.ceil(flags.image_size / 0.875)),
            transforms.CenterCrop(flags.image_size),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    images = datasets.ImageFolder(os.path.join(flags.data, "train"), transform)
    model = torch_step.make_model(flags.model, len(images.classes))
    model = model.to(memory_format=torch.channels_last).eval()
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(images, range(flags.units * flags.batch)),
        flags.batch,
        num_workers=os.cpu_count(),
        persistent_workers=True,
    )

    @torch.inference_mode()
    def run():
        correct = 0
        for batch, labels in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=flags.dtype == "bfloat16"):
                logits = model(batch.to(memory_format=torch.channels_last))
            correct += (logits.argmax(1) == labels).sum().item()

    run()
    worker.serve(run)


if __name__ == "__main__":
    main()
