"""Makes modules that are missing, and mends others just after they were imported."""

import importlib.abc
import importlib.machinery
import sys
import types


class _Made(importlib.abc.Loader):
    """Fills a module that has no file."""

    def __init__(self, fill):
        self.fill = fill

    def create_module(self, spec):
        return types.ModuleType(spec.name)

    def exec_module(self, module):
        if self.fill is not None:
            self.fill(module)


class _Mended(importlib.abc.Loader):
    """Another's loader, and a function that is called with the module that it has loaded."""

    def __init__(self, loader, mend):
        self.loader = loader
        self.mend = mend

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        self.loader.exec_module(module)
        self.mend(module)

    def __getattr__(self, name):
        # What else a loader may be asked for: source, resources.
        return getattr(self.loader, name)


class Finder(importlib.abc.MetaPathFinder):
    """``made``: module name to the function that fills it, ``None`` for a package with nothing of its own. ``mended``: module name to the
    function that mends it. ``refused``: module name to the reason."""

    def __init__(self, made, mended, refused):
        self.made = made
        self.mended = mended
        self.refused = refused

    def find_spec(self, name, path=None, target=None):
        if name in self.refused:
            raise ModuleNotFoundError(self.refused[name], name=name)
        if name in self.made:
            fill = self.made[name]
            return importlib.machinery.ModuleSpec(name, _Made(fill), is_package=fill is None)
        if name not in self.mended:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _Mended(spec.loader, self.mended[name])
                return spec
        return None
