// Runs one client library on orders: a line of JSON in, a line of JSON out, one after the other, until the input ends.
//
//   node session.mjs openai.mjs        {"do": "chat", "url": "http://...", ...} -> {"ok": {...}} or {"error": {...}}
//
// The process outlives a cancelled request, so that it is the cancel that closes the connection and not the process's end.

import { createInterface } from "node:readline";

// A library's error, flattened: its class, the HTTP status, the API's error object if the library read one, the raw body.
function flat(error) {
  return {
    name: error.constructor.name,
    message: String(error.message),
    status: error.status ?? error.statusCode ?? error.status_code ?? null,
    body: error.error ?? null,
    raw: error.responseBody ?? null,
  };
}

const actions = await import(`./${process.argv[2]}`);
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  let answer;
  try {
    answer = { ok: (await actions[order.do](order)) ?? null };
  } catch (error) {
    answer = { error: flat(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
