"""Strings in, labels out: a WordPiece tokenizer as nodes in front of an ONNX classifier.

What the nodes do, in order; operators of ``ai.onnx.contrib`` are those of the package onnxruntime-extensions:

=================  ====================================================================================================
refuse             RegexFullMatch, Gather: NUL and bytes that are no UTF-8 end the call with an error, because
                   the operators after it would read a text only up to its first NUL
characters         StringRegexReplace (spaces around ideographs), StringRegexSplitWithOffsets: one string a character,
                   or a special token
letters            LabelEncoder: what each adds to the text, as the tokenizer says (`edgesmith.export.wordpiece`)
words              StringJoin, StringSplit; those that are too long become unknown
pieces             BertTokenizer without its own normalizer, which differs from the tokenizer's: greedy pieces
whole words        where a word has an unknown piece, it is unknown whole; `BertTokenizer` keeps the pieces before
frame              cut to the longest input; first and last token
labels             Softmax, ArgMax, Gather of the label's name
=================  ====================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime_extensions
from onnx import TensorProto, helper, numpy_helper

from edgesmith.errors import UnsupportedError
from edgesmith.export.wordpiece import WordPiece
from edgesmith.records.strings import INPUT, OUTPUTS, REFUSAL

EXTENSIONS_VERSION: str = onnxruntime_extensions.__version__
_CONTRIB, _ML = "ai.onnx.contrib", "ai.onnx.ml"
_OPSETS = {"": 20, _ML: 2, _CONTRIB: 1}
"""20 is the first with RegexFullMatch and StringSplit."""
_IDS, _MASK = "input_ids", "attention_mask"
_PREFIX = "strings/"


class _Nodes:
    """Nodes under construction, their names unique in the graph that they are put into."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        """Adds a node and returns the name of its first output."""
        name = attributes.pop("name", f"{_PREFIX}{operator}_{len(self.nodes)}")
        names = [f"{name}:{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name, domain=domain, **attributes))
        return names[0]

    def extension(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        return self.add(operator, *inputs, outputs=outputs, domain=_CONTRIB, **attributes)

    def constant(self, values: Sequence[int] | Sequence[str]) -> str:
        """Adds a constant of one axis: int64, or text."""
        name = f"{_PREFIX}constant_{len(self.constants)}"
        is_text = isinstance(values[0], str)
        array = np.asarray(values, object if is_text else np.int64)
        self.constants.append(numpy_helper.from_array(array, name))
        return name


def add_strings(
    model: onnx.ModelProto,
    wordpiece: WordPiece,
    *,
    max_length: int,
    labels: Sequence[str],
    facts: Mapping[str, str],
) -> onnx.ModelProto:
    """A graph from one text to its label, around a classifier's own graph.

    Args:
        model: takes ``input_ids`` and ``attention_mask``, int64 (B, S), and gives ``logits``, float (B, labels).
        max_length: longest input in tokens, the first and last one included.
        facts: for the file's metadata.

    Returns:
        Takes ``text``, string (1,). Gives ``label``, string (1,), ``probabilities`` and ``logits``, float (1, labels).

    Raises:
        UnsupportedError: the model takes other inputs, or is of an opset that has no strings.
    """
    _check_model(model)
    nodes = _Nodes()
    ids = _input_ids(nodes, wordpiece, max_length)
    mask = nodes.add(
        "ConstantOfShape", nodes.add("Shape", ids), value=helper.make_tensor("", TensorProto.INT64, [1], [1])
    )
    for name, made in ((_IDS, ids), (_MASK, mask)):
        nodes.nodes.append(helper.make_node("Identity", [made], [name], _PREFIX + name))
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    graph, before = whole.graph, len(nodes.nodes)
    label, probabilities, logits = OUTPUTS
    best = nodes.add("ArgMax", logits, axis=1, keepdims=0)
    ends = {
        probabilities: nodes.add("Softmax", logits, axis=1),
        label: nodes.add("Gather", nodes.constant(labels), best),
    }
    for name, made in ends.items():
        nodes.nodes.append(helper.make_node("Identity", [made], [name], _PREFIX + name))
    own = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*nodes.nodes[:before], *own, *nodes.nodes[before:]])
    graph.initializer.extend(nodes.constants)
    graph.input.append(_text())
    graph.output.append(helper.make_tensor_value_info(label, TensorProto.STRING, [1]))
    for name in (probabilities, logits):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, len(labels)]))
    _finish(whole, facts)
    return whole


def tokenizer_graph(wordpiece: WordPiece, *, max_length: int) -> onnx.ModelProto:
    """The tokenizer's nodes alone: ``text``, string (1,), to ``input_ids``, int64 (1, S)."""
    nodes = _Nodes()
    nodes.nodes.append(
        helper.make_node("Identity", [_input_ids(nodes, wordpiece, max_length)], [_IDS], _PREFIX + _IDS)
    )
    ids = helper.make_tensor_value_info(_IDS, TensorProto.INT64, [1, None])
    graph = helper.make_graph(nodes.nodes, "tokenizer", [_text()], [ids], nodes.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSETS[""])], ir_version=9)
    _finish(model, {})
    return model


def _text() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(INPUT, TensorProto.STRING, [1])


def _check_model(model: onnx.ModelProto) -> None:
    inputs = sorted(one.name for one in model.graph.input)
    if inputs != sorted((_IDS, _MASK)) or [one.name for one in model.graph.output] != [OUTPUTS[-1]]:
        raise UnsupportedError(
            f"the model takes {', '.join(inputs)}; strings go into the graph of a classifier of single texts, which "
            f"takes {_IDS} and {_MASK}. Run the bundle as it is: its run.py takes texts and pairs."
        )
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if opset < _OPSETS[""]:
        raise UnsupportedError(
            f"the model is of ONNX's opset {opset}; strings need {_OPSETS['']} or newer. Export the model again."
        )


