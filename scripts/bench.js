/** npm run bench -- [--json FILE] [NAME...]: compiles bench/ and runs bench/run.ts with the given arguments. */
import { join } from "node:path";
import { build, buildBench, install, root, run } from "./project.js";

install();
await build();
const ready =
	buildBench() &&
	run(process.execPath, [
		join(root, ".cache", "bench", "bench", "run.js"),
		...process.argv.slice(2),
	]);
process.exitCode = ready ? 0 : 1;
