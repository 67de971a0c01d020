// The ollama package.

import { Ollama } from "ollama";
import { drain, firstPieces, times } from "./streams.mjs";

const client = (order) => new Ollama({ host: order.url, headers: order.headers });

const ask = ({ model, messages, tokens, tools }) => ({ model, messages, tools, options: { num_predict: tokens } });

export async function models(order) {
  return (await client(order).list()).models.map((model) => model.model);
}

export async function chat(order) {
  const answer = await client(order).chat(ask(order));
  return { prompt: answer.prompt_eval_count, completion: answer.eval_count, finish: answer.done_reason };
}

export async function stream(order) {
  const begin = performance.now();
  let last;
  const hasText = (part) => {
    last = part;
    return Boolean(part.message.content);
  };
  const seen = await times(await client(order).chat({ ...ask(order), stream: true }), hasText, begin);
  return { times: seen, prompt: last.prompt_eval_count, completion: last.eval_count };
}

let open;

export async function begin(order) {
  const stream = await client(order).chat({ ...ask(order), stream: true });
  open = { stream, iterator: stream[Symbol.asyncIterator]() };
  await firstPieces(open.iterator, 5);
}

export async function cancel() {
  open.stream.abort();
  return await drain(open.iterator);
}

export async function embed({ model, input, ...order }) {
  return (await client(order).embed({ model, input })).embeddings;
}
