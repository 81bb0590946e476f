"""The training loop: the only place that knows Lightning, DeepSpeed and wandb."""
