/** A coated tablet with a score line and a printed code of strokes. */
import type { Random } from "../../random.ts";
import { mat } from "./flange.ts";
import type { Family } from "./product.ts";
import {
	around,
	type Box,
	circle,
	clamp,
	clouds,
	type Colour,
	type Distance,
	hash,
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
} from "./scene.ts";

type Line = readonly (readonly [number, number])[];
/** Letters and digits as strokes on a grid of 2 x 4, origin top left. */
const glyphs: readonly (readonly Line[])[] = [
	[
		[
			[0, 4],
			[0, 0],
		],
		[
			[2, 0],
			[0, 2],
			[2, 4],
		],
	], // K
	[
		[
			[0, 0],
			[2, 0],
			[0.7, 4],
		],
	], // 7
	[
		[
			[0, 0],
			[0, 4],
			[2, 4],
		],
	], // L
	[
		[
			[2, 0],
			[0, 0],
			[0, 2],
			[2, 2],
			[2, 4],
			[0, 4],
		],
	], // S
	[
		[
			[0, 4],
			[1, 0],
			[2, 4],
		],
		[
			[0.5, 2.6],
			[1.5, 2.6],
		],
	], // A
	[
		[
			[0, 0],
			[2, 0],
			[2, 4],
			[0, 4],
			[0, 0],
		],
	], // 0
	[
		[
			[2, 4],
			[2, 0],
			[0, 2.6],
			[2, 2.6],
		],
	], // 4
	[
		[
			[0, 4],
			[0, 0],
			[1, 2],
			[2, 0],
			[2, 4],
		],
	], // M
	[
		[
			[0, 0],
			[1, 4],
			[2, 0],
		],
	], // V
	[
		[
			[2, 0],
			[0, 0],
			[0, 4],
			[2, 4],
		],
		[
			[0, 2],
			[1.5, 2],
		],
	], // E
];

const standard = {
	half: [84, 84] as [number, number],
	colour: rgb(232, 224, 206),
	ink: rgb(52, 74, 118),
	mat: rgb(74, 82, 88),
	code: [0, 1] as [number, number],
	dome: 15,
	score: true,
};

function chosen(random: Random): typeof standard {
	const long = random.uniform(76, 100);
	const colour = rgb(
		random.uniform(150, 245),
		random.uniform(140, 240),
		random.uniform(130, 235),
	);
	const ink = [
		rgb(40, 40, 44),
		rgb(52, 74, 118),
		rgb(130, 40, 44),
		rgb(40, 92, 60),
	][random.integer(4)] as Colour;
	return {
		half: [long, random.integer(2) ? long : long * random.uniform(0.5, 0.7)],
		colour,
		ink,
		mat: rgb(
			random.uniform(40, 110),
			random.uniform(40, 110),
			random.uniform(40, 120),
		),
		code: [random.integer(glyphs.length), random.integer(glyphs.length)],
		dome: random.uniform(10, 18),
		score: random.integer(3) > 0,
	};
}

export const tablet: Family = {
	name: "tablet",
	layout: "mvtec",
	defects: [
		"chip",
		"crack",
		"contamination",
		"faulty_print",
		"discoloration",
	].map((name) => ({ name, kind: "structural" })),
	create(random, twin) {
		const p = random ? chosen(random) : standard;
		const code: [number, number] = twin
			? [p.code[0], (p.code[1] + 1) % glyphs.length]
			: p.code;
		return {
			draw(scene, shot, defect, flaw) {
				const lay = shot.derive("lay");
				const seed = lay.uniform(0, 200);
				mat(scene, p.mat, seed);
				scene.placed(
					{
						x: lay.normal(0, 4),
						y: lay.normal(0, 4),
						angle: lay.normal(0, 0.1),
						scale: lay.normal(1, 0.012),
					},
					() => {
						const missing = defect === "chip" ? chip(p, flaw) : null;
						body(scene, p, seed, missing);
						const press = lay.normal(0, 0.8); // the print sits a little off
						print(
							scene,
							p,
							code,
							press,
							lay.uniform(0.86, 0.97),
							defect === "faulty_print" ? flaw : null,
							seed,
						);
						if (defect === "crack") crack(scene, p, flaw);
						if (defect === "contamination") contamination(scene, p, flaw);
						if (defect === "discoloration") discoloration(scene, p, flaw);
					},
				);
				return undefined;
			},
		};
	},
};

