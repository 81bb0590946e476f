"""What each rule has dropped, game by game."""

import math
from collections import defaultdict

from data_tools.shards.report import DatasetReport
from nitrogen_train.table import format_table


def format_rules(report: DatasetReport, rules: tuple[str, ...]) -> str:
    """Lay a filter's report out: a line for each game and rule, with what is left after it.

    Args:
        report: Its reasons are rules.
        rules: Those that were asked, in order.
    """
    lost: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for item in report.dropped:
        lost[item.game, item.reason].append(item.seconds)
    rows: list[tuple[str, ...]] = []
    for game in report.games:
        left = game.kept_s + game.dropped_s
        rows.append((game.game, "", "", "", _hours(left)))
        for rule in rules:
            dropped = lost[game.game, rule]
            left -= math.fsum(dropped)
            rows.append(("", rule, str(len(dropped)), _hours(math.fsum(dropped)), _hours(left)))
    came_in = math.fsum(game.kept_s + game.dropped_s for game in report.games)
    kept = math.fsum(game.kept_s for game in report.games)
    head = ("game", "rule", "clips dropped", "hours dropped", "hours kept")
    return f"{format_table(head, rows)}\n\n{_hours(kept)} of {_hours(came_in)} hours are kept"


def _hours(seconds: float) -> str:
    return f"{abs(seconds) / 3600:.3f}"
