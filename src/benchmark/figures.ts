/**
 * The tables of the benchmark, from what memories said of test images. An AUROC is a mean over products with the percentile bootstrap over
 * products; a share is over images, with the exact interval. Where a product is told, each image is scored as the product that it shows;
 * elsewhere it is routed by itself. Shares and AUROC from 0 to 1. docs/keepsight-100.md defines every figure.
 */
import type { DemoProduct } from "../data/demo.ts";
import { isAnomalous } from "../metrics/image.ts";
import { kindOf, metrics } from "../metrics/index.ts";
import { type Interval, pairedBootstrap, rateOf } from "../metrics/interval.ts";
import { Random } from "../random.ts";
import { metricRow } from "../run.ts";
import { isObject } from "../storage.ts";
import { type Seen, scoreRow } from "./look.ts";
import {
	alone,
	aloneOf,
	fewer,
	line,
	type Protocol,
	type Split,
	soiled,
} from "./protocol.ts";

export interface Cell {
	/** null: not defined. */
	readonly value: number | null;
	/** 95 %. */
	readonly interval?: Interval;
	/** How many products or images it is over. */
	readonly of?: number;
	/** Default: a share. */
	readonly unit?: "difference" | "bytes" | "count";
}

export interface Table {
	readonly name: string;
	readonly title: string;
	/** Heads of the cells. */
	readonly columns: readonly string[];
	readonly rows: readonly {
		readonly label: string;
		readonly cells: readonly Cell[];
	}[];
}

export interface Figures {
	readonly tables: readonly Table[];
}

export interface Source {
	/** What a chapter's memory said after so many products. */
	readonly seen: (chapter: string, after: number) => readonly Seen[];
	/** The share that thresholds are made for. */
	readonly falseAlarms: number;
	/** As metrics.json has it. */
	readonly memory: unknown;
}

/** Looks at one kind of rows: which, and whether the product was told. */
type View = (
	row: Seen,
) => { readonly score: number; readonly threshold: number } | null;
const told: View = (row) => row.told;
const routed: View = (row) => row;

