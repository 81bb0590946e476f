"""Train a policy: the only place that knows Lightning, DeepSpeed and wandb."""
