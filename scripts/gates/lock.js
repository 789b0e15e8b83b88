/** Where the packages come from: nothing but what the lock file pins by hash, no scripts at installation, no known holes. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import semver from "semver";
import { lockFile, nameOf, root } from "./packages.js";

/** The oldest Node that package.json allows. */
const oldestNode = "20.19.0";

/**
 * package -> why its `engines` may ask for more than that.
 * @type {Readonly<Record<string, string>>}
 */
const newerNode = {
	cookie:
		"light-my-request, which fastify brings, reads cookies of injected requests with it; nothing in it is newer than Node 20, and the tests of the server run there.",
};

/**
 * advisory, such as GHSA-xxxx-xxxx-xxxx -> why it does not matter here.
 * @type {Readonly<Record<string, string>>}
 */
const acceptedAdvisories = {};

const exact = /^\d+\.\d+\.\d+(-[\w.]+)?$/;

/** What can be said without a network. */
export function lockProblems(lock, manifest, newer = newerNode) {
	const problems = [];
	const wanted = { ...manifest.dependencies, ...manifest.devDependencies };
	for (const [name, version] of Object.entries(wanted))
		if (!exact.test(version))
			problems.push(
				`package.json: ${name} is "${version}". Pin one version, such as "1.2.3": npm install --save-exact.`,
			);
	const { "": own, ...packages } = lock.packages;
	const locked = { ...own.dependencies, ...own.devDependencies };
	for (const name of new Set([...Object.keys(wanted), ...Object.keys(locked)]))
		if (
			wanted[name] !== locked[name] ||
			packages[`node_modules/${name}`]?.version !== wanted[name]
		)
			problems.push(
				`package-lock.json: ${name} is not what package.json asks for. Run npm install.`,
			);

	const scripts = new Set();
	const excepted = new Set();
	for (const [path, entry] of Object.entries(packages)) {
		const name = nameOf(path);
		if (entry.link || entry.resolved)
			problems.push(
				`${path}: comes from ${entry.resolved ?? "a folder"}, not from the package registry. Use a published version.`,
			);
		if (!/^sha512-[\w+/]{86}==$/.test(entry.integrity ?? ""))
			problems.push(
				`${path}: has no SHA-512 in package-lock.json. Remove the entry and run npm install.`,
			);
		if (entry.hasInstallScript) {
			scripts.add(name);
			if (manifest.allowScripts?.[name] !== false)
				problems.push(
					`${path}: runs a script when it is installed. Read it, and switch it off (or take another package) in allowScripts of package.json.`,
				);
		}
		const node = entry.engines?.node;
		if (!entry.dev && node && !semver.satisfies(oldestNode, node)) {
			if (name in newer) excepted.add(name);
			else
				problems.push(
					`${path}: asks for Node ${node}, package.json promises ${oldestNode}. Take an earlier version, or say in scripts/gates/lock.js why it works.`,
				);
		}
	}
	for (const name of Object.keys(manifest.allowScripts ?? {}))
		if (!scripts.has(name))
			problems.push(
				`package.json: allowScripts names ${name}, which has no install script any more. Remove it.`,
			);
	for (const name of Object.keys(newer))
		if (!excepted.has(name))
			problems.push(
				`scripts/gates/lock.js: the exception for ${name} is not needed any more. Remove it.`,
			);
	return problems;
}

export const lock = {
	title: "lock file",
	run() {
		const manifest = JSON.parse(
			readFileSync(join(root, "package.json"), "utf8"),
		);
		const file = lockFile();
		return {
			problems: lockProblems(file, manifest),
			note: `${Object.keys(file.packages).length - 1} packages with their SHA-512, ${Object.keys(manifest.allowScripts).length} install scripts, all off`,
		};
	},
};

/** Advisories of `npm audit --json` on what is shipped; null: the registry gave none, so nothing is known. */
export function advisories(report, packages, accepted = acceptedAdvisories) {
	if (typeof report?.vulnerabilities !== "object") return null;
	return Object.entries(report.vulnerabilities).flatMap(
		([name, { via, nodes }]) =>
			via
				.filter(
					(cause) =>
						typeof cause === "object" &&
						!(cause.url?.split("/").at(-1) in accepted),
				)
				.map(({ title, url, severity, range }) => ({
					shipped: nodes.some((path) => !packages[path]?.dev),
					text: `${name} ${range}: ${severity}, ${title} (${url}). Take a version without it (npm audit fix), or say in scripts/gates/lock.js why it does not matter here.`,
				})),
	);
}

export const audit = {
	title: "audit of the lock file",
	run() {
		const { stdout } = spawnSync(
			"npm",
			["audit", "--json", "--fetch-retries=0", "--fetch-timeout=10000"],
			{
				cwd: root,
				encoding: "utf8",
				timeout: 30_000,
				shell: process.platform === "win32",
				stdio: ["ignore", "pipe", "ignore"],
			},
		);
		let report = null;
		try {
			report = JSON.parse(stdout);
		} catch {
			// said below
		}
		const found = advisories(report, lockFile().packages);
		if (found === null)
			return {
				problems: [],
				skipped: `the package registry gives no advisories${report?.statusCode ? ` (HTTP ${report.statusCode})` : ""}`,
			};
		return {
			problems: found.filter(({ shipped }) => shipped).map(({ text }) => text),
			note: found
				.filter(({ shipped }) => !shipped)
				.map(({ text }) => `only for development: ${text}`)
				.join("\n"),
		};
	},
};
