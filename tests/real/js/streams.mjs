// What the clients' streams have in common.

// Arrival times in ms of the pieces that hold text, since `begin`.
export async function times(pieces, hasText, begin) {
  const seen = [];
  for await (const piece of pieces) if (hasText(piece)) seen.push(performance.now() - begin);
  return seen;
}

// Reads some pieces and leaves the stream open.
export async function firstPieces(iterator, count) {
  for (let seen = 0; seen < count; seen++) {
    if ((await iterator.next()).done) throw new Error(`the stream ended after ${seen} pieces`);
  }
}

// Reads on after a cancel: the name of the error that ends the stream, or "end"; that it does end is part of the check.
export async function drain(iterator) {
  try {
    while (!(await iterator.next()).done);
    return "end";
  } catch (error) {
    return error.name;
  }
}
