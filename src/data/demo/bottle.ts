/**
 * A filled bottle in front of a light box. The rules: filled to the mark, capped, one label at its place, and the icon on the label names
 * what is inside (drop: water-blue, leaf: green, sun: amber). A wrong icon is a faultless icon on a faultless bottle.
 */
import type { Random } from "../../random.ts";
import type { Family, Region } from "./product.ts";
import {
	around,
	type Box,
	circle,
	clamp,
	type Colour,
	type Distance,
	everywhere,
	mix,
	noise,
	polyline,
	ragged,
	rectangle,
	rgb,
	type Scene,
	setColour,
	shade,
	smooth,
	stroke,
	union,
	whole,
	within,
} from "./scene.ts";

const standard = {
	half: 46,
	shoulder: -44,
	level: -30,
	cap: rgb(44, 62, 98),
	paper: rgb(238, 234, 224),
	label: [14, 88] as [number, number],
	liquids: 0,
	ribs: 7,
};

function chosen(random: Random): typeof standard {
	const caps = [
		rgb(44, 62, 98),
		rgb(40, 42, 46),
		rgb(176, 52, 44),
		rgb(226, 224, 218),
		rgb(46, 104, 74),
	];
	const top = random.uniform(4, 22);
	return {
		half: random.uniform(36, 56),
		shoulder: random.uniform(-56, -38),
		level: random.uniform(-34, -22),
		cap: caps[random.integer(caps.length)] as Colour,
		paper: rgb(
			random.uniform(205, 246),
			random.uniform(200, 242),
			random.uniform(185, 236),
		),
		label: [top, top + random.uniform(58, 78)],
		liquids: random.integer(3),
		ribs: 5 + random.integer(5),
	};
}

const palettes: readonly (readonly [Colour, Colour, Colour])[] = [
	[rgb(134, 178, 204), rgb(142, 164, 96), rgb(214, 156, 78)],
	[rgb(150, 196, 210), rgb(70, 132, 84), rgb(198, 92, 60)],
	[rgb(120, 140, 200), rgb(160, 176, 60), rgb(214, 176, 60)],
];
const floor = 106;

export const bottle: Family = {
	name: "bottle",
	layout: "loco",
	defects: [
		{ name: "underfilled", kind: "logical" },
		{ name: "overfilled", kind: "logical" },
		{ name: "missing_label", kind: "logical" },
		{ name: "wrong_icon", kind: "logical" },
		{ name: "shifted_label", kind: "logical", saturation: 1200 },
		{ name: "torn_label", kind: "structural" },
		{ name: "particles", kind: "structural" },
		{ name: "cracked_glass", kind: "structural" },
		{ name: "damaged_cap", kind: "structural" },
	],
	create(random, twin) {
		const p = random ? chosen(random) : standard;
		const ribs = twin ? p.ribs + 2 : p.ribs;
		return {
			draw(scene, shot, defect, flaw): Region | undefined {
				const lay = shot.derive("lay");
				const seed = lay.uniform(0, 200);
				backdrop(scene, seed);
				const content = lay.integer(3);
				const play = lay.normal(0, 1.2);
				const level =
					p.level +
					play +
					(defect === "underfilled"
						? flaw.uniform(9, 40)
						: defect === "overfilled"
							? -flaw.uniform(7, Math.max(8, p.level - p.shoulder - 2))
							: 0);
				const off: [number, number] = [lay.normal(0, 0.8), lay.normal(0, 0.8)];
				const tilt = lay.normal(0, 0.008);
				const shifted = defect === "shifted_label";
				const labelPose = {
					x: off[0],
					y:
						off[1] +
						(shifted ? (flaw.integer(2) ? -1 : 1) * flaw.uniform(9, 16) : 0),
					angle: tilt + (shifted ? flaw.normal(0, 0.08) : 0),
					scale: 1,
				};
				const pose = {
					x: lay.normal(0, 2.5),
					y: lay.normal(0, 1),
					angle: lay.normal(0, 0.006),
					scale: lay.normal(1, 0.006),
				};
				scene.placed(pose, () => {
					glass(
						scene,
						p,
						(palettes[p.liquids] as readonly Colour[])[content] as Colour,
						level,
						seed,
					);
					if (defect === "particles") particles(scene, p, level, flaw);
					cap(scene, p, ribs, defect === "damaged_cap" ? flaw : null);
					const icon =
						defect === "wrong_icon"
							? (content + 1 + flaw.integer(2)) % 3
							: content;
					if (defect !== "missing_label")
						scene.placed(labelPose, () =>
							label(
								scene,
								p,
								icon,
								seed,
								defect === "torn_label" ? flaw : null,
							),
						);
					shine(scene, p);
					if (defect === "cracked_glass") crack(scene, p, flaw);
				});
				if (defect !== "missing_label" && !shifted) return undefined;
				// the whole label counts, not only where its print or its icon differs from what is behind
				const half = p.half - 3;
				return {
					box: [
						labelPose.x - half,
						labelPose.y + p.label[0],
						labelPose.x + half,
						labelPose.y + p.label[1],
					],
					pose,
				};
			},
		};
	},
};

