import lzma

import make_gpu_hlo
import pytest

from bot_jax.hlo import read_kernels

# Written by hand after what XLA prints for a GPU, with small numbers.
MODULE = """\
HloModule jit_step, is_scheduled=true

%region_sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

%fused_relu (p0: bf16[2,4,4,8], p1: f32[8]) -> bf16[2,4,4,8] {
  %p0 = bf16[2,4,4,8]{3,2,1,0} parameter(0)
  %p1 = f32[8]{0} parameter(1)
  %convert = f32[2,4,4,8]{3,2,1,0} convert(%p0)
  %broadcast = f32[2,4,4,8]{3,2,1,0} broadcast(%p1), dimensions={3}
  %multiply = f32[2,4,4,8]{3,2,1,0} multiply(%convert, %broadcast)
  ROOT %narrow = bf16[2,4,4,8]{3,2,1,0} convert(%multiply)
}

%fused_sums (q0: bf16[2,4,4,8]) -> (f32[8], f32[1,1,1,8]) {
  %q0 = bf16[2,4,4,8]{3,2,1,0} parameter(0)
  %wide = f32[2,4,4,8]{3,2,1,0} convert(%q0)
  %zero = f32[] constant(0)
  %sum = f32[8]{0} reduce(%wide, %zero), dimensions={0,1,2}, to_apply=%region_sum
  %one = f32[1,1,1,8]{3,2,1,0} slice(%wide), slice={[0:1], [2:3], [2:3], [0:8]}
  ROOT %both = (f32[8]{0}, f32[1,1,1,8]{3,2,1,0}) tuple(%sum, %one)
}

%fused_slice (r0: bf16[2,4,4,8]) -> f32[1,1,1,8] {
  %r0 = bf16[2,4,4,8]{3,2,1,0} parameter(0)
  %shape = bf16[1,2,4,4,8]{4,3,2,1,0} bitcast(%r0)
  %all = f32[1,2,4,4,8]{4,3,2,1,0} convert(%shape)
  %pixel = f32[1,1,1,1,8]{4,3,2,1,0} slice(%all), slice={[0:1], [0:1], [2:3], [2:3], [0:8]}
  ROOT %flat = f32[1,1,1,8]{3,2,1,0} bitcast(%pixel)
}

%fused_update (s0: f32[10,8], s1: f32[8], s2: s32[]) -> f32[10,8] {
  %s0 = f32[10,8]{1,0} parameter(0)
  %s1 = f32[8]{0} parameter(1)
  %s2 = s32[] parameter(2)
  %row = f32[1,8]{1,0} bitcast(%s1)
  %origin = s32[] constant(0)
  ROOT %written = f32[10,8]{1,0} dynamic-update-slice(%s0, %row, %s2, %origin)
}

%body (arg: (s32[], f32[10,8], f32[8])) -> (s32[], f32[10,8], f32[8]) {
  %arg = (s32[], f32[10,8]{1,0}, f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%arg), index=0
  %rows = f32[10,8]{1,0} get-tuple-element(%arg), index=1
  %new = f32[8]{0} get-tuple-element(%arg), index=2
  %update = f32[10,8]{1,0} fusion(%rows, %new, %i), kind=kLoop, calls=%fused_update
  ROOT %next = (s32[], f32[10,8]{1,0}, f32[8]{0}) tuple(%i, %update, %new)
}

%cond (arg.1: (s32[], f32[10,8], f32[8])) -> pred[] {
  %arg.1 = (s32[], f32[10,8]{1,0}, f32[8]{0}) parameter(0)
  ROOT %go = pred[] constant(true)
}

ENTRY %main (x: bf16[2,4,4,3], w: bf16[8,3,3,3], m: f32[8], a: f32[16,8], b: f32[8,10]) -> f32[] {
  %x = bf16[2,4,4,3]{3,2,1,0} parameter(0)
  %w = bf16[8,3,3,3]{3,2,1,0} parameter(1)
  %m = f32[8]{0} parameter(2)
  %a = f32[16,8]{1,0} parameter(3)
  %b = f32[8,10]{1,0} parameter(4)
  %conv = (bf16[2,4,4,8]{3,2,1,0}, u8[0]{0}) custom-call(%x, %w), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward", metadata={op_name="jit(step)/conv1/conv" stack_frame_id=1}
  %y = bf16[2,4,4,8]{3,2,1,0} get-tuple-element(%conv), index=0
  %relu = bf16[2,4,4,8]{3,2,1,0} fusion(%y, %m), kind=kLoop, calls=%fused_relu
  %sums = (f32[8]{0}, f32[1,1,1,8]{3,2,1,0}) fusion(%relu), kind=kInput, calls=%fused_sums
  %pixel = f32[1,1,1,8]{3,2,1,0} fusion(%relu), kind=kLoop, calls=%fused_slice
  %dw = (bf16[8,3,3,3]{3,2,1,0}, u8[0]{0}) custom-call(%x, %relu), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardFilter"
  %dx = (bf16[2,4,4,3]{3,2,1,0}, u8[0]{0}) custom-call(%relu, %w), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convBackwardInput"
  %reduced = (f32[16,8]{1,0}, f32[8]{0}) all-reduce-start(%a, %m), replica_groups={{0,1}}, to_apply=%region_sum
  %gemm = (f32[16,10]{1,0}, s8[64]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"]}}}
  %start = (s32[], f32[10,8]{1,0}, f32[8]{0}) tuple(%m, %b, %m)
  %loop = (s32[], f32[10,8]{1,0}, f32[8]{0}) while(%start), condition=%cond, body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %done = (f32[16,8]{1,0}, f32[8]{0}) all-reduce-done(%reduced)
  ROOT %copy = f32[16,8]{0,1} copy(%a)
}
"""  # noqa: E501

