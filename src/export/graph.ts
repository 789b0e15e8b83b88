/**
 * All that `predict` computes of a picture's pixels as one graph: the frozen blocks, the trained ones, routing, memories, calibration and
 * verdict, as knowledge.ts and predict.ts have them (`route`, `judge`, `verdictOf`), from the same weights.
 */
import {
	constant,
	input,
	inputsOf,
	scalar,
	type Value,
} from "../engine/graph.ts";
import { toOnnxEach } from "../engine/onnx.ts";
import {
	add,
	cast,
	concat,
	each,
	gather,
	gemm,
	lessOrEqual,
	log,
	max,
	mean,
	min,
	mul,
	neg,
	quantiseRows,
	reduceSum,
	reshape,
	slice,
	sqrt,
	sub,
	topK,
	transpose,
	where,
} from "../engine/ops/index.ts";
import { float32, float64, type Tensor } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import { networkOf } from "../evaluate.ts";
import { type Verdict, verdicts } from "../events.ts";
import { cellsUnder, type Knowledge } from "../knowledge.ts";
import { DARK, DARK_SHARE, FLAT, LUMINANCE, NONE } from "../data/flaw.ts";
import { Chosen, positions } from "../memory/chosen.ts";
import { Foreign } from "../memory/memory.ts";
import { gridOf, type VitConfig } from "../models/vit.ts";
import { NEAR } from "../predictor.ts";
import {
	frozenWeights,
	type Network,
	sightOf,
	topOf,
	trainableWeights,
} from "../trunk.ts";
import { calibratedOf, straightenedOf } from "./tails.ts";

/** One picture at one of the sizes it is looked at. */
export interface GraphInput {
	readonly name: string;
	/** Tiles down and across that it is cut into. */
	readonly tiles: number;
	/** [H, W] */
	readonly size: readonly [number, number];
}

/** The sizes that pictures are looked at; the network's own is the first. */
export function inputsFor(knowledge: Knowledge): readonly GraphInput[] {
	const [h, w] = knowledge.backbone.config.imageSize;
	const tiles = [...new Set([1, ...knowledge.patches.tiles])];
	return tiles.map((t) => ({
		name: t === 1 ? "pixels" : `pixels_${t}x`,
		tiles: t,
		size: [h * t, w * t],
	}));
}

/** The products that the graph tells apart. */
export const productsOf = (
	knowledge: Knowledge,
	task: string | null,
): readonly string[] => (task === null ? knowledge.router.ids : [task]);

/** As ONNX. `task`: every picture shows this product, so none is unknown; null: each is routed. */
export function modelOf(knowledge: Knowledge, task: string | null): Uint8Array {
	const network = networkOf(knowledge, 1);
	const pictures = inputsFor(knowledge).map((one) => ({
		tiles: one.tiles,
		image: bytesOf(one),
	}));
	const { image } = pictures[0] as { readonly image: Value };
	const { frozen, state, patches } = seen(network, pictures);
	const ids = productsOf(knowledge, task);
	const routed = task === null;
	const index = routed ? knowledge.router.routeGraph(frozen) : null;
	const chosen = new Chosen(ids, index);
	const { score, map, foreign } = judged(knowledge, chosen, {
		embedding: embeddingOf(knowledge, network, chosen, {
			frozen,
			state: network.from === 0 ? image : state,
		}),
		patches,
	});
	const limit = chosen.number((id) => knowledge.thresholdOf(id));
	const unknown =
		routed && foreign
			? both(
					both(
						lessOrEqual(foreign, Foreign.yes),
						lessOrEqual(Foreign.yes, foreign),
					),
					lessOrEqual(1, knowledge.router.isOutGraph(chosen, frozen)),
				)
			: null;
	const verdict = verdictOf(score, limit, {
		unknown,
		flawed: flawed(image, knowledge.router.leastDetailGraph(chosen)),
	});
	return toOnnxEach({
		score,
		threshold: limit,
		task: index ?? reshape(constant(positions([0])), []),
		verdict: cast(verdict, "int64"),
		...(map && { map: reshape(map, knowledge.patches.grid) }),
	});
}

/** The pixels [3, H, W] as bytes [1, H, W, 3]: nothing else is ever looked at. */
function bytesOf({ name, size: [h, w] }: GraphInput): Value {
	const ones = float32([3]);
	ones.data.fill(1);
	const rows = quantiseRows(
		reshape(input(name, [3, h, w]), [3, h * w]),
		constant(ones),
		0,
	);
	return reshape(transpose(rows, [1, 0]), [1, h, w, 3]);
}