function backdrop(scene: Scene, seed: number): void {
	scene.paint(whole, everywhere, (m, x, y) => {
		const table = smooth(floor - 2, floor + 2, y);
		const glow = 1.08 - 0.34 * smooth(30, 190, Math.hypot(x, (y + 10) * 0.8));
		setColour(
			m,
			mix(rgb(218, 222, 224), rgb(150, 146, 140), table),
			glow *
				(0.97 +
					0.03 * noise(x / 40 + seed, y / 60) +
					0.03 * table * noise(x / 6 + seed, y / 1.5)),
		);
		m.gloss = 0.02;
	});
	// the bottle's contact shadow and its dim mirror image in the table
	scene.paint(
		[-110, floor - 6, 110, floor + 22],
		(x, y) => Math.hypot(x / 74, (y - floor - 2) / 9) * 9 - 9,
		(m, _x, _y, d) => shade(m, 1 - 0.5 * smooth(0, -8, d)),
	);
}

const silhouette = (p: typeof standard): Distance =>
	smoothUnion(
		rectangle([-p.half, p.shoulder, p.half, floor], 15),
		rectangle([-17, -92, 17, p.shoulder + 26], 3),
		16,
	);

/** Joins two shapes with a round fillet (polynomial smooth minimum, Quilez). */
function smoothUnion(a: Distance, b: Distance, k: number): Distance {
	return (x, y) => {
		const da = a(x, y);
		const db = b(x, y);
		const h = Math.max(k - Math.abs(da - db), 0) / k;
		return Math.min(da, db) - (h * h * k) / 4;
	};
}

/** Glass from the side: dark at the rim, where it is looked along; the filled part is a lens that gathers the light box in two bands. */
function glass(
	scene: Scene,
	p: typeof standard,
	liquid: Colour,
	level: number,
	seed: number,
): void {
	const outline = silhouette(p);
	const deep: Colour = [liquid[0] ** 1.7, liquid[1] ** 1.7, liquid[2] ** 1.7];
	scene.paint(
		[-p.half - 2, -94, p.half + 2, floor + 2],
		outline,
		(m, x, y, d) => {
			const rim = smooth(-6, -0.3, d);
			const surface = level - 1.8 * smooth(-8, -2, d); // it climbs the wall
			const u = Math.abs(x) / p.half;
			if (d < -2.6 && y > surface) {
				const lens =
					0.74 +
					0.42 * Math.exp(-(((u - 0.5) / 0.2) ** 2)) -
					0.38 * smooth(0.62, 1, u);
				const low = smooth(level, floor, y);
				setColour(
					m,
					mix(liquid, deep, 0.25 + 0.55 * smooth(0.45, 1, u) + 0.2 * low),
					lens *
						(1.02 - 0.16 * low) *
						(0.96 + 0.06 * noise(x / 26 + seed, y / 30)),
				);
				shade(m, 1 - 0.4 * smooth(3.4, 0, y - surface)); // the meniscus, seen from below
				shade(
					m,
					1 + 0.25 * smooth(9, 4, y - surface) * smooth(3, 5, y - surface),
				);
			} else {
				shade(m, 0.87 + 0.1 * Math.exp(-(((u - 0.55) / 0.2) ** 2)));
				if (d < -2.6 && y > surface - 1.6) shade(m, 1.12);
			}
			shade(m, 1 - 0.62 * rim * rim);
			shade(
				m,
				1 -
					0.3 * smooth(floor - 7, floor - 4, y) +
					0.2 * smooth(floor - 4, floor - 1, y),
			); // the thick bottom
			m.gloss = 0.1;
		},
	);
}