const outline = ({ half: [w, h] }: typeof standard): Distance =>
	rectangle([-w, -h, w, h], Math.min(w, h));
const frame = ({ half: [w, h] }: typeof standard): Box => [
	-w - 2,
	-h - 2,
	w + 2,
	h + 2,
];

function body(
	scene: Scene,
	p: typeof standard,
	seed: number,
	chip: { shape: Distance; box: Box } | null,
): void {
	const shape = outline(p);
	const r = Math.min(...p.half);
	const groove = p.score
		? stroke(0, -p.half[1] * 0.9, 0, p.half[1] * 0.9, 4)
		: () => 9;
	scene.paint(frame(p), shape, (m, x, y, d) => {
		const t = clamp(-d / r); // 0 at the rim, 1 in the middle
		const domed =
			6 * smooth(0, 0.06, t) + p.dome * Math.sqrt(1 - (1 - t) ** 2) * 0.8;
		const pits = noise(x / 1.6 + seed, y / 1.6);
		m.height = 6 + domed + 0.22 * pits - 2 * smooth(1, -1.8, groove(x, y));
		const speckle =
			hash(Math.floor(x * 1.1 + seed), Math.floor(y * 1.1)) > 0.965 ? 0.9 : 1;
		setColour(
			m,
			p.colour,
			(0.93 + 0.06 * clouds(x / 25 + seed, y / 25) + 0.03 * pits) * speckle,
		);
		m.gloss = 0.22;
		m.metal = 0;
	});
	if (!chip) return;
	scene.paint(
		chip.box,
		(x, y) => Math.max(chip.shape(x, y), shape(x, y)),
		(m, x, y, d) => {
			// the broken face: the uncoated core, rough and lower
			m.height =
				Math.max(3, m.height - 8 * smooth(0, -5, d)) +
				1.4 * clouds(x / 3, y / 3);
			setColour(
				m,
				mix(p.colour, rgb(240, 234, 224), 0.6),
				0.82 + 0.2 * noise(x / 2, y / 2),
			);
			m.gloss = 0;
		},
	);
}

function chip(p: typeof standard, flaw: Random): { shape: Distance; box: Box } {
	const angle = flaw.uniform(0, 6.28);
	const radius = flaw.uniform(6, 17);
	const [cx, cy] = [
		(p.half[0] - 2) * Math.cos(angle),
		(p.half[1] - 2) * Math.sin(angle),
	];
	// on an oblong tablet the rim is not on the ellipse: go inwards until the middle of the chip is just inside
	const shape = outline(p);
	let t = 1.3;
	while (t > 0.3 && shape(cx * t, cy * t) > 0) t -= 0.02;
	return {
		shape: ragged(
			circle(cx * t, cy * t, radius),
			radius * 0.4,
			5,
			flaw.uniform(0, 90),
		),
		box: around(cx * t, cy * t, radius * 1.5),
	};
}