/** A picture's pixels [1, t·H, t·W, 3] that is cut into t x t tiles. */
interface Tiled {
	readonly tiles: number;
	readonly image: Value;
}

/** What the frozen blocks say: of all tiles one after the other, the first picture's only one is the whole. */
function seen(
	network: Network,
	pictures: readonly Tiled[],
): {
	readonly frozen: Value; // [1, D]
	readonly state: Value; // [1, T, D], or `frozen` where nothing trains
	/** By the number of tiles. */
	readonly patches: ReadonlyMap<number, Value>; // [N, D]
} {
	const { config } = network.backbone;
	const { weights, layers } = frozenWeights(network);
	const params = inputsOf(weights);
	const all = concat(
		pictures.map((picture) => tilesOf(picture, config.imageSize)),
		0,
	);
	const said = each(
		all,
		(item) => {
			const one = reshape(item, [1, ...item.shape]);
			const { frozen, state, patches } = sightOf(network, params, layers, one);
			return {
				frozen,
				...(state && { state }),
				...(patches && { patches }),
			};
		},
		weights,
	); // [V, 1, ...]
	const first = (value: Value) =>
		reshape(slice(value, 0, 0, 1), value.shape.slice(1));
	const patches = new Map<number, Value>();
	let at = 0;
	for (const { tiles: t } of said.patches ? pictures : []) {
		const part = slice(said.patches as Value, 0, at, at + t * t);
		patches.set(t, together(part, t, config));
		at += t * t;
	}
	const frozen = first(said.frozen as Value);
	return { frozen, state: said.state ? first(said.state) : frozen, patches };
}

/** Row by row: [t·t, H, W, 3]. */
const tilesOf = (
	{ tiles: t, image }: Tiled,
	[h, w]: readonly [number, number],
): Value =>
	reshape(transpose(reshape(image, [t, h, t, w * 3]), [0, 2, 1, 3]), [
		t * t,
		h,
		w,
		3,
	]);

/** The patches of all tiles [t·t, 1, N, D] as one grid, row by row. */
function together(patches: Value, t: number, config: VitConfig): Value {
	const [rows, columns] = gridOf(config);
	const { width } = config;
	return reshape(
		transpose(reshape(patches, [t, t, rows, columns * width]), [0, 2, 1, 3]),
		[t * rows * t * columns, width],
	);
}

/** Class token [1, D] as the chosen product's weights see it. */
function embeddingOf(
	knowledge: Knowledge,
	network: Network,
	chosen: Chosen,
	{ frozen, state }: { readonly frozen: Value; readonly state: Value },
): Value {
	const own = chosen.ids.map((id) => knowledge.weightsOf(id));
	if (own.every((weights) => weights === null)) return frozen;
	const untrained = trainableWeights(network);
	const all = own.map((weights) => weights ?? untrained);
	const params = Object.fromEntries(
		Object.keys(untrained).map((name) => [
			name,
			chosen.pick(all.map((weights) => weights[name] as Tensor)),
		]),
	);
	return topOf(network, params, state, { forwardOnly: true }).embedding;
}

/** `judge` of knowledge.ts; `foreign` is the least of what memories say, null where none tells. */
function judged(
	knowledge: Knowledge,
	chosen: Chosen,
	seen: {
		readonly embedding: Value; // [1, D]
		/** By the number of tiles. */
		readonly patches: ReadonlyMap<number, Value>; // [N, D]
	},
): {
	readonly score: Value; // float64 []
	readonly map: Value | null; // float32 [N], on the finest grid
	readonly foreign: Value | null; // float64 []
} {
	const scores: Value[] = [];
	const maps: Value[] = [];
	const says: Value[] = [];
	const { grid } = knowledge.patches;
	for (const [i, memory] of knowledge.memories.entries()) {
		const { name, weight } = knowledge.setup.memories[i] as {
			readonly name: string;
			readonly weight: number;
		};
		if (!memory.graph) throw fail("EXPORT_UNSUPPORTED", { memory: name });
		const raw = memory.graph(chosen, {
			embedding: seen.embedding,
			patches: seen.patches.get(knowledge.tilesFor(i) ?? 0) ?? null,
		});
		const calibration = (id: string) => {
			const own = knowledge.calibrations(id)[i];
			if (!own) throw new Error(`modelOf: ${id} has no calibration of ${name}`);
			return own;
		};
		const shift = Math.log10(weight);
		scores.push(add(calibratedOf(chosen, calibration, raw.score), shift));
		if (raw.map) {
			const cells = constant(positions(cellsUnder(knowledge.gridFor(i), grid)));
			const own = cast(raw.map, "float64");
			maps.push(
				gather(add(straightenedOf(chosen, calibration, own), shift), cells),
			);
		}
		if (raw.foreign) says.push(raw.foreign);
	}
	const reduced = (values: readonly Value[], by: typeof max): Value | null =>
		values.length === 0 ? null : values.reduce((a, b) => by(a, b));
	const map = reduced(maps, max);
	return {
		score: reduced(scores, max) as Value,
		map: map && cast(map, "float32"),
		foreign: reduced(says, min),
	};
}

