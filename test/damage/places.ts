/** What is damaged, made once and copied for each way, and the commands that then meet it. */
import {
	chmodSync,
	cpSync,
	mkdirSync,
	mkdtempSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseConfig } from "../../src/config.ts";
import { checkData } from "../../src/data/check.ts";
import { encodePng } from "../../src/data/image.ts";
import { uint8 } from "../../src/engine/tensor.ts";
import { Interrupted, KeepsightError } from "../../src/errors.ts";
import { evaluateRun } from "../../src/evaluate.ts";
import type { RunEvent } from "../../src/events.ts";
import { known } from "../../src/known.ts";
import { importBackbone, openCached } from "../../src/models/cache.ts";
import { loadBackbone } from "../../src/models/index.ts";
import { writeSafetensors } from "../../src/models/safetensors.ts";
import { predictAll } from "../../src/predict.ts";
import { readReportData } from "../../src/reports/report.ts";
import { Reuse } from "../../src/reuse.ts";
import { openRun } from "../../src/run.ts";
import { Held } from "../../src/server/held.ts";
import { History } from "../../src/server/history.ts";
import { Ledger } from "../../src/study/ledger.ts";
import { teach } from "../../src/teach.ts";
import { train } from "../../src/train.ts";
import { drawCategory, size } from "../drawn.ts";

/** Folders by their names in messages. */
export const kinds = ["DATA", "BACKBONE", "CACHE", "RUN", "CUT"] as const;
export type Kind = (typeof kinds)[number];

/** What each of them is, for a reader of docs/errors.md. */
export const meaning: Readonly<Record<Kind, string>> = {
	DATA: "a data root with `mvtec/a` and `loco/k`",
	BACKBONE: "the folder of a backbone",
	CACHE: "the cache of backbones, with `local:own`",
	RUN: "a run folder that learnt `mvtec/a` (version 1) and then `b` (version 2)",
	CUT: "a run folder that was cut off within `mvtec/a`",
};

const work = mkdtempSync(join(tmpdir(), "keepsight-damage-"));
const whole = (kind: Kind) => join(work, "whole", kind);
const stop = () => ({ requested: false });

const yamlOf = (out: string, data: string) => `name: run
data: { root: ${data}, tasks: [mvtec/a] }
image_size: ${size}
backbone: { name: vit, width: 8, depth: 2, heads: 2, patch: 16 }
pretext: { name: cutpaste }
train: { epochs: 2, batch_size: 8 }
out: ${out}
threads: 1
`;
const frozen = [
	"trainable=none",
	"strategy={ name: frozen }",
	"memory=[{ name: patches, blocks: [0.5] }, { name: dne }]",
];
const trained = [
	"trainable={ last: 1 }",
	"strategy={ name: finetune }",
	"memory=[{ name: dne }]",
];

/** Trains into `dir`; what it gives notice of. */
async function training(
	dir: string,
	data: string,
	{
		mode = "new",
		sets = frozen,
		emit = () => {},
	}: {
		mode?: "new" | "resume";
		sets?: readonly string[];
		emit?: (event: RunEvent) => void;
	} = {},
): Promise<string[]> {
	const notices: string[] = [];
	const { config } = parseConfig(yamlOf(work, data), "damage.test", sets);
	const halt = stop();
	await train(
		{ config, dir, mode, force: false },
		{
			emit: (event) => {
				if (event.type === "notice") notices.push(event.text);
				emit(event);
				if (event.type === "epoch" && emit === cutOff) halt.requested = true;
			},
			stop: halt,
		},
		new Reuse(1),
	);
	return notices;
}
/** An ear that makes a run stop after its first epoch. */
const cutOff = () => {};

/** Of mvtec/a, in the run that learnt nothing else. */
let aupro: number | null | undefined;

