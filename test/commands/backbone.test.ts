/** `keepsight backbone` and `keepsight train` with a hub's backbone: against a hub on loopback. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
	afterAll,
	afterEach,
	beforeAll,
	describe,
	expect,
	it,
	vi,
} from "vitest";
import { drawCategory, size } from "../drawn.ts";
import { keepsight as here } from "../here.ts";
import { FakeHub } from "../models/hub-server.ts";
import { dinov2Files, timmFiles } from "../models/tiny.ts";
import { cli } from "../program.ts";

const name = "hub:timm/tiny.in1k";
const commit = "a".repeat(40);
const other = "b".repeat(40);
const work = mkdtempSync(join(tmpdir(), "keepsight-backbone-"));
const config = join(work, "run.yaml");
let hub: FakeHub;
beforeAll(async () => {
	hub = await FakeHub.start();
	hub.models.set("timm/tiny.in1k", {
		commit,
		files: timmFiles(1),
		cardData: { license: "apache-2.0" },
	});
	await drawCategory(join(work, "data/mvtec/a"), 0, 8, 2);
	writeFileSync(
		config,
		`name: tiny
data: { root: ${join(work, "data")}, tasks: [mvtec/a] }
image_size: ${size}
backbone: { name: ${name} }
trainable: none
pretext: { name: cutpaste }
strategy: { name: frozen }
memory: [ { name: dne } ]
out: ${join(work, "out")}
threads: 1
`,
	);
});
afterAll(async () => {
	await hub.stop();
	rmSync(work, { recursive: true, force: true });
});
afterEach(() => {
	hub.faults = [];
	hub.log.length = 0;
});

const environment = (home: string) => ({
	HF_ENDPOINT: hub.url,
	HF_HOME: join(work, home),
});

/** `home`: a cache of its own. */
async function keepsight(
	home: string,
	args: readonly string[],
	env: Record<string, string> = {},
) {
	for (const key of ["HF_TOKEN", "HF_HUB_OFFLINE"]) vi.stubEnv(key, undefined);
	for (const [key, value] of Object.entries({ ...environment(home), ...env }))
		vi.stubEnv(key, value);
	try {
		return await here(...args);
	} finally {
		vi.unstubAllEnvs();
	}
}

describe("backbone", () => {
	it("list without any in the cache shows what is shipped, where others would lie and how to get one", async () => {
		const { status, stdout } = await keepsight("none", ["backbone", "list"]);
		expect(status).toBe(0);
		expect(stdout).toMatch(
			/^name .*\nkeepsight-tiny .*\n\nNo others in .*none.*backbone pull hub:facebook\/dinov2-small\n$/,
		);
		const { stdout: json } = await keepsight("none", [
			"backbone",
			"list",
			"--json",
		]);
		expect(JSON.parse(json)).toMatchObject([{ name: "keepsight-tiny" }]);
	});

	it("pull, import and list, as tables and as JSON", async () => {
		const pulled = await keepsight("one", ["backbone", "pull", name]);
		expect(pulled.stderr).toContain(`${name}  0/0.5 MB`);
		expect(pulled.stdout).toMatch(
			/^name +commit +parameters +patch +bytes +licence +source +folder\nhub:timm\/tiny\.in1k +a{12} +[\d,]+ +8 +[\d,]+ +apache-2\.0 +http.*\n\n.*: pulled\n$/,
		);
		expect(pulled.status).toBe(0);
		const again = await keepsight("one", ["backbone", "pull", name, "--quiet"]);
		expect(again.stdout).toMatch(/already there, unharmed\n$/);
		expect(again.stderr).toBe("");

		const folder = join(work, "own");
		mkdirSync(folder);
		for (const [file, bytes] of Object.entries(dinov2Files(1)))
			writeFileSync(join(folder, file), bytes);
		const imported = await keepsight("one", [
			"backbone",
			"import",
			folder,
			"--name",
			"mine",
			"--json",
		]);
		expect(JSON.parse(imported.stdout)).toMatchObject({
			name: "local:mine",
			commit: null,
			licence: null,
			source: folder,
		});
		const { stdout } = await keepsight("one", ["backbone", "list"]);
		expect(stdout.split("\n").map((line) => line.split(" ")[0])).toEqual([
			"name",
			"keepsight-tiny",
			name,
			"local:mine",
			"",
		]);
		expect(stdout).toContain("not stated");
		const [shipped, ...listed] = JSON.parse(
			(await keepsight("one", ["backbone", "list", "--json"])).stdout,
		);
		expect(shipped.name).toBe("keepsight-tiny");
		expect(listed).toHaveLength(2);
		expect(listed[0]).toMatchObject({ name, commit, patch: 8 });
		expect(existsSync(join(listed[0].dir, "model.safetensors"))).toBe(true);
	});

	it.each([
		[["pull", "hub:../x"], {}, "cannot name a backbone"],
		[["pull", "facebook/dinov2-small"], {}, "does not begin with hub:"],
		[["pull", "hub:no/such"], {}, "has no model no/such for hub:no/such"],
		[["pull", name], { HF_HUB_OFFLINE: "1" }, "HF_HUB_OFFLINE is set"],
		[["import", "nowhere"], {}, "there is no such file or folder"],
		[["pul"], {}, 'Did you mean "pull"? See: keepsight backbone --help'],
	] as const)("%j: one line, exit code 2", async (args, env, text) => {
		const { status, stdout, stderr } = await keepsight(
			"bad",
			["backbone", ...args],
			env,
		);
		expect(stderr).toContain(text);
		expect(stderr).not.toMatch(/\n\s+at /);
		expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
	});

	it("Ctrl-C keeps what has arrived and exits with 130", async () => {
		const bytes = timmFiles(1)["model.safetensors"] as Uint8Array;
		let sent = () => {};
		const halfway = new Promise<void>((done) => {
			sent = done;
		});
		hub.faults.push(({ at }, _request, response) => {
			if (at !== "store") return false;
			response.writeHead(200, { "content-length": bytes.length });
			response.write(bytes.subarray(0, 5000), () => setTimeout(sent, 200));
			return true;
		});
		const child = spawn(process.execPath, [cli, "backbone", "pull", name], {
			env: { ...process.env, ...environment("stopped") },
			stdio: ["ignore", "ignore", "pipe"],
		});
		let stderr = "";
		child.stderr.on("data", (chunk) => {
			stderr += chunk;
		});
		const ended = once(child, "close");
		await halfway;
		child.kill("SIGINT");
		expect(await ended).toEqual([130, null]);
		expect(stderr).toContain("What has arrived is kept");
		hub.faults = [];
		hub.log.length = 0;
		expect(
			(await keepsight("stopped", ["backbone", "pull", name])).status,
		).toBe(0);
		expect(hub.log.at(-1)?.range).toBe("bytes=5000-");
	});
});

