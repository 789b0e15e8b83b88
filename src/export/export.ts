/**
 * A detector that needs no Keepsight: everything that was learnt as one ONNX graph from pixels to verdict, a manifest that says how
 * pictures become pixels, samples that show whether it works elsewhere, and two short programs that do what `predict` does.
 */
import { existsSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { encodePng } from "../data/image.ts";
import type { Image } from "../data/task.ts";
import { encodeTiff } from "../data/tiff.ts";
import { runtimeVersion } from "../engine/runtime.ts";
import { float32 } from "../engine/tensor.ts";
import { fail, KeepsightError } from "../errors.ts";
import { heed, type RunEvent, type Stop } from "../events.ts";
import { checkLearnt, type Knowledge } from "../knowledge.ts";
import { Predictor } from "../predictor.ts";
import { openRun } from "../run.ts";
import {
	hashedName,
	isBookkeeping,
	lockFolder,
	readBytes,
	removeTemporaries,
	sha256,
	VersionedFolder,
} from "../storage.ts";
import { version } from "../version.ts";
import { type GraphInput, inputsFor, modelOf, productsOf } from "./graph.ts";
import { type Golden, manifestOf, openExport } from "./manifest.ts";
import { drawnSamples, givenSamples, type NamedPicture } from "./samples.ts";
import { compare, goldenProgress, type Sample } from "./verify.ts";

export interface ExportJob {
	readonly memDir: string;
	readonly out: string;
	/** The product that all pictures will show; absent: each is routed. */
	readonly task?: string;
	/** Pictures that become golden samples instead of drawn ones: a file, folder or pattern. */
	readonly samples?: string;
}

const at = (path: string): string =>
	fileURLToPath(new URL(path, import.meta.url));
/** Programs that go with every export -> where they lie. */
const examples: Readonly<Record<string, string>> = {
	"predict.py": at("../../examples/export/predict.py"),
	"predict.mjs": at("../../examples/export/predict.mjs"),
	"resample.mjs": at("../data/resample.js"), // of the built program; it needs nothing else
};

export async function exportDetector(
	{ memDir, out, task: told, samples }: ExportJob,
	{ emit, stop }: { readonly emit: (e: RunEvent) => void; readonly stop: Stop },
): Promise<{ results: object; text: string }> {
	const run = openRun(memDir, "read");
	checkLearnt(run.memory, memDir);
	checkFolder(out);
	const { threads } = run.settings;
	const task = told ?? null;
	const predictor = new Predictor(run.memory, threads);
	const { knowledge } = predictor;
	if (task !== null) predictor.checkKnown(task);
	const inputs = inputsFor(knowledge);
	const { size: largest } = inputs.at(-1) as GraphInput;
	const pictures =
		samples === undefined
			? await drawnSamples(predictor, largest, task)
			: await givenSamples(predictor, samples, task);
	const graph = modelOf(knowledge, task);
	const golden: Sample[] = [];
	for (const picture of pictures) {
		await heed(stop);
		golden.push(await sampleOf(picture, predictor, inputs));
		emit(goldenProgress(golden.length, pictures.length));
	}
	await predictor.release();
	const products = productsOf(knowledge, task).map((id) => ({
		id,
		threshold: knowledge.thresholdOf(id),
		calibration: knowledge.calibrations(id).map((calibration, i) => ({
			...nameAndWeight(knowledge, i),
			...calibration,
		})),
	}));
	await checkGraph(graph, golden, { inputs, products }, stop);

	const files = new Map<string, Uint8Array>();
	const put = (prefix: string, bytes: Uint8Array, ending: string): string => {
		const name = hashedName(prefix, bytes, ending);
		files.set(name, bytes);
		return name;
	};
	const graphFile = put("model", graph, ".onnx");
	const { config, precision } = knowledge.backbone;
	const { falseAlarms } = knowledge.setup;
	const described = {
		keepsight: version,
		memoryVersion: run.memory.version,
		task,
		graph: graphFile,
		inInt8: precision === "int8",
		runtime: runtimeVersion,
		inputs,
		mean: config.mean,
		std: config.std,
		falseAlarms,
		products,
		mapGrid: knowledge.hasMaps ? knowledge.patches.grid : null,
		golden: await Promise.all(
			golden.map((sample, i) => storedSample(sample, i, knowledge, put)),
		),
	};
	for (const [name, path] of Object.entries(examples))
		files.set(name, readBytes(path));
	const lock = lockFolder(out, {
		onWait: (text) => emit({ type: "notice", text }),
	});
	try {
		checkFolder(out);
		removeTemporaries(out, lock.check);
		VersionedFolder.open(out, lock.check).commit({
			add: files,
			keep: () => false,
			meta: manifestOf(described),
		});
	} finally {
		lock.release();
	}
	const names = products.map(({ id }) => id);
	return {
		results: {
			out,
			graph: graphFile,
			bytes: graph.length,
			memoryVersion: run.memory.version,
			products: names,
			inputs: inputs.map(({ name, size }) => ({ name, size })),
			golden: golden.length,
		},
		text: `${out}: ${names.join(", ")} as ${graphFile} (${(graph.length / 1e6).toFixed(1)} MB), which says of ${golden.length} golden ${golden.length === 1 ? "sample" : "samples"} what predict says.\nTo check it anywhere: keepsight export --verify ${out}`,
	};
}

/** New, empty, or an export whose programs are these: anything else may be someone's. */
function checkFolder(dir: string): void {
	if (!existsSync(dir)) return;
	const there = readdirSync(dir, { recursive: true, withFileTypes: true })
		.filter((item) => !item.isDirectory() && !isBookkeeping(item.name))
		.map((item) => relative(dir, join(item.parentPath, item.name)))
		.map((name) => name.replaceAll("\\", "/"));
	const own = there.length > 0 ? filesOf(dir) : [];
	const names = there.filter((name) => {
		const example = examples[name];
		return (
			!own.includes(name) ||
			(example !== undefined &&
				sha256(readBytes(join(dir, name))) !== sha256(readBytes(example)))
		);
	});
	if (names.length > 0) throw fail("EXPORT_FOLDER_TAKEN", { dir, names });
}

/** What an export in this folder consists of; nothing where there is none. */
function filesOf(dir: string): readonly string[] {
	try {
		const { folder } = openExport(dir) ?? {};
		return folder ? ["manifest.json", ...folder.paths] : [];
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		return []; // another kind of folder
	}
}

const nameAndWeight = (knowledge: Knowledge, i: number) => {
	const { name: memory, weight } = knowledge.setup.memories[i] as {
		readonly name: string;
		readonly weight: number;
	};
	return { memory, weight };
};

/** A picture's pixels, and what `predict` says of it. */
async function sampleOf(
	{ name: called, picture }: NamedPicture,
	predictor: Predictor,
	inputs: readonly GraphInput[],
): Promise<Sample> {
	const images: Record<string, Image> = {};
	for (const { name, size } of inputs) images[name] = await picture.read(size);
	for await (const { prediction, map } of predictor.score([picture])) {
		const { score, task, verdict } = prediction;
		return {
			name: called,
			score,
			task,
			verdict,
			images,
			cells: map,
			pixels: {},
			map: null,
		};
	}
	throw new Error(`sampleOf: ${picture.path} was not scored`);
}

/** With its pixels and its map as files. */
async function storedSample(
	{ name, score, task, verdict, images, cells }: Sample,
	i: number,
	knowledge: Knowledge,
	put: (prefix: string, bytes: Uint8Array, ending: string) => string,
): Promise<Golden> {
	const prefix = `golden/${String(i + 1).padStart(4, "0")}`;
	const pixels: Record<string, string> = {};
	for (const [input, image] of Object.entries(images))
		pixels[input] = put(`${prefix}.${input}`, await encodePng(image), ".png");
	const { grid } = knowledge.patches;
	return {
		name,
		score,
		task,
		verdict,
		pixels,
		map:
			cells && put(`${prefix}.map`, encodeTiff(float32(grid, cells)), ".tiff"),
	};
}

/** Nothing is written that does not say what `predict` says. */
async function checkGraph(
	graph: Uint8Array,
	golden: readonly Sample[],
	manifest: Parameters<typeof compare>[2]["manifest"],
	stop: Stop,
): Promise<void> {
	const compared = await compare(graph, golden, { manifest, stop });
	const wrong = compared.find(({ pass }) => !pass);
	if (wrong)
		throw new Error(
			`exportDetector: the graph does not say of ${wrong.name} what predict says, ${JSON.stringify(wrong)}`,
		);
}
