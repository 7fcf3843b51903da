"""ORDER: recipe -> the six steps -> verdict."""

from edgesmith.pipeline.calibration import calibrate
from edgesmith.pipeline.comparison import compare
from edgesmith.pipeline.compress import compress
from edgesmith.pipeline.coupled import coupled_groups
from edgesmith.pipeline.learning import distill, finetune
from edgesmith.pipeline.outlook import Outlook, plan
from edgesmith.pipeline.prediction import model_shape, predict_model
from edgesmith.pipeline.pruning import prune
from edgesmith.pipeline.quantizing import quantize, sensitivity

__all__ = [
    "Outlook",
    "calibrate",
    "compare",
    "compress",
    "coupled_groups",
    "distill",
    "finetune",
    "model_shape",
    "plan",
    "predict_model",
    "prune",
    "quantize",
    "sensitivity",
]