const verdictNumber = (verdict: Verdict): number => verdicts.indexOf(verdict);

/** Position in `verdicts`, float64 []. */
function verdictOf(
	score: Value,
	limit: Value,
	{
		unknown,
		flawed: unusable,
	}: { readonly unknown: Value | null; readonly flawed: Value },
): Value {
	const apart = sub(score, limit);
	const reached = where(
		lessOrEqual(limit, score),
		scalar(verdictNumber("defect"), "float64"),
		verdictNumber("good"),
	);
	const judgement = where(
		lessOrEqual(NEAR, max(apart, neg(apart))),
		reached,
		verdictNumber("unsure"),
	);
	const known = unknown
		? where(unknown, scalar(verdictNumber("unknown"), "float64"), judgement)
		: judgement;
	return where(unusable, scalar(verdictNumber("unusable"), "float64"), known);
}

/** A condition that holds where two do. */
const both = (a: Value, b: Value): Value =>
	lessOrEqual(1, where(a, where(b, scalar(1), 0), 0));

/** `flawOf` and `isBlurred` of data/flaw.ts, whichever it is, as a condition. `least`: detail of a picture in focus. */
function flawed(image: Value, least: Value): Value {
	const [, h, w] = image.shape as [number, number, number, number];
	const luminance = reshape(
		gemm(
			reshape(cast(image, "float64"), [h * w, 3]),
			constant(float64([3, 1], Float64Array.from(LUMINANCE))),
		),
		[h * w],
	);
	// the quantile lies between two ranks
	const at = DARK_SHARE * (h * w - 1);
	const count = h * w - Math.floor(at);
	const { values } = topK(luminance, count);
	const rank = (i: number) => slice(values, 0, count - 1 - i, count - i);
	const low = rank(0);
	const high = rank(at > Math.floor(at) ? 1 : 0);
	const quantile = add(low, mul(sub(high, low), at - Math.floor(at)));
	const rest = sub(luminance, mean(luminance));
	const deviation = sqrt(mean(mul(rest, rest)));
	const sharp = where(
		lessOrEqual(least, detailOf(reshape(luminance, [h, w]))),
		scalar(1),
		0,
	);
	const light = where(lessOrEqual(DARK, reshape(quantile, [])), sharp, 0);
	return lessOrEqual(where(lessOrEqual(FLAT, deviation), light, 0), 0);
}

/** `detailOf` of data/flaw.ts, from luminances [H, W]. */
function detailOf(luminance: Value): Value {
	const fine = halved(luminance);
	const [finer, coarser] = [fine, halved(fine)].map((plane) =>
		log(add(laplacianEnergy(plane), NONE)),
	) as [Value, Value];
	return mul(sub(finer, coarser), Math.LOG2E);
}

function halved(plane: Value): Value {
	const [h, w] = plane.shape.map((side) => side >> 1) as [number, number];
	const even = slice(slice(plane, 0, 0, 2 * h), 1, 0, 2 * w);
	return reshape(mul(reduceSum(reshape(even, [h, 2, w, 2]), [1, 3]), 1 / 4), [
		h,
		w,
	]);
}

function laplacianEnergy(plane: Value): Value {
	const [h, w] = plane.shape as [number, number];
	const moved = (y: number, x: number) =>
		slice(slice(plane, 0, 1 + y, h - 1 + y), 1, 1 + x, w - 1 + x);
	const beside = add(
		add(moved(0, -1), moved(0, 1)),
		add(moved(-1, 0), moved(1, 0)),
	);
	const bend = sub(mul(moved(0, 0), 4), beside);
	return mean(mul(bend, bend));
}
