/**
 * V8's coverage as vitest measures it, of the test files that say something about the folders in question: counting slows a test
 * by a fifth. KEEPSIGHT_COVERAGE: beginnings of their paths, or "all".
 */
import { relative } from "node:path";
import v8 from "@vitest/coverage-v8";

const wanted = (process.env.KEEPSIGHT_COVERAGE ?? "all").split(",");

/** vitest gives a provider no test file; its worker has it, one each (`isolate`). Where that changes, all files are counted. */
function counts() {
	const files = globalThis.__vitest_worker__?.ctx?.files ?? [];
	return (
		wanted.includes("all") ||
		files.length === 0 ||
		files.some(({ filepath }) => {
			const path = relative(process.cwd(), filepath).replaceAll("\\", "/");
			return wanted.some((beginning) => path.startsWith(beginning));
		})
	);
}

export default {
	...v8,
	startCoverage: async (options) => counts() && v8.startCoverage(options),
	takeCoverage: async (options) => counts() && v8.takeCoverage(options),
	stopCoverage: async (options) => counts() && v8.stopCoverage(options),
};
