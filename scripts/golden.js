/** npm run golden -- DIR: compares the code that train and eval run with every reference file in DIR (default ../shared/golden). */
import { join } from "node:path";
import { build, install, root, run } from "./project.js";

install();
await build();
process.exitCode = run(process.execPath, [
	join(root, "dist", "golden.js"),
	...process.argv.slice(2),
])
	? 0
	: 1;
