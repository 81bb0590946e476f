"""Tell whether two clips hold the same play, whatever their names."""

import hashlib

import numpy as np

from nitrogen_train.data.action_file import ClipActions


def hash_actions(actions: ClipActions, fps: float) -> str:
    """Sum up a clip's rows and their rate, in 32 hexadecimal digits."""
    digest = hashlib.sha256(f"{len(actions)}/{fps:.6f}".encode())
    for values in (actions.rows.buttons, actions.rows.sticks.astype("<f4")):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:32]


def hash_video(video: bytes) -> str:
    """Sum up an encoded video, in 32 hexadecimal digits."""
    return hashlib.sha256(video).hexdigest()[:32]
