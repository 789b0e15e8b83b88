/** keepsight backbone: brings pretrained backbones into the cache, and shows what is there. */
import type { Command } from "commander";
import { inColumns } from "../columns.ts";
import type { RunConfig } from "../config.ts";
import {
	type CachedBackbone,
	cacheDir,
	findCached,
	importBackbone,
	isHubName,
	listCached,
	parseHubName,
} from "../models/cache.ts";
import { pullBackbone } from "../models/hub.ts";
import { listShipped } from "../models/shipped.ts";
import { holdsRun, openRun } from "../run.ts";
import { isObject } from "../storage.ts";
import { addDistill } from "./distill.ts";
import type { ProgressFlags } from "./flags.ts";
import { interruptible } from "./interrupt.ts";
import { createProgress, type Progress } from "./progress.ts";

export function addBackbone(program: Command): void {
	const backbone = program
		.command("backbone")
		.description("pretrained backbones: download, import, list, distil");
	const json = "print it as JSON";
	backbone
		.command("list")
		.usage("[--json]")
		.description(
			"those that are shipped and those in the cache: size, licence, where they are from",
		)
		.option("--json", json)
		.action(list);
	backbone
		.command("pull")
		.usage("hub:OWNER/NAME[@REVISION] [flags]")
		.description(
			"download a model of the hub into the cache, or check what is there; goes on where an earlier download ended",
		)
		.argument(
			"<name>",
			"hub:OWNER/NAME or hub:OWNER/NAME@REVISION, such as hub:facebook/dinov2-small",
		)
		.option("--quiet", "results and errors only")
		.option("--no-color", "no colours (also: environment variable NO_COLOR)")
		.option("--json", json)
		.action(pull);
	backbone
		.command("import")
		.usage("DIR [--name NAME] [--json]")
		.description(
			"copy a folder with config.json and model.safetensors into the cache; configurations then name it local:NAME",
		)
		.argument("<dir>", "with config.json and model.safetensors")
		.option("--name <name>", "default: the folder's own")
		.option("--json", json)
		.action(take);
	addDistill(backbone);
}

function list(flags: { json?: true }): void {
	const cached = listCached();
	const found = [...listShipped(), ...cached];
	if (flags.json) {
		console.log(JSON.stringify(found.map(described), null, 2));
		return;
	}
	console.log(tableOf(found));
	if (cached.length === 0)
		console.log(
			`\nNo others in ${cacheDir()}. For example: keepsight backbone pull hub:facebook/dinov2-small`,
		);
}

async function pull(
	name: string,
	flags: Pick<ProgressFlags, "quiet" | "color" | "json">,
): Promise<void> {
	const progress = createProgress(flags);
	const found = await interruptible(pullHint, (signal) =>
		download(name, { progress, signal }),
	).finally(progress.close);
	tell(found, flags, found.alreadyThere ? "already there, unharmed" : "pulled");
}

function take(dir: string, flags: { name?: string; json?: true }): void {
	tell(importBackbone(dir, flags.name), flags, "imported");
}

export const pullHint =
	"What has arrived is kept; the same command goes on where this one stopped.";

interface Watched {
	readonly progress: Progress;
	readonly signal: AbortSignal;
}

const download = (name: string, { progress, signal }: Watched) =>
	pullBackbone(name, {
		signal,
		onWait: (text) => progress.onEvent({ type: "notice", text }),
		onProgress: (done, total) =>
			progress.count(name, {
				done: megabytes(done),
				total: megabytes(total),
				unit: "MB",
			}),
	});

const megabytes = (bytes: number): number => Math.round(bytes / 1e5) / 10;

/**
 * The configuration with its backbone's commit pinned: what the run in `resumed` used, else what is in the cache, else what the hub has
 * now, which is then downloaded. The child process that computes never asks a network.
 */
export async function withBackbone(
	config: RunConfig,
	resumed: string | null,
	watched: Watched,
): Promise<RunConfig> {
	const { name } = config.backbone;
	if (!isHubName(name)) return config;
	const earlier = resumed === null ? null : commitOf(resumed, name);
	const { commit } =
		findCached({ name, ...(earlier !== null && { commit: earlier }) }) ??
		(await download(
			earlier === null ? name : `hub:${parseHubName(name).repo}@${earlier}`,
			watched,
		));
	return {
		...config,
		backbone: { ...config.backbone, commit: commit ?? undefined },
	};
}

/** The commit that the run in `dir` pinned, if it has this backbone. */
function commitOf(dir: string, name: string): string | null {
	if (!holdsRun(dir)) return null;
	const { backbone } = openRun(dir, "read").record.config;
	return isObject(backbone) &&
		backbone.name === name &&
		typeof backbone.commit === "string"
		? backbone.commit
		: null;
}

// ---- printing ----

const bytesOf = ({ files }: CachedBackbone): number =>
	Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);

/** For --json: what the table shows, in full. */
const described = (found: CachedBackbone) => {
	const { name, commit, parameters, patch, source, licence, dir } = found;
	return {
		name,
		commit,
		parameters,
		patch,
		bytes: bytesOf(found),
		source,
		licence,
		dir,
		files: found.files,
	};
};

function tell(found: CachedBackbone, flags: { json?: true }, how: string) {
	if (flags.json) console.log(JSON.stringify(described(found), null, 2));
	else console.log(`${tableOf([found])}\n\n${found.name}: ${how}`);
}

/** Names to the left, numbers to the right. */
function tableOf(found: readonly CachedBackbone[]): string {
	const whole = (n: number) => n.toLocaleString("en-US");
	const rows = found.map((b) => [
		b.name,
		b.commit?.slice(0, 12) ?? "-",
		whole(b.parameters),
		`${b.patch}`,
		whole(bytesOf(b)),
		b.licence ?? "not stated",
		b.source,
		b.dir,
	]);
	const titles = [
		"name",
		"commit",
		"parameters",
		"patch",
		"bytes",
		"licence",
		"source",
		"folder",
	];
	return inColumns([titles, ...rows], [2, 3, 4]).join("\n");
}
