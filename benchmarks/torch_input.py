"""torchvision's loader with the same crop, flip and jitter: a worker of the benchmark."""

import os

import torch
import worker
from torchvision import datasets, transforms


def main():
    """Opens the folder and serves."""
    flags = worker.parse_flags(__doc__)
    torch.manual_seed(0)
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(flags.image_size),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(0.4, 0.4, 0.4),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    images = datasets.ImageFolder(os.path.join(flags.data, "train"), transform)

    def batches():
        while True:
            yield from torch.utils.data.DataLoader(
                images,
                flags.batch,
                shuffle=True,
                num_workers=os.cpu_count(),
                drop_last=True,
                persistent_workers=True,
            )

    def run():
        if flags.cold:
            worker.forget_files(flags.data)
        iterator = batches()
        seconds = worker.seconds_of(iterator, flags.units)
        iterator.close()
        return seconds

    run()
    worker.serve(run)


if __name__ == "__main__":
    main()
