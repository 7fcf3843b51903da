"""NOUNS: what the rooms hand each other. Standard library only."""

from edgesmith.records._schema import from_dict, read_json, to_dict, write_json, write_text
from edgesmith.records.bench import ARRIVALS, Bench, BenchConfig, BenchedBundle, Noise
from edgesmith.records.comparison import ComparedModel, Comparison
from edgesmith.records.coverage import RowGroup, ScriptPieces, TextCoverage, VocabularyCoverage
from edgesmith.records.manifest import MANIFEST_HASH_NAME, MANIFEST_NAME, FileEntry, Manifest, TensorSpec
from edgesmith.records.measurement import (
    Environment,
    Latencies,
    LatencySample,
    Measurement,
    Prediction,
    describe_environment,
)
from edgesmith.records.plan import LayerPlan, Plan, Scheme
from edgesmith.records.preprocessing import ImagePreprocessing
from edgesmith.records.progress import Progress, SilentProgress
from edgesmith.records.pruning import CoupledGroup, CoupledModel, KeptUnits, Pruning, PruningStage, UnitKind
from edgesmith.records.quantization import (
    NO_NUMBER,
    LayerSensitivity,
    PlanTrial,
    Quantization,
    Sensitivities,
)
from edgesmith.records.rates import CopyRate, KernelKind, KernelRate, Rates
from edgesmith.records.runtimes import (
    DISTRIBUTION_OF,
    NEEDED_BESIDE,
    RUNTIME_NAMES,
    TESTED_VERSIONS,
    RuntimeName,
    device_packages,
    graph_files,
    model_files,
)
from edgesmith.records.step import STEP_RECORD_NAME, StepRecord
from edgesmith.records.structure import BottleneckShape, Candidate, EncoderShape, Structure
from edgesmith.records.task import (
    CORRELATIONS,
    GLUE_METRICS,
    METRICS_OF,
    QUESTION_TASK,
    SCORED_TASK,
    TAGGED_TASK,
    TOKEN_TASKS,
    MetricName,
    Task,
    metrics_of,
)
from edgesmith.records.training import Training
from edgesmith.records.verdict import FailedBudget, Percentiles, Verdict
from edgesmith.records.vision_zoo import VISION_ZOO, VisionModel, known_shape
from edgesmith.records.zoo import (
    RANDOM_WEIGHTS,
    ZOO,
    Published,
    ZooEntry,
    ZooModel,
    find_zoo_model,
    is_zoo_name,
)

__all__ = [
    "ARRIVALS",
    "CORRELATIONS",
    "DISTRIBUTION_OF",
    "GLUE_METRICS",
    "MANIFEST_HASH_NAME",
    "MANIFEST_NAME",
    "METRICS_OF",
    "NEEDED_BESIDE",
    "NO_NUMBER",
    "QUESTION_TASK",
    "RANDOM_WEIGHTS",
    "RUNTIME_NAMES",
    "SCORED_TASK",
    "STEP_RECORD_NAME",
    "TAGGED_TASK",
    "TESTED_VERSIONS",
    "TOKEN_TASKS",
    "VISION_ZOO",
    "ZOO",
    "Bench",
    "BenchConfig",
    "BenchedBundle",
    "BottleneckShape",
    "Candidate",
    "ComparedModel",
    "Comparison",
    "CopyRate",
    "CoupledGroup",
    "CoupledModel",
    "EncoderShape",
    "Environment",
    "FailedBudget",
    "FileEntry",
    "ImagePreprocessing",
    "KeptUnits",
    "KernelKind",
    "KernelRate",
    "Latencies",
    "LatencySample",
    "LayerPlan",
    "LayerSensitivity",
    "Manifest",
    "Measurement",
    "MetricName",
    "Noise",
    "Percentiles",
    "Plan",
    "PlanTrial",
    "Prediction",
    "Progress",
    "Pruning",
    "PruningStage",
    "Published",
    "Quantization",
    "Rates",
    "RowGroup",
    "RuntimeName",
    "Scheme",
    "ScriptPieces",
    "Sensitivities",
    "SilentProgress",
    "StepRecord",
    "Structure",
    "Task",
    "TensorSpec",
    "TextCoverage",
    "Training",
    "UnitKind",
    "Verdict",
    "VisionModel",
    "VocabularyCoverage",
    "ZooEntry",
    "ZooModel",
    "describe_environment",
    "device_packages",
    "find_zoo_model",
    "from_dict",
    "graph_files",
    "is_zoo_name",
    "known_shape",
    "metrics_of",
    "model_files",
    "read_json",
    "to_dict",
    "write_json",
    "write_text",
]
