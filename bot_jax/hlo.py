"""Reads the text of a program that XLA optimised for a GPU: its kernels, bytes and FLOPs.

Every instruction of the scheduled program that is not mere bookkeeping starts a kernel (or a
collective). It reads its operands from the GPU's memory and writes its result there; what happens
inside a fusion stays in registers. So

    bytes = operands + results        (of a fusion that only slices an operand: the slices)
    FLOPs = 2 * multiply-accumulates  of convolutions and matrix products

Reads that hit the second-level cache count as traffic, and workspaces of cuDNN and cuBLAS do not.
"""

import dataclasses
import math
import re
from collections.abc import Iterator

_BITS = {"pred": 8, "s4": 4, "u4": 4}
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+(?:e\d+m\d+\w*)?|c64|c128)\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")

# Instructions that start nothing on the device, beside those that wait: "...-done".
_NOTHING = frozenset(
    {
        *("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all"),
        *("partition-id", "replica-id", "domain", "opt-barrier", "async-update"),
    }
)
_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_SLICES = frozenset(("slice", "dynamic-slice", "gather"))
# Inside of a fusion, these compute only what their users ask for, element by element.
_TRANSPARENT = frozenset(("bitcast", "convert", "copy", "reshape"))
_MOVES = frozenset(
    {
        *("copy", "transpose", "bitcast", "convert", "reshape", "parameter", "tuple", "slice"),
        *("concatenate", "pad", "constant"),
    }
)


@dataclasses.dataclass(frozen=True)
class Kernel:
    """One kernel or collective of a program.

    Attributes:
      name: of the instruction.
      kind: "convolution", "matrix product", "reduction", "pooling", "element-wise",
        "copy or transpose", "collective" or "other".
      times: how often it runs, where it is inside of a loop.
      bytes: of device memory read and written, each time; of a collective, those it reduces.
      flops: of convolutions and matrix products, each time.
      dtype: of the first operand, such as "bf16".
      source: the operation in JAX that it comes from.
      meanwhile: of a collective that runs beside other kernels: the names of those between its
        start and where its result is waited for. None where that is not found.
    """

    name: str
    kind: str
    times: int
    bytes: int
    flops: int
    dtype: str
    source: str
    meanwhile: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Instruction:
    name: str
    opcode: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]  # dtype and shape of each result
    operands: tuple[str, ...]
    rest: str  # attributes, as text
    is_root: bool

    @property
    def bytes(self):
        return sum(_bytes(dtype, shape) for dtype, shape in self.arrays)


