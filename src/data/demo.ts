/**
 * The demo product line: whole data sets drawn from a seed, in MVTec AD's and MVTec LOCO AD's layouts, that anyone may redistribute.
 * Parts are painted by demo/ (families of products), photographed by demo/photo.ts, and written as PNG with masks.
 * The same options give the same bytes. A mask is where the painted part differs from the same part without its defect, before
 * any lighting: exact, and the same for a subtle defect as for an obvious one.
 */
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { type Tensor, uint8 } from "../engine/tensor.ts";
import { fail } from "../errors.ts";
import { Random } from "../random.ts";
import { removeTree, treeProblem, writeAtomic } from "../storage.ts";
import { families } from "./demo/index.ts";
import { type Drift, photograph, takePhoto } from "./demo/photo.ts";
import type { DefectKind, Family, Product, Region } from "./demo/product.ts";
import { rectangle, Scene } from "./demo/scene.ts";
import { exists } from "./files.ts";
import { encodePng } from "./image.ts";

/** Changes with every change of the pictures. */
const version = 1;
const stampName = "keepsight-demo.json";
/** Of every file that is drawn; dotfiles are a kill's or the file manager's. */
const drawnName = /^(\..*|\d{3,}(_mask)?\.png|(defects_config|dirty)\.json)$/;
/** A defect smaller than this, in square units of a picture 256 wide, is drawn again elsewhere. */
const leastDefect = 20;

export interface DemoOptions {
	/** Default 0. */
	readonly seed?: number;
	/** Number of products, default 5: the standard line. More are drawn from families with other colours, shapes and counts. */
	readonly products?: number;
	/** Pixels a side, default 256. */
	readonly size?: number;
	/** Good images to learn from, default 64. */
	readonly train?: number;
	/** LOCO's validation/good, default 14. */
	readonly validation?: number;
	/** Good test images, default 20. */
	readonly testGood?: number;
	/** Test images of each kind of defect, default 4. */
	readonly perDefect?: number;
	/** Also drift_light/ and drift_blur/: the same products, learnt as before, tested under another lamp or out of focus. */
	readonly drift?: boolean;
	/** With `drift`: further good images under that lamp or out of focus, in recalibrate/ of each category of theirs. Default 0. */
	readonly recalibrate?: number;
	/** Also dirty/: this share of train/good shows defects, listed in each category's dirty.json. Default 0: none. */
	readonly dirty?: number;
	/** Of how many products, from the first, there are drift and dirty folders. Default: of all. */
	readonly varied?: number;
}
type Settings = Required<Omit<DemoOptions, "varied">> &
	Pick<DemoOptions, "varied">;
const defaults: Settings = {
	seed: 0,
	products: 5,
	size: 256,
	train: 64,
	validation: 14,
	testGood: 20,
	perDefect: 4,
	drift: false,
	recalibrate: 0,
	dirty: 0,
};

export interface DemoProduct {
	/** "mvtec/fabric"; beyond the standard line "mvtec/fabric_005". */
	readonly id: string;
	readonly family: string;
	/** The product it can hardly be told from. */
	readonly twinOf?: string;
}
export interface Demo {
	readonly dir: string;
	readonly products: readonly DemoProduct[];
	/** All categories written, the drift and dirty ones included. */
	readonly categories: readonly string[];
	/** false: the folder held exactly this line already. */
	readonly drawn: boolean;
}

