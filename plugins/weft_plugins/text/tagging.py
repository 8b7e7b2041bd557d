"""Which assets texts are about, which sources and layers read alike (see `weft.text.tagging`)."""

from weft.text.tagging import ASIDE, Tagger, Tags

__all__ = ["ASIDE", "Tagger", "Tags"]
