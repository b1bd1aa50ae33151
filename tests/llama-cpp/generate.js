/**
 * What llama.cpp makes of a GGUF file: `node generate.js FILE IDS COUNT TEXTS` prints the tokens of the texts, and the
 * COUNT most likely tokens that follow IDS, as JSON. One thread, and a cache of f32, so that only sums differ.
 */
import { getLlama } from 'node-llama-cpp';

const [modelPath, ids, count, texts] = process.argv.slice(2);
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: 'error' });
const model = await llama.loadModel({ modelPath });
const context = await model.createContext({
  contextSize: 256,
  threads: 1,
  experimentalKvCacheKeyType: 'F32',
  experimentalKvCacheValueType: 'F32',
});
const tokens = [];
for await (const token of context.getSequence().evaluate(JSON.parse(ids), { temperature: 0 })) {
  tokens.push(token);
  if (tokens.length === Number(count)) break;
}
const encoded = JSON.parse(texts).map((text) => [...model.tokenize(text)]);
process.stdout.write(`${JSON.stringify({ tokens, encoded })}\n`);
await llama.dispose();
