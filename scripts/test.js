/**
 * npm test: installs, builds, checks, runs the suite, and a part of it with Node 24. The last line counts them all.
 * npm run soak: the same with the long forms. Arguments go to vitest (a file name: only that file).
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { check, tell } from "./check.js";
import { build, install, npm, root, run } from "./project.js";

const soak = process.argv.includes("--soak");
const only = process.argv.slice(2).filter((arg) => arg !== "--soak");
const newerFolder = join(root, "test", "node24");
const newer = join(newerFolder, "node_modules", "node", "bin", "node");
const count = { passed: 0, failed: 0, skipped: 0 };

install();
await build();
if (only.length === 0)
	for (const { passed, skipped } of await check())
		count[skipped ? "skipped" : passed ? "passed" : "failed"]++;
if (only.length === 0) installNode24(); // a test compares the two
await suite(only);
if (only.length === 0) node24();

const skipped = count.skipped > 0 ? `, ${count.skipped} skipped` : "";
console.log(`${count.passed} passed, ${count.failed} failed${skipped}`);
process.exitCode = count.failed > 0 ? 1 : 0;

/** Runs vitest and adds its numbers; all of it: also what lines were run. */
async function suite(args) {
	const { coverage, coverageOf } = await import("./gates/coverage.js");
	const counting = args.length === 0 ? coverageOf(soak) : { args: [], env: {} };
	const report = join(root, ".cache", "vitest.json");
	const ok = run(
		"vitest",
		["run", ...args, ...reporters(report), ...counting.args],
		{
			env: {
				...process.env,
				...counting.env,
				...(soak && { KEEPSIGHT_SOAK: "1" }),
			},
		},
	);
	add(report, ok);
	if (args.length === 0)
		count[tell("coverage", coverage()).passed ? "passed" : "failed"]++;
}

function installNode24() {
	if (!existsSync(newer))
		npm(["install", "--no-audit", "--no-fund"], newerFolder);
}

/** The part of the suite that test/node24/package.json names, with the Node 24 that is installed there. */
function node24() {
	const { status, stdout } = spawnSync(newer, ["--version"], {
		encoding: "utf8",
	});
	if (status !== 0) {
		console.log(
			"skip  Node 24: the npm package node@24 could not be installed on this machine",
		);
		count.skipped++;
		return;
	}
	console.log(`A part of the suite with Node ${stdout.trim()}:`);
	const report = join(root, ".cache", "vitest-node24.json");
	add(
		report,
		npm(["run", "--silent", "smoke", "--", ...reporters(report)], newerFolder),
	);
}

function reporters(report) {
	rmSync(report, { force: true });
	return [
		"--reporter=default",
		"--reporter=json",
		`--outputFile.json=${report}`,
	];
}

/** A run that ends without a report, or fails although no test did (a file that cannot be loaded), counts as one failure. */
function add(report, ok) {
	const result = existsSync(report)
		? JSON.parse(readFileSync(report, "utf8"))
		: {
				numPassedTests: 0,
				numFailedTests: 0,
				numPendingTests: 0,
				numTodoTests: 0,
			};
	count.passed += result.numPassedTests;
	count.failed += result.numFailedTests;
	count.skipped += result.numPendingTests + result.numTodoTests;
	tellSkipped(result.testResults ?? []);
	if (!ok && result.numFailedTests === 0) count.failed++;
}

/** A line for what was skipped together: the names say why. */
function tellSkipped(files) {
	const reasons = new Map();
	for (const { assertionResults } of files)
		for (const { status, ancestorTitles, fullName } of assertionResults) {
			if (!["pending", "skipped", "todo"].includes(status)) continue;
			const name =
				ancestorTitles.find((title) => /skipped/.test(title)) ?? fullName;
			reasons.set(name, (reasons.get(name) ?? 0) + 1);
		}
	for (const [name, tests] of reasons)
		console.log(`skip  ${tests === 1 ? "" : `${tests} tests: `}${name}`);
}
