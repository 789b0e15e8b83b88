/**
 * A tray with parts, as it is checked before packing. The rules: in the tall compartment one long and one short bolt, then three nuts,
 * two washers, one rubber ring, each in its own compartment, anywhere in it and turned anyhow. Every part of a picture that breaks a rule
 * is a faultless part: no local patch tells, only counting and place do.
 */
import type { Random } from "../../random.ts";
import { mat } from "./flange.ts";
import type { Family, Region } from "./product.ts";
import {
	around,
	type Box,
	circle,
	clamp,
	clouds,
	type Colour,
	type Distance,
	noise,
	polyline,
	polygon,
	ragged,
	rectangle,
	rgb,
	type Scene,
	setColour,
	shade,
	smooth,
	stroke,
	union,
	within,
	without,
} from "./scene.ts";

const standard = {
	tray: rgb(52, 76, 104),
	nuts: 3,
	washers: 2,
	nutSides: 6,
	steel: rgb(194, 196, 200),
	washer: rgb(206, 172, 96),
	ring: rgb(38, 36, 38),
	long: 82,
	short: 54,
};

function chosen(random: Random): typeof standard {
	const metals = [
		rgb(194, 196, 200),
		rgb(206, 172, 96),
		rgb(186, 128, 96),
		rgb(120, 124, 130),
	];
	const rubbers = [
		rgb(38, 36, 38),
		rgb(150, 46, 40),
		rgb(60, 92, 58),
		rgb(210, 206, 196),
	];
	const short = random.uniform(44, 56);
	return {
		tray: rgb(
			random.uniform(30, 190),
			random.uniform(40, 190),
			random.uniform(40, 200),
		),
		nuts: 2 + random.integer(3),
		washers: 2 + random.integer(2),
		nutSides: random.integer(2) ? 6 : 4,
		steel: metals[random.integer(4)] as Colour,
		washer: metals[random.integer(4)] as Colour,
		ring: rubbers[random.integer(4)] as Colour,
		long: short + random.uniform(22, 34),
		short,
	};
}

/** Compartments inside the walls. */
const cells = {
	bolts: [-104, -104, -12, 104],
	nuts: [-2, -104, 104, -38],
	washers: [-2, -28, 104, 32],
	ring: [-2, 42, 104, 104],
} as const satisfies Record<string, Box>;
type Cell = keyof typeof cells;

interface Item {
	readonly what: "bolt" | "nut" | "washer" | "ring";
	readonly cell: Cell;
	readonly length?: number;
	readonly flaw?: Random;
}

export const kit: Family = {
	name: "kit",
	layout: "loco",
	defects: [
		{ name: "missing_nut", kind: "logical", saturation: Math.PI * 12 * 12 },
		{ name: "extra_washer", kind: "logical", saturation: Math.PI * 12 * 12 },
		{ name: "swapped_compartments", kind: "logical" },
		{ name: "two_long_bolts", kind: "logical" },
		{ name: "misplaced_ring", kind: "logical" },
		{ name: "bent_bolt", kind: "structural" },
		{ name: "cut_ring", kind: "structural" },
		{ name: "dirt", kind: "structural" },
		{ name: "cracked_tray", kind: "structural" },
	],
	create(random, twin) {
		const p = random ? chosen(random) : standard;
		return {
			draw(scene, shot, defect, flaw): Region | undefined {
				const lay = shot.derive("lay");
				const seed = lay.uniform(0, 200);
				mat(scene, rgb(150, 148, 142), seed);
				const pose = {
					x: lay.normal(0, 1.5),
					y: lay.normal(0, 1.5),
					angle: lay.normal(0, 0.012),
					scale: lay.normal(1, 0.005),
				};
				scene.placed(pose, () => {
					tray(scene, p, seed, twin, defect === "cracked_tray" ? flaw : null);
					for (const [cell, items] of Object.entries(
						contents(p, defect, flaw),
					) as [Cell, Item[]][]) {
						placeItems(
							scene,
							p,
							cells[cell],
							items,
							shot.derive("items", cell),
						);
					}
					if (defect === "dirt") dirt(scene, flaw);
				});
				const cell =
					defect === "missing_nut"
						? cells.nuts
						: defect === "extra_washer"
							? cells.washers
							: defect === "misplaced_ring"
								? cells.ring
								: null;
				return cell ? { box: cell, pose } : undefined;
			},
		};
	},
};

