"""What a run would take, computed; what two processes really send and keep, beside it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from ready import run_ready
from tiers import divide

from nitrogen_train.config import RunConfig, build, find_config_dir, register_schema
from nitrogen_train.data.order import BatchShape
from nitrogen_train.run.forecast import (
    PolicyCost,
    Setup,
    count_moments,
    find_bus_bandwidth,
    forecast,
    measure_cost,
)
from nitrogen_train.run.plan_report import advise, forecast_run, plan_run, propose_micro_batch
from nitrogen_train.training.throughput import GPUS, Gpu, find_gpu

MEASURED_RUN = Path(__file__).parent / "measured_run.py"
TINY = (
    "model=base", "data.games=[a,b]", "data.image_size=32", "data.action_horizon=4",
    "model.games=[a,b]", "model.encoder.name=test_vit", "model.encoder.pretrained=false",
    "model.encoder.width=32", "+model.encoder.options.depth=3",
    "+model.encoder.options.num_heads=2", "model.mixer.num_heads=2", "model.dit.num_heads=2",
    "model.dit.num_layers=4", "data.global_batch_size=8", "data.micro_batch_size=2",
    "trainer.accelerator=cpu",
)  # fmt: skip
BIG = PolicyCost(
    num_trained=480_000_000, num_frozen=12_000_000, flops=600 * 10**9,
    recomputed_flops=140 * 10**9, activation_bytes=400 * 2**20, checkpointed_bytes=30 * 2**20,
)  # fmt: skip
H100, A100, RTX_4090 = GPUS


def to_config(*overrides: str) -> RunConfig:
    register_schema()
    with initialize_config_dir(find_config_dir(), version_base="1.3"):
        config = OmegaConf.to_object(compose("train", overrides=list(overrides)))
    assert isinstance(config, RunConfig)
    return config


def setup(strategy: str = "ddp", num_gpus: int = 8, **changes: Any) -> Setup:
    values: dict[str, Any] = {
        "micro_batch_size": 32, "accumulation": 2, "precision": "bf16-mixed",
        "is_checkpointed": False, "num_moments": 2, "bucket_values": 200_000_000,
    }  # fmt: skip
    return Setup(strategy=strategy, num_gpus=num_gpus, **values | changes)


@pytest.mark.parametrize(
    ("num_gpus", "most", "expected"),
    [(1, 32, (32, 128)), (1024, 32, (4, 1)), (8, 33, (32, 16))],
)
def test_the_largest_micro_batch_that_divides_the_batch_is_taken(
    num_gpus: int, most: int, expected: tuple[int, int]
) -> None:
    shape = BatchShape.fit(4096, world_size=num_gpus, most=most)

    assert (shape.micro_batch_size, shape.accumulation) == expected


@pytest.mark.parametrize(
    ("num_gpus", "hint"),
    [
        (96, "= 96 \\* 1; use data.global_batch_size=4032 or 4128"),
        (8192, "use data.global_batch_size=8192"),
    ],
)
def test_gpus_that_cannot_share_the_batch_are_refused(num_gpus: int, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        BatchShape.fit(4096, world_size=num_gpus, most=1)


@pytest.mark.parametrize(
    ("sizes", "named"),
    [({"world_size": 0, "most": 1}, "processes"), ({"world_size": 1, "most": 0}, "micro_batch")],
)
def test_nothing_to_divide_by_is_refused_by_name(sizes: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=f"{named}.* must be at least 1, got 0"):
        BatchShape.fit(4096, **sizes)


def test_zero_divides_the_optimizer_by_the_ranks_and_ddp_does_not() -> None:
    ddp, zero = forecast(BIG, setup("ddp")).memory, forecast(BIG, setup("zero_1")).memory

    assert ddp.moments == 8 * BIG.num_trained
    assert zero.moments == BIG.num_trained
    assert zero.average == ddp.average / 8
    assert forecast(BIG, setup("zero_2")).memory.gradients == ddp.gradients / 8


def test_offload_moves_the_optimizer_to_the_host() -> None:
    memory = forecast(BIG, setup("zero_2_offload")).memory

    assert memory.master == memory.moments == memory.average == 0
    assert memory.host == 16 * BIG.num_trained / 8


def test_a_job_that_does_not_fit_is_told_the_smallest_change_that_does() -> None:
    large = forecast(BIG, setup("ddp", micro_batch_size=64))

    assert large.fits(H100)
    assert not large.fits(RTX_4090)
    assert advise(large, RTX_4090).startswith("data.micro_batch_size=16: ")
    checkpointed = forecast(BIG, setup("ddp", micro_batch_size=1024, accumulation=1))
    assert advise(checkpointed, A100).startswith("activation_checkpointing=true")
    hopeless = PolicyCost(**{**vars(BIG), "num_frozen": 10**11})
    assert "smaller model" in advise(forecast(hopeless, setup()), RTX_4090)


def read_size(proposal: str) -> int:
    return int(proposal.partition("data.micro_batch_size=")[2].partition(":")[0].partition(",")[0])


def test_the_largest_micro_batch_that_fits_is_proposed() -> None:
    job = forecast(BIG, setup("ddp", micro_batch_size=8, accumulation=16))

    assert propose_micro_batch(job, H100) == "data.micro_batch_size=128: 61.7 GiB of 71.6"
    assert propose_micro_batch(job, RTX_4090) == "data.micro_batch_size=16: 17.9 GiB of 21.6"
    job = forecast(BIG, setup("ddp", micro_batch_size=16, accumulation=8))
    assert (
        propose_micro_batch(job, RTX_4090) == "data.micro_batch_size=16, as it is: 17.9 GiB of 21.6"
    )


def test_a_proposed_micro_batch_divides_the_samples_of_a_rank_and_grows_with_memory() -> None:
    job = forecast(BIG, setup("ddp", micro_batch_size=1, accumulation=60))
    gpus = [replace(H100, memory_gib=13.5 + 0.4 * extra) for extra in range(80)]

    sizes = [read_size(propose_micro_batch(job, gpu)) for gpu in gpus]

    assert sizes == sorted(sizes)
    assert {*sizes} == {1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60}
    for size, gpu in zip(sizes, gpus, strict=True):
        at_it = replace(job.setup, micro_batch_size=size, accumulation=60 // size)
        assert forecast(BIG, at_it).fits(gpu)


@pytest.mark.parametrize(
    ("strategy", "num_gpus", "memory_gib", "change"),
    [
        ("ddp", 8, 13.2, "; with activation_checkpointing=true data.micro_batch_size=4: "),
        ("ddp", 8, 12.5, "; with strategy=zero_2 data.micro_batch_size=8: "),
        ("single", 1, 6.9, "strategy=zero_2_offload activation_checkpointing=true data.micro_b"),
        ("ddp", 8, 2.0, "with activation_checkpointing=true, ZeRO and offload neither: freeze"),
    ],
)
def test_where_not_even_one_sample_fits_the_way_out_is_named(
    strategy: str, num_gpus: int, memory_gib: float, change: str
) -> None:
    job = forecast(BIG, setup(strategy, num_gpus, micro_batch_size=4, accumulation=16))

    proposal = propose_micro_batch(job, replace(RTX_4090, memory_gib=memory_gib))

    assert proposal.startswith("not even 1 fits")
    assert change in proposal


def test_time_grows_with_what_is_sent_and_with_recomputation() -> None:
    near, far = forecast(BIG, setup(num_gpus=8)), forecast(BIG, setup(num_gpus=16))
    again = forecast(BIG, setup(num_gpus=8, is_checkpointed=True))

    assert far.step_s(RTX_4090) > near.step_s(RTX_4090)
    assert again.step_s(H100) > near.step_s(H100)
    assert near.step_s(A100) > 64 * BIG.flops / (0.4 * A100.bf16_flops)


def test_the_moments_of_an_optimizer_are_counted_by_asking_it() -> None:
    assert count_moments(lambda groups: torch.optim.AdamW(groups)) == 2
    assert count_moments(lambda groups: torch.optim.SGD(groups, lr=0.1)) == 0
    assert count_moments(lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9)) == 1


@pytest.mark.slow
def test_activations_are_counted_as_a_real_forward_pass_keeps_them(
    count_kept_bytes: Any,
) -> None:
    from nitrogen_train.training.throughput import make_random_batch

    config = to_config(*TINY)
    cost = measure_cost(lambda: build(config.model), dtype=torch.float32)
    policy = build(config.model).train()

    def count(num_samples: int) -> int:
        batch = make_random_batch(
            num_samples=num_samples, num_frames=1, image_size=32, action_horizon=4, action_dim=25
        )
        return count_kept_bytes(policy, lambda: policy.compute_loss(batch))

    assert cost.activation_bytes == pytest.approx(count(1), rel=0.05)
    # A micro-batch is proposed by the sample: what does not grow with it is counted more than once.
    assert count(8) <= 8 * cost.activation_bytes <= 1.1 * count(8)
    assert cost.checkpointed_bytes < cost.activation_bytes
    assert cost.recomputed_flops > 0


@pytest.mark.slow
def test_frozen_parts_cost_no_gradients() -> None:
    trained, frozen = (
        forecast_run(to_config(*TINY, *more))[0] for more in ((), ("frozen=[encoder.*]",))
    )

    assert frozen.cost.num_frozen > trained.cost.num_frozen
    assert frozen.cost.flops < trained.cost.flops
    assert frozen.memory.gradients < trained.memory.gradients


@pytest.mark.slow
def test_the_report_says_that_it_is_computed_and_what_cannot_run() -> None:
    text = plan_run(to_config(*TINY, "strategy=zero_2"))

    assert text.startswith("COMPUTED, not measured: zero_2 on 1 GPU(s), 8 samples a step")
    assert "cannot run on 64 GPUs" in text
    assert "\n  RTX 4090: data.micro_batch_size=8: " in text
    assert all(gpu.name in text for gpu in GPUS)


def test_a_batch_that_the_configured_gpus_cannot_share_is_refused() -> None:
    with pytest.raises(
        ValueError,
        match=r"global_batch_size=8 must be .* 3 \* 1; use data.global_batch_size=6 or 9",
    ):
        plan_run(to_config(*TINY, "trainer.devices=3", "strategy=ddp"))


def test_gpus_are_known_by_the_names_that_cuda_gives_them() -> None:
    assert find_gpu("NVIDIA H100 80GB HBM3") is H100
    assert find_gpu("NVIDIA GeForce RTX 4090") is RTX_4090
    assert find_gpu("NVIDIA GeForce GTX 1080") is None


MEASURED = [
    ("ddp", "bf16-mixed"), ("zero_1", "32-true"), ("zero_2", "bf16-mixed"), ("zero_3", "32-true"),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "precision"), divide(MEASURED, slow=MEASURED[:1]))
def test_two_processes_send_and_keep_what_is_computed(
    tmp_path: Path, strategy: str, precision: str
) -> None:
    result = tmp_path / "result.json"
    overrides = [
        *TINY, f"strategy={strategy}", "trainer.devices=2", f"trainer.precision={precision}",
    ]  # fmt: skip
    whole = "strategy.deepspeed.zero_optimization.stage3_param_persistence_threshold=0"
    overrides += [whole] if strategy == "zero_3" else []

    done = run_ready(MEASURED_RUN, result, *overrides, ranks=2)

    assert done.returncode == 0, done.stderr[-3000:]
    measured = json.loads(result.read_text())
    computed = forecast_run(to_config(*overrides))[0]
    memory, sent = computed.memory, computed.communication.total
    # Padding to whole elements per rank, and counts and norms of a few bytes.
    assert measured["sent"] == pytest.approx(sent, rel=0.02)
    for part in ("moments", "average", "master"):
        assert measured[part] == pytest.approx(getattr(memory, part), rel=0.001), part
    owned = measured["weights"] * (2 if strategy == "zero_3" else 1)
    every = computed.cost.num_trained + computed.cost.num_frozen
    assert owned == pytest.approx(4 * every, rel=0.001)


@pytest.mark.parametrize(
    ("gpu", "num_gpus", "low", "high"),
    [(H100, 8, 355e9, 385e9), (H100, 128, 8 * 46e9, 8 * 48e9), (A100, 64, 180e9, 192e9)],
    ids=["370 GB/s on NVLink", "46 to 48 GB/s an adapter", "192 GB/s in DGX A100s"],
)
def test_rings_reach_the_bus_bandwidth_that_nvidia_publishes(
    gpu: Gpu, num_gpus: int, low: float, high: float
) -> None:
    assert low <= find_bus_bandwidth(gpu, num_gpus) <= high


def test_a_job_of_many_nodes_hides_its_gradients_behind_the_backward_pass() -> None:
    # One GPU's share of the adapters would take 0.1 s for them.
    one_node, many = (forecast(BIG, setup("ddp", num_gpus=num, accumulation=1)) for num in (8, 128))

    assert many.step_s(H100) == pytest.approx(one_node.step_s(H100), rel=0.01)
