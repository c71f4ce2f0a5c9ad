"""Rational analysis of in-context learning: strategy posteriors fitted to logged predictions.

    import rational_icl as ri

    log = ri.open_log("data/urns")
    cells, behaviour = ri.summarize(log)
    fit = ri.fit(ri.accounts.Rational(), cells, behaviour)
    phase = ri.phase_diagram(fit, num_tasks=[4, 64, 1024], steps=[100, 10_000])

The public names are those in `__init__.pyi`; they are imported when first used, so that importing
the package takes milliseconds.
"""

import lazy_loader as lazy

_attribute, __dir__, __all__ = lazy.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # takes longer than all else here

        return version("rational_icl")
    return _attribute(name)