/** Draws the line into `dir`, unless it is there already. */
export async function drawDemo(
	dir: string,
	options: DemoOptions = {},
	onProgress?: (done: number, all: number) => void | Promise<void>,
): Promise<Demo> {
	const settings = { ...defaults, ...options };
	checkSettings(settings);
	const plans = planProducts(settings);
	const variants = variantsOf(settings, plans);
	const products = plans.map(
		({ id, family, twinOf }): DemoProduct => ({
			id,
			family: family.name,
			...(twinOf === undefined ? {} : { twinOf }),
		}),
	);
	const categories = variants.flatMap((v) => v.plans.map((p) => v.category(p)));
	const stamp = { format: 1, version, ...settings, products, categories };

	const old = await readStamp(dir);
	if (old?.complete === true && same(old, stamp))
		return { dir, products, categories, drawn: false };
	// an interrupted drawing of the same goes on: each file is whole, and no picture depends on those before it
	const goesOn = same(old, stamp);
	if (!goesOn) {
		// what another drawing left goes; anything else is not ours to touch
		const gone = (old?.categories ?? []).map((c) => path.join(dir, c));
		for (const category of gone) await checkDrawn(category);
		for (const category of gone) removeTree(category);
		for (const category of categories) {
			const taken = path.join(dir, category);
			if (await exists(taken)) throw fail("DEMO_FOLDER_TAKEN", { dir: taken });
		}
		writeStamp(dir, { ...stamp, complete: false });
	}

	const studio = new Studio(settings.size);
	const all = variants.reduce(
		(n, v) =>
			n + v.plans.reduce((m, p) => m + shotsOf(p, v, settings).length, 0),
		0,
	);
	let done = 0;
	try {
		for (const variant of variants) {
			for (const plan of variant.plans) {
				const home = path.join(dir, variant.category(plan));
				const shots = shotsOf(plan, variant, settings);
				for (const shot of shots) {
					if (!goesOn || !(await isDrawn(shot, home)))
						await studio.shoot(plan, shot, home);
					await onProgress?.(++done, all);
				}
				if (plan.family.layout === "loco")
					writeAtomic(
						path.join(home, "defects_config.json"),
						json(defectsConfig(plan.family.defects, settings.size)),
					);
				const dirty = shots.filter(
					(s) => s.split === "train" && s.defect !== null,
				);
				if (dirty.length > 0)
					writeAtomic(
						path.join(home, "dirty.json"),
						json(dirty.map((s) => ({ path: s.file, defect: s.defect?.name }))),
					);
			}
		}
	} finally {
		await studio.finish(); // what is being written, also where it is broken off
	}
	writeStamp(dir, { ...stamp, complete: true });
	return { dir, products, categories, drawn: true };
}

/** Pictures of somebody's own among those that were drawn keep them all. */
async function checkDrawn(category: string): Promise<void> {
	if (!(await exists(category))) return;
	const found = await readdir(category, {
		recursive: true,
		withFileTypes: true,
	});
	const own = found.find((f) => !f.isDirectory() && !drawnName.test(f.name));
	if (own)
		throw fail("DEMO_FOLDER_TAKEN", {
			dir: path.join(own.parentPath, own.name),
		});
}

function checkSettings(s: Settings): void {
	const least: Partial<Record<keyof Settings, number>> = {
		seed: 0,
		products: 1,
		size: 32,
		train: 1,
		validation: 0,
		testGood: 0,
		perDefect: 0,
		recalibrate: 0,
	};
	for (const [name, low] of Object.entries(least)) {
		const value = s[name as keyof Settings] as number;
		if (!Number.isInteger(value) || value < low)
			throw fail("DEMO_BAD_OPTION", {
				name,
				value,
				allowed: `a whole number of at least ${low}`,
			});
	}
	if (!(s.dirty >= 0 && s.dirty <= 1))
		throw fail("DEMO_BAD_OPTION", {
			name: "dirty",
			value: s.dirty,
			allowed: "a share from 0 to 1",
		});
}

// ---- what there is to draw ----

interface Plan {
	readonly index: number;
	readonly id: string;
	readonly family: Family;
	readonly product: Product;
	readonly twinOf?: string;
}

/** The families in turn; the tenth of every ten products is the twin of an earlier one of these ten, each time of another family. */
function planProducts({ seed, products }: Settings): Plan[] {
	const plans: Plan[] = [];
	for (let i = 0; i < products; i++) {
		const original =
			i % 10 === 9 ? i - 1 - (Math.floor(i / 10) % families.length) : i;
		const family = families[original % families.length] as Family;
		const twin = original !== i;
		const name =
			i < families.length
				? family.name
				: `${family.name}_${String(i).padStart(3, "0")}`;
		const parameters =
			original < families.length
				? null
				: new Random("demo product", seed, original);
		plans.push({
			index: i,
			id: `${family.layout}/${name}`,
			family,
			product: family.create(parameters, twin),
			...(twin ? { twinOf: (plans[original] as Plan).id } : {}),
		});
	}
	return plans;
}

interface Variant {
	readonly plans: readonly Plan[];
	readonly category: (plan: Plan) => string;
	/** Of test images and those to recalibrate by; what is learnt is the same. */
	readonly drift: Drift;
	readonly dirty: number;
}

