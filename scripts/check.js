/** npm run check: everything that reads the code without running it, and the tests of its layers and of the documentation. */
import { pathToFileURL } from "node:url";
import { install, run } from "./project.js";

const steps = [
	["types", "tsc", ["-p", "tsconfig.json"]],
	["types of the dashboard", "tsc", ["-p", "web/tsconfig.json"]],
	["lint", "oxlint", ["--type-aware"]],
	["format", "biome", ["ci", "--colors=off", "--max-diagnostics=20"]],
	["unused code", "knip", []],
];

/** What reads packages and pages. They import packages themselves, which may only now have been installed. */
async function gates() {
	const { licences } = await import("./gates/licences.js");
	const { audit, lock } = await import("./gates/lock.js");
	const { size } = await import("./gates/size.js");
	const { links } = await import("./gates/links.js");
	return [licences, lock, audit, size, links];
}

/** One result a step; what a step has to say is printed as it comes. */
export async function check() {
	const read = steps.map(([title, program, args]) => {
		const passed = run(program, args);
		console.log(`${passed ? "pass" : "FAIL"}  ${title}`);
		return { title, passed };
	});
	const further = (await gates()).map(({ title, run }) => tell(title, run()));
	return [...read, ...further];
}

/** Prints what a gate found. */
export function tell(title, { problems, note, skipped }) {
	const passed = problems.length === 0;
	const verdict = !passed ? "FAIL" : skipped ? "skip" : "pass";
	const said = passed && (skipped ?? note) ? `: ${skipped ?? note}` : "";
	console.log(`${verdict}  ${title}${said}`);
	for (const problem of problems) console.log(`      ${problem}`);
	return { title, passed, skipped: verdict === "skip" };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
	install();
	const results = await check();
	const tests = run("vitest", [
		"run",
		"test/architecture.test.ts",
		"test/docs/",
	]);
	process.exitCode = tests && results.every((r) => r.passed) ? 0 : 1;
}
