/**
 * npm run docs: writes the pages of docs/ that are taken from the program: commands, configuration, HTTP API, library API.
 * `npm run docs -- --check` only says which of them are stale, and exits with 1 then. `npm run docs -- --pictures` also draws docs/pictures/.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build, install, root } from "./project.js";

const checking = process.argv.includes("--check");
install();
await build();

const pages = {
	"commands.md": async () =>
		(await import("./docs/commands.js")).commandsPage(),
	"configuration.md": async () =>
		(await import("./docs/configuration.js")).configurationPage(),
	"http.md": async () => (await import("./docs/http.js")).httpPage(),
	"api.md": async () => (await import("./docs/api.js")).apiPage(),
};

for (const [name, write] of Object.entries(pages)) {
	const file = join(root, "docs", name);
	const text = formatted(await write(), name);
	const there = existsSync(file) ? readFileSync(file, "utf8") : "";
	if (there === text) continue;
	if (checking) {
		console.log(
			`docs/${name} is not what the program says: run \`npm run docs\`.`,
		);
		process.exitCode = 1;
	} else {
		writeFileSync(file, text);
		console.log(`docs/${name}: written`);
	}
}

if (process.argv.includes("--pictures"))
	await (await import("./docs/pictures.js")).drawPictures();

/** As Biome would have it, which is what `npm run check` asks of every page. */
function formatted(text, name) {
	const biome = join(root, "node_modules", ".bin", "biome");
	const { status, stdout, stderr } = spawnSync(
		biome,
		["format", `--stdin-file-path=docs/${name}`],
		{
			cwd: root,
			input: text,
			encoding: "utf8",
			maxBuffer: 1 << 26,
			shell: process.platform === "win32",
		},
	);
	if (status !== 0) throw new Error(`biome format ${name}: ${stderr}`);
	return stdout;
}