export function figuresOf(
	protocol: Protocol,
	products: readonly DemoProduct[],
	{ seen, falseAlarms, memory }: Source,
): Figures {
	const { varied, train, milestones, unknownAfter } = protocol;
	const n = protocol.products;
	const tests = (chapter: string, after: number, split: Split = "test") =>
		seen(chapter, after).filter((row) => row.split === split);
	const end = tests(line, n);
	const first = new Set(products.slice(0, varied).map(({ id }) => id));
	const own = products.flatMap(({ id }, i) =>
		tests(line, i + 1).filter(({ product }) => product === id),
	);
	const ofVaried = tests(line, varied).filter(({ product }) =>
		first.has(product),
	);
	const pairs = new Map(
		products.flatMap(({ id, twinOf }): [string, string][] =>
			twinOf === undefined
				? []
				: [
						[id, twinOf],
						[twinOf, id],
					],
		),
	);
	const families = [...new Set(products.map(({ family }) => family))];
	const good = (row: Seen) => row.defect === null;
	const bad = (row: Seen) => row.defect !== null;
	const isTwin = (row: Seen) => pairs.has(row.product);

	const growth = milestones.map((after) => {
		const learnt = new Set(products.slice(0, after).map(({ id }) => id));
		const rows = tests(line, after).filter(({ product }) =>
			learnt.has(product),
		);
		return {
			label: String(after),
			cells: [
				aurocOf(rows, routed),
				aurocOf(rows, told),
				accuracyOf(rows, routed),
				routedRight(rows.filter(good)),
				routedRight(rows.filter(bad)),
			],
		};
	});
	const halfway = seen(line, unknownAfter).filter(
		({ split }) => split === "test",
	);
	const strangers = halfway.filter((row) => row.told === null);
	const known = halfway.filter((row) => row.told !== null);
	const calledUnknown = (rows: readonly Seen[]) =>
		share(rows, ({ unknown }) => unknown);

	const passed = (rows: readonly Seen[]) =>
		share(rows, (one) => !one.unknown && !isAlarm(one, routed));

	const detection = (rows: readonly Seen[]) => [
		aurocOf(rows, told),
		accuracyOf(rows, told),
		alarms(rows.filter(good), told),
		alarms(rows.filter(bad), told),
	];
	const against = (rows: readonly Seen[]) => differenceOf(rows, ofVaried, told);
	const images = protocol.images.map((count) => {
		const rows = tests(fewer(count), varied);
		return {
			label: String(count),
			cells: [...detection(rows), against(rows)],
		};
	});
	const dirty = protocol.dirty.map((part) => {
		const rows = tests(soiled(part), varied);
		return {
			label: `${Number((100 * part).toPrecision(12))} %: ${Math.round(part * train)} of ${train}`,
			cells: [...detection(rows), against(rows)],
		};
	});
	const driftOf = (label: string, rows: readonly Seen[]) => ({
		label,
		cells: [
			...detection(rows),
			routedRight(rows),
			share(rows, ({ blurred }) => blurred),
		],
	});
	const drift = [
		driftOf("as learnt", ofVaried),
		...(
			[
				["another lamp", "drift_light"],
				["out of focus", "drift_blur"],
			] as const
		).flatMap(([label, split]) =>
			[0, ...protocol.recalibrated].map((by) =>
				driftOf(
					by === 0 ? label : `${label}, recalibrated by ${by}`,
					tests(line, varied, split).filter(
						({ recalibrated }) => recalibrated === by,
					),
				),
			),
		),
	];
	const gain = protocol.alone.images.map((count) => {
		const sample = aloneOf(protocol);
		const among = sample.flatMap((i) =>
			tests(count === train ? line : fewer(count), i + 1).filter(
				({ product }) => product === products[i]?.id,
			),
		);
		const single = sample.flatMap((i) => tests(alone(count, i), 1));
		return {
			label: String(count),
			cells: [
				aurocOf(among, told),
				aurocOf(single, told),
				differenceOf(among, single, told),
			],
		};
	});
	const kept = differenceOf(end, own, routed);
	const bytes = isObject(memory) ? memory.bytesPerTask : null;

	const row = (label: string, cell: Cell | undefined) => ({
		label,
		cells: [cell ?? { value: null }],
	});
	const summary: Table = {
		name: "summary",
		title: "In short",
		columns: ["value"],
		rows: [
			row("image AUROC right after a product was learnt", aurocOf(own, routed)),
			row(`image AUROC of all, after ${n} products`, aurocOf(end, routed)),
			row("the second minus the first (forgetting, if negative)", kept),
			row("the same, the product told", differenceOf(end, own, told)),
			row(
				"image AUROC of structural defects",
				aurocOf(end, routed, "structural"),
			),
			row("image AUROC of logical defects", aurocOf(end, routed, "logical")),
			row(
				`good parts called defective, where ${percent(falseAlarms)} is stated`,
				alarms(end.filter(good), told),
			),
			row(
				"defective parts found at that threshold",
				alarms(end.filter(bad), told),
			),
			row("good images routed right", routedRight(end.filter(good))),
			row("defective images routed right", routedRight(end.filter(bad))),
			row("near-twins kept apart", routedRight(end.filter(isTwin))),
			row(
				"images of products not learnt that are called unknown",
				calledUnknown(strangers),
			),
			row(
				"images of products not learnt that pass as good parts",
				passed(strangers),
			),
			row(
				"images of learnt products that are called unknown",
				calledUnknown(known),
			),
			...images.map(({ label, cells }) =>
				row(
					`image AUROC of ${varied} products, from ${label} ${label === "1" ? "image" : "images"} each`,
					cells[0],
				),
			),
			row(
				`image AUROC of ${varied} products, from ${train} images each`,
				aurocOf(ofVaried, told),
			),
			...dirty.map(({ label, cells }) =>
				row(
					`change of that with defective images among them, ${label}`,
					cells[4],
				),
			),
			...drift
				.slice(1)
				.flatMap(({ label, cells }) => [
					row(`image AUROC, ${label}`, cells[0]),
					row(`good parts called defective, ${label}`, cells[2]),
				]),
			...gain.map(({ label, cells }) =>
				row(`gain from products learnt before, ${label} images`, cells[2]),
			),
		],
	};
	const foundColumns = [
		"image AUROC",
		"accuracy",
		"good called defective",
		"defects found",
	];
	return {
		tables: [
			summary,
			{
				name: "growth",
				title: "As the memory grows",
				columns: [
					"image AUROC",
					"image AUROC, told",
					"accuracy",
					"good routed right",
					"defective routed right",
				],
				rows: growth,
			},
			{
				name: "families",
				title: `By family, after ${n} products, the product told`,
				columns: ["products", ...foundColumns, "routed right"],
				rows: families.map((family) => {
					const ids = products.filter((one) => one.family === family);
					const rows = end.filter(({ product }) =>
						ids.some(({ id }) => id === product),
					);
					return {
						label: family,
						cells: [
							{ value: ids.length, unit: "count" as const },
							...detection(rows),
							routedRight(rows),
						],
					};
				}),
			},
			{
				name: "kinds",
				title: `By kind of defect, after ${n} products`,
				columns: ["image AUROC", "image AUROC, told"],
				rows: (["structural", "logical"] as const).map((kind) => ({
					label: kind,
					cells: [aurocOf(end, routed, kind), aurocOf(end, told, kind)],
				})),
			},
			{
				name: "routing",
				title: `Routing, after ${n} products`,
				columns: ["good", "defective"],
				rows: (
					[
						["all", () => true],
						["without near-twins", (one: Seen) => !isTwin(one)],
						["near-twins", isTwin],
						[
							"near-twins, right or taken for the other",
							isTwin,
							(one: Seen) =>
								one.routed === one.product ||
								one.routed === pairs.get(one.product),
						],
					] as const
				).map(([label, which, right]) => {
					const rows = end.filter(which);
					return {
						label,
						cells: [good, bad].map((side) =>
							routedRight(rows.filter(side), right),
						),
					};
				}),
			},
			{
				name: "unknown",
				title: `Called unknown, after ${unknownAfter} of ${n} products`,
				columns: ["good", "defective"],
				rows: (
					[
						["products not learnt", strangers, calledUnknown],
						["products not learnt: pass as good parts", strangers, passed],
						["learnt products", known, calledUnknown],
					] as const
				).map(([label, rows, cellOf]) => ({
					label,
					cells: [good, bad].map((side) => cellOf(rows.filter(side))),
				})),
			},
			{
				name: "images",
				title: `Few images: ${varied} products, the product told`,
				columns: [...foundColumns, `AUROC against ${train}`],
				rows: [
					...images,
					{
						label: String(train),
						cells: [...detection(ofVaried), { value: 0, unit: "difference" }],
					},
				],
			},
			{
				name: "dirty",
				title: `Defective images among the good ones: ${varied} products, the product told`,
				columns: [...foundColumns, "AUROC against none"],
				rows: [
					{
						label: "none",
						cells: [...detection(ofVaried), { value: 0, unit: "difference" }],
					},
					...dirty,
				],
			},
			{
				name: "drift",
				title: `Drift: ${varied} products, the product told`,
				columns: [...foundColumns, "routed right", "called out of focus"],
				rows: drift,
			},
			{
				name: "alarms",
				title: `Good parts called defective, after ${n} products`,
				columns: ["stated", "realised, told", "realised, routed"],
				rows: [
					{
						label: "good test images",
						cells: [
							{ value: falseAlarms },
							alarms(end.filter(good), told),
							alarms(end.filter(good), routed),
						],
					},
				],
			},
			{
				name: "gain",
				title:
					"What a product gains from those learnt before, the product told",
				columns: ["in the common memory", "alone", "gain"],
				rows: gain,
			},
			{
				name: "memory",
				title: "Memory",
				columns: ["bytes a product"],
				rows: [
					{
						label: `after ${n} products`,
						cells: [
							{
								value: typeof bytes === "number" ? bytes : null,
								unit: "bytes",
							},
						],
					},
				],
			},
		],
	};
}

