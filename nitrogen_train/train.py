"""`nitrogen-train`: a config in, a run folder with a trained policy out.

From here to the loss: train ─► training/datamodule ─► data/stream ─► training/module
─► models/nitrogen ─► flow. The same command started again continues the run.
"""

import logging
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

if __name__ == "__main__":
    # The command imports this file again, by name, once the config is checked: torch takes seconds.
    from nitrogen_train.cli.commands import train as main

    sys.exit(main())

import lightning as L  # noqa: N812 - Lightning's own convention
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only

from nitrogen_train.actions import get_action_space
from nitrogen_train.config import RunConfig, build, shape_batch
from nitrogen_train.pretrained.places import find_last_checkpoint
from nitrogen_train.run.data_of_run import build_plan, open_sources
from nitrogen_train.run.policy_of_run import save_policy, start_policy
from nitrogen_train.run.start_checks import check_components, validate
from nitrogen_train.runtime.interrupts import announce
from nitrogen_train.runtime.progress import waiting
from nitrogen_train.training.callbacks import Guards, build_callbacks
from nitrogen_train.training.checkpoints import (
    BackgroundCheckpointIO,
    CheckpointPolicy,
    read_checkpoint,
    read_weights,
)
from nitrogen_train.training.datamodule import Loading, WindowDataModule
from nitrogen_train.training.launch import (
    check_gpus,
    check_world,
    choose_accelerator,
    leading_ranks,
    refuse_another_world,
)
from nitrogen_train.training.loggers import ending_loggers, log_run_facts
from nitrogen_train.training.module import LitPolicy
from nitrogen_train.training.optimization import Optimization, freeze
from nitrogen_train.training.preemption import (
    StopRequest,
    find_cluster_environment,
    preemptible,
)
from nitrogen_train.training.run_folder import (
    describe_end,
    refuse_another_model,
    run_lock,
    write_run_facts,
)
from nitrogen_train.training.strategies import checkpoint_activations, compile_blocks
from nitrogen_train.training.training_progress import LOG_FILE, text_log

_log = logging.getLogger(__name__)


def train(config: RunConfig, *, config_yaml: str) -> Path:
    """Run, or continue, a training.

    Args:
        config: The composed config.
        config_yaml: The same as text, for the run folder.

    Returns:
        The folder of the trained policy, averaged weights.

    Raises:
        ValueError: If the config cannot work.
    """
    announce("interrupted before the first step: there is nothing new to save")
    prepare(config)
    output_dir = Path(config.output_dir)
    refuse_another_model(output_dir, config_yaml=config_yaml)
    with _told("opening the data sets"):
        datamodule = build_datamodule(config)
    with _told("building the policy"):
        module = build_module(config)
    with preemptible() as request:
        trainer = build_trainer(config, request)
        with run_lock(output_dir) if trainer.is_global_zero else nullcontext():
            if trainer.is_global_zero:
                facts = datamodule.order | {"action_hz": datamodule.action_hz}
                write_run_facts(output_dir, config_yaml=config_yaml, data=facts)
            return _fit(trainer, module, datamodule, config)


def prepare(config: RunConfig) -> None:
    """Check the config once more, now with torch, and set what holds for the whole process.

    Raises:
        ValueError: If the config cannot work here.
    """
    validate(config)
    check_components(config)
    check_world(config.trainer)
    check_gpus(
        config.trainer,
        num_visible=torch.cuda.device_count(),
        has_mps=torch.backends.mps.is_available(),
    )
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    if torch.cuda.is_available():
        # Some CPUs would take it as well, and give other numbers than others do.
        torch.set_float32_matmul_precision(config.matmul_precision)
    L.seed_everything(config.seed, workers=True, verbose=False)


def _told(what: str) -> AbstractContextManager[None]:
    """Say what takes long, once for all ranks."""
    return waiting(what) if getattr(rank_zero_only, "rank", 0) == 0 else nullcontext()


def _fit(
    trainer: L.Trainer, module: LitPolicy, datamodule: WindowDataModule, config: RunConfig
) -> Path:
    output_dir = Path(config.output_dir)
    checkpoint = config.ckpt_path or find_last_checkpoint(output_dir / "checkpoints")
    if checkpoint:
        _log.info("continuing from %s", checkpoint)
    start = f"{checkpoint}" if checkpoint else "step 0"
    log = text_log(output_dir / LOG_FILE, start=start) if trainer.is_global_zero else nullcontext()
    policy_dir = output_dir / "policy"
    with log:
        with ending_loggers(), leading_ranks(trainer):
            if trainer.is_global_zero:
                log_run_facts(trainer.loggers, output_dir)
            trainer.fit(module, datamodule, ckpt_path=checkpoint, weights_only=True)
        if trainer.is_global_zero:
            last = find_last_checkpoint(output_dir / "checkpoints")
            assert last is not None  # noqa: S101 - the end of a run is saved
            save_policy(config, read_weights(read_checkpoint(last)), policy_dir)
            datasets = [str(source["path"]) for source in config.data.sources.values()]
            for line in describe_end(output_dir, games=config.data.games, datasets=datasets):
                _log.info("%s", line)
    return policy_dir


