/** What `npm pack` would publish: how large, which files; and how large what it needs is once installed. */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { isBuilt } from "../project.js";
import { lockFile, nameOf, root } from "./packages.js";

/** keepsight-tiny is 7.7 MB of it. */
const ceilings = { packed: 9_500_000, unpacked: 13_000_000, files: 800 };

/** All that belongs into the package; what fits none of these does not. */
const expected = [
	/^(package\.json|keepsight\.schema\.json|README\.md|CHANGELOG\.md|LICENSE)$/,
	/^dist\/(?!web\/)([\w-]+\/)*[\w.-]+\.(js|d\.ts)$/,
	/^dist\/web\/(index\.html|licences\.md|assets\/[\w-]+\.(js|css|svg))$/,
	/^configs\/([\w-]+\/)*[\w+-]+\.(yaml|json)$/,
	/^docs\/([\w-]+\/)*[\w-]+\.(md|webp|png|svg)$/,
	/^examples\/([\w-]+\/)*[\w.-]+\.(ts|js|mjs|py|md|json|yaml|txt)$/,
	/^models\/[\w-]+\/([\w.-]+\.(json|safetensors|md)|LICENSE|NOTICE)$/,
];
export const needed = [
	"dist/cli.js",
	"dist/index.js",
	"dist/index.d.ts",
	"dist/child.js",
	"dist/web/index.html",
	"dist/web/licences.md",
	"keepsight.schema.json",
	"configs/flagship.yaml",
	"models/keepsight-tiny/model.safetensors",
	"LICENSE",
];

/** `pack`: an entry of npm pack --json. */
export function packageProblems(pack, most = ceilings) {
	const paths = pack.files.map(({ path }) => path);
	const sizes = [
		["packed", pack.size, most.packed, "bytes packed"],
		["unpacked", pack.unpackedSize, most.unpacked, "bytes unpacked"],
		["files", paths.length, most.files, "files"],
	];
	return [
		...sizes
			.filter(([, size, limit]) => size > limit)
			.map(
				([, size, limit, unit]) =>
					`the package has ${size} ${unit}, its ceiling is ${limit}. Leave out what nobody needs (files in package.json), or raise the ceiling in scripts/gates/size.js knowingly.`,
			),
		...paths
			.filter((path) => !expected.some((pattern) => pattern.test(path)))
			.map(
				(path) =>
					`${path} does not belong into the package. Leave it out (files in package.json), or give it a pattern in scripts/gates/size.js.`,
			),
		...needed
			.filter((path) => !paths.includes(path))
			.map(
				(path) =>
					`${path} is missing from the package. Look at files in package.json.`,
			),
	];
}

/** MB of node_modules that the package brings along, in all and of the largest. */
function installedSizes() {
	const sizeOf = (folder) =>
		readdirSync(folder, { withFileTypes: true }).reduce((sum, entry) => {
			const path = join(folder, entry.name);
			if (entry.isDirectory())
				return sum + (entry.name === "node_modules" ? 0 : sizeOf(path));
			return sum + (entry.isFile() ? statSync(path).size : 0);
		}, 0);
	const sizes = Object.entries(lockFile().packages)
		.filter(([path, { dev }]) => path !== "" && !dev)
		.filter(([path]) => existsSync(join(root, path)))
		.map(([path]) => [nameOf(path), sizeOf(join(root, path))])
		.sort(([, a], [, b]) => b - a);
	const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
	const all = sizes.reduce((sum, [, size]) => sum + size, 0);
	const largest = sizes
		.slice(0, 3)
		.map(([name, size]) => `${name} ${mb(size)}`);
	return `installed ${mb(all)} of ${sizes.length} packages (${largest.join(", ")})`;
}

export const size = {
	title: "package",
	run() {
		if (!isBuilt())
			return {
				problems: [],
				skipped: "dist/ is not built from these sources (npm run build)",
			};
		const { stdout, stderr } = spawnSync(
			"npm",
			["pack", "--dry-run", "--json", "--ignore-scripts", "--loglevel=error"],
			{
				cwd: root,
				encoding: "utf8",
				maxBuffer: 1e8,
				shell: process.platform === "win32",
			},
		);
		let pack;
		try {
			[pack] = JSON.parse(stdout);
		} catch {
			return { problems: [`npm pack --dry-run failed: ${stderr}`] };
		}
		return {
			problems: packageProblems(pack),
			note: `${pack.files.length} files, ${(pack.size / 1e6).toFixed(2)} MB packed, ${(pack.unpackedSize / 1e6).toFixed(2)} MB unpacked; ${installedSizes()}`,
		};
	},
};