MAP = 2 * 4 * 4 * 8  # elements of what the convolution gives
IMAGES = 2 * 4 * 4 * 3
WEIGHTS = 8 * 3 * 3 * 3


@pytest.fixture(scope="module")
def kernels():
    return {kernel.name: kernel for kernel in read_kernels(MODULE)}


def test_every_kernel_is_found_once_and_bookkeeping_is_not(kernels):
    assert list(kernels) == (
        ["conv", "relu", "sums", "pixel", "dw", "dx", "reduced", "gemm", "update", "copy"]
    )


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("conv", "convolution", 2 * (IMAGES + WEIGHTS + MAP)),
        ("relu", "element-wise", 2 * MAP + 4 * 8 + 2 * MAP),
        ("sums", "reduction", 2 * MAP + 4 * 8 + 4 * 8),  # a reduce reads all of it
        ("pixel", "copy or transpose", 2 * 8 + 4 * 8),  # only what the slice keeps
        ("dw", "convolution", 2 * (IMAGES + WEIGHTS + MAP)),
        ("gemm", "matrix product", 4 * (16 * 8 + 8 * 10 + 16 * 10)),
        ("update", "element-wise", 4 * 8 + 4 + 4 * 8),  # one row of ten, in place
        ("reduced", "collective", 4 * (16 * 8 + 8)),
        ("copy", "copy or transpose", 2 * 4 * 16 * 8),
    ],
)
def test_kind_and_bytes(kernels, name, kind, size):
    assert kernels[name].kind == kind
    assert kernels[name].bytes == size


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("conv", MAP * 3 * 3 * 3),
        ("dw", MAP * 3 * 3 * 3),
        ("dx", MAP * 3 * 3 * 3),
        ("gemm", 16 * 8 * 10),
        ("relu", 0),
    ],
)
def test_flops(kernels, name, macs):
    assert kernels[name].flops == 2 * macs