/** Makes all of them, whole. */
export async function makePlaces(): Promise<void> {
	const data = whole("DATA");
	const write = async (path: string, value: number) => {
		const mask = uint8([size, size]);
		for (let y = 9; y < 18; y++)
			mask.data.fill(value, y * size + 9, y * size + 18);
		mkdirSync(join(path, ".."), { recursive: true });
		writeFileSync(path, await encodePng(mask));
	};
	await drawCategory(join(data, "mvtec/a"), 0, 11, 2);
	for (const i of [0, 1])
		await write(join(data, `mvtec/a/ground_truth/spot/${i}_mask.png`), 255);
	const kit = join(work, "kit");
	await drawCategory(kit, 1, 11, 2);
	const loco = join(data, "loco/k");
	cpSync(join(kit, "train"), join(loco, "train"), { recursive: true });
	cpSync(join(kit, "test/good"), join(loco, "test/good"), { recursive: true });
	cpSync(join(kit, "test/spot"), join(loco, "test/structural_anomalies"), {
		recursive: true,
	});
	for (const i of [0, 1])
		await write(
			join(loco, `ground_truth/structural_anomalies/${i}/000.png`),
			254,
		);
	writeFileSync(
		join(loco, "defects_config.json"),
		JSON.stringify([
			{
				defect_name: "spot",
				pixel_value: 254,
				saturation_threshold: 1,
				relative_saturation: true,
			},
		]),
	);

	const backbone = whole("BACKBONE");
	mkdirSync(backbone, { recursive: true });
	const { weights } = loadBackbone(
		{ name: "vit", width: 8, depth: 2, heads: 2, patch: 16 },
		[size, size],
		0,
	);
	writeFileSync(
		join(backbone, "config.json"),
		JSON.stringify({ num_attention_heads: 2 }),
	);
	writeFileSync(join(backbone, "model.safetensors"), writeSafetensors(weights));
	importBackbone(backbone, "own", { HF_HOME: whole("CACHE") });

	const run = whole("RUN");
	await training(run, data);
	await teaching(run, {
		kind: "learn",
		task: "b",
		data: join(loco, "train/good"),
		review: false,
	});
	await evaluating(run);
	const alone = copyOf("RUN");
	await teaching(alone, { kind: "forget", task: "b" });
	aupro = (await evaluating(alone)).results.categories["mvtec/a"]?.aupro30;
	const cut = whole("CUT");
	await training(cut, data, { sets: trained, emit: cutOff }).catch(
		(error: unknown) => {
			if (!(error instanceof Interrupted)) throw error;
		},
	);
	await training(join(work, "uncut"), data, { sets: trained });
}

export const removePlaces = () =>
	rmSync(work, { recursive: true, force: true });

const teaching = (
	memDir: string,
	change: Parameters<typeof teach>[0]["change"],
) => teach({ memDir, change, config: null }, { emit: () => {}, stop: stop() });

const evaluating = (memDir: string, dataRoot?: string) =>
	evaluateRun(
		{
			memDir,
			oracleTask: false,
			trivial: false,
			...(dataRoot !== undefined && { dataRoot }),
		},
		{ emit: () => {}, stop: stop() },
	);

const digestOf = (dir: string) => {
	const run = openRun(dir, "read");
	return run.digest();
};

/** A copy of one of them. */
export function copyOf(kind: Kind): string {
	const dir = join(mkdtempSync(join(work, "copy-")), kind);
	for (const folder of [work, join(dir, "..")]) chmodSync(folder, 0o777);
	cpSync(whole(kind), dir, { recursive: true, verbatimSymlinks: true });
	return dir;
}

/** What a command says of a damaged place, in one line; an error it throws is told by `outcome`. */
type Operation = (dir: string) => Promise<string> | string;

const same = (is: boolean) => (is ? "the same bytes" : "other bytes");

