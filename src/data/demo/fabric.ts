/** A twill cloth close up: a texture that fills the picture, with yarns that wander and vary. */
import type { Random } from "../../random.ts";
import type { Family } from "./product.ts";
import {
	around,
	type Brush,
	type Colour,
	clamp,
	clouds,
	everywhere,
	hash,
	mix,
	noise,
	polyline,
	ragged,
	rgb,
	type Scene,
	circle,
	setColour,
	shade,
	smooth,
	whole,
} from "./scene.ts";

const standard = {
	pitch: 9,
	repeat: 3,
	over: 2,
	warp: rgb(116, 138, 158),
	weft: rgb(196, 190, 174),
	stripe: 0,
};

function chosen(random: Random): typeof standard {
	const colour = (): Colour =>
		rgb(
			random.uniform(40, 215),
			random.uniform(40, 200),
			random.uniform(40, 200),
		);
	const repeat = 2 + random.integer(3);
	return {
		pitch: random.uniform(7, 12),
		repeat,
		over: repeat > 2 ? 1 + random.integer(repeat - 1) : 1,
		warp: colour(),
		weft: colour(),
		stripe: random.uniform() < 0.3 ? 6 + random.integer(5) : 0,
	};
}

interface Flaws {
	broken?: { yarn: number; from: number; to: number };
	misweave?: { u: number; v: number; width: number; height: number };
}

export const fabric: Family = {
	name: "fabric",
	layout: "mvtec",
	defects: ["broken_yarn", "hole", "stain", "foreign_thread", "misweave"].map(
		(name) => ({ name, kind: "structural" }),
	),
	create(random, twin) {
		const p = random ? chosen(random) : standard;
		const stripe = twin ? (p.stripe === 0 ? 12 : 0) : p.stripe;
		return {
			draw(scene, shot, defect, flaw) {
				const lay = shot.derive("lay");
				const turn = lay.normal(0, 0.02);
				const pose = {
					x: lay.uniform(-20, 20),
					y: lay.uniform(-20, 20),
					angle: turn,
					scale: lay.normal(1, 0.012),
				};
				const roll = 1 + lay.integer(200); // which yarns: another piece of the roll
				const cx = flaw.uniform(-80, 80);
				const cy = flaw.uniform(-80, 80);
				const flaws: Flaws = {};
				if (defect === "broken_yarn")
					flaws.broken = {
						yarn: Math.round(cx / p.pitch),
						from: cy - flaw.uniform(14, 55),
						to: cy + flaw.uniform(14, 55),
					};
				if (defect === "misweave")
					flaws.misweave = {
						u: Math.round(cx / p.pitch),
						v: Math.round(cy / p.pitch),
						width: 3 + flaw.integer(5),
						height: 2 + flaw.integer(4),
					};
				scene.placed(pose, () => {
					scene.paint(whole, everywhere, cloth(p, stripe, roll, flaws));
					if (defect === "hole") hole(scene, cx, cy, flaw, p);
					if (defect === "stain") stain(scene, cx, cy, flaw);
					if (defect === "foreign_thread") thread(scene, cx, cy, flaw);
				});
				return undefined;
			},
		};
	},
};

function cloth(
	p: typeof standard,
	stripe: number,
	roll: number,
	flaws: Flaws,
): Brush {
	const { pitch, repeat, over } = p;
	return (m, x, y) => {
		const u =
			x / pitch +
			0.35 * noise(x / 70 + roll, y / 45) +
			0.1 * noise(x / 11, y / 9 + roll);
		const v =
			y / pitch +
			0.35 * noise(x / 45 + roll, y / 70 + 31) +
			0.1 * noise(x / 9 + roll, y / 11);
		const iu = Math.floor(u);
		const iv = Math.floor(v);
		const fu = u - iu;
		const fv = v - iv;
		let onTop = (((iu + iv) % repeat) + repeat) % repeat < over; // the warp lies over the weft
		const gone =
			flaws.broken &&
			iu === flaws.broken.yarn &&
			y > flaws.broken.from &&
			y < flaws.broken.to;
		if (
			flaws.misweave &&
			Math.abs(iu - flaws.misweave.u) <= flaws.misweave.width / 2 &&
			Math.abs(iv - flaws.misweave.v) <= flaws.misweave.height / 2
		)
			onTop = (iv & 1) === 0;
		if (gone) onTop = false;
		// across the yarn a round profile; along it, it dives under its neighbours
		const across = 2 * (onTop ? fu : fv) - 1;
		const along = onTop ? fv : fu;
		const thick =
			0.9 + 0.25 * (hash(onTop ? iu + roll : iv - roll, onTop ? 1 : 2) - 0.5);
		const a = Math.abs(across) / thick;
		const round = a < 1 ? Math.sqrt(1 - a * a) : 0;
		const dive = 0.72 + 0.28 * Math.sin(Math.PI * clamp(along, 0.02, 0.98));
		const fibre = noise((onTop ? u : v) * 9, (onTop ? y : x) / 3.2 + roll);
		const twist = noise(
			(across * 1.4 + (onTop ? y : x) / pitch) * 2.6,
			(onTop ? iu : iv) * 7.3,
		);
		m.height = gone
			? 0.2 * pitch * round * dive - 1.2
			: 0.2 * pitch * round * dive;
		const dyed = onTop
			? stripe > 0 && ((iu % stripe) + stripe) % stripe === 0
				? rgbStripe
				: p.warp
			: p.weft;
		const bright =
			(0.9 + 0.2 * hash(onTop ? iu + roll : iv - roll, 5)) *
			(0.72 + 0.34 * fibre + 0.14 * twist) *
			(0.3 + 0.7 * round) *
			(0.94 + 0.12 * noise(x / 50 + roll, y / 50));
		setColour(m, dyed, gone ? bright * 0.75 : bright);
		m.gloss = 0.05;
		m.metal = 0;
	};
}
const rgbStripe = rgb(170, 60, 52);

