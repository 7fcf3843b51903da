"""TELL: a finished run folder as a page of Markdown or as text in the terminal; ``verdict.json`` is the JSON."""