/** By what a user types. */
export const operations = {
	"data check": async (dir) => {
		const { findings } = await checkData(dir);
		return findings.length === 0
			? "nothing"
			: findings
					.map(
						({ level, kind, paths }) =>
							`${level}: ${kind}: ${paths.join(", ")}`,
					)
					.join("; ");
	},
	train: async (dir) => {
		const out = mkdtempSync(join(work, "out-"));
		const notices = await training(out, dir);
		const memory = (run: string) => openRun(run, "read").memory;
		return [
			...notices,
			`learns ${same(memory(out).digest() === memory(whole("RUN")).at(1).digest())}`,
		].join(" ");
	},
	"eval --data_root": async (dir) => {
		const run = copyOf("RUN");
		await teaching(run, { kind: "forget", task: "b" });
		const { results } = await evaluating(run, dir);
		return (
			results.reasons["categories.mvtec/a.aupro30"] ??
			(results.categories["mvtec/a"]?.aupro30 === aupro
				? "the same figures"
				: "other figures")
		);
	},
	"learn --data loco/k": async (dir) => {
		const run = copyOf("RUN");
		await teaching(run, {
			kind: "learn",
			task: "k",
			data: join(dir, "loco/k"),
			review: false,
		});
		return "learns it";
	},
	"predict mvtec/a/test": async (dir) => {
		const said: string[] = [];
		await predictAll(
			{ memDir: whole("RUN"), inputs: [join(dir, "mvtec/a/test")] },
			{
				emit: (event) => {
					if (
						event.type === "prediction" &&
						event.prediction.verdict === "unusable"
					)
						said.push(
							`${event.prediction.path}: unusable: ${event.prediction.reason}`,
						);
				},
				stop: stop(),
			},
			(async function* () {})(),
		);
		return said.length > 0 ? said.join("; ") : "all are scored";
	},
	"backbone import": (dir) => {
		importBackbone(dir, "new", { HF_HOME: mkdtempSync(join(work, "cache-")) });
		return "imports it";
	},
	"train with it": (dir) => {
		loadBackbone({ name: dir }, [size, size], 0);
		return "reads it";
	},
	"train with local:own": (dir) => {
		openCached({ name: "local:own" }, { HF_HOME: dir });
		return "reads it";
	},
	tasks: (dir) => {
		const { version, products, earlier } = known(dir);
		return `lists ${products.map(({ id }) => id).join(", ")} of version ${version.version}, ${earlier.length} earlier`;
	},
	predict: async (dir) => {
		const scores: string[] = [];
		const scored = async (memDir: string) => {
			const lines: string[] = [];
			await predictAll(
				{ memDir, inputs: [join(whole("DATA"), "mvtec/a/test/good")] },
				{
					emit: (event) => {
						if (event.type === "prediction")
							lines.push(`${event.prediction.score}`);
					},
					stop: stop(),
				},
				(async function* () {})(),
			);
			return lines.join();
		};
		scores.push(await scored(dir), await scored(whole("RUN")));
		return scores[0] === scores[1] ? "the same scores" : "other scores";
	},
	eval: async (dir) => {
		await evaluating(dir);
		const lastRows = (run: string) =>
			Object.values(
				openRun(run, "read").readMetrics()?.matrices as Record<
					string,
					readonly unknown[]
				>,
			).map((matrix) => matrix.at(-1));
		if (digestOf(dir) === digestOf(whole("RUN"))) return "the same bytes";
		return JSON.stringify(lastRows(dir)) ===
			JSON.stringify(lastRows(whole("RUN")))
			? "the same last rows, other bytes"
			: "other figures";
	},
	report: async (dir) => {
		const { gallery } = await readReportData(openRun(dir, "read"));
		return gallery.missing === 0
			? "writes it"
			: `writes it, and says that pictures are missing: ${gallery.missing}`;
	},
	"learn --task k --review": async (dir) => {
		const data = join(whole("DATA"), "loco/k");
		const { text } = await teaching(dir, {
			kind: "learn",
			task: "k",
			data,
			review: true,
		});
		return text.split("\n")[0] as string;
	},
	"rollback --to 1": async (dir) => {
		const { text } = await teaching(dir, { kind: "rollback", to: 1 });
		return text.split("\n")[0] as string;
	},
	"forget --task b": async (dir) => {
		const { text } = await teaching(dir, { kind: "forget", task: "b" });
		return text.split("\n")[0] as string;
	},
	"train --resume": async (dir) => {
		const notices = await training(dir, whole("DATA"), {
			mode: "resume",
			sets: trained,
		});
		return [
			...notices,
			`Then: ${same(digestOf(dir) === digestOf(join(work, "uncut")))}.`,
		].join(" ");
	},
	serve: (dir) => {
		const { version } = new Held(dir);
		new History(join(dir, "serve"), {
			days: 1,
			bytes: 1e6,
			images: false,
		}).close();
		return `starts, held: ${version}`;
	},
	compare: (dir) =>
		`goes on after ${Object.keys(new Ledger(dir, () => {}).entries).length} runs`,
} satisfies Record<string, Operation>;
export type OperationName = keyof typeof operations;

/** As a user who owns nothing: root may read everything. */
async function asNobody<T>(work: () => T | Promise<T>): Promise<T> {
	if (process.geteuid?.() !== 0) return work();
	process.seteuid?.(65_534);
	try {
		return await work();
	} finally {
		process.seteuid?.(0);
	}
}

/** What is said of a damaged place: an error's code and message, or what is done all the same; folders by their names. */
export async function outcome(
	kind: Kind,
	name: OperationName,
	dir: string,
	rights: boolean,
): Promise<string> {
	const operation: Operation = operations[name];
	let text: string;
	try {
		text = await (rights ? asNobody(() => operation(dir)) : operation(dir));
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		text = `${error.code}: ${error.message}`;
	}
	return text
		.replaceAll(dir, kind)
		.replaceAll(whole("BACKBONE"), "BACKBONE")
		.replaceAll(whole("DATA"), "DATA")
		.replaceAll("\n", "\\n")
		.replaceAll(dirname(dir), "ELSEWHERE")
		.replace(/\b[0-9a-f]{16}\b/g, "HASH");
}
