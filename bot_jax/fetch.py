"""Copies a folder of data, or a run, from object storage to this machine.

python -m bot_jax.fetch s3://bucket/flowers data/flowers
"""

import argparse
import sys
from pathlib import Path

from bot_jax.errors import InputError, command

_EPILOG = """\
example:
  python -m bot_jax.fetch s3://bucket/flowers data/flowers
  python -m bot_jax.main ... --config.data.source=folder --config.data.path=data/flowers

Any URL of fsspec can be given. s3:// needs `python -m pip install s3fs`, gs:// needs gcsfs. What is
there already with the same size is not fetched again, so that the command goes on where it was
stopped. Of a run whose --workdir is a URL, what is complete is fetched, and FOLDER must be new.
"""


def fetch(url: str, folder: Path) -> int:
    """Copies the folder at `url` to `folder`, and returns the number of files that it has.

    Raises:
      InputError: the URL cannot be used, has no files, or is a run and `folder` is not empty.
    """
    from bot_jax.remote import fetch_files, open_url, read_manifest

    filesystem, path = open_url(url)
    try:
        manifest = read_manifest(filesystem, path)
        if manifest is None:
            there = filesystem.find(path, detail=True)
            sizes = {
                name[len(path) + 1 :]: about["size"]
                for name, about in there.items()
                if name.startswith(f"{path}/") and not name.endswith("/")
            }
        else:
            sizes = manifest["files"]
            if folder.exists() and any(folder.iterdir()):
                raise InputError(f"{folder} is not empty. Give a new folder for the run.")
        if not sizes:
            raise InputError(f"There are no files at {url}.")
        missing = [name for name in sorted(sizes) if _size(folder / name) != sizes[name]]
        for done in fetch_files(filesystem, path, missing, folder):
            print(f"{len(sizes) - len(missing) + done:,} of {len(sizes):,} files", flush=True)
    except InputError:
        raise
    except Exception as error:  # of the network, of credentials: each library has its own
        raise InputError(f"{url} cannot be fetched: {type(error).__name__}: {error}") from error
    return len(sizes)


def _size(file):
    return file.stat().st_size if file.is_file() else None


@command
def main(arguments=None) -> int:
    """Runs the command and returns its exit code: 0, or 2 for wrong input."""
    parser = argparse.ArgumentParser(
        prog="python -m bot_jax.fetch",
        description="Copies a folder of data, or a run, from object storage to this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("url", metavar="URL", help="such as s3://bucket/folder")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="to copy to")
    flags = parser.parse_args(arguments)
    count = fetch(flags.url, flags.folder)
    print(f"{flags.folder} has the {count:,} files of {flags.url}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
