/** What every script needs: the packages installed, the sources built, a command run. Plain Node: works on a bare clone. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
	chmodSync,
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const at = (...parts) => join(root, ...parts);
const stamp = at("dist", ".built");

/** Runs a program of node_modules/.bin, or one given by its absolute path; returns whether it succeeded. */
export function run(program, args, options = {}) {
	const command = isAbsolute(program)
		? program
		: at("node_modules", ".bin", program);
	const shell = process.platform === "win32" && !isAbsolute(program);
	const { status, error } = spawnSync(command, args, {
		cwd: root,
		stdio: "inherit",
		shell,
		...options,
	});
	if (error) console.error(`${program}: ${error.message}`);
	return status === 0;
}

/** `npm ci`, unless every package of the lock file is there in its version. */
export function install() {
	if (installed()) return;
	console.error("Installing the packages of package-lock.json ...");
	if (!npm(["ci", "--include=dev", "--no-audit", "--no-fund"], root)) {
		console.error(
			"npm ci failed (its message is above). Check that the package registry can be reached, then run the command again.",
		);
		process.exit(1);
	}
}

/** Runs npm; what it says goes to stderr. */
export function npm(args, cwd) {
	const env = {
		...process.env,
		ONNXRUNTIME_NODE_INSTALL: "skip",
		npm_config_loglevel: "error",
	};
	const { status } = spawnSync("npm", args, {
		cwd,
		stdio: ["ignore", 2, 2],
		shell: process.platform === "win32",
		env,
	});
	return status === 0;
}

function installed() {
	const there = at("node_modules", ".package-lock.json");
	if (!existsSync(there)) return false;
	const packagesOf = (file) => JSON.parse(readFileSync(file, "utf8")).packages;
	const have = packagesOf(there);
	return Object.entries(packagesOf(at("package-lock.json"))).every(
		([path, wanted]) =>
			path === "" ||
			wanted.optional ||
			wanted.devOptional ||
			have[path]?.version === wanted.version,
	);
}

/** Of all that a build reads. */
const sourceHash = () =>
	hashOf([
		"package.json",
		"tsconfig.json",
		"tsconfig.build.json",
		"scripts/project.js",
		...filesUnder("src"),
		...filesUnder("web"),
	]);

/** Whether dist/ is what a build would make now. */
export const isBuilt = (hash = sourceHash()) =>
	existsSync(stamp) &&
	readFileSync(stamp, "utf8") === hash &&
	existsSync(at("keepsight.schema.json"));

/** Builds, unless nothing has changed since the last build. */
export async function build({ force = false } = {}) {
	const hash = sourceHash();
	if (!force && isBuilt(hash)) return;
	rmSync(stamp, { force: true });
	if (!run("tsc", ["-p", "tsconfig.build.json"])) process.exit(1);
	removeStale();
	await buildDashboard();
	chmodSync(at("dist", "cli.js"), 0o755);
	const { configJsonSchema } = await import(
		`${pathToFileURL(at("dist", "config.js")).href}?${hash}`
	);
	const schema = `${JSON.stringify(configJsonSchema(), null, 2)}\n`;
	const schemaFile = at("keepsight.schema.json");
	if (!existsSync(schemaFile) || readFileSync(schemaFile, "utf8") !== schema)
		writeFileSync(schemaFile, schema);
	writeFileSync(stamp, hash);
}

/** The dashboard, into dist/web/, with the notices of what is bundled: how it is compiled says web/tsconfig.json, there is nothing else to configure. */
async function buildDashboard() {
	const { build: bundle } = await import("vite");
	await bundle({
		root: at("web"),
		build: {
			outDir: at("dist", "web"),
			emptyOutDir: true,
			license: { fileName: "licences.md" },
		},
		logLevel: "warn",
	});
}

/** Compiles bench/ together with the sources it reads into .cache/bench; its entries are then .cache/bench/bench/*.js. */
export function buildBench() {
	mkdirSync(at(".cache", "bench"), { recursive: true });
	return run("tsc", ["-p", "tsconfig.bench.json"]);
}

/** Files of earlier builds whose source is gone; dist/web/ empties itself. */
function removeStale() {
	for (const file of filesUnder("dist")) {
		if (file.startsWith("dist/web/")) continue;
		const source = file
			.replace(/^dist/, "src")
			.replace(/\.d\.ts$|\.js$/, ".ts");
		if (/\.(js|d\.ts)$/.test(file) && !existsSync(at(source))) rmSync(at(file));
	}
}

function filesUnder(folder) {
	return readdirSync(at(folder), { recursive: true, withFileTypes: true })
		.filter((entry) => entry.isFile())
		.map((entry) =>
			join(entry.parentPath ?? entry.path, entry.name)
				.slice(root.length + 1)
				.replaceAll("\\", "/"),
		)
		.sort();
}

function hashOf(files) {
	const hash = createHash("sha256");
	for (const file of files)
		hash
			.update(file)
			.update("\0")
			.update(readFileSync(at(file)))
			.update("\0");
	return hash.digest("hex");
}