function print(
	scene: Scene,
	p: typeof standard,
	code: readonly [number, number],
	press: number,
	ink: number,
	flaw: Random | null,
	seed: number,
): void {
	const unit = Math.min(p.half[1] * 0.22, p.half[0] * 0.16);
	const width = unit * 0.62;
	const kind = flaw ? flaw.integer(3) : -1; // 0 a stroke is missing, 1 smeared, 2 pale in part
	const which = flaw ? flaw.integer(2) : 0;
	code.forEach((letter, place) => {
		const lines = glyphs[letter] as readonly Line[];
		const x0 = press + (place === 0 ? -unit * 3.3 : unit * 1.3);
		const y0 = press - 2 * unit;
		const hit = flaw !== null && place === which;
		lines.forEach((line, i) => {
			let points = line.map(
				([x, y]) => [x0 + x * unit, y0 + y * unit] as const,
			);
			if (hit && kind === 0 && i === lines.length - 1)
				points = points.slice(0, Math.max(1, points.length - 1));
			if (points.length < 2) return;
			const shape = polyline(points, width);
			scene.paint(
				[x0 - width, y0 - width, x0 + 2 * unit + width, y0 + 4 * unit + width],
				shape,
				(m, x, y) => {
					const pale =
						hit && kind === 2
							? 0.25 + 0.75 * smooth(-0.1, 0.25, clouds(x / 12, y / 12) - 0.55)
							: 1;
					m.alpha =
						ink *
						pale *
						(0.82 +
							0.3 * smooth(0.2, 0.5, noise(x / 1.5 + seed, y / 1.5)) -
							0.12);
					setColour(m, p.ink);
					m.gloss = 0.12;
				},
			);
			if (!(hit && kind === 1)) return;
			const pull = 9; // the wet print was wiped to the right
			scene.paint(
				[
					x0 - width,
					y0 - width,
					x0 + 2 * unit + width + pull,
					y0 + 4 * unit + width,
				],
				(x, y) =>
					Math.min(shape(x, y), shape(x - pull * 0.5, y), shape(x - pull, y)),
				(m, x, y) => {
					m.alpha = 0.38 * noise(x / 9, y / 1.2);
					setColour(m, p.ink);
				},
			);
		});
	});
}

function spot(
	p: typeof standard,
	flaw: Random,
	inside: number,
): [number, number] {
	return [
		flaw.uniform(-1, 1) * p.half[0] * inside,
		flaw.uniform(-1, 1) * p.half[1] * inside,
	];
}

function crack(scene: Scene, p: typeof standard, flaw: Random): void {
	let [x, y] = spot(p, flaw, 0.45);
	let angle = flaw.uniform(0, 6.28);
	const points: [number, number][] = [[x, y]];
	for (let i = 0; i < 5 + flaw.integer(8); i++) {
		angle += flaw.normal(0, 0.55);
		x += 6 * Math.cos(angle);
		y += 6 * Math.sin(angle);
		points.push([x, y]);
	}
	const shape = outline(p);
	const line = polyline(points, flaw.uniform(0.9, 1.9));
	scene.paint(
		frame(p),
		(a, b) => Math.max(line(a, b), shape(a, b)),
		(m, _x, _y, d) => {
			m.height -= 2.4 * smooth(0.2, -0.6, d);
			shade(m, 0.5);
		},
	);
}

function contamination(scene: Scene, p: typeof standard, flaw: Random): void {
	const colour = [rgb(40, 34, 30), rgb(96, 62, 34), rgb(46, 66, 44)][
		flaw.integer(3)
	] as Colour;
	for (let i = 0; i < 1 + flaw.integer(3); i++) {
		const [x, y] = spot(p, flaw, 0.62);
		const radius = flaw.uniform(1.4, 5.5);
		scene.paint(
			around(x, y, radius * 2),
			ragged(circle(x, y, radius), radius * 0.6, 2.5, flaw.uniform(0, 90)),
			(m, a, b, d) => {
				m.alpha = 0.9;
				setColour(m, colour, 0.8 + 0.5 * noise(a, b));
				m.height += 0.8 * smooth(0, -2, d);
			},
		);
	}
}

function discoloration(scene: Scene, p: typeof standard, flaw: Random): void {
	const [x, y] = spot(p, flaw, 0.6);
	const radius = flaw.uniform(12, 30);
	const strength = flaw.uniform(0.15, 0.55);
	const tint = [rgb(206, 158, 70), rgb(170, 150, 150), rgb(214, 150, 130)][
		flaw.integer(3)
	] as Colour;
	const shape = outline(p);
	const seed = flaw.uniform(0, 90);
	const blot = ragged(circle(x, y, radius), radius * 0.5, 14, seed);
	scene.paint(
		frame(p),
		(a, b) => Math.max(blot(a, b), shape(a, b)),
		(m, a, b, d) => {
			m.alpha =
				strength * smooth(0, -9, d) * (0.7 + 0.6 * clouds(a / 8, b / 8 + seed));
			setColour(m, tint);
		},
	);
}