def test_times_dtype_and_source(kernels):
    assert {name: k.times for name, k in kernels.items() if k.times > 1} == {"update": 7}
    assert (kernels["conv"].dtype, kernels["gemm"].dtype) == ("bf16", "f32")
    assert kernels["conv"].source == "jit(step)/conv1/conv"


def test_what_is_scheduled_beside_a_collective(kernels):
    # The result is waited for behind the loop.
    assert kernels["reduced"].meanwhile == ("gemm", "update")
    assert {k.meanwhile for k in kernels.values() if k.kind != "collective"} == {()}


def test_waiting_is_no_kernel(kernels):
    """Whatever for: XLA has many such pairs."""
    text = MODULE.replace("all-reduce-start", "reduce-scatter-start")
    text = text.replace("all-reduce-done", "reduce-scatter-done")
    others = {kernel.name: kernel for kernel in read_kernels(text)}
    assert others.keys() == kernels.keys()
    assert others["reduced"].kind == "collective"
    assert others["reduced"].meanwhile == ("gemm", "update")


def test_a_collective_that_is_waited_for_at_once():
    text = MODULE.replace("all-reduce-start", "all-reduce").replace("all-reduce-done", "copy")
    assert next(k for k in read_kernels(text) if k.name == "reduced").meanwhile == ()


def test_a_text_without_an_entry_is_refused():
    with pytest.raises(ValueError, match="no ENTRY"):
        read_kernels("HloModule nothing")


@pytest.fixture(scope="module")
def real_kernels():
    """Those of a real program for two GPUs, which tests/make_gpu_hlo.py has made."""
    return read_kernels(lzma.decompress(make_gpu_hlo.SMALL.read_bytes()).decode())


# ResNet-20 with 8, 16 and 32 channels, 32 images of 32x32 pixels on each device.
STAGES = [(8, 32, 6), (16, 16, 6), (32, 8, 6)]  # channels, side, convolutions
STEM_MACS = 32 * 32 * 9 * 3 * 8
HEAD_MACS = 32 * 10


def convolution_macs():
    macs, before = STEM_MACS, 8
    for channels, side, convolutions in STAGES:
        for _ in range(convolutions):
            macs += side * side * 9 * before * channels
            before = channels
    return macs


def of_kind(kernels, kind):
    return [kernel for kernel in kernels if kernel.kind == kind]


def test_a_real_program_has_its_convolutions_and_their_flops(real_kernels):
    convolutions = of_kind(real_kernels, "convolution")
    # Forward, and the gradients of kernel and input; images have no gradient.
    assert len(convolutions) == 3 * 19 - 1
    expected = 2 * 32 * (3 * convolution_macs() - STEM_MACS)
    assert sum(kernel.times * kernel.flops for kernel in convolutions) == expected
    assert {kernel.dtype for kernel in convolutions} == {"bf16"}


def test_a_real_program_has_its_matrix_products(real_kernels):
    products = of_kind(real_kernels, "matrix product")
    assert sum(kernel.times * kernel.flops for kernel in products) == 3 * 2 * 32 * HEAD_MACS


def test_a_real_program_sends_gradients_statistics_and_three_sums(real_kernels):
    channels = 8 + sum(c * n for c, _, n in STAGES)
    weights, before = 9 * 3 * 8, 8
    for c, _, n in STAGES:
        weights += 9 * c * (before + (n - 1) * c)
        before = c
    parameters = weights + 2 * channels + HEAD_MACS + 10
    (all_reduce,) = of_kind(real_kernels, "collective")
    assert all_reduce.bytes == 4 * (parameters + 2 * channels + 3)


def test_a_real_program_moves_at_least_what_it_must(real_kernels):
    moved = sum(k.times * k.bytes for k in real_kernels if k.kind != "collective")
    # Each result of a convolution is written once and read by statistics, normalisation and
    # the sums and the result of its gradient; and no kernel reads without bounds.
    results = 2 * 32 * sum(n * c * side * side for c, side, n in STAGES)
    assert 6 * results < moved < 30 * results
