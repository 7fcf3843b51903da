"""ORDER: recipe -> the six steps -> verdict."""

from edgesmith.errors import MissingExtraError

try:
    from edgesmith.pipeline.compress import compress
    from edgesmith.pipeline.outlook import Outlook, plan
except ModuleNotFoundError as problem:
    if problem.name not in ("onnx", "onnxruntime", "onnxscript"):
        raise
    raise MissingExtraError(problem.name, "onnxruntime") from None

__all__ = ["Outlook", "compress", "plan"]
