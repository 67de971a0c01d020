// The Vercel AI SDK with its provider for OpenAI-compatible servers.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";
import { drain, firstPieces, times } from "./streams.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;

const provider = (order) => createOpenAICompatible({ name: "herd", baseURL: `${order.url}/v1`, includeUsage: true });

// What the SDK does not know goes below the provider's name, and from there into the body.
const common = ({ model, messages, tokens, goOn, ...order }) => ({
  model: provider(order)(model),
  messages,
  maxOutputTokens: tokens,
  maxRetries: 0,
  providerOptions: { herd: goOn ?? {} },
});

const usage = (used) => ({ prompt: used.inputTokens, completion: used.outputTokens });

export async function chat(order) {
  const answer = await generateText(common(order));
  return { ...usage(answer.usage), finish: answer.finishReason };
}

export async function stream(order) {
  const begin = performance.now();
  const answer = streamText({ ...common(order), onError: () => {} });
  const seen = await times(answer.textStream, (text) => text.length > 0, begin);
  return { times: seen, ...usage(await answer.usage) };
}

let open;

export async function begin(order) {
  const stop = new AbortController();
  const answer = streamText({ ...common(order), abortSignal: stop.signal, onError: () => {} });
  open = { stop, iterator: answer.textStream[Symbol.asyncIterator]() };
  await firstPieces(open.iterator, 5);
}

export async function cancel() {
  open.stop.abort();
  return await drain(open.iterator);
}

// Two steps: the model calls, the SDK runs the tool and sends its result, the model answers.
export async function tools({ name, parameters, ...order }) {
  const calls = [];
  const weather = tool({
    description: "Weather",
    inputSchema: jsonSchema(parameters),
    execute: (args) => {
      calls.push(args);
      return "rain";
    },
  });
  const answer = await generateText({ ...common(order), tools: { [name]: weather }, stopWhen: stepCountIs(3) });
  const roles = ["user", ...answer.response.messages.map((message) => message.role)];
  return { calls, roles, text: answer.text };
}

export async function embed({ model, input, ...order }) {
  const answer = await embedMany({ model: provider(order).textEmbeddingModel(model), values: input, maxRetries: 0 });
  return answer.embeddings;
}
