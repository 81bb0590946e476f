"""Saving and loading, for every policy: as a folder, from a folder, the hub or an ng.pt."""

import abc
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from nitrogen_train.pretrained.folder import PolicyFiles, write_policy_folder
from nitrogen_train.pretrained.hub import push_files
from nitrogen_train.pretrained.places import CONFIG, WEIGHTS
from nitrogen_train.pretrained.policy_config import PolicyConfig, Usage
from nitrogen_train.pretrained.read import read_policy

PolicyT = TypeVar("PolicyT", bound="SavedPolicy")


class SavedPolicy(nn.Module, abc.ABC):
    """A policy that can be described in plain values and rebuilt from them."""

    ng_header: dict[str, Any] | None = None
    """What the ng.pt that the policy comes from said besides its weights."""
    usage: Usage = Usage()
    """What it was trained for, as far as it is known; saved with it."""

    @property
    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs, as JSON can hold it."""

    @classmethod
    @abc.abstractmethod
    def from_settings(cls: type[PolicyT], settings: dict[str, Any]) -> PolicyT:
        """Build an untrained policy; settings come from strangers and may name no class.

        Raises:
            ValueError: If they do not describe a policy of this kind.
        """

    @classmethod
    def from_pretrained(
        cls: type[PolicyT],
        name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        vision_num_heads: int | None = None,
        games: Sequence[str] | None = None,
    ) -> PolicyT:
        """Load a policy, in evaluation mode.

        Args:
            name_or_path: A folder that `save_pretrained` wrote, the folder of a run that has ended,
                an ng.pt, a folder that holds one, or `owner/name` on the Hugging Face hub.
            revision: Branch, tag or commit on the hub; None is its main branch.
            cache_dir: The hub's cache; None is its usual place.
            vision_num_heads: Of an ng.pt: attention heads of its encoder, if its name does not
                tell.
            games: Of an ng.pt that tells games apart: their names by game id, from 1.

        Raises:
            FileNotFoundError: If there is no such file, folder or repository.
            ValueError: If what is there is not a policy that this version can read.
        """
        files = read_policy(
            name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            vision_num_heads=vision_num_heads,
            games=games,
        )
        return cls.from_files(files, where=name_or_path)

    @classmethod
    def from_files(cls: type[PolicyT], files: PolicyFiles, *, where: str | Path) -> PolicyT:
        """Build the policy that files describe; `where` is what to call them in an error.

        Raises:
            ValueError: If they do not describe a policy of this kind.
        """
        policy = cls.from_settings(files.config.settings)
        try:
            policy.load_state_dict(files.state)
        except RuntimeError as error:
            first_problem = str(error).splitlines()[1].strip()
            raise ValueError(
                f"the weights of {where} do not fit its config.json: {first_problem}"
            ) from error
        policy.ng_header = files.config.ng_header
        policy.usage = files.config.usage
        return policy.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the policy, whole or not at all; other files in the folder stay."""
        config = PolicyConfig(settings=self.settings, usage=self.usage, ng_header=self.ng_header)
        write_policy_folder(Path(folder), PolicyFiles(config=config, state=self.state_dict()))

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> None:
        """Upload what `save_pretrained` writes to the Hugging Face hub.

        Args:
            repo_id: `owner/name`; created if it does not exist.
            private: Whether a new repository is private.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "policy"
            self.save_pretrained(folder)
            push_files(repo_id, folder, names=[CONFIG, WEIGHTS], private=private)