function contents(
	p: typeof standard,
	defect: string | null,
	flaw: Random,
): Record<Cell, Item[]> {
	const several = (n: number, what: Item["what"], cell: Cell): Item[] =>
		Array.from({ length: n }, () => ({ what, cell }));
	const swapped = defect === "swapped_compartments";
	const ring: Item = {
		what: "ring",
		cell: "ring",
		...(defect === "cut_ring" ? { flaw } : {}),
	};
	const long: Item = {
		what: "bolt",
		cell: "bolts",
		length: p.long,
		...(defect === "bent_bolt" ? { flaw } : {}),
	};
	const inNuts = several(
		defect === "missing_nut" ? p.nuts - 1 : p.nuts,
		"nut",
		"nuts",
	);
	const inWashers = several(
		defect === "extra_washer" ? p.washers + 1 : p.washers,
		"washer",
		"washers",
	);
	return {
		bolts: [
			long,
			{
				what: "bolt",
				cell: "bolts",
				length: defect === "two_long_bolts" ? p.long : p.short,
			},
		],
		nuts: swapped ? inWashers : inNuts,
		washers: [
			...(swapped ? inNuts : inWashers),
			...(defect === "misplaced_ring" ? [ring] : []),
		],
		ring: defect === "misplaced_ring" ? [] : [ring],
	};
}

/** Every item has its slot drawn by chance, so that taking one out leaves the others where they are. */
function placeItems(
	scene: Scene,
	p: typeof standard,
	[x0, y0, x1, y1]: Box,
	items: readonly Item[],
	random: Random,
): void {
	if (items[0]?.what === "bolt") {
		items.forEach((item, i) => {
			const spread = random.derive(i);
			const x =
				x0 + ((x1 - x0) * (i + 0.5)) / items.length + spread.uniform(-5, 5);
			const room = (y1 - y0 - p.long - 30) / 2;
			scene.placed(
				{
					x,
					y: (y0 + y1) / 2 + spread.uniform(-room, room),
					angle: spread.normal(0, 0.09) + (spread.integer(2) ? Math.PI : 0),
					scale: 1,
				},
				() => bolt(scene, p, item.length ?? p.long, item.flaw),
			);
		});
		return;
	}
	const radius = { bolt: 0, nut: 12.5, washer: 12.5, ring: 19 };
	const taken: { x: number; y: number; r: number }[] = [];
	items.forEach((item, i) => {
		const spread = random.derive(i);
		const r = radius[item.what] + 2;
		let best = { x: 0, y: 0, gap: -1e9 };
		for (let t = 0; t < 60; t++) {
			const [x, y] = [
				spread.uniform(x0 + r, x1 - r),
				spread.uniform(y0 + r, y1 - r),
			];
			const gap = Math.min(
				2,
				...taken.map((o) => Math.hypot(o.x - x, o.y - y) - o.r - r),
			);
			if (gap > best.gap) best = { x, y, gap };
			if (gap > 0) break;
		}
		taken.push({ ...best, r });
		const turn = spread.uniform(0, 6.28);
		scene.placed({ x: best.x, y: best.y, angle: turn, scale: 1 }, () => {
			if (item.what === "nut") nut(scene, p);
			else if (item.what === "washer")
				flat(scene, p.washer, 12, 5.6, 2.2, 0.85);
			else rubber(scene, p, item.flaw);
		});
	});
}

function tray(
	scene: Scene,
	p: typeof standard,
	seed: number,
	twin: boolean,
	flaw: Random | null,
): void {
	const floors = union(...Object.values(cells).map((c) => rectangle(c, 7)));
	const notch: Distance = twin ? circle(112, -112, 9) : () => 9; // the twin's tray has a notched corner
	const body = without(rectangle([-113, -113, 113, 113], 12), notch);
	scene.paint([-115, -115, 115, 115], body, (m, x, y, d) => {
		const inside = floors(x, y); // negative over a floor
		const wall = smooth(-3.2, 0.4, inside) * smooth(0, -2, d);
		m.height = 2 + 13 * wall + 0.12 * noise(x / 1.1 + seed, y / 1.1);
		setColour(
			m,
			p.tray,
			(0.94 + 0.08 * clouds(x / 35 + seed, y / 35)) *
				(wall > 0.5 ? 1.12 : 0.94),
		);
		m.gloss = 0.16;
		m.metal = 0;
	});
	if (!flaw) return;
	const side = flaw.integer(4);
	let [x, y] = [
		[-60, 30],
		[50, -70],
		[50, 5],
		[50, 72],
	][side] as [number, number];
	x += flaw.uniform(-20, 20);
	let angle = flaw.uniform(0, 6.28);
	const points: [number, number][] = [[x, y]];
	for (let i = 0; i < 5 + flaw.integer(5); i++) {
		angle += flaw.normal(0, 0.5);
		x += 7 * Math.cos(angle);
		y += 7 * Math.sin(angle);
		points.push([x, y]);
	}
	scene.paint(
		[-113, -113, 113, 113],
		within(polyline(points, flaw.uniform(1.2, 2.2)), body),
		(m) => {
			m.height -= 2;
			shade(m, 0.4);
		},
	);
}

