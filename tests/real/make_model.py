#!/usr/bin/env python3
"""Writes a llama-shaped GGUF model with random weights: the smallest thing that a real llama.cpp server will serve.

The text it generates is noise (bytes, control characters, U+FFFD), tool calls apart; but loading, tokenising, prefill,
decode, slots and caches are the engine's real ones. Size dials speed: width 64 and 2 layers give 0.5 MB and thousands of tokens a second;
width 512 and 4 layers give 43 MB and a few hundred; width 2048 and 12 layers give 2 GB and human reading speed.
The same arguments write the same bytes.
"""

import argparse

import gguf
import numpy as np

HEADS = 4
CONTEXT_TOKENS = 32768
# Text that is one token each. PHRASE makes prompts that are long in bytes and short in tokens, and is the one thing
# that the model can say.
PHRASE = "a herd of llamas on the high plain. "
MARKS = [PHRASE, "<tool_call>", "</tool_call>", "<use_tool>", "<use_result>"]
# What surely comes next if the first of a pair is the last of the text (at a width of 512; a small model may stray).
FOLLOWS = {"<use_tool>": "<tool_call>", "<use_result>": PHRASE, PHRASE: "</s>"}
# A question with tools is answered by a call, a tool's result by PHRASE, all else by noise. The server finds out from
# the template how a call is written, and makes of it the grammar that shapes the noise after <tool_call> and the parser
# that cuts calls out of an answer. One call at most is rendered, so it takes the model for one that makes one at a time.
# Noise where a call is required is an error 400 or 500 of this server, so nothing is left to chance here.
TEMPLATE = """\
{%- if tools %}tools: {{ tools | tojson }}{{ "\\n" }}{% endif %}
{%- for m in messages %}{{ m.role }}: {{ m.content or "" }}
{%- if m.tool_calls %}<tool_call>{"name": "{{ m.tool_calls[0].function.name }}", "arguments": \
{{ m.tool_calls[0].function.arguments | tojson }}}</tool_call>{% endif %}{{ "\\n" }}{% endfor %}
{%- if add_generation_prompt %}assistant:
{%- if messages[-1].role == "tool" %}<use_result>{% elif tools and messages[-1].role == "user" %}<use_tool>{% endif %}
{%- endif %}"""


def vocabulary():
    """Three control tokens, all 256 bytes, the printable ASCII characters, and the marks: texts, scores, types."""
    kind = gguf.TokenType
    tokens = [b"<unk>", b"<s>", b"</s>"] + [b"<0x%02X>" % byte for byte in range(256)]
    kinds = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256
    scores = [0.0] * 3 + [-1000.0] * 256
    for code in range(32, 127):
        tokens.append("\u2581".encode() if code == 32 else chr(code).encode())
        kinds.append(kind.NORMAL)
        scores.append(-float(code - 32))
    tokens += [mark.encode() for mark in MARKS]
    kinds += [kind.USER_DEFINED] * len(MARKS)
    scores += [0.0] * len(MARKS)
    return tokens, scores, kinds


def write_header(writer, name, width, layers):
    """The model's shape and its tokenizer; its vocabulary."""
    tokens, scores, kinds = vocabulary()
    writer.add_name(name)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(width * 2)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template(TEMPLATE)
    return tokens


def link(words, embedding, output, rng):
    """Makes FOLLOWS true: per pair one direction, loud in the first one's embedding, heard by the second one's output."""
    marks = [words.index(mark.encode()) for mark in MARKS]
    output[marks] = 0  # beside that, marks are never sampled
    for last, following in FOLLOWS.items():
        direction = rng.choice([-1, 1], embedding.shape[1])
        embedding[words.index(last.encode())] = 50 * direction
        output[words.index(following.encode())] += 0.4 * direction


def write_tensors(writer, width, layers, words, seed):
    """Random weights; the output matrix is scaled up, so that sampling has something to choose between."""
    rng = np.random.default_rng(seed)

    def noise(*shape):
        return (rng.standard_normal(shape) * 0.05).astype(np.float32)

    ones = np.ones(width, np.float32)
    embedding, output = noise(len(words), width), noise(len(words), width) * 20
    link(words, embedding, output, rng)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", ones)
    writer.add_tensor("output.weight", output)
    for layer in range(layers):
        block = f"blk.{layer}."
        for part in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}{part}.weight", ones)
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add_tensor(f"{block}{part}.weight", noise(width, width))
        writer.add_tensor(f"{block}ffn_gate.weight", noise(width * 2, width))
        writer.add_tensor(f"{block}ffn_up.weight", noise(width * 2, width))
        writer.add_tensor(f"{block}ffn_down.weight", noise(width, width * 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the GGUF file to write")
    parser.add_argument("--name", default="tiny-random", help="general.name of the model (default: %(default)s)")
    parser.add_argument("--width", type=int, default=64, help="embedding length, a multiple of 8 (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=2, help="transformer blocks (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the weights (default: %(default)s)")
    options = parser.parse_args()
    if options.width < 8 or options.width % 8 or options.layers < 1:
        parser.error("width must be a positive multiple of 8 and layers at least 1")
    writer = gguf.GGUFWriter(options.file, "llama")
    words = write_header(writer, options.name, options.width, options.layers)
    write_tensors(writer, options.width, options.layers, words, options.seed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
