"""ORDER: recipe -> the six steps -> verdict."""

from edgesmith.pipeline.comparison import compare
from edgesmith.pipeline.compress import compress
from edgesmith.pipeline.outlook import Outlook, plan

__all__ = ["Outlook", "compare", "compress", "plan"]