describe("train with a hub's backbone", () => {
	const run = join(work, "out/tiny/Anomaly");
	const train = (...args: string[]) =>
		keepsight("train", ["train", "--config", config, ...args]);
	const recorded = () =>
		JSON.parse(readFileSync(join(run, "run.json"), "utf8")).config.backbone;

	it("offline and not there: says what to do before anything is begun", async () => {
		const { status, stderr } = await keepsight(
			"off",
			["train", "--config", config],
			{ HF_HUB_OFFLINE: "1" },
		);
		expect(status).toBe(2);
		expect(stderr).toMatch(
			/error: hub:timm\/tiny\.in1k is not in .*"keepsight backbone pull hub:timm\/tiny\.in1k" where there is a network.*backbone: \{ name: FOLDER \}/,
		);
		expect(existsSync(run)).toBe(false);
	});

	it("pulls it first and writes the commit into run.json; --resume stays with that one; --fresh takes the newest", async () => {
		const first = await train();
		expect(first.stderr).toContain(`${name}  0/0.5 MB`);
		expect(first.status).toBe(0);
		expect(recorded()).toMatchObject({ name, commit });

		hub.models.set("timm/tiny.in1k", {
			commit: other,
			revisions: { old: commit },
			files: timmFiles(1),
		});
		hub.log.length = 0;
		expect((await train("--resume")).status).toBe(0);
		expect(hub.log).toEqual([]);

		await keepsight("train", ["backbone", "pull", name]);
		expect((await train("--resume")).status).toBe(0);
		expect(recorded()).toMatchObject({ name, commit });

		rmSync(join(work, "train"), { recursive: true });
		expect((await train("--resume")).status).toBe(0);
		expect(hub.asked(/resolve/).at(-1)?.path).toContain(commit);
		expect(recorded()).toMatchObject({ name, commit });

		expect((await train("--fresh")).status).toBe(0);
		expect(recorded()).toMatchObject({ name, commit: other });
	}, 120_000);

	it("a misspelt name in a configuration names its place", async () => {
		const { status, stderr } = await train(
			"--set",
			"backbone={ name: hub:dinov2-small }",
		);
		expect(stderr).toMatch(
			/error: Wrong value at backbone\.name \(--set backbone\): "dinov2-small" must be an owner and a name/,
		);
		expect(status).toBe(2);
	});
});
