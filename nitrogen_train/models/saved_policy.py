"""Saving and loading, for every policy: `config.json` and `model.safetensors` in a folder."""

import abc
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from nitrogen_train.pretrained.folder import (
    push_policy_folder,
    read_policy_folder,
    write_policy_folder,
)

PolicyT = TypeVar("PolicyT", bound="SavedPolicy")


class SavedPolicy(nn.Module, abc.ABC):
    """A policy that can be described in plain values and rebuilt from them."""

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
    def from_pretrained(cls: type[PolicyT], name_or_path: str | Path) -> PolicyT:
        """Load a policy that `save_pretrained` wrote, from a folder or the Hugging Face hub.

        Raises:
            FileNotFoundError: If there is no such folder or repository.
            ValueError: If what is there is not a policy that this version can read.
        """
        settings, state = read_policy_folder(name_or_path)
        policy = cls.from_settings(settings)
        try:
            policy.load_state_dict(state)
        except RuntimeError as error:
            first_problem = str(error).splitlines()[1].strip()
            raise ValueError(
                f"the weights of {name_or_path} do not fit its config.json: {first_problem}"
            ) from error
        return policy

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the policy, whole or not at all; other files in the folder stay."""
        write_policy_folder(Path(folder), settings=self.settings, state=self.state_dict())

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> None:
        """Upload what `save_pretrained` writes to the Hugging Face hub.

        Args:
            repo_id: `owner/name`; created if it does not exist.
            private: Whether a new repository is private.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "policy"
            self.save_pretrained(folder)
            push_policy_folder(repo_id, folder, private=private)
