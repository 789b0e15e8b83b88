/** A turned steel flange on a mat: rings of the lathe, chamfers, a bore and bolt holes. */
import type { Random } from "../../random.ts";
import type { Family } from "./product.ts";
import {
	around,
	circle,
	clamp,
	clouds,
	type Colour,
	type Distance,
	everywhere,
	hash,
	mix,
	noise,
	polyline,
	ragged,
	rgb,
	type Scene,
	setColour,
	shade,
	smooth,
	whole,
	without,
} from "./scene.ts";

const standard = {
	outer: 96,
	hub: 52,
	bore: 27,
	holes: 6,
	holeAt: 74,
	hole: 9.5,
	steel: rgb(196, 198, 202),
	mat: rgb(58, 64, 66),
	raised: 7,
};

function chosen(random: Random): typeof standard {
	const outer = random.uniform(80, 104);
	const hub = outer * random.uniform(0.42, 0.58);
	const holeAt = (outer + hub) / 2;
	const steel = [
		rgb(196, 198, 202),
		rgb(204, 178, 122),
		rgb(188, 132, 100),
		rgb(150, 156, 164),
	][random.integer(4)] as Colour;
	const mat = rgb(
		random.uniform(30, 150),
		random.uniform(40, 150),
		random.uniform(40, 150),
	);
	return {
		outer,
		hub,
		bore: hub * random.uniform(0.4, 0.65),
		holes: 3 + random.integer(6),
		holeAt,
		hole: Math.min(10, (outer - hub) * random.uniform(0.15, 0.27)),
		steel,
		mat,
		raised: random.uniform(4, 9),
	};
}

export const flange: Family = {
	name: "flange",
	layout: "mvtec",
	defects: [
		"scratch",
		"dent",
		"chipped_edge",
		"rust",
		"blocked_hole",
		"swarf",
	].map((name) => ({ name, kind: "structural" })),
	create(random, twin) {
		const p = random ? chosen(random) : standard;
		return {
			draw(scene, shot, defect, flaw) {
				const lay = shot.derive("lay");
				const seed = lay.uniform(0, 200);
				mat(scene, p.mat, seed);
				const pose = {
					x: lay.normal(0, 2.5),
					y: lay.normal(0, 2.5),
					angle: lay.normal(0, 0.06),
					scale: lay.normal(1, 0.008),
				};
				scene.placed(pose, () => {
					const blocked =
						defect === "blocked_hole" ? flaw.integer(p.holes) : -1;
					const bitten = defect === "chipped_edge" ? bite(p, flaw) : null;
					part(scene, p, seed, -0.65 - pose.angle, blocked, bitten, twin);
					if (defect === "scratch") scratch(scene, p, flaw);
					if (defect === "dent") dent(scene, p, flaw);
					if (defect === "rust") rust(scene, p, flaw);
					if (defect === "swarf") swarf(scene, p, flaw);
				});
				return undefined;
			},
		};
	},
};

/** A rubber mat with fine grain: the table under several products. */
export function mat(scene: Scene, colour: Colour, seed: number): void {
	scene.paint(whole, everywhere, (m, x, y) => {
		const grain = noise(x / 1.3 + seed, y / 1.3);
		setColour(
			m,
			colour,
			0.8 + 0.25 * grain + 0.15 * clouds(x / 40, y / 40 + seed),
		);
		m.height = 0.35 * grain;
		m.gloss = 0.03;
	});
}

const holeCentre = (p: typeof standard, k: number): [number, number] => {
	const angle = (2 * Math.PI * (k + 0.25)) / p.holes;
	return [p.holeAt * Math.cos(angle), p.holeAt * Math.sin(angle)];
};

function part(
	scene: Scene,
	p: typeof standard,
	seed: number,
	sheenAt: number,
	blocked: number,
	bitten: Distance | null,
	twin: boolean,
): void {
	const openings = [circle(0, 0, p.bore)];
	const plugs: [number, number][] = [];
	for (let k = 0; k < p.holes; k++) {
		const [x, y] = holeCentre(p, k);
		if (k === blocked) plugs.push([x, y]);
		else openings.push(circle(x, y, p.hole));
	}
	const solid = without(
		circle(0, 0, p.outer),
		...openings,
		...(bitten ? [bitten] : []),
	);
	const reach = p.outer + 2;
	const thickness = 9;
	scene.paint([-reach, -reach, reach, reach], solid, (m, x, y, d) => {
		const r = Math.sqrt(x * x + y * y);
		const chamfer = 2.6 * (1 - clamp(-d / 2.6));
		const hub = p.raised * smooth(p.hub + 1.5, p.hub - 2.5, r);
		// lathe rings: fine ones everywhere, every radius its own depth
		const ring = hash(Math.floor(r * 1.6), 3) - 0.5;
		const turned = 0.16 * Math.sin(r * 2.9) + 0.14 * ring;
		m.height = thickness + hub - chamfer + turned;
		const worn =
			0.93 +
			0.1 * clouds(x / 30 + seed, y / 30) +
			0.07 * ring +
			0.05 * (noise(r * 2.3, seed) - 0.5);
		// a turned face mirrors the lamp as a bow tie: two bright sectors that stay where they are when the part turns
		const sheen = Math.cos(2 * (Math.atan2(y, x) - sheenAt));
		setColour(
			m,
			p.steel,
			worn * (0.86 + 0.2 * sheen + 0.14 * Math.max(0, sheen) ** 6),
		);
		m.metal = 0.85;
		m.gloss = 0.55;
	});
	for (const hole of [
		...openings
			.slice(1)
			.map((_, i) => holeCentre(p, i < blocked || blocked < 0 ? i : i + 1)),
		[0, 0] as [number, number],
	]) {
		const radius = hole[0] === 0 && hole[1] === 0 ? p.bore : p.hole;
		// the wall that is seen in the hole is dark
		scene.paint(
			around(hole[0], hole[1], radius),
			circle(hole[0], hole[1], radius - 0.3),
			(m, _x, _y, d) => shade(m, 0.5 + 0.3 * smooth(0, -radius * 0.6, d)),
		);
	}
	for (const [x, y] of plugs) {
		scene.paint(
			around(x, y, p.hole + 1),
			circle(x, y, p.hole),
			(m, _x, _y, d) => {
				m.height -= 0.9 * smooth(0, -1.2, d);
				shade(m, 0.86);
			},
		);
	}
	if (twin) {
		const [x, y] = [p.holeAt * Math.cos(0.12), -p.holeAt * Math.sin(0.12)];
		scene.paint(around(x, y, 4), circle(x, y, 3), (m, _x, _y, d) => {
			m.height -= 1.6 * smooth(0, -2.2, d); // the punch mark of another batch
		});
	}
}

