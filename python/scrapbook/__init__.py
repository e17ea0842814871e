"""What upstream's notebooks use of nteract-scrapbook, which nobody keeps any more: values that one notebook leaves for the next.

``glue`` puts a value into the cell's outputs, under a name; ``read_notebook`` finds them in the notebook that was run. The outputs are
as scrapbook 0.5 writes them, so that either reads the other's, but for tables of pandas', which are kept as JSON.
"""

import io
import json
from collections import namedtuple

import nbformat

__all__ = ["Notebook", "Scrap", "Scraps", "glue", "read_notebook"]

KIND = "application/scrapbook.scrap.{}+json"
PREFIX = KIND.split("{", maxsplit=1)[0]

Scrap = namedtuple("Scrap", ["name", "data", "encoder", "display"], defaults=[None, None, None])


def glue(name, data, encoder=None, display=None):
    """Leaves a value under a name. Encoders: text, json, pandas, and display, for what is only to be seen again."""
    from IPython.display import display as show
    from IPython.core.formatters import format_display_data

    encoder = encoder or natural(data)
    if encoder not in ENCODERS:
        raise ValueError(f"glue knows no encoder {encoder!r}: there are {', '.join(ENCODERS)}")
    if encoder != "display":
        content = {"name": name, "data": ENCODERS[encoder][0](data), "encoder": encoder, "version": 1}
        about = {"scrapbook": {"name": name, "data": True, "display": False}}
        show({KIND.format(encoder): content}, metadata=about, raw=True)
    if display or encoder == "display":
        shown, about = format_display_data(data)
        show(shown, metadata=about | {"scrapbook": {"name": name, "data": False, "display": True}}, raw=True)


def natural(data):
    """The encoder for a value of which nothing was said."""
    if isinstance(data, str):
        return "text"
    if hasattr(data, "to_json") and hasattr(data, "columns"):
        return "pandas"
    if data is None or isinstance(data, (bool, int, float, list, tuple, dict)):
        return "json"
    return "display"


def as_json(data):
    """The value itself, if JSON can hold it."""
    return json.loads(json.dumps(data))


def table(content):
    import pandas

    return pandas.read_json(io.StringIO(content), orient="table")


ENCODERS = {
    "text": (str, str),
    "json": (as_json, lambda content: json.loads(content) if isinstance(content, str) else content),
    "pandas": (lambda data: data.to_json(orient="table"), table),
    "display": None,
}


class Scraps(dict):
    """Scraps by name, in the order of the notebook."""

    @property
    def data_scraps(self):
        return Scraps({name: scrap for name, scrap in self.items() if scrap.data is not None})

    @property
    def data_dict(self):
        return {name: scrap.data for name, scrap in self.data_scraps.items()}

    @property
    def display_scraps(self):
        return Scraps({name: scrap for name, scrap in self.items() if scrap.display is not None})


class Notebook:
    """A notebook that was run, and what it left."""

    def __init__(self, path):
        self.path = path
        self.node = nbformat.read(path, as_version=4)

    @property
    def cells(self):
        return self.node.cells

    @property
    def metadata(self):
        return self.node.metadata

    @property
    def parameters(self):
        return dict(self.metadata.get("papermill", {}).get("parameters", {}))

    @property
    def scraps(self):
        found = Scraps()
        for output in (output for cell in self.cells for output in cell.get("outputs", []) if "data" in output):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            for kind, content in output.data.items():
                if kind.startswith(PREFIX):
                    scrap, encoder = found.get(content["name"], Scrap(content["name"])), content["encoder"]
                    found[scrap.name] = scrap._replace(data=ENCODERS[encoder][1](content["data"]), encoder=encoder)
            if name and output.metadata.scrapbook.get("display"):
                scrap = found.get(name, Scrap(name, encoder="display"))
                found[name] = scrap._replace(display={"data": output.data, "metadata": output.metadata})
        return found

    def reglue(self, name, new_name=None, raise_on_missing=True):
        """Shows again, in the notebook that runs, what this one left."""
        from IPython.display import display as show

        scrap = self.scraps.get(name)
        if scrap is None:
            if raise_on_missing:
                raise KeyError(f"{self.path} left nothing called {name!r}")
            print(f"{self.path} left nothing called {name!r}")
            return
        if scrap.data is not None:
            glue(new_name or name, scrap.data, scrap.encoder)
        if scrap.display is not None:
            about = dict(scrap.display["metadata"]) | {"scrapbook": {"name": new_name or name, "data": False, "display": True}}
            show(dict(scrap.display["data"]), metadata=about, raw=True)


def read_notebook(path):
    """A notebook that was run."""
    return Notebook(str(path))
