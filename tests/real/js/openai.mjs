// The openai package.

import OpenAI from "openai";
import { drain, firstPieces, times } from "./streams.mjs";

const client = (order) =>
  new OpenAI({ baseURL: `${order.url}/v1`, apiKey: "none", maxRetries: 0, timeout: order.seconds * 1000 });

const usage = (answer) => ({ prompt: answer.usage.prompt_tokens, completion: answer.usage.completion_tokens });

export async function models(order) {
  const names = [];
  for await (const model of client(order).models.list()) names.push(model.id);
  return names;
}

export async function chat({ model, messages, tokens, goOn, ...order }) {
  const answer = await client(order).chat.completions.create({ model, messages, max_tokens: tokens, ...goOn });
  return { ...usage(answer), finish: answer.choices[0].finish_reason };
}

export async function stream({ model, messages, tokens, goOn, ...order }) {
  const begin = performance.now();
  let last;
  const stream = await client(order).chat.completions.create({
    model, messages, max_tokens: tokens, stream: true, stream_options: { include_usage: true }, ...goOn,
  });
  const hasText = (chunk) => {
    last = chunk;
    return Boolean(chunk.choices[0]?.delta.content);
  };
  const seen = await times(stream, hasText, begin);
  return { times: seen, ...usage(last) };
}

let open;

export async function begin({ model, messages, tokens, goOn, ...order }) {
  const stream = await client(order).chat.completions.create({ model, messages, max_tokens: tokens, stream: true, ...goOn });
  open = { stream, iterator: stream[Symbol.asyncIterator]() };
  await firstPieces(open.iterator, 5);
}

export async function cancel() {
  open.stream.controller.abort();
  return await drain(open.iterator);
}

// The library's own loop: it calls the model, runs the tool, sends the result, and so on until an answer has no call.
export async function tools({ model, messages, tokens, name, parameters, ...order }) {
  const calls = [];
  const weather = {
    type: "function",
    function: {
      name,
      description: "Weather",
      parameters,
      parse: JSON.parse,
      function: (args) => {
        calls.push(args);
        return "rain";
      },
    },
  };
  const runner = client(order).chat.completions.runTools({ model, messages, max_tokens: tokens, tools: [weather] });
  const final = await runner.finalChatCompletion();
  return { calls, roles: runner.messages.map((message) => message.role), text: final.choices[0].message.content };
}

export async function embed({ model, input, ...order }) {
  const answer = await client(order).embeddings.create({ model, input });
  return answer.data.map((row) => row.embedding);
}
