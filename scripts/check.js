/** npm run check: everything that reads the code without running it, and the architecture test. */
import { pathToFileURL } from "node:url";
import { install, run } from "./project.js";

const steps = [
	["types", "tsc", ["-p", "tsconfig.json"]],
	["types of the dashboard", "tsc", ["-p", "web/tsconfig.json"]],
	["lint", "oxlint", ["--type-aware"]],
	["format", "biome", ["ci", "--colors=off", "--max-diagnostics=20"]],
	["unused code", "knip", []],
];

/** One result a step; what a step has to say is printed as it comes. */
export function check() {
	return steps.map(([title, program, args]) => {
		const passed = run(program, args);
		console.log(`${passed ? "pass" : "FAIL"}  ${title}`);
		return { title, passed };
	});
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
	install();
	const results = check();
	const architecture = run("vitest", ["run", "test/architecture.test.ts"]);
	process.exitCode = architecture && results.every((r) => r.passed) ? 0 : 1;
}