def quieten_lightning() -> None:
    """Leave out advertisements, and warnings about what is meant."""
    # A stream has a length only in validation, and a run continues in its own folder.
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for name in ("fabric.utilities.distributed", "pytorch.strategies.deepspeed"):
        # Each rank would tell its number.
        logging.getLogger(f"lightning.{name}").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="Your `IterableDataset` has `__len__` defined")
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    # Ours says the same in our words.
    warnings.filterwarnings("ignore", message="This DataLoader will create .* worker processes")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", category=FutureWarning, module="lightning")
    # Validation is summed over the ranks before it is logged.
    warnings.filterwarnings("ignore", message="It is recommended to use `self.log.* sync_dist=True")
    # torch's own, and DeepSpeed's, of each other.
    warnings.filterwarnings("ignore", message="`?torch.distributed.*is deprecated")
    # Our module clips where DeepSpeed does not.
    warnings.filterwarnings("ignore", message=".*DeepSpeed handles gradient clipping internally")
    # Trying something out on a login node, or on a machine that happens to have SLURM.
    warnings.filterwarnings("ignore", message="The `srun` command is available")


def build_datamodule(config: RunConfig) -> WindowDataModule:
    """Open the data sets and lay out the windows."""
    data = config.data
    return WindowDataModule(
        plan=build_plan(config),
        val_sources=open_sources(data, split="val"),
        space=get_action_space(data.action_space),
        games=data.games,
        image_size=data.image_size,
        loading=Loading(
            micro_batch_size=data.micro_batch_size,
            clip_cache_gib=data.clip_cache_gib,
            max_lane_gib=data.max_lane_gib,
            num_val_windows=data.num_val_windows,
            num_workers=data.num_workers,
            prefetch_factor=data.prefetch_factor,
            decoder=data.decoder,
            max_fault_share=data.max_fault_share,
            quarantine_dir=Path(config.output_dir) / "quarantine",
        ),
    )


def build_module(config: RunConfig) -> LitPolicy:
    """Build the policy, from `init_from`'s weights if it is given, and what trains it.

    Raises:
        ValueError: If these are the weights of another network.
    """
    policy = start_policy(config)
    freeze(policy, config.frozen)
    if config.activation_checkpointing:
        checkpoint_activations(policy)
    if config.compile:
        compile_blocks(policy)
    return LitPolicy(
        policy=policy,
        games=tuple(config.data.games),
        seed=config.seed,
        optimization=Optimization(
            optimizer=build(config.optimizer),
            schedule=build(config.schedule),
            ema_decay=config.ema_decay,
            lr_scales=config.lr_scales,
        ),
        num_sampling_steps=config.num_sampling_steps,
        augmentation=build(config.augmentation) if config.augmentation else None,
        sources=tuple(config.data.sources),
    )


def build_trainer(config: RunConfig, request: StopRequest | None = None) -> L.Trainer:
    """Build Lightning's trainer with our callbacks, loggers and checkpoints."""
    output_dir = Path(config.output_dir)
    accumulation = shape_batch(config).accumulation
    # A short run logs and validates its last step at least.
    log_every_n_steps = min(config.trainer["log_every_n_steps"], config.max_steps)
    accelerator = choose_accelerator(
        config.trainer["accelerator"], has_mps=torch.backends.mps.is_available()
    )
    strategy = config.strategy | {
        "accelerator": accelerator,
        "precision": config.trainer["precision"],
        "micro_batch_size": config.data.micro_batch_size,
    }
    callbacks = build_callbacks(
        request or StopRequest(),
        output_dir=output_dir,
        checkpoints=CheckpointPolicy(
            every_n_steps=config.checkpoint_every_n_steps,
            every_minutes=config.checkpoint_every_minutes,
            keep_last=config.keep_checkpoints,
            keep_every_n_steps=config.keep_every_n_steps,
            keep_best=config.keep_best,
            metric=config.best_metric,
            is_lowest_best=config.best_is_lowest,
        ),
        log_every_n_steps=log_every_n_steps,
        max_wait_share=config.data.max_wait_share,
        precision=config.trainer["precision"],
        guards=Guards(
            skip_loss_above=config.skip_loss_above,
            check_ranks_every_n_steps=config.check_ranks_every_n_steps,
        ),
    )
    trainer = build(config.trainer | {"accelerator": accelerator})(
        strategy=build(strategy),
        max_steps=config.max_steps,
        log_every_n_steps=log_every_n_steps,
        accumulate_grad_batches=accumulation,
        # Lightning counts micro-batches here.
        val_check_interval=min(config.val_every_n_steps, config.max_steps) * accumulation,
        check_val_every_n_epoch=None,
        **({} if config.data.num_val_windows else {"limit_val_batches": 0}),
        default_root_dir=str(output_dir),
        logger=[build(logger) for logger in config.loggers.values()],
        # Lightning's would count micro-batches of an epoch; ours is among the callbacks.
        enable_progress_bar=False,
        callbacks=[*callbacks, *(build(extra) for extra in config.callbacks.values())],
        plugins=[BackgroundCheckpointIO(), *find_cluster_environment()],
    )
    # At every micro-batch, Lightning has rank 0 tell all others of a SIGTERM, and each read it: a
    # collective, and a wait for the device. Ours is agreed on once per step, beside it.
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
    refuse_another_world(trainer.world_size, config.trainer)
    return trainer