function bite(p: typeof standard, flaw: Random): Distance {
	const angle = flaw.uniform(0, 6.28);
	const radius = flaw.uniform(4, 12);
	const at = p.outer + radius * 0.35;
	return ragged(
		circle(at * Math.cos(angle), at * Math.sin(angle), radius),
		radius * 0.4,
		3.5,
		flaw.uniform(0, 90),
	);
}

/** A point on the plate, away from bore and rim. */
function spot(p: typeof standard, flaw: Random): [number, number] {
	const angle = flaw.uniform(0, 6.28);
	const radius = flaw.uniform(p.bore + 8, p.outer - 10);
	return [radius * Math.cos(angle), radius * Math.sin(angle)];
}

/** Only where there is metal. */
const onMetal = (p: typeof standard): Distance =>
	without(
		circle(0, 0, p.outer - 1),
		circle(0, 0, p.bore + 1),
		...Array.from({ length: p.holes }, (_, k) =>
			circle(...holeCentre(p, k), p.hole + 1),
		),
	);

function scratch(scene: Scene, p: typeof standard, flaw: Random): void {
	const [x, y] = spot(p, flaw);
	const angle = flaw.uniform(0, 6.28);
	const long = flaw.uniform(12, 45);
	const bend = flaw.normal(0, 0.15);
	const points = Array.from(
		{ length: 5 },
		(_, i) =>
			[
				x + (i * long * Math.cos(angle + i * bend)) / 4,
				y + (i * long * Math.sin(angle + i * bend)) / 4,
			] as const,
	);
	const depth = flaw.uniform(0.5, 1.6);
	const metal = onMetal(p);
	const line = polyline(points, flaw.uniform(1.2, 2.4));
	scene.paint(
		around(x, y, long + 4),
		(a, b) => Math.max(line(a, b), metal(a, b)),
		(m, _x, _y, d) => {
			m.height -= depth * smooth(0, -0.8, d);
			shade(m, 1.18);
		},
	);
}

function dent(scene: Scene, p: typeof standard, flaw: Random): void {
	const [x, y] = spot(p, flaw);
	const radius = flaw.uniform(5, 12);
	const depth = flaw.uniform(0.9, 2.6);
	const metal = onMetal(p);
	scene.paint(
		around(x, y, radius + 1),
		(a, b) => Math.max(circle(x, y, radius)(a, b), metal(a, b)),
		(m, a, b) => {
			const t = clamp(Math.hypot(a - x, b - y) / radius);
			m.height -=
				depth * (1 - t * t) ** 2 -
				0.25 * depth * smooth(0.75, 0.9, t) * smooth(1, 0.9, t);
		},
	);
}

function rust(scene: Scene, p: typeof standard, flaw: Random): void {
	const [x, y] = spot(p, flaw);
	const radius = flaw.uniform(6, 20);
	const strength = flaw.uniform(0.5, 0.95);
	const seed = flaw.uniform(0, 90);
	const metal = onMetal(p);
	const shape = ragged(circle(x, y, radius), radius * 0.7, 5, seed);
	scene.paint(
		around(x, y, radius * 1.8),
		(a, b) => Math.max(shape(a, b), metal(a, b)),
		(m, a, b, d) => {
			const deep =
				strength *
				smooth(0, -3, d) *
				smooth(0.25, 0.5, clouds(a / 4 + seed, b / 4));
			setColour(
				m,
				mix(
					[m.r, m.g, m.b],
					mix(rgb(122, 62, 28), rgb(74, 40, 26), noise(a / 2, b / 2)),
					deep,
				),
			);
			m.metal *= 1 - deep;
			m.gloss *= 1 - deep;
			m.height += 0.5 * deep * noise(a, b);
		},
	);
}

function swarf(scene: Scene, p: typeof standard, flaw: Random): void {
	let [x, y] = spot(p, flaw);
	let angle = flaw.uniform(0, 6.28);
	const curl = flaw.uniform(0.25, 0.55);
	const points: [number, number][] = [[x, y]];
	for (let i = 0; i < 7 + flaw.integer(7); i++) {
		angle += curl;
		x += 3.6 * Math.cos(angle);
		y += 3.6 * Math.sin(angle);
		points.push([x, y]);
	}
	const shape = polyline(points, flaw.uniform(2, 3.2));
	scene.paint([-128, -128, 128, 128], shape, (m, a, b, d) => {
		setColour(m, rgb(214, 216, 222), 0.75 + 0.4 * noise(a / 2, b / 2));
		m.height = Math.max(m.height, 9) + 1.5 + 1.6 * Math.sqrt(Math.max(0, -d));
		m.metal = 0.9;
		m.gloss = 0.8;
	});
}
