"""Who may come in: nobody but this machine, unless there are keys and a word. No torch.

NVIDIA's protocol    ZeroMQ's CURVE: encrypted, and the server knows its clients' keys
JSON                 a word that every request says; encryption is the user's own, in front
"""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nitrogen_train.config import ServeConfig

_MIN_TOKEN = 16


def refuse_open_doors(config: "ServeConfig") -> None:
    """Refuse settings by which strangers could come in.

    Raises:
        ValueError: What to give.
    """
    if config.port is None and config.json_port is None:
        raise ValueError("nobody could come in: give port=5555, json_port=5556 or both")
    for name, port in (("port", config.port), ("json_port", config.json_port)):
        if port is not None and not 0 <= port < 1 << 16:
            raise ValueError(f"{name} lies from 0 to 65535, got {port}")
    if is_loopback(config.address):
        return
    if not config.allow_remote:
        raise ValueError(
            f"address={config.address} lets in who reaches this machine: leave it at 127.0.0.1 "
            "(from elsewhere: ssh -L 5555:127.0.0.1:5555 HERE), or give allow_remote=true with "
            "key_dir=FOLDER for NVIDIA's protocol and token_file=FILE for JSON"
        )
    if config.port is not None and config.key_dir is None:
        raise ValueError(
            "NVIDIA's protocol has no word to ask for: give key_dir=FOLDER, by which it is "
            "encrypted, or port=null"
        )
    if config.json_port is not None and config.token_file is None:
        raise ValueError(
            "give token_file=FILE with a word that clients have to say, or json_port=null"
        )


def is_loopback(address: str) -> bool:
    """Tell whether only this machine can reach an address.

    Raises:
        ValueError: If it is none.
    """
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise ValueError(
            f"address={address} is no address: expected 127.0.0.1, 0.0.0.0 or one of this machine's"
        ) from None


def read_token(path: Path) -> str:
    """Read the word that clients have to say.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the word can be guessed.
    """
    token = path.read_text(encoding="utf-8").strip()
    if len(token) < _MIN_TOKEN or "\n" in token:
        raise ValueError(
            f"{path}: a token is one line of at least {_MIN_TOKEN} characters: "
            f"head -c 24 /dev/urandom | base64 > {path}"
        )
    return token


def prepare_keys(folder: Path) -> None:
    """Make the keys of the server and of one client, where there are none.

    Raises:
        OSError: If they cannot be written.
    """
    import zmq.auth

    clients = folder / "clients"
    if (folder / "server.key_secret").exists():
        return
    clients.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    zmq.auth.create_certificates(folder, "server")
    public, _ = zmq.auth.create_certificates(folder, "client")
    Path(public).rename(clients / "client.key")
    for path in folder.glob("*.key_secret"):
        path.chmod(0o600)


def read_server_keys(folder: Path) -> tuple[bytes, bytes]:
    """Read the server's public and secret key.

    Raises:
        ValueError: If the file holds none.
        OSError: If it is not there.
    """
    import zmq.auth

    path = folder / "server.key_secret"
    public, secret = zmq.auth.load_certificate(path)
    if secret is None:
        raise ValueError(f"{path} holds no secret key: remove the folder, and new ones are made")
    return public, secret