const percent = (part: number) => `${Number((100 * part).toPrecision(12))} %`;

const share = (rows: readonly Seen[], is: (row: Seen) => boolean): Cell => {
	const { value, interval, trials } = rateOf(
		rows.filter(is).length,
		rows.length,
	);
	return { value, of: trials, ...(value !== null && { interval }) };
};

const routedRight = (
	rows: readonly Seen[],
	right: (row: Seen) => boolean = ({ routed: to, product }) => to === product,
): Cell => share(rows, right);

/** Images at their threshold or above. */
const alarms = (rows: readonly Seen[], view: View): Cell =>
	share(rows, (row) => isAlarm(row, view));

const accuracyOf = (rows: readonly Seen[], view: View): Cell =>
	share(rows, (row) => isAlarm(row, view) === (row.defect !== null));

function isAlarm(row: Seen, view: View): boolean {
	const at = view(row);
	return at !== null && isAnomalous(at.score, at.threshold);
}

type Kind = "logical" | "structural";

/** A product's image AUROC; of one kind of defects, where it has that. */
function productAuroc(
	id: string,
	rows: readonly Seen[],
	view: View,
	kind?: Kind,
): number | null {
	const layout = id.startsWith("loco/") ? "loco" : "mvtec";
	const used = rows
		.filter(
			({ defect }) =>
				kind === undefined ||
				defect === null ||
				(kindOf(defect) ?? "structural") === kind,
		)
		.flatMap((row) => {
			const at = view(row);
			return at ? [metricRow(scoreRow({ ...row, ...at }))] : [];
		});
	const metric = kind ? metrics.imageAurocAll : metrics.imageAuroc;
	return metric.compute(used, layout).value;
}

