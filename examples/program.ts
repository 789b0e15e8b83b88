/**
 * Learns the products of a configuration, then scores pictures:
 *   node program.js RUN.yaml PICTURE...      compiled by tsc; from Node.js 22.18 on as it is, node program.ts
 */
import { readFile } from "node:fs/promises";
import { launch, loadConfig, runDir, startScorer } from "keepsight";

const [file = "run.yaml", ...pictures] = process.argv.slice(2);
const { config } = await loadConfig(file);
const dir = runDir(config);
const { text } = await launch({ kind: "train", config, dir, mode: "resume" });
console.log(text);
const scorer = await startScorer({ memDir: dir });
for (const picture of pictures) {
	const bytes = await readFile(picture);
	const [answer] = await scorer.score([{ bytes, task: null, overlay: false }]);
	console.log(picture, answer?.prediction.verdict, answer?.prediction.score);
}
scorer.close();
