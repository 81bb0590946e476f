"""What an index of labels holds, and what was wrong with the rest."""

from collections import defaultdict
from collections.abc import Sequence

from data_tools.ingest.nitrogen.label_index import TarballIndex
from data_tools.ingest.nitrogen.label_tar import Fault
from nitrogen_train.table import format_table


def describe_index(indexes: Sequence[TarballIndex]) -> str:
    """Lay out pieces and faults per tarball, and each kind of fault with an example."""
    rows = [(index.path.name, str(index.num_pieces), str(len(index.faults))) for index in indexes]
    tables = [format_table(("tarball", "pieces", "faults"), rows)]
    reasons: defaultdict[str, list[Fault]] = defaultdict(list)
    for index in indexes:
        for fault in index.faults:
            reasons[fault.reason].append(fault)
    if reasons:
        lines = [
            (reason, str(len(faults)), faults[0].name) for reason, faults in sorted(reasons.items())
        ]
        tables.append(format_table(("left out because", "number", "for example"), lines))
    return "\n\n".join(tables)
