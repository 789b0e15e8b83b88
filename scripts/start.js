/**
 * npm start: from a bare clone to a result table. Draws the demo product line, learns its tasks one after the other, evaluates.
 * Started again after it was stopped, it goes on; after it is done, it prints the table. `npm start -- --fresh` begins anew.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build, install, root, run } from "./project.js";

const cli = join(root, "dist", "cli.js");
const keepsight = (...args) => {
	if (!run(process.execPath, [cli, ...args])) process.exit(1);
};
const args = process.argv.slice(2);
const mode = args.includes("--fresh") ? [] : ["--resume"];

install();
await build();
keepsight("data", "demo", "demo-data");
if (mode.length > 0 && finished()) {
	console.log(
		"The demo line is learnt already. Its table (npm start -- --fresh learns it anew):\n",
	);
}
keepsight("train", "--config", "configs/demo.yaml", ...mode, ...args);
console.log(`
The run is in results/demo/Anomaly: report.html (open it in a browser), memory/ (what was learnt), scores/ (every test image), metrics.json.
  npx keepsight eval --mem_dir results/demo/Anomaly     scores every task again, from the stored memory alone
  npm start -- --fresh                                  learns it anew
  npx keepsight --help                                  everything else`);

/** Whether the last run of the demo got to its end. */
function finished() {
	const record = join(root, "results", "demo", "Anomaly", "run.json");
	if (!existsSync(record)) return false;
	return JSON.parse(readFileSync(record, "utf8")).tasks.every(
		({ state }) => state === "learnt",
	);
}
