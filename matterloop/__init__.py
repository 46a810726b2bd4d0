"""matterloop: from a wish to ranked, checked crystals.

    import matterloop
    outcome = matterloop.discover("stable ternary lithium oxides with fewer than 12 atoms", count=100, out="runs/lithium")
    matterloop.relax(["a.cif", "b.cif"], out="relaxed")
"""

from importlib import import_module

__version__ = "0.1.0"

_PLACES = {
    "discover": "app.discover", "resume": "app.discover", "show": "app.discover",
    "energy": "app.verbs", "relax": "app.verbs", "hull": "app.verbs", "generate": "app.verbs", "judge": "app.judging", "models": "app.verbs", "doctor": "app.verbs",
    "check": "app.verbs", "understand": "campaign.wish", "Crystals": "crystal.state", "Ask": "archive.records", "Limit": "archive.records",
    "read": "crystal.formats", "load": "base.registry", "data_list": "archive.sources", "data_get": "archive.sources", "data_path": "archive.sources",
}
__all__ = sorted(_PLACES)


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(import_module(f"matterloop.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'matterloop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