/** Along y, the head on top; a bent one is bent beyond the head. */
function bolt(
	scene: Scene,
	p: typeof standard,
	length: number,
	flaw: Random | undefined,
): void {
	const bend = flaw
		? (flaw.integer(2) ? 1 : -1) * flaw.uniform(0.004, 0.011)
		: 0;
	const top = -length / 2;
	const shaft = rectangle([-5, top, 5, length / 2], 2.5);
	const curved: Distance = (x, y) =>
		shaft(x - bend * Math.max(0, y - top - length * 0.3) ** 2, y);
	scene.paint([-40, top - 2, 40, length / 2 + 2], curved, (m, x, y, d) => {
		const across = clamp(-d / 5);
		const thread = y > top + length * 0.25 ? Math.sin((y + 0.25 * x) * 2.2) : 0;
		m.height = 4 + 8 * Math.sqrt(1 - (1 - across) ** 2) + 0.55 * thread;
		setColour(m, p.steel, 0.85 + 0.1 * thread);
		m.metal = 0.85;
		m.gloss = 0.6;
	});
	scene.placed({ x: 0, y: top - 4, angle: 0, scale: 1 }, () => {
		scene.paint(
			around(0, 0, 13),
			rectangle([-11, -6, 11, 6], 2.5),
			(m, x, _y, d) => {
				m.height =
					6 +
					10 * Math.sqrt(clamp(1 - (x / 12) ** 2)) -
					1.5 * (1 - clamp(-d / 2));
				setColour(m, p.steel, 0.9);
				m.metal = 0.85;
				m.gloss = 0.6;
			},
		);
		scene.paint(
			around(0, 0, 13),
			union(stroke(-3.7, -5, -3.7, 5, 0.8), stroke(3.7, -5, 3.7, 5, 0.8)),
			(m) => shade(m, 0.75),
		);
	});
}

function nut(scene: Scene, p: typeof standard): void {
	const hexagon = polygon(p.nutSides, p.nutSides === 4 ? 10 : 11);
	scene.paint(
		around(0, 0, 16),
		within(without(hexagon, circle(0, 0, 5.4)), circle(0, 0, 12.6)),
		(m, x, y, d) => {
			const r = Math.hypot(x, y);
			m.height = 10.5 - 1.6 * (1 - clamp(-d / 1.8)) - 1.6 * smooth(10, 12.6, r);
			setColour(m, p.steel, 0.86 + 0.1 * noise(x / 3, y / 3));
			m.metal = 0.85;
			m.gloss = 0.6;
		},
	);
	scene.paint(around(0, 0, 7), circle(0, 0, 5.4), (m, _x, _y, d) => {
		m.height = 2;
		shade(m, d > -1.2 ? 0.35 : 0.6);
	});
}

function flat(
	scene: Scene,
	colour: Colour,
	outer: number,
	inner: number,
	thickness: number,
	metal: number,
): void {
	scene.paint(
		around(0, 0, outer + 1),
		without(circle(0, 0, outer), circle(0, 0, inner)),
		(m, x, y, d) => {
			m.height = 2.2 + thickness - 1.2 * (1 - clamp(-d / 1.3));
			setColour(m, colour, 0.86 + 0.12 * noise(x / 2.5, y / 2.5));
			m.metal = metal;
			m.gloss = 0.55;
		},
	);
}

function rubber(
	scene: Scene,
	p: typeof standard,
	flaw: Random | undefined,
): void {
	const torus: Distance = (x, y) => Math.abs(Math.hypot(x, y) - 15) - 3.6;
	const cut = flaw?.uniform(1.6, 5) ?? 0;
	const at = flaw?.uniform(0, 6.28) ?? 0;
	const shape = flaw
		? without(
				torus,
				ragged(
					stroke(
						10 * Math.cos(at),
						10 * Math.sin(at),
						21 * Math.cos(at + 0.1),
						21 * Math.sin(at + 0.1),
						cut,
					),
					1,
					3,
					5,
				),
			)
		: torus;
	scene.paint(around(0, 0, 20), shape, (m, x, y, d) => {
		m.height = 2.5 + 4.6 * Math.sqrt(1 - (1 - clamp(-d / 3.6)) ** 2);
		setColour(m, p.ring, 0.9 + 0.25 * noise(x / 2, y / 2));
		m.metal = 0;
		m.gloss = 0.3;
	});
}

function dirt(scene: Scene, flaw: Random): void {
	const names = Object.keys(cells) as Cell[];
	const [x0, y0, x1, y1] = cells[names[flaw.integer(names.length)] as Cell];
	const [x, y] = [
		flaw.uniform(x0 + 10, x1 - 10),
		flaw.uniform(y0 + 10, y1 - 10),
	];
	const radius = flaw.uniform(3, 11);
	const seed = flaw.uniform(0, 90);
	scene.paint(
		around(x, y, radius * 2),
		ragged(circle(x, y, radius), radius * 0.7, 4, seed),
		(m, a, b, d) => {
			m.alpha = 0.85 * smooth(0, -2, d);
			setColour(m, rgb(70, 54, 38), 0.6 + 0.9 * noise(a / 1.5, b / 1.5));
			m.height += 0.8 * noise(a / 2 + seed, b / 2);
			m.gloss = 0;
			m.metal = 0;
		},
	);
}