def _finish(model: onnx.ModelProto, facts: Mapping[str, str]) -> None:
    present = {opset.domain for opset in model.opset_import}
    model.opset_import.extend(
        helper.make_opsetid(*item) for item in _OPSETS.items() if item[0] not in present
    )
    helper.set_model_props(model, {**{one.key: one.value for one in model.metadata_props}, **facts})


def _input_ids(nodes: _Nodes, wordpiece: WordPiece, max_length: int) -> str:
    """(1, S)"""
    words = _words(nodes, wordpiece, _refused(nodes))
    pieces = _whole_words(nodes, wordpiece, _pieces(nodes, wordpiece, words), words)
    kept = nodes.add("Slice", pieces, nodes.constant([0]), nodes.constant([max_length - 2]))
    ends = (nodes.constant([one]) for one in (wordpiece.first_id, wordpiece.last_id))
    framed = nodes.add("Concat", next(ends), kept, next(ends), axis=0)  # (S,)
    return nodes.add("Unsqueeze", framed, nodes.constant([0]))


def _refused(nodes: _Nodes) -> str:
    """The text itself, (1,); a text that must not be read asks for what lies beyond the end, which is an error."""
    is_text = nodes.add("RegexFullMatch", INPUT, pattern=r"(?s)[^\x00\x{D800}-\x{DFFF}]*")
    place = nodes.add("Cast", nodes.add("Not", is_text), to=TensorProto.INT64)
    return nodes.add("Gather", INPUT, place, name=REFUSAL)


def _words(nodes: _Nodes, wordpiece: WordPiece, text: str) -> str:
    """(W,): known letters only, none longer than the tokenizer takes."""
    if wordpiece.isolated:
        ideograph, spaced = nodes.constant([f"([{wordpiece.isolated}])"]), nodes.constant([r" \1 "])
        text = nodes.extension("StringRegexReplace", text, ideograph, spaced, global_replace=1)
    special = "".join(f"{re.escape(token)}|" for token in wordpiece.special)
    split = nodes.constant([f"({special}(?s:.))"])
    kept = nodes.constant(
        [f"({special}(?s:[^{wordpiece.dropped}]))" if wordpiece.dropped else f"({special}(?s:.))"]
    )
    characters = nodes.extension("StringRegexSplitWithOffsets", text, split, kept, outputs=4)
    letters = nodes.add(
        "LabelEncoder",
        characters,
        domain=_ML,
        keys_strings=list(wordpiece.adds),
        values_strings=list(wordpiece.adds.values()),
        default_string=wordpiece.unknown,
    )
    joined = nodes.extension("StringJoin", letters, nodes.constant([""]), nodes.constant([0]))  # (1,)
    words = nodes.add("Squeeze", nodes.add("StringSplit", joined, outputs=2), nodes.constant([0]))  # (W,)
    is_long = nodes.add(
        "Greater", nodes.extension("StringLength", words), nodes.constant([wordpiece.longest])
    )
    return nodes.add("Where", is_long, nodes.constant([wordpiece.unknown]), words)


def _pieces(nodes: _Nodes, wordpiece: WordPiece, words: str) -> str:
    """(P,): ids of the pieces of all words, the mark between them."""
    marked = nodes.extension(
        "StringJoin", words, nodes.constant([f" {wordpiece.mark} "]), nodes.constant([0])
    )
    ours = dict.fromkeys(("sep_token", "pad_token", "cls_token", "mask_token"), wordpiece.mark)
    ids = nodes.extension(
        "BertTokenizer",
        marked,
        outputs=3,
        vocab_file="\n".join(wordpiece.vocab),
        suffix_indicator=wordpiece.prefix,
        unk_token=wordpiece.unknown,
        do_basic_tokenize=0,
        do_lower_case=0,
        tokenize_chinese_chars=0,
        strip_accents=0,
        **ours,
    )
    return nodes.add("Slice", ids, nodes.constant([1]), nodes.constant([-1]))


def _whole_words(nodes: _Nodes, wordpiece: WordPiece, pieces: str, words: str) -> str:
    """Ids without marks, each word that has a piece of `WordPiece.size` or more as one unknown token."""
    is_mark = nodes.add("Equal", pieces, nodes.constant([len(wordpiece.vocab) - 1]))
    step = nodes.add("Cast", is_mark, to=TensorProto.INT64)
    word = nodes.add("CumSum", step, nodes.constant([0]))  # (P,): to which word a piece belongs
    is_foreign = nodes.add("GreaterOrEqual", pieces, nodes.constant([wordpiece.size]))
    bad = nodes.add("And", is_foreign, nodes.add("Not", is_mark))
    count = nodes.add("Add", nodes.add("Shape", words), nodes.constant([1]))
    none = nodes.add("ConstantOfShape", count, value=helper.make_tensor("", TensorProto.INT64, [1], [0]))
    flags = nodes.add(
        "ScatterElements", none, word, nodes.add("Cast", bad, to=TensorProto.INT64), axis=0, reduction="max"
    )
    is_bad = nodes.add("Cast", nodes.add("Gather", flags, word), to=TensorProto.BOOL)  # (P,)
    after_mark = nodes.add("Concat", nodes.constant([1]), step, axis=0)
    first = nodes.add("Slice", after_mark, nodes.constant([0]), nodes.add("Shape", pieces))
    is_kept = nodes.add("Or", nodes.add("Cast", first, to=TensorProto.BOOL), nodes.add("Not", is_bad))
    values = nodes.add("Where", is_bad, nodes.constant([wordpiece.unknown_id]), pieces)
    return nodes.add("Compress", values, nodes.add("And", is_kept, nodes.add("Not", is_mark)), axis=0)
