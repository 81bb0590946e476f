"""Load whatever kind of policy a folder holds."""

from pathlib import Path

from nitrogen_train.models.nitrogen import NitroGen
from nitrogen_train.models.recurrent import Recurrent
from nitrogen_train.models.regression import Regression
from nitrogen_train.models.visual_policy import VisualPolicy
from nitrogen_train.pretrained.read import read_policy

_KINDS: dict[str, type[VisualPolicy]] = {
    kind.__name__: kind for kind in (NitroGen, Regression, Recurrent)
}


def load_policy(name_or_path: str | Path) -> VisualPolicy:
    """Load a policy of any kind: from a folder, an ng.pt or the Hugging Face hub.

    Raises:
        FileNotFoundError: If there is no such file, folder or repository.
        ValueError: If what is there is not a policy that this version can read.
    """
    files = read_policy(name_or_path)
    kind = files.settings.get("policy")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(
            f"{name_or_path} holds a policy of the kind {kind!r}; known: {', '.join(_KINDS)}"
        )
    return _KINDS[kind].from_files(files, where=name_or_path)