function variantsOf(
	{ drift, dirty, varied }: Settings,
	all: readonly Plan[],
): Variant[] {
	const plans = all.slice(0, varied);
	const inside = (folder: string) => (plan: Plan) =>
		`${folder}/${path.posix.basename(plan.id)}`;
	const variants: Variant[] = [
		{ plans: all, category: (plan) => plan.id, drift: "none", dirty: 0 },
	];
	if (drift)
		variants.push(
			{ plans, category: inside("drift_light"), drift: "light", dirty: 0 },
			{ plans, category: inside("drift_blur"), drift: "blur", dirty: 0 },
		);
	if (dirty > 0)
		variants.push({ plans, category: inside("dirty"), drift: "none", dirty });
	return variants;
}

interface Shot {
	readonly split: "train" | "validation" | "test" | "recalibrate";
	/** Relative to the category. */
	readonly file: string;
	readonly defect: DefectKind | null;
	readonly random: Random;
	readonly drift: Drift;
	/** Where the mask goes and the value of its pixels; null where none is kept. */
	readonly mask: { readonly file: string; readonly value: number } | null;
}

function shotsOf(plan: Plan, variant: Variant, s: Settings): Shot[] {
	const shots: Shot[] = [];
	const { layout, defects } = plan.family;
	const number = (i: number) => String(i).padStart(3, "0");
	// drift and dirt change no random number: the same parts, seen otherwise
	const random = (...keys: (string | number)[]) =>
		new Random("demo shot", s.seed, plan.index, ...keys);
	const good = (
		split: Shot["split"],
		n: number,
		drift: Drift = "none",
		folder = `${split}/good`,
	) => {
		for (let i = 0; i < n; i++) {
			shots.push({
				split,
				file: `${folder}/${number(i)}.png`,
				defect: null,
				random: random(split, i),
				drift,
				mask: null,
			});
		}
	};
	good("train", s.train);
	for (const i of random("dirty")
		.permutation(s.train)
		.slice(0, Math.round(variant.dirty * s.train))) {
		shots[i] = {
			...(shots[i] as Shot),
			defect: defects[i % defects.length] as DefectKind,
		};
	}
	if (layout === "loco") good("validation", s.validation);
	good("test", s.testGood, variant.drift);
	if (variant.drift !== "none")
		good("recalibrate", s.recalibrate, variant.drift, "recalibrate");
	const used: Record<string, number> = {};
	defects.forEach((defect, k) => {
		for (let i = 0; i < s.perDefect; i++) {
			const folder =
				layout === "loco" ? `${defect.kind}_anomalies` : defect.name;
			const stem = number(used[folder] ?? 0);
			used[folder] = (used[folder] ?? 0) + 1;
			const mask =
				layout === "loco"
					? { file: `ground_truth/${folder}/${stem}/000.png`, value: 255 - k }
					: { file: `ground_truth/${folder}/${stem}_mask.png`, value: 255 };
			shots.push({
				split: "test",
				file: `test/${folder}/${stem}.png`,
				defect,
				random: random(defect.name, i),
				drift: variant.drift,
				mask,
			});
		}
	});
	return shots;
}

/** As LOCO ships it; areas in pixels of pictures of this size. */
function defectsConfig(defects: readonly DefectKind[], size: number): unknown {
	return defects.map((d, k) => ({
		defect_name: d.name,
		pixel_value: 255 - k,
		saturation_threshold:
			d.saturation === undefined
				? 1
				: Math.max(1, Math.round(d.saturation * (size / 256) ** 2)),
		relative_saturation: d.saturation === undefined,
	}));
}

// ---- drawing and writing ----

/** Two scenes (the part, and the same without its defect) and the pictures being compressed. */
class Studio {
	readonly #scene: Scene;
	readonly #faultless: Scene;
	readonly #pending = new Set<Promise<void>>();

	constructor(size: number) {
		this.#scene = new Scene(size);
		this.#faultless = new Scene(size);
	}

