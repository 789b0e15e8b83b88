/** What manifest.json of an export says, and how it is read back. Whatever it names is checked against its hash (storage.ts). */
import { existsSync } from "node:fs";
import { z } from "zod";
import type { Calibration } from "../calibration.ts";
import { fail, firstIssue } from "../errors.ts";
import { verdicts } from "../events.ts";
import { VersionedFolder } from "../storage.ts";
import type { GraphInput } from "./graph.ts";

/** Tells an export from other folders of files that belong together. */
const KIND = "keepsight export";

/** Largest difference of a score or a map from `predict`'s; of those above 1, relative to them. */
export const TOLERANCE = 1e-4;

const goldenSchema = z.object({
	name: z.string(),
	/** Input -> PNG of its pixels. */
	pixels: z.record(z.string(), z.string()),
	/** What `predict` says of them. null: unusable, and so is the task. */
	score: z.number().nullable(),
	/** null: none fits, or unusable. */
	task: z.string().nullable(),
	verdict: z.enum(verdicts),
	/** TIFF of 32-bit floats; null: there is none. */
	map: z.string().nullable(),
});
export type Golden = z.output<typeof goldenSchema>;

/** What is read back: the rest is for people and other programs. */
const readSchema = z.object({
	kind: z.literal(KIND),
	graph: z.string(),
	products: z.array(z.object({ id: z.string() })).min(1),
	inputs: z
		.array(
			z.object({
				name: z.string(),
				size: z.tuple([z.int().positive(), z.int().positive()]),
			}),
		)
		.min(1),
	golden: z.array(goldenSchema).min(1),
});
type ReadManifest = z.output<typeof readSchema>;

interface Described {
	readonly keepsight: string;
	readonly memoryVersion: number;
	readonly task: string | null;
	readonly graph: string;
	readonly inInt8: boolean;
	readonly runtime: string;
	readonly inputs: readonly GraphInput[];
	readonly mean: readonly number[];
	readonly std: readonly number[];
	readonly falseAlarms: number;
	readonly products: readonly {
		readonly id: string;
		readonly threshold: number;
		readonly calibration: readonly (Calibration & {
			readonly memory: string;
			readonly weight: number;
		})[];
	}[];
	readonly mapGrid: readonly [number, number] | null;
	readonly golden: readonly Golden[];
}

/** Entries of manifest.json beside format, version and files. */
export const manifestOf = ({
	inInt8,
	runtime,
	inputs,
	mean,
	std,
	mapGrid,
	...rest
}: Described): Record<string, unknown> => ({
	kind: KIND,
	...rest,
	runtime: {
		name: "onnxruntime",
		version: runtime,
		session: {
			"session.set_denormal_as_zero": "1",
			...(inInt8 && { "session.x64quantprecision": "1" }),
		},
	},
	inputs: inputs.map(({ name, tiles, size }) => ({
		name,
		tiles,
		size,
		shape: ["N", 3, ...size],
		dtype: "float32",
	})),
	pixels: {
		order: "RGB",
		range: [0, 255],
		rule: "rounded to whole numbers in the graph, which also applies mean and std (of pixels in 0..1)",
		mean,
		std,
	},
	resizing: {
		filter: "bicubic",
		a: -0.5,
		antialias: true,
		crop: false,
		rule: "each input from the whole picture at its own size: EXIF orientation applied, grey as three channels, transparent parts on black; then resized to [height, width], one axis after the other with rounding to 8 bits, as Pillow's BICUBIC does",
	},
	outputs: {
		score:
			"float64 [N]: -log10 of the chance that a good part of the product scores so high",
		threshold: "float64 [N]: from which score on it is a defect",
		task: "int64 [N]: position in products",
		verdict: "int64 [N]: position in verdicts",
		...(mapGrid && {
			map: "float32 [N, rows, columns]: score of every patch, row by row",
		}),
	},
	verdicts,
	map: mapGrid && {
		grid: mapGrid,
		rule: "for a picture: linear interpolation between the middles of patches, then a Gaussian of .3 of a patch's side",
	},
	tolerance: TOLERANCE,
});

/** What to do about a damaged file of an export. */
const remedy =
	'write it again, into another folder, with "keepsight export --out DIR"';

/** The export in a folder; null: there is none. What holds something else is an error. */
export function openExport(dir: string): {
	readonly folder: VersionedFolder;
	readonly manifest: ReadManifest;
} | null {
	if (!existsSync(dir)) return null;
	const folder = VersionedFolder.open(dir, undefined, remedy);
	if (folder.version === 0) return null;
	const parsed = readSchema.safeParse(folder.meta);
	if (!parsed.success)
		throw fail("DAMAGED", {
			path: dir,
			problem: `its manifest does not describe an export (${firstIssue(parsed.error)})`,
			remedy,
		});
	return { folder, manifest: parsed.data };
}