function hole(
	scene: Scene,
	cx: number,
	cy: number,
	flaw: Random,
	p: typeof standard,
): void {
	const radius = flaw.uniform(5, 15);
	const seed = flaw.uniform(0, 90);
	const shape = ragged(circle(cx, cy, radius), radius * 0.45, 6, seed);
	scene.paint(
		around(cx, cy, radius * 2),
		ragged(circle(cx, cy, radius * 1.25), radius * 0.4, 4, seed + 9),
		(m, _x, _y, d) => {
			m.height += 0.9 * smooth(-3, 0, d);
			shade(m, 0.85);
		},
	);
	scene.paint(around(cx, cy, radius * 1.7), shape, (m, _x, _y, d) => {
		setColour(m, mix(p.warp, [0.02, 0.02, 0.02], 0.93));
		m.height = -5 * smooth(0, -4, d);
	});
	for (let i = 0; i < 7; i++) {
		const angle = flaw.uniform(0, 6.28);
		const [x, y] = [
			cx + radius * 1.15 * Math.cos(angle),
			cy + radius * 1.15 * Math.sin(angle),
		];
		const inward = angle + Math.PI + flaw.normal(0, 0.5);
		const long = flaw.uniform(0.3, 0.9) * radius;
		scene.paint(
			around(x, y, long + 3),
			polyline(
				[
					[x, y],
					[x + long * Math.cos(inward), y + long * Math.sin(inward)],
				],
				0.9,
			),
			(m) => {
				setColour(m, i % 2 ? p.warp : p.weft, 0.8);
				m.height = 1;
			},
		);
	}
}

function stain(scene: Scene, cx: number, cy: number, flaw: Random): void {
	const radius = flaw.uniform(9, 26);
	const strength = flaw.uniform(0.22, 0.7); // from hardly to be seen to coffee
	const seed = flaw.uniform(0, 90);
	const tint = mix(rgb(120, 84, 44), rgb(60, 62, 70), flaw.integer(2));
	scene.paint(
		around(cx, cy, radius * 2),
		ragged(circle(cx, cy, radius), radius * 0.5, 14, seed),
		(m, x, y, d) => {
			const rim = 0.75 + 0.25 * smooth(-4, -1, d);
			const wet =
				strength *
				rim *
				smooth(0, -3, d) *
				(0.75 + 0.5 * clouds(x / 9, y / 9 + seed));
			m.r *= 1 - wet * (1 - tint[0]);
			m.g *= 1 - wet * (1 - tint[1]);
			m.b *= 1 - wet * (1 - tint[2]);
		},
	);
}

function thread(scene: Scene, cx: number, cy: number, flaw: Random): void {
	let angle = flaw.uniform(0, 6.28);
	let [x, y] = [cx, cy];
	const points: [number, number][] = [[x, y]];
	const steps = 6 + flaw.integer(9);
	for (let i = 0; i < steps; i++) {
		angle += flaw.normal(0, 0.45);
		x += 7 * Math.cos(angle);
		y += 7 * Math.sin(angle);
		points.push([x, y]);
	}
	const width = flaw.uniform(1.4, 2.6);
	const colour = [rgb(30, 30, 34), rgb(224, 220, 210), rgb(150, 40, 44)][
		flaw.integer(3)
	] as Colour;
	const xs = points.map((q) => q[0]);
	const ys = points.map((q) => q[1]);
	scene.paint(
		[
			Math.min(...xs) - 4,
			Math.min(...ys) - 4,
			Math.max(...xs) + 4,
			Math.max(...ys) + 4,
		],
		polyline(points, width),
		(m, px, py, d) => {
			setColour(m, colour, 0.8 + 0.4 * noise(px, py));
			m.height = 3 + 0.8 * Math.sqrt(Math.max(0, -d * width));
			m.gloss = 0.15;
		},
	);
}
