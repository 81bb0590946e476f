"""What each rule has dropped, game by game."""

import math
from collections import defaultdict

from data_tools.shards.report import DatasetReport, format_length
from nitrogen_train.table import format_table


def format_rules(report: DatasetReport, rules: tuple[str, ...]) -> str:
    """Lay a filter's report out: a line for each game and rule that dropped some of it.

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
        rows.append((game.game, "", "", "", format_length(left)))
        for rule in rules:
            if not (dropped := lost[game.game, rule]):
                continue
            left -= math.fsum(dropped)
            rows.append(
                (
                    "",
                    rule,
                    str(len(dropped)),
                    format_length(math.fsum(dropped)),
                    format_length(left),
                )
            )
    came_in = math.fsum(game.kept_s + game.dropped_s for game in report.games)
    kept = math.fsum(game.kept_s for game in report.games)
    head = ("game", "rule", "clips dropped", "dropped", "left")
    asked = f"rules: {', '.join(rules)}; those that dropped nothing are not shown"
    total = f"{format_length(kept)} of {format_length(came_in)} are kept"
    return f"{format_table(head, rows)}\n\n{asked}\n{total}"
