/** The licence of every package of the lock file, against a list: those that come with Keepsight, and those that build and test it. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { lockFile, matches, nameOf, root } from "./packages.js";

/** SPDX identifiers that ask for no more than to keep the notice. */
const allowed = [
	"0BSD",
	"Apache-2.0",
	"BSD-2-Clause",
	"BSD-3-Clause",
	"CC0-1.0",
	"ISC",
	"MIT",
];

const libvips =
	"libvips is LGPL. npm fetches it as a package of its own, unmodified, which anyone may exchange for another build; Keepsight's own package holds none of it and calls it through sharp (Apache-2.0) alone.";
const onlyDevelopment =
	"Used to build and test; nothing of it is in the package.";

/**
 * package (* stands for any rest) -> the licences it may have besides, and why. `development`: only while nothing shipped needs it.
 * @type {Readonly<Record<string, { licences: string[], development?: true, reason: string }>>}
 */
const exceptions = {
	"@img/sharp-libvips-*": { licences: ["LGPL-3.0-or-later"], reason: libvips },
	"@img/sharp-win32-*": { licences: ["LGPL-3.0-or-later"], reason: libvips },
	"@img/sharp-wasm32": { licences: ["LGPL-3.0-or-later"], reason: libvips },
	argparse: {
		licences: ["PSF-2.0"],
		development: true,
		reason: onlyDevelopment,
	},
	"axe-core": {
		licences: ["MPL-2.0"],
		development: true,
		reason: onlyDevelopment,
	},
	"lightningcss*": {
		licences: ["MPL-2.0"],
		development: true,
		reason: onlyDevelopment,
	},
};

/** "(MIT OR CC0-1.0)": one of them is enough; "A AND B": all of them count. Both in one expression: null, a person has to read it. */
function accepts(expression, known) {
	const text = expression.replace(/^\((.*)\)$/, "$1");
	if (/[()]/.test(text) || (/ OR /.test(text) && / AND /.test(text)))
		return null;
	return / OR /.test(text)
		? text.split(" OR ").some((id) => known.includes(id))
		: text.split(" AND ").every((id) => known.includes(id));
}

/** `installed(path)`: package.json of a folder of node_modules, or null where the package is not for this machine. */
export function licenceProblems(lock, installed, except = exceptions) {
	const used = new Set();
	const problems = [];
	for (const [path, entry] of Object.entries(lock.packages)) {
		if (path === "") continue;
		const name = nameOf(path);
		const pattern = Object.keys(except).find((key) => matches(key, name));
		const exception = pattern === undefined ? null : except[pattern];
		if (exception) used.add(pattern);
		const shipped = !entry.dev;
		if (exception?.development && shipped)
			problems.push(
				`${path}: excepted as long as it serves development only, and now something shipped needs it. Replace it, or give it a reason of its own in scripts/gates/licences.js.`,
			);
		const there = installed(path);
		const says = there?.license ?? entry.license;
		if (typeof says !== "string") {
			problems.push(
				`${path}: names no licence. Look into its repository; replace it, or except it with a reason in scripts/gates/licences.js.`,
			);
			continue;
		}
		if (entry.license !== says)
			problems.push(
				`${path}: "${says}" in its package.json, "${entry.license}" in package-lock.json. Run npm install, then look at both.`,
			);
		const verdict = accepts(says, [...allowed, ...(exception?.licences ?? [])]);
		if (verdict !== true)
			problems.push(
				`${path}: "${says}" ${verdict === null ? "is too involved to be judged by a program" : "is not on the list"}. Replace the package, or except it with a reason in scripts/gates/licences.js.`,
			);
	}
	for (const pattern of Object.keys(except))
		if (!used.has(pattern))
			problems.push(
				`scripts/gates/licences.js: the exception "${pattern}" fits no package any more. Remove it.`,
			);
	return problems;
}

export const licences = {
	title: "licences",
	run() {
		const lock = lockFile();
		const installed = (path) => {
			const file = join(root, path, "package.json");
			return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : null;
		};
		const entries = Object.values(lock.packages).slice(1);
		const shipped = entries.filter(({ dev }) => !dev).length;
		return {
			problems: licenceProblems(lock, installed),
			note: `${shipped} packages come with Keepsight, ${entries.length - shipped} build and test it`,
		};
	},
};
