"""A ``tokenizer.json``: its pieces, what each of them needs, and every place where an id stands.

WordPiece takes the longest match, Unigram the segmentation of the best score, BPE merges neighbours in the order of its
list. What a tokenizer must keep so that it goes on to write whatever it could write is the same for all three; what else
a piece needs, to come about at all, is BPE's alone.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any

from edgesmith.errors import UnsupportedError
from edgesmith.models.pieces import Pieces

KINDS = ("WordPiece", "BPE", "Unigram")

UNKNOWN_LAST = -1e9
"""Score of Unigram's unknown piece under which an unknown character costs more than any segmentation without one.

The library takes the lowest score of all, less 10, for a character that is no piece.
"""

_BYTE = re.compile("<0x[0-9A-F]{2}>")


class TokenizerFile:
    """One tokenizer, read from its JSON.

    Args:
        text: of the file.

    Attributes:
        vocab: piece -> id, without added tokens that are no pieces of the model.
        pieces: how they are written.

    Raises:
        UnsupportedError: a tokenizer of none of `KINDS`.
    """

    def __init__(self, text: str) -> None:
        self._data: dict[str, Any] = json.loads(text)
        self._model: dict[str, Any] = self._data["model"]
        if self._model["type"] not in KINDS:
            raise UnsupportedError(
                f"vocabulary trimming of a {self._model['type']} tokenizer is not supported; {', '.join(KINDS)} are. "
                "Give a model with one of these; model.type in its tokenizer.json tells."
            )
        names = self._model["vocab"]
        self.vocab: dict[str, int] = (
            {name: index for index, (name, _) in enumerate(names)} if self._is_unigram else names
        )
        self.pieces = Pieces.of(self._data)

    @property
    def _is_unigram(self) -> bool:
        return bool(self._model["type"] == "Unigram")

    @cached_property
    def special(self) -> set[int]:
        """Ids of added tokens, of the unknown one, and of all that post-processing and padding put in."""
        found: set[int] = {added["id"] for added in self._data["added_tokens"]}
        model = self._model
        unknown = model["unk_id"] if self._is_unigram else self.vocab.get(model.get("unk_token") or "")
        if unknown is not None:
            found.add(unknown)

        def note(token: int) -> int:
            found.add(token)
            return token

        _change_ids(self._data, note)
        return found

    @cached_property
    def floor(self) -> set[int]:
        """Ids that stay in any case: with them alone, whatever could be written still can.

        Special tokens, single characters (wherever in a word), the bytes that stand for unknown characters, and pieces
        that single characters cannot replace.
        """
        single = {self.vocab[piece] for piece, spelled in self._spelled.items() if len(spelled) == 1}
        has_bytes = self._model.get("byte_fallback", False)
        spare = {token for piece, token in self.vocab.items() if has_bytes and _BYTE.fullmatch(piece)}
        return self.with_parts(self.special | self._irreplaceable | single | spare)

    @cached_property
    def _spelled(self) -> dict[str, list[str]]:
        """Piece -> the pieces of one character each that write the same."""
        return {piece: self.pieces.spelled(piece) for piece in self.vocab}

    @cached_property
    def _irreplaceable(self) -> set[int]:
        """Ids of pieces, not special, with a character that is no piece of its own in its place."""
        return {
            self.vocab[piece]
            for piece, spelled in self._spelled.items()
            if not all(one in self.vocab for one in spelled)
        } - self.special

    def with_parts(self, tokens: Iterable[int]) -> set[int]:
        """The ids, and those of all that merges make them from."""
        found = set(tokens)
        waiting = list(found)
        while waiting:
            new = self._parts[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    @cached_property
    def _parts(self) -> defaultdict[int, set[int]]:
        """Id of a piece -> ids of the halves that some merge joins to it; empty without merges."""
        parts: defaultdict[int, set[int]] = defaultdict(set)
        for left, right in self._merges:
            parts[self.vocab[self._joined(left, right)]] |= {self.vocab[left], self.vocab[right]}
        return parts

    @cached_property
    def _merges(self) -> list[tuple[str, str]]:
        """Of BPE, the first one first; older files have a text with a space for a pair."""
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in self._model.get("merges", ()))
        return [(left, right) for left, right in pairs]

    def _joined(self, left: str, right: str) -> str:
        return left + right.removeprefix(self.pieces.continuing)

    def cut(self, kept: Sequence[int]) -> str:
        """The text of the file with only some ids, which are numbered anew in their order.

        Args:
            kept: ascending, all of `floor` among them, and closed under `with_parts`.
        """
        new_id = {old: new for new, old in enumerate(kept)}
        data = deepcopy(self._data)
        model = data["model"]
        if self._is_unigram:
            model["vocab"] = [model["vocab"][old] for old in kept if old < len(model["vocab"])]
            if model["unk_id"] is not None:
                model["unk_id"] = new_id[model["unk_id"]]
                if self._irreplaceable:
                    model["vocab"][model["unk_id"]][1] = UNKNOWN_LAST
        else:
            by_id = sorted(self.vocab.items(), key=lambda item: item[1])
            model["vocab"] = {piece: new_id[old] for piece, old in by_id if old in new_id}
        if "merges" in model:
            model["merges"] = [
                pair for pair in self._merges if {*pair, self._joined(*pair)} <= model["vocab"].keys()
            ]
        for added in data["added_tokens"]:
            added["id"] = new_id[added["id"]]
        _change_ids(data, new_id.__getitem__)
        return json.dumps(data, ensure_ascii=False)


def _change_ids(data: dict[str, Any], change: Callable[[int], int]) -> None:
    """Puts ``change(id)`` for each id in the post-processor and the padding, in place."""
    if data.get("padding"):
        data["padding"]["pad_id"] = change(data["padding"]["pad_id"])
    if data.get("post_processor"):
        _change_processor(data["post_processor"], change)


def _change_processor(processor: dict[str, Any], change: Callable[[int], int]) -> None:
    for special in processor.get("special_tokens", {}).values():  # TemplateProcessing
        special["ids"] = [change(token) for token in special["ids"]]
    for name in ("sep", "cls"):  # BertProcessing, RobertaProcessing
        if name in processor:
            token, old = processor[name]
            processor[name] = [token, change(old)]
    for inner in processor.get("processors", []):  # Sequence
        _change_processor(inner, change)
