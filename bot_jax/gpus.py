"""What is published about the GPUs that `bot_jax.plan` can plan for.

Rates are those of NVIDIA's data sheets, dense (without sparsity), at boost clock. They are upper
bounds: no kernel reaches them, and a GPU under load clocks lower.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One kind of GPU.

    Attributes:
      name: as the driver reports it.
      compute_capability: (major, minor); from 8.0 on there are bfloat16 and TF32 products.
      memory: bytes that a program sees.
      bandwidth: of that memory, bytes a second.
      half: products of float16 or bfloat16 with float32 sums, FLOP/s.
      single: products of float32 as JAX does them by default, FLOP/s: in TF32 where there is
        that, else in float32.
      link: bytes a second, in one direction, between GPUs of one machine.
      cores, fpus_per_core: streaming multiprocessors, and float32 units of each.
      clock: GHz.
      l2_cache: bytes.
      shared_memory, shared_memory_optin: bytes a core, and that one block may ask for.
      threads_per_core: resident threads a core.
    """

    name: str
    compute_capability: tuple[int, int]
    memory: int
    bandwidth: float
    half: float
    single: float
    link: float
    cores: int
    fpus_per_core: int
    clock: float
    l2_cache: int
    shared_memory: int
    shared_memory_optin: int
    threads_per_core: int = 2048

    def peak(self, dtype: str) -> float:
        """FLOP/s of matrix products of a dtype in HLO's spelling, such as "bf16"."""
        has_bfloat16 = self.compute_capability >= (8, 0)
        if dtype == "f16" or (dtype == "bf16" and has_bfloat16):
            return self.half
        return self.single

    def target_config(self) -> str:
        """The text of the GpuTargetConfigProto for which XLA compiles."""
        major, minor = self.compute_capability
        return f"""
            gpu_device_info {{
              name: "{self.name}"
              device_vendor: "NVIDIA Corporation"
              platform_version: "Compute Capability {major}.{minor}"
              cuda_compute_capability {{ major: {major} minor: {minor} }}
              core_count: {self.cores}
              fpus_per_core: {self.fpus_per_core}
              clock_rate_ghz: {self.clock}
              device_memory_size: {self.memory}
              memory_bandwidth: {self.bandwidth:.0f}
              l2_cache_size: {self.l2_cache}
              shared_memory_per_block: 49152
              shared_memory_per_block_optin: {self.shared_memory_optin}
              shared_memory_per_core: {self.shared_memory}
              threads_per_core_limit: {self.threads_per_core}
              threads_per_block_limit: 1024
              threads_per_warp: 32
              registers_per_core_limit: 65536
              registers_per_block_limit: 65536
              block_dim_limit_x: 2147483647
              block_dim_limit_y: 65535
              block_dim_limit_z: 65535
              thread_dim_limit_x: 1024
              thread_dim_limit_y: 1024
              thread_dim_limit_z: 64
              device_address_bits: 64
              ecc_enabled: true
              driver_version: "13.0.0"
              runtime_version: "12.8.0"
              compile_time_toolkit_version: "12.8.0"
              dnn_version: "9.10.0"
            }}
            platform_name: "CUDA"
            dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
            device_description_str: "{self.name}"
        """


_HOPPER = {
    "compute_capability": (9, 0),
    "half": 989e12,
    "single": 494e12,
    "link": 450e9,
    "cores": 132,
    "fpus_per_core": 128,
    "clock": 1.98,
    "l2_cache": 50 << 20,
    "shared_memory": 228 << 10,
    "shared_memory_optin": 227 << 10,
}
_A100 = {
    "compute_capability": (8, 0),
    "half": 312e12,
    "single": 156e12,
    "link": 300e9,
    "cores": 108,
    "fpus_per_core": 64,
    "clock": 1.41,
    "l2_cache": 40 << 20,
    "shared_memory": 164 << 10,
    "shared_memory_optin": 163 << 10,
}
_V100 = {
    "compute_capability": (7, 0),
    "bandwidth": 900e9,
    "half": 125e12,
    "single": 15.7e12,
    "link": 150e9,
    "cores": 80,
    "fpus_per_core": 64,
    "clock": 1.53,
    "l2_cache": 6 << 20,
    "shared_memory": 96 << 10,
    "shared_memory_optin": 96 << 10,
}

GPUS = {
    "h100": Gpu("NVIDIA H100 80GB HBM3", memory=84_942_979_072, bandwidth=3.35e12, **_HOPPER),
    "h200": Gpu("NVIDIA H200", memory=150_754_820_096, bandwidth=4.8e12, **_HOPPER),
    "a100-80": Gpu("NVIDIA A100-SXM4-80GB", memory=85_051_572_224, bandwidth=2.039e12, **_A100),
    "a100-40": Gpu("NVIDIA A100-SXM4-40GB", memory=42_298_834_944, bandwidth=1.555e12, **_A100),
    "v100-32": Gpu("Tesla V100-SXM2-32GB", memory=34_079_899_648, **_V100),
    "v100-16": Gpu("Tesla V100-SXM2-16GB", memory=16_935_682_048, **_V100),
    "l4": Gpu(
        "NVIDIA L4",
        compute_capability=(8, 9),
        memory=23_580_639_232,
        bandwidth=300e9,
        half=121e12,
        single=60e12,
        link=32e9,  # PCI Express 4.0 with 16 lanes
        cores=58,
        fpus_per_core=128,
        clock=2.04,
        l2_cache=48 << 20,
        shared_memory=100 << 10,
        shared_memory_optin=99 << 10,
        threads_per_core=1536,
    ),
}