	async shoot(plan: Plan, shot: Shot, home: string): Promise<void> {
		const { size } = this.#scene;
		const mask = shot.defect
			? this.#drawDefect(plan, shot, shot.defect)
			: this.#draw(this.#scene, plan, shot, null, 0);
		const pixels = photograph(
			this.#scene,
			takePhoto(shot.random.derive("photo"), shot.drift),
		);
		await this.#write(
			path.join(home, shot.file),
			uint8([size, size, 3], pixels),
		);
		if (shot.mask && mask instanceof Uint8Array) {
			const { value, file } = shot.mask;
			await this.#write(
				path.join(home, file),
				uint8(
					[size, size],
					mask.map((v) => v * value),
				),
			);
		}
	}

	async finish(): Promise<void> {
		await Promise.all(this.#pending);
	}

	#draw(
		scene: Scene,
		plan: Plan,
		shot: Shot,
		defect: string | null,
		attempt: number,
	): Region | undefined {
		scene.clear();
		return plan.product.draw(
			scene,
			shot.random,
			defect,
			shot.random.derive("flaw", attempt),
		);
	}

	/** The part with its defect, and its mask (0 or 1). A defect that fell where nothing shows is drawn again, elsewhere. */
	#drawDefect(plan: Plan, shot: Shot, defect: DefectKind): Uint8Array {
		this.#draw(this.#faultless, plan, shot, null, 0);
		for (let attempt = 0; ; attempt++) {
			const region = this.#draw(this.#scene, plan, shot, defect.name, attempt);
			const mask = difference(this.#scene, this.#faultless);
			const area = mask.reduce((n, v) => n + v, 0) * this.#scene.pixel ** 2;
			if (area < leastDefect && attempt < 20) continue;
			if (region) this.#mark(mask, region);
			return mask;
		}
	}

	#mark(mask: Uint8Array, { box, pose }: Region): void {
		const paper = this.#faultless;
		paper.clear();
		paper.placed(pose, () =>
			paper.paint(box, rectangle(box), (m) => {
				m.r = 1;
			}),
		);
		for (let i = 0; i < mask.length; i++)
			if ((paper.r[i] as number) > 0.5) mask[i] = 1;
	}

	/** Compression runs on sharp's threads beside the drawing; four at a time. */
	async #write(file: string, image: Tensor<"uint8">): Promise<void> {
		while (this.#pending.size >= 4) await Promise.race(this.#pending);
		const writing = encodePng(image, 2)
			.then((bytes) => writeAtomic(file, bytes))
			.finally(() => this.#pending.delete(writing));
		this.#pending.add(writing);
	}
}

/** Where two painted scenes differ visibly, with single pixels and small gaps smoothed over. */
function difference(a: Scene, b: Scene): Uint8Array {
	const { size } = a;
	const differs = new Uint8Array(size * size);
	const at = (plane: Float32Array, i: number) => plane[i] as number;
	for (let i = 0; i < differs.length; i++) {
		const colour = Math.max(
			Math.abs(at(a.r, i) - at(b.r, i)),
			Math.abs(at(a.g, i) - at(b.g, i)),
			Math.abs(at(a.b, i) - at(b.b, i)),
		);
		const bright = Math.max(at(b.r, i), at(b.g, i), at(b.b, i));
		const form = Math.abs(at(a.height, i) - at(b.height, i));
		if (colour > 0.01 + 0.06 * bright || form > 0.3) differs[i] = 1;
	}
	const mask = new Uint8Array(size * size);
	for (let y = 0; y < size; y++) {
		for (let x = 0; x < size; x++) {
			let n = 0;
			for (let v = Math.max(0, y - 2); v <= Math.min(size - 1, y + 2); v++) {
				for (let u = Math.max(0, x - 2); u <= Math.min(size - 1, x + 2); u++)
					n += differs[v * size + u] as number;
			}
			mask[y * size + x] =
				n >= 6 || (n >= 3 && differs[y * size + x] === 1) ? 1 : 0;
		}
	}
	return mask;
}

// ---- the stamp ----

interface Stamp {
	readonly complete: boolean;
	readonly categories: readonly string[];
}

const same = (old: Stamp | null, stamp: object): boolean =>
	JSON.stringify({ ...old, complete: undefined }) === JSON.stringify(stamp);

const isDrawn = async ({ file, mask }: Shot, home: string): Promise<boolean> =>
	(await exists(path.join(home, file))) &&
	(mask === null || (await exists(path.join(home, mask.file))));

const json = (value: unknown): string =>
	`${JSON.stringify(value, null, "\t")}\n`;

function writeStamp(dir: string, stamp: Stamp): void {
	writeAtomic(path.join(dir, stampName), json(stamp));
}

async function readStamp(dir: string): Promise<Stamp | null> {
	try {
		const stamp = JSON.parse(
			await readFile(path.join(dir, stampName), "utf8"),
		) as Partial<Stamp>;
		if (treeProblem(stamp) !== null) return null;
		const safe = (c: unknown): c is string =>
			typeof c === "string" && /^[a-z_]+\/[a-z]+(_\d+)?$/.test(c); // they are deleted by name
		return {
			...stamp,
			complete: stamp.complete === true,
			categories: Array.isArray(stamp.categories)
				? stamp.categories.filter(safe)
				: [],
		};
	} catch {
		return null;
	}
}
