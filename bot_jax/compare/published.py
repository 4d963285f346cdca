"""What is published of a model: lines of reference_results.csv, as groups of one run."""

import re

from bot_jax.compare.group import Group
from bot_jax.compare.rows import find_row
from bot_jax.errors import InputError
from bot_jax.reference_results import PAPER, Published, published_results

SOURCES = {
    "paper": PAPER,
    "gluoncv": "GluonCV",
    "timm": "timm",
    "torchvision": "torchvision",
    "paddleclas": "PaddleClas",
}
# All but some of the paper's last table are of the 50,000 validation images of ImageNet.
DATA, EXAMPLES = "imagenet2012/validation", 50_000
_VARIANTS = {
    "v1": "a",
    "v1b": "b",
    "v1c": "c",
    "v1d": "d",
    "vd": "d",
    "vc": "c",
    "a": "a",
    "b": "b",
    "c": "c",
    "d": "d",
}
_RESNET = re.compile(r"resnet-?(\d+)(?:[-_]?(v1[bcd]?|v[cd]|[abcd]))?(_ssld)?")
_WIDTHS = {"0.25": "025", "x0_25": "025", "0.5": "050", "x0_5": "050", "050": "050"}
_WIDTHS |= {"0.75": "075", "x0_75": "075", "1.0": "100", "100": "100", "": "100"}
_MOBILENET = re.compile(r"mobilenet(?:v1)?_?(x?[\d._]*)")


def our_name(line: Published) -> str | None:
    """The name in our registry of the model that a line is of, or None."""
    name = line.model.lower().split(".")[0] if line.framework == "timm" else line.model.lower()
    if name in ("inceptionv3", "inception-v3", "inception_v3"):
        return "inception_v3"
    if found := _RESNET.fullmatch(name):
        # The paper's ResNet-50 is that of table 5's first line, A; elsewhere it is B.
        usual = "a" if line.framework == PAPER else "b"
        return f"resnet{found[1]}_{_VARIANTS.get(found[2], usual)}"
    found = _MOBILENET.fullmatch(name)
    return f"mobilenet_{_WIDTHS[found[1]]}" if found and found[1] in _WIDTHS else None


def label_smoothing(line: Published) -> tuple[float | None, str | None]:
    """Epsilon and form that a line was trained with; None where it is not known.

    All that smooth take 0.1. The released code of the frameworks has eps / K; the paper has
    eps / (K - 1) in its text and eps / K in its code, so that its form is not known.
    """
    recipe = line.recipe
    if line.framework == PAPER:
        if not re.search(r" T[2-6]\b", line.source):
            return None, None
        # Table 6 adds a trick with every line, cosine decay first.
        return (0.0 if recipe[:1] != "+" or recipe == "+cosine" else 0.1), None
    # Recipes that are spelt out, without it.
    if re.match(r"Momentum Piecewise|cos (?!.*\bLS)|.*(simple recipe|no LS)", recipe):
        return 0.0, None
    return (0.1, "uniform") if re.search(r"\bLS(0?\.1)?\b", recipe) else (None, None)


def as_group(line: Published) -> Group:
    """A line as a group of one run; what it does not say is None."""
    epsilon, form = label_smoothing(line)
    words = [line.framework, line.model, line.recipe]
    return Group(
        framework=line.framework,
        model=our_name(line) or line.model,
        recipe=" ".join(dict.fromkeys(word for word in words[1:] if word)),
        data="places365/validation" if "Places365" in line.recipe else DATA,
        examples=None if "Places365" in line.recipe else EXAMPLES,
        epochs=_number(line.epochs),
        image_size=_number(line.img_size),
        crop=_crop(line.crop_pct),
        interpolation=_interpolation(line),
        label_smoothing=epsilon,
        label_smoothing_form=form,
        top1=(line.top1,),
        top5=() if line.top5 is None else (line.top5,),
        source=line.source,
    )


def _crop(text):
    """Of "0.875", "256->224" (shorter side, then pixels), or both."""
    sides = re.search(r"(\d+)->(\d+)", text)
    return int(sides[2]) / int(sides[1]) if sides else _number(text)


def _interpolation(line):
    """Of timm, which resizes with Pillow, and that averages where an image shrinks."""
    found = re.search(r"interp (\w+)", line.note)
    return f"{found[1]} antialiased" if found and line.framework == "timm" else None


def _number(text):
    try:
        return float(text)
    except ValueError:
        return None


def _of_recipe(group):
    """The lines that a row of configs/ names as its own, where the recipe is "FILE:ROW"."""
    found = find_row(group.recipe)
    if found is None:
        return []
    lines = (found.paper_mean, found.paper, found.gluoncv, found.published)
    return [line for line in lines if line is not None]


def references(group: Group, sources: list[str]) -> list[tuple[Published, bool]]:
    """Published results of the group's model, and whether each is of its own recipe.

    Those of the recipe come first; the paper's other lines are left out where it has one for it.

    Raises:
      InputError: a source is not known.
    """
    for source in sources:
        if source not in SOURCES:
            raise InputError(f"--with {source}: there are {', '.join(SOURCES)}.")
    wanted = [SOURCES[source] for source in sources]
    own = [line for line in _of_recipe(group) if line.framework in wanted]
    has_own = {line.framework for line in own}
    others = [
        line
        for line in published_results()
        if line.framework in wanted
        and line.top1 is not None
        and our_name(line) == group.model
        and line.framework not in has_own
    ]
    order = {framework: i for i, framework in enumerate(wanted)}
    others.sort(key=lambda line: order[line.framework])
    return [(line, True) for line in own] + [(line, False) for line in others]
