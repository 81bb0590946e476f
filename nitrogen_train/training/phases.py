"""Count the steps of a learning rate's warm-up and decay; no torch."""


def count_phases(
    *,
    max_steps: int,
    warmup_share: float = 0.0,
    decay_share: float = 0.0,
    warmup_steps: int | None = None,
    decay_steps: int | None = None,
) -> tuple[int, int]:
    """Turn shares of a run into steps; a number of steps, where it is given, goes before a share.

    Args:
        max_steps: Length of the run.
        warmup_share: Of the run, in [0, 1].
        decay_share: Of the run, in [0, 1].
        warmup_steps: Instead of `warmup_share`.
        decay_steps: Instead of `decay_share`.

    Returns:
        Steps of warm-up, and of decay.

    Raises:
        ValueError: If they do not fit into the run.

    Example:
        >>> count_phases(max_steps=60, warmup_share=0.03, decay_share=0.5)
        (2, 30)
    """
    named = {"warmup": (warmup_share, warmup_steps), "decay": (decay_share, decay_steps)}
    lengths: dict[str, int] = {}
    for name, (share, steps) in named.items():
        if steps is not None:
            lengths[f"schedule.{name}_steps={steps}"] = steps
            continue
        if not 0 <= share <= 1:
            raise ValueError(
                f"schedule.{name}_share must lie in [0, 1], a share of max_steps, got {share}"
            )
        lengths[f"schedule.{name}_share={share} ({round(share * max_steps)} steps)"] = round(
            share * max_steps
        )
    warmup, decay = lengths.values()
    # Two shares that fill a run may be rounded up both.
    if warmup_steps is None and decay_steps is None and warmup_share + decay_share <= 1:
        decay = min(decay, max_steps - warmup)
    if min(warmup, decay) < 0 or warmup + decay > max_steps:
        raise ValueError(
            f"{' and '.join(lengths)} must fit into max_steps={max_steps}: lower them, or raise "
            "max_steps"
        )
    return warmup, decay