function shine(scene: Scene, p: typeof standard): void {
	const x = -p.half + 10;
	scene.paint(
		[x - 8, p.shoulder, x + 8, floor],
		stroke(x, p.shoulder + 24, x, floor - 16, 7),
		(m, _x, y, d) => {
			m.alpha = 0.42 * smooth(0, -3, d) * (0.8 + 0.2 * noise(y / 20, 3));
			setColour(m, [1, 1, 1]);
		},
	);
	const right = p.half - 7;
	scene.paint(
		[right - 4, p.shoulder, right + 4, floor],
		stroke(right, p.shoulder + 30, right, floor - 20, 3),
		(m, _x, _y, d) => {
			m.alpha = 0.25 * smooth(0, -1.5, d);
			setColour(m, [1, 1, 1]);
		},
	);
}

function cap(
	scene: Scene,
	p: typeof standard,
	ribs: number,
	flaw: Random | null,
): void {
	const dented = flaw
		? circle(
				(flaw.integer(2) ? 1 : -1) * 23,
				flaw.uniform(-116, -98),
				flaw.uniform(5, 9),
			)
		: () => 9;
	const shape: Distance = (x, y) =>
		Math.max(rectangle([-23, -120, 23, -88], 4)(x, y), -dented(x, y));
	scene.paint([-25, -122, 25, -86], shape, (m, x, y, d) => {
		const round = Math.sqrt(Math.max(0.05, 1 - (x / 25) ** 2));
		// ribs crowd towards the sides, as on anything round
		const angle = Math.asin(clamp(x / 24, -1, 1));
		const rib = y > -114 ? Math.cos((angle * ribs * 2 * Math.PI) / 3) : 0;
		setColour(
			m,
			p.cap,
			(0.5 + 0.6 * round) *
				(1 + 0.14 * rib) *
				(1 - 0.35 * smooth(-2, 0, d)) *
				(y < -114 ? 1.12 : 1),
		);
		m.alpha = 1;
		m.gloss = 0.2;
	});
	scene.paint(
		[-26, -89, 26, -82],
		rectangle([-20, -88, 20, -84], 1.5),
		(m, x) =>
			setColour(
				m,
				p.cap,
				0.4 + 0.5 * Math.sqrt(Math.max(0, 1 - (x / 23) ** 2)),
			),
	);
	if (flaw) {
		const y = flaw.uniform(-112, -94);
		scene.paint(
			[-25, y - 6, 25, y + 6],
			within(
				stroke(-20, y, flaw.uniform(-4, 20), y + flaw.normal(0, 3), 1.6),
				shape,
			),
			(m) => shade(m, 1.9),
		);
	}
}

function label(
	scene: Scene,
	p: typeof standard,
	icon: number,
	seed: number,
	flaw: Random | null,
): void {
	const half = p.half - 3;
	const [y0, y1] = p.label;
	let paper: Distance = rectangle([-half, y0, half, y1], 2);
	if (flaw) {
		const corner = (
			[
				[-half, y0],
				[half, y0],
				[-half, y1],
				[half, y1],
			] as const
		)[flaw.integer(4)] as readonly [number, number];
		const tear = ragged(
			circle(corner[0], corner[1], flaw.uniform(12, 28)),
			6,
			5,
			flaw.uniform(0, 90),
		);
		const sheet = paper;
		paper = (x, y) => Math.max(sheet(x, y), -tear(x, y));
		scene.paint(
			around(corner[0], corner[1], 45),
			(x, y) => Math.max(sheet(x, y), tear(x, y) - 2.5, -tear(x, y)),
			(m) => setColour(m, rgb(250, 250, 248)),
		); // the torn fibres
	}
	const curved = (x: number) =>
		0.62 + 0.38 * Math.sqrt(Math.max(0, 1 - (x / (half + 4)) ** 2));
	scene.paint([-half - 1, y0 - 1, half + 1, y1 + 1], paper, (m, x, y) => {
		setColour(
			m,
			p.paper,
			curved(x) * (0.97 + 0.05 * noise(x / 1.5 + seed, y / 1.5)),
		);
		m.gloss = 0.04;
	});
	const ink = (shape: Distance, colour: Colour, box: Box) =>
		scene.paint(box, within(shape, paper), (m, x) =>
			setColour(m, colour, curved(x)),
		);
	ink(rectangle([-half - 1, y1 - 13, half + 1, y1 - 5]), p.cap, [
		-half,
		y1 - 14,
		half,
		y1 - 4,
	]);
	const middle = y0 + 20;
	const colours = palettes[p.liquids] as readonly Colour[];
	const area: Box = [-16, middle - 18, 16, middle + 18];
	const deep = (c: Colour): Colour => [c[0] * 0.6, c[1] * 0.6, c[2] * 0.6];
	if (icon === 0) ink(drop(middle), deep(colours[0] as Colour), area);
	if (icon === 1) {
		ink(leaf(middle), deep(colours[1] as Colour), area);
		ink(stroke(-9, middle + 9, 7, middle - 7, 1.2), p.paper, area);
	}
	if (icon === 2) ink(sun(middle), deep(colours[2] as Colour), area);
	// lines of small print, the same on every bottle
	const lines = [0.9, 0.62, 0.78];
	lines.forEach((part, i) => {
		const y = y0 + 40 + 5 * i;
		if (y < y1 - 16)
			ink(
				union(...dashes(-half * 0.7, half * 0.7 * (2 * part - 1), y, i)),
				rgb(84, 84, 88),
				[-half, y - 3, half, y + 3],
			);
	});
}

