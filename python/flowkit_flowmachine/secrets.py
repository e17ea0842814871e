"""Secrets as files.

flowmachine asks the package get_secret_or_env_var, which knows /run/secrets and the environment. The appliance has more
places, and keeps secrets out of environments, which other programs of the same user can read.
"""

import os
from pathlib import Path


class SecretFiles:
    """The part of a mapping that get_secret_or_env_var uses: a file's content by name, or KeyError."""

    def __init__(self, environment):
        credentials = environment.get("CREDENTIALS_DIRECTORY")
        deployment = environment.get("FLOWKIT_SECRETS_DIR")
        self.directories = [Path(d) for d in (credentials, "/run/secrets", deployment) if d]
        self.environment = environment

    def __getitem__(self, name):
        places = [directory / name for directory in self.directories]
        named = self.environment.get(f"{name}_FILE")
        if named:
            places.append(Path(named))
        for place in places:
            try:
                return place.read_text().strip()
            except FileNotFoundError:
                continue
        raise KeyError(name)

    # ChainMap's other questions; flowmachine asks none of them.
    def __contains__(self, name):
        try:
            self[name]
        except KeyError:
            return False
        return True

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0


def from_files():
    """Puts our places before the environment, in the mapping that flowmachine has already imported by reference."""
    import get_secret_or_env_var

    get_secret_or_env_var.environ._secrets_data.maps[0] = SecretFiles(os.environ)


def value(name):
    """A secret that is known to be there."""
    from get_secret_or_env_var import environ

    return environ[name]
