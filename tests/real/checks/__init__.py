"""The checks, in the order in which they run: what people's own clients must get, with real llama.cpp servers behind.

A check takes the herd, raises when something is wrong, and returns a few words on what it saw. Clients never retry, so
that they hide nothing. The last modules are last for a reason: they kill an engine and count what all others did.
"""

from . import openai_python, anthropic_python, swaps, ollama_python, javascript, langchain, llm_cli, proxy  # noqa: F401
from .base import ALL, NotHere  # noqa: F401
