"""Notebooks and reports as files: read with a word about what is wrong, and never half-written."""

import os

import nbformat

from . import Mistake


def read(path):
    """A notebook, in the current version of the format."""
    try:
        with open(path, encoding="utf-8") as file:
            return nbformat.reads(file.read(), as_version=4)
    except OSError as error:
        raise Mistake(f"it can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Mistake(f"it is no notebook: byte {error.start} is not UTF-8") from None
    except nbformat.reader.NotJSONError:
        raise Mistake("it is no notebook: it is not JSON") from None
    except (nbformat.ValidationError, AttributeError, KeyError, TypeError) as error:
        raise Mistake(f"it is no notebook: {error}") from None


def write(path, content):
    """Puts bytes into a file: whole, or the file is as it was."""
    new = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}")
    try:
        with open(new, "wb") as file:
            file.write(content)
        os.replace(new, path)
    except OSError as error:
        if os.path.exists(new):
            os.unlink(new)
        raise Mistake(f"{path} can't be written: {error.strerror}") from None
