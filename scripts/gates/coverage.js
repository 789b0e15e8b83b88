/** Which lines of src/ the tests run, by folder. The folders whose numbers people rely on have to reach 95 % in every file. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join, posix, relative } from "node:path";
import { root } from "../project.js";

const folders = ["engine", "memory", "metrics", "strategies"];
const least = 95;

/**
 * Files of these folders below that, and why.
 * @type {Readonly<Record<string, string>>}
 */
const reasons = {};

/** Beginnings of the test files that `npm test` counts; `npm run soak` counts all. */
const counted = [
	...folders.map((folder) => `test/${folder}/`),
	"test/contract/",
	"test/export/tails.test.ts",
];
const folder = ".cache/coverage";

/** What vitest has to be called with, and its environment. `all`: every folder by every test. */
export function coverageOf(all) {
	rmSync(join(root, folder), { recursive: true, force: true });
	const include = all ? "src/**/*.ts" : `src/{${folders.join(",")}}/**/*.ts`;
	return {
		args: [
			"--coverage",
			"--coverage.provider=custom",
			"--coverage.customProviderModule=./scripts/gates/coverage-provider.js",
			`--coverage.include=${include}`,
			"--coverage.reportOnFailure",
			"--coverage.reporter=json-summary",
			`--coverage.reportsDirectory=${folder}`,
		],
		env: { KEEPSIGHT_COVERAGE: all ? "all" : counted.join(",") },
	};
}

/** `lines`: path below src/ -> { total, covered }. */
export function coverageProblems(lines, why = reasons) {
	const share = ({ total, covered }) =>
		total === 0 ? 100 : (100 * covered) / total;
	const problems = [];
	for (const name of folders)
		if (!Object.keys(lines).some((path) => path.startsWith(`${name}/`)))
			problems.push(
				`src/${name}: nothing was counted. Look at the coverage of vitest.`,
			);
	for (const [path, file] of Object.entries(lines))
		if (
			folders.some((name) => path.startsWith(`${name}/`)) &&
			share(file) < least &&
			!(path in why)
		)
			problems.push(
				`src/${path}: ${share(file).toFixed(1)} % of its lines are run by its tests, ${least} are asked for. Test the rest, or say in scripts/gates/coverage.js why not.`,
			);
	for (const path of Object.keys(why))
		if (!(path in lines))
			problems.push(
				`scripts/gates/coverage.js: gives a reason for src/${path}, which is not there. Remove it.`,
			);
	return problems;
}

/** Rows "| folder | files | lines | run |". */
export function coverageTable(lines) {
	const rows = new Map();
	for (const [path, { total, covered }] of Object.entries(lines)) {
		const name = posix.dirname(path) === "." ? "(src)" : posix.dirname(path);
		const row = rows.get(name) ?? { files: 0, total: 0, covered: 0 };
		rows.set(name, {
			files: row.files + 1,
			total: row.total + total,
			covered: row.covered + covered,
		});
	}
	return [
		`${"folder".padEnd(20)} files  lines    run`,
		...[...rows]
			.sort(([a], [b]) => (a < b ? -1 : 1))
			.map(
				([name, { files, total, covered }]) =>
					`${name.padEnd(20)} ${String(files).padStart(5)} ${String(total).padStart(6)} ${((100 * covered) / Math.max(1, total)).toFixed(1).padStart(5)} %`,
			),
	];
}

/** After vitest ran with what `coverageOf` says. */
export function coverage() {
	const file = join(root, folder, "coverage-summary.json");
	if (!existsSync(file))
		return {
			problems: [
				"no coverage was written: vitest ended before it could (its message is above).",
			],
		};
	const { total: _, ...files } = JSON.parse(readFileSync(file, "utf8"));
	const lines = Object.fromEntries(
		Object.entries(files).map(([path, { lines }]) => [
			relative(join(root, "src"), path).replaceAll("\\", "/"),
			lines,
		]),
	);
	return {
		problems: coverageProblems(lines),
		note: ["", ...coverageTable(lines)].join("\n      "),
	};
}
