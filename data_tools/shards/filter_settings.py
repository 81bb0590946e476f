"""Define the rules of `filter`, and how strict each of them is; light, for `--help` shows them."""

from dataclasses import dataclass

from nitrogen_train.data.clip_record import DEAD_ZONE

DAMAGED, OUT_OF_RANGE = "damaged", "out-of-range"
IDLE, CORNER, BLACK, FROZEN, MENU, COPY = "idle", "corner", "black", "frozen", "menu", "copy"
RULES = (DAMAGED, OUT_OF_RANGE, IDLE, CORNER, BLACK, FROZEN, MENU, COPY)
"""Rules in the order in which they are asked: the first that a clip breaks drops it."""
PICTURE_RULES = frozenset({BLACK, FROZEN, MENU, COPY})
"""If none of them is asked, no video is decoded."""
SWITCHABLE = RULES[2:]
"""Rules that may be switched off; a clip that breaks the others cannot be learned from at all."""


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """The rules that hold, and where they draw the line."""

    off: tuple[str, ...] = ()
    """Rules that are not asked."""
    min_active: float = 0.5
    """Share of the valid rows that must not be idle; NitroGen's rule."""
    dead_zone: float = DEAD_ZONE
    """Value below which an axis counts as centred, for a row to be idle."""
    idle_window_s: float | None = None
    """Length over which `min_active` is asked for; None: the whole clip."""
    corner_share: float = 0.95
    """Share of the valid rows with a stick in one and the same corner."""
    black_level: float = 24.0
    """A picture is black if no part of it is brighter, of 255."""
    black_share: float = 0.5
    """Share of the pictures that are black."""
    frozen_share: float = 0.8
    """Share of the time with input in which the picture does not change."""
    constant_share: float = 0.85
    """Share of the picture that stays the same for the whole clip, while another part changes."""
    same_level: float = 8.0
    """Pictures are the same if no part differs more, of 255."""
    sample_hz: float = 2.0
    """Pictures that are looked at, per second: at 2, just the key frames of our own videos."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.off) - set(SWITCHABLE)):
            raise ValueError(f"no rule {unknown}; there are {', '.join(SWITCHABLE)}")
        shares = ("min_active", "corner_share", "black_share", "frozen_share", "constant_share")
        for name, low, high in (
            *((name, 0.0, 1.0) for name in shares),
            ("dead_zone", 0.0, 0.99),
            ("black_level", 0.0, 255.0),
            ("same_level", 0.0, 255.0),
            ("sample_hz", 0.1, 240.0),
        ):
            value = getattr(self, name)
            # Written so that NaN fails too.
            if not low <= value <= high:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} must lie in [{low:g}, {high:g}], got {value}")
        if self.idle_window_s is not None and not 0 < self.idle_window_s <= 20:
            raise ValueError(
                f"--idle-window must lie above 0 and up to 20 s, got {self.idle_window_s}"
            )

    @property
    def on(self) -> tuple[str, ...]:
        """Return the rules that are asked."""
        return tuple(rule for rule in RULES if rule not in self.off)
