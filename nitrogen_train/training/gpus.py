"""The GPUs that forecasts and MFU know, with what their makers say of them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A kind of GPU, and the machines that it usually stands in; all numbers are peaks."""

    name: str
    device_names: tuple[str, ...]
    """Parts of the names that CUDA gives it."""
    bf16_flops: float
    """Dense bf16 matrix products summed in float32, per second."""
    fp32_flops: float
    """Per second, outside the tensor cores: torch's default for float32."""
    memory_gib: float
    memory_bytes_per_s: float
    gpus_per_node: int
    link_bytes_per_s: float
    """To the other GPUs of its node, each way."""
    network_bytes_per_s: float
    """To other nodes, each way: this GPU's share of its node's network."""


GPUS = (
    Gpu(
        name="H100 SXM",
        device_names=("H100 80GB HBM3", "H200"),
        bf16_flops=989.4e12,
        fp32_flops=66.9e12,
        memory_gib=79.6,
        memory_bytes_per_s=3.35e12,
        gpus_per_node=8,
        link_bytes_per_s=450e9,
        network_bytes_per_s=50e9,
    ),
    Gpu(
        name="A100",
        device_names=("A100",),
        bf16_flops=312e12,
        fp32_flops=19.5e12,
        memory_gib=80.0,
        memory_bytes_per_s=2.039e12,
        gpus_per_node=8,
        link_bytes_per_s=300e9,
        network_bytes_per_s=25e9,
    ),
    Gpu(
        name="RTX 4090",
        device_names=("RTX 4090",),
        bf16_flops=165.2e12,
        fp32_flops=82.6e12,
        memory_gib=24.0,
        memory_bytes_per_s=1.008e12,
        gpus_per_node=8,
        link_bytes_per_s=32e9,
        network_bytes_per_s=1.5625e9,
    ),
)
"""Peaks and memory, of which the A100 is the one with 80 GB.

Source:
    NVIDIA's H100 Tensor Core GPU Architecture (2022, table 2) and data sheet, A100 Tensor Core GPU
    data sheet (2021), Ada GPU Architecture (2022, appendix A). Links: NVLink 4 (900 GB/s both ways
    together), NVLink 3 (600), PCIe 4.0 x16. Networks: DGX H100 has eight ports of 400 Gbit/s, DGX
    A100 eight of 200; for the RTX 4090 one port of 100 Gbit/s among eight GPUs is our assumption.
"""


def find_gpu(device_name: str) -> Gpu | None:
    """Find a GPU by what `torch.cuda.get_device_name` calls it; None if it is not known here."""
    for gpu in GPUS:
        if any(part in device_name for part in gpu.device_names):
            return gpu
    return None
