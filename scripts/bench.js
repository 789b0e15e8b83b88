/** npm run bench -- [--json FILE] [NAME...]: compiles bench/ and runs bench/run.ts with the given arguments. */
import { copyFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { build, buildBench, install, root, run } from "./project.js";

install();
await build();
const out = join(root, ".cache", "bench");

/** What the program finds beside its code in a package. */
function furnish() {
	copyFileSync(join(root, "package.json"), join(out, "package.json"));
	rmSync(join(out, "models"), { force: true });
	symlinkSync(join(root, "models"), join(out, "models"), "junction");
	return true;
}

const ready =
	buildBench() &&
	furnish() &&
	run(process.execPath, [
		join(out, "bench", "run.js"),
		...process.argv.slice(2),
	]);
process.exitCode = ready ? 0 : 1;