/** Image AUROC by product; only where it is defined. */
function byProduct(
	rows: readonly Seen[],
	view: View,
	kind?: Kind,
): ReadonlyMap<string, number> {
	const groups = new Map<string, Seen[]>();
	for (const row of rows) {
		const group = groups.get(row.product);
		if (group) group.push(row);
		else groups.set(row.product, [row]);
	}
	return new Map(
		[...groups].flatMap(([id, group]) => {
			const value = productAuroc(id, group, view, kind);
			return value === null ? [] : [[id, value] as const];
		}),
	);
}

/** The mean, and its interval over products. */
function meanCell(values: readonly number[]): Cell {
	const over = (which: readonly number[]) =>
		which.reduce((sum, i) => sum + (values[i] as number), 0) / which.length;
	const found =
		values.length > 0 &&
		pairedBootstrap(values.length, over, new Random("benchmark"));
	return found
		? {
				value: found.estimate,
				interval: [found.low, found.high],
				of: values.length,
			}
		: { value: null };
}

const aurocOf = (rows: readonly Seen[], view: View, kind?: Kind): Cell =>
	meanCell([...byProduct(rows, view, kind).values()]);

/** First minus second, of the products that both have. */
function differenceOf(
	rows: readonly Seen[],
	others: readonly Seen[],
	view: View,
): Cell {
	const second = byProduct(others, view);
	const differences = [...byProduct(rows, view)].flatMap(([id, value]) => {
		const other = second.get(id);
		return other === undefined ? [] : [value - other];
	});
	return { ...meanCell(differences), unit: "difference" };
}