def read_kernels(text: str) -> list[Kernel]:
    """The kernels of an optimised program in the order of their schedule.

    Args:
      text: of the whole module, as ``compiled.as_text()`` gives it.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations, entry = _computations(text)
    if entry is None:
        raise ValueError("This is not the text of an HLO module: it has no ENTRY.")
    return _kernels(computations, entry, 1)


def _computations(text):
    computations, entry, current = {}, None, None
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            current = computations.setdefault(start[2], {})
            entry = start[2] if start[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (match := _INSTRUCTION.match(line)):
            instruction = _parse(match[2], line[match.end() :], bool(match[1]))
            current[instruction.name] = instruction
    return computations, entry


def _parse(name, text, is_root):
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    result, text = text[:end], text[end:].lstrip()
    start = text.index("(")
    end = _closing(text, start)
    arrays = [(dtype, _shape(dims)) for dtype, dims in _ARRAY.findall(result)]
    if text[:start] == "custom-call" and len(arrays) > 1 and arrays[-1][0] in ("u8", "s8"):
        arrays.pop()  # a workspace: how much of it is used is not known
    return _Instruction(
        name=name,
        opcode=text[:start],
        arrays=tuple(arrays),
        operands=tuple(_NAME.findall(text[start:end])),
        rest=text[end + 1 :],
        is_root=is_root,
    )


def _closing(text, start):
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i
    raise ValueError(f"A parenthesis is not closed: {text[:80]}")


def _shape(dims):
    return tuple(int(d) for d in dims.split(",") if d)


def _bits(dtype):
    return _BITS.get(dtype) or int(re.search(r"\d+", dtype)[0])


def _bytes(dtype, shape):
    return -(-math.prod(shape) * _bits(dtype) // 8)


def _kernels(computations, name, times) -> list[Kernel]:
    instructions = computations[name]
    kernels: list[Kernel] = []
    under_way: dict[str, int] = {}  # collectives that were started -> their place in `kernels`
    for one in instructions.values():
        if one.opcode.endswith("-done") and one.operands[0] in under_way:
            place = under_way.pop(one.operands[0])
            meanwhile = tuple(kernel.name for kernel in kernels[place + 1 :])
            kernels[place] = dataclasses.replace(kernels[place], meanwhile=meanwhile)
        own = list(_kernels_of(one, instructions, computations, times))
        if one.opcode.endswith("-start") and own and own[0].kind == "collective":
            under_way[one.name] = len(kernels)
        kernels += own
    return kernels


def _kernels_of(instruction, instructions, computations, times) -> Iterator[Kernel]:
    called = [c for c in _CALLED.findall(instruction.rest) if c in computations]
    match instruction.opcode:
        case opcode if opcode in _NOTHING or opcode.endswith("-done"):
            pass
        case "while":
            trips = _TRIPS.search(instruction.rest)
            for inner in called:
                yield from _kernels(computations, inner, times * int(trips[1] if trips else 1))
        case "call" | "async-start":
            for inner in called:
                yield from _kernels(computations, inner, times)
        case "conditional":
            # One of the branches runs: the one with the most bytes is as good a guess as any.
            names = re.search(r"branch_computations=\{([^}]*)\}", instruction.rest)
            names = _NAME.findall(names[1]) if names else called
            branches = [_kernels(computations, inner, times) for inner in names]
            yield from max(branches, key=lambda ks: sum(k.bytes for k in ks), default=())
        case _:
            yield _kernel(instruction, instructions, computations, called, times)


def _kernel(instruction, instructions, computations, called, times):
    operands = [instructions[name] for name in instruction.operands if name in instructions]
    inside = computations[called[0]] if called and instruction.opcode == "fusion" else {}
    kind = _kind(instruction, inside)
    flops = _flops(instruction, instructions) + sum(_flops(one, inside) for one in inside.values())
    if kind == "collective":
        size = sum(operand.bytes for operand in operands)
    elif inside:
        size = _fusion_bytes(inside)
    else:
        size = instruction.bytes + sum(o.bytes for o in {o.name: o for o in operands}.values())
    source = re.search(r'op_name="([^"]*)"', instruction.rest)
    arrays = [array for operand in operands for array in operand.arrays] or instruction.arrays
    return Kernel(
        name=instruction.name,
        kind=kind,
        times=times,
        bytes=size,
        flops=flops,
        dtype=arrays[0][0] if arrays else "",
        source=source[1] if source else "",
    )


def _kind(instruction, inside):
    target = re.search(r'custom_call_target="([^"]*)"', instruction.rest)
    target = target[1] if target else ""
    opcodes = {one.opcode for one in inside.values()} | {instruction.opcode}
    if instruction.opcode.removesuffix("-start") in _COLLECTIVES:
        return "collective"
    if target.startswith("__cudnn$conv") or "convolution" in opcodes:
        return "convolution"
    if "gemm" in target or "matmul" in target or "dot" in opcodes:
        return "matrix product"
    if opcodes & {"reduce-window", "select-and-scatter"}:
        return "pooling"
    if "reduce" in opcodes:
        return "reduction"
    if (inside or instruction.opcode in _MOVES) and opcodes - {"fusion"} <= _MOVES:
        return "copy or transpose"
    return "element-wise" if inside else "other"


def _flops(instruction, instructions):
    """2 * multiply-accumulates of a convolution or matrix product; 0 of everything else."""
    labels = re.search(r"dim_labels=\w+_(\w+)->", instruction.rest)
    if labels:
        shapes = [instructions[name].arrays[0][1] for name in instruction.operands[:2]]
        result = instruction.arrays[0][1]
        # The labels are those of the forward convolution: input, kernel -> output.
        if "convBackwardFilter" in instruction.rest:
            kernel, output = result, shapes[1]
        elif "convBackwardInput" in instruction.rest:
            output, kernel = shapes
        else:
            kernel, output = shapes[1], result
        return 2 * math.prod(output) * math.prod(kernel) // kernel[labels[1].index("o")]
    contracting = re.search(r"lhs_contracting_dim(?:s=\{|ensions\":\[)([\d,\"]*)", instruction.rest)
    if contracting:
        left = instructions[instruction.operands[0]].arrays[0][1]
        sizes = [left[int(i)] for i in re.findall(r"\d+", contracting[1])]
        return 2 * math.prod(instruction.arrays[0][1]) * math.prod(sizes)
    return 0


def _fusion_bytes(inside):
    users: dict[str, list[_Instruction]] = {}
    for one in inside.values():
        for name in one.operands:
            users.setdefault(name, []).append(one)
    read = sum(_bytes_read(one, users) for one in inside.values() if one.opcode == "parameter")
    root = next(one for one in inside.values() if one.is_root)
    results = [inside[name] for name in root.operands] if root.opcode == "tuple" else [root]
    return read + sum(_bytes_written(one, inside) for one in results)


def _bytes_read(parameter, users):
    """All of it, unless every path from it leads through a slice or an update in place."""
    bits = _bits(parameter.arrays[0][0])
    size, ahead = 0, [parameter]
    while ahead:
        value = ahead.pop()
        for user in users.get(value.name, ()):
            if user.opcode in _SLICES and user.operands[0] == value.name:
                size += -(-math.prod(user.arrays[0][1]) * bits // 8)
            elif user.opcode in _TRANSPARENT:
                ahead.append(user)
            elif not (user.opcode == "dynamic-update-slice" and user.operands[0] == value.name):
                return parameter.bytes
    return min(size, parameter.bytes) if users.get(parameter.name) else parameter.bytes


def _bytes_written(result, inside):
    if result.opcode == "dynamic-update-slice":
        return inside[result.operands[1]].bytes
    return result.bytes