/** Words of a line of print. */
function dashes(from: number, to: number, y: number, row: number): Distance[] {
	const words: Distance[] = [];
	let x = from;
	for (let i = 0; x < to - 4; i++) {
		const long = 4 + ((i * 5 + row * 3) % 4) * 2.6;
		words.push(stroke(x, y, Math.min(to, x + long), y, 1.7));
		x += long + 4;
	}
	return words;
}

function drop(cy: number): Distance {
	const round = circle(0, cy + 4, 9.5);
	// the two tangents from the tip to the circle: distance 19 over radius 9.5 is half an angle of 30 degrees
	const tip: Distance = (x, y) =>
		Math.max(0.866 * Math.abs(x) - 0.5 * (y - (cy - 15)), y - cy + 0.75);
	return union(round, tip);
}
const leaf = (cy: number): Distance =>
	within(circle(-6, cy - 6, 17), circle(6, cy + 6, 17));
function sun(cy: number): Distance {
	const rays = Array.from({ length: 8 }, (_, k) => {
		const [c, s] = [Math.cos((k * Math.PI) / 4), Math.sin((k * Math.PI) / 4)];
		return stroke(9.5 * c, cy + 9.5 * s, 13.5 * c, cy + 13.5 * s, 2.4);
	});
	return union(circle(0, cy, 7.5), ...rays);
}

function particles(
	scene: Scene,
	p: typeof standard,
	level: number,
	flaw: Random,
): void {
	const [top] = p.label;
	for (let i = 0; i < 1 + flaw.integer(5); i++) {
		const x = flaw.uniform(-p.half + 12, p.half - 12);
		const y = flaw.integer(2)
			? flaw.uniform(level + 5, Math.max(level + 8, top - 3))
			: flaw.uniform(p.label[1] + 3, floor - 5);
		const radius = flaw.uniform(0.9, 2.8);
		scene.paint(
			around(x, y, radius * 2),
			ragged(circle(x, y, radius), radius * 0.5, 2, flaw.uniform(0, 90)),
			(m) => {
				m.alpha = 0.8;
				setColour(m, rgb(48, 38, 30));
			},
		);
	}
}

function crack(scene: Scene, p: typeof standard, flaw: Random): void {
	const outline = silhouette(p);
	let [x, y] = [
		flaw.uniform(-p.half + 10, p.half - 10),
		flaw.integer(2)
			? flaw.uniform(p.shoulder + 12, p.label[0])
			: flaw.uniform(p.label[1], floor - 8),
	];
	let angle = flaw.uniform(0, 6.28);
	const points: [number, number][] = [[x, y]];
	for (let i = 0; i < 4 + flaw.integer(6); i++) {
		angle += flaw.normal(0, 0.6);
		x += 5 * Math.cos(angle);
		y += 5 * Math.sin(angle);
		points.push([x, y]);
	}
	const line = polyline(points, flaw.uniform(0.9, 1.5));
	const box: Box = [-p.half, -94, p.half, floor];
	scene.paint(box, within(line, outline), (m) =>
		setColour(m, mix([m.r, m.g, m.b], [1, 1, 1], 0.6)),
	);
	scene.paint(
		box,
		within((a, b) => line(a - 1.1, b - 0.8), outline),
		(m) => shade(m, 0.62),
	);
}
