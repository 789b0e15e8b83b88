/**
 * `keepsight data check DIR`: looks at every image and mask before a training or an evaluation stumbles over one, and says what to do.
 * DIR may be a data root, one data set, one category or a flat folder of good images. Nothing is changed.
 * An error stops learning or falsifies a metric; a warning is worth a look.
 */
import { createHash } from "node:crypto";
import path from "node:path";
import { inColumns } from "../columns.ts";
import { uint8 } from "../engine/tensor.ts";
import { fail, KeepsightError } from "../errors.ts";
import { readDefectTypes } from "./defects.ts";
import {
	type Entry,
	exists,
	isDirectory,
	isImageName,
	leadsOut,
	list,
	mapLimited,
	stemOf,
} from "./files.ts";
import { flawOf } from "./flaw.ts";
import { readImage, readMask } from "./image.ts";
import { findCategories, findReader } from "./index.ts";
import { masksByStem } from "./mvtec.ts";
import type { DatasetReader, Image } from "./task.ts";

export interface Finding {
	readonly level: "error" | "warning";
	/** Machine-readable, such as "duplicate across splits". */
	readonly kind: string;
	readonly category: string;
	/** Relative to the checked folder; for copies the first of them, joined by " = ". */
	readonly paths: readonly string[];
	readonly fix: string;
}

export interface ClassReport {
	/** "train/good", "test/crack"; "." for a flat folder. */
	readonly folder: string;
	readonly images: number;
	/** Images with a ground-truth mask; null where none are expected. */
	readonly masks: number | null;
}

export interface CategoryReport {
	readonly id: string;
	readonly layout: string;
	readonly classes: readonly ClassReport[];
	/** Most frequent first. */
	readonly sizes: readonly {
		readonly width: number;
		readonly height: number;
		readonly images: number;
	}[];
}

export interface Report {
	readonly dir: string;
	readonly categories: readonly CategoryReport[];
	readonly findings: readonly Finding[];
}

const fixes = {
	unreadable: [
		"error",
		"Replace these files by intact copies or remove them: learning and evaluation stop at them.",
	],
	"no good training images": [
		"error",
		"Put images of good parts into train/good; without them nothing can be learnt.",
	],
	"empty folder": ["error", "Put the images back or delete the folder."],
	"duplicate across splits": [
		"error",
		"Remove the copy from one split: a part that was learnt and is then tested makes the figures too good.",
	],
	"duplicate within a split": [
		"warning",
		"Remove the copies: a part seen twice counts twice.",
	],
	"shows nothing": [
		"warning",
		"Nearly black, or of one grey level: `predict` calls such a picture unusable. Remove it, unless the part is so plain. A camera of 10 or 12 bits writes dark pictures of 16: scale them.",
	],
	"good and defect alike": [
		"error",
		"The same picture is filed as good and as defect. Keep it where it belongs.",
	],
	"missing mask": [
		"warning",
		"Add the mask under ground_truth, or accept that pixel metrics are null for this category.",
	],
	"mask of another size": ["error", "Save the mask at the size of its image."],
	"mask for a good image": [
		"error",
		"Good parts have no defect: remove the mask, or move the image to its defect's folder.",
	],
	"mask without an image": [
		"warning",
		"Add the image under test or remove the mask; it is not used.",
	],
	"empty mask": [
		"error",
		"The mask marks no pixel although the image is filed as a defect. Draw it again.",
	],
	"unknown mask value": [
		"error",
		"List the value in defects_config.json or correct the mask.",
	],
	"bad defects_config.json": ["error", "Mend the file as the message says."],
	"not an image": [
		"warning",
		"These files are not read. Move them elsewhere, or convert them to PNG, JPEG, BMP, TIFF or WebP.",
	],
	"folder that is not read": [
		"warning",
		"Only pictures directly in train/good are learnt, and those in test/<defect> evaluated. Move them there, or delete the folder.",
	],
	"names that differ in case alone": [
		"warning",
		"Rename one of them: on Windows and macOS they are one file.",
	],
	"link out of the folder": [
		"error",
		"Copy the files into the data folder, or set data.follow_links to true in the configuration if you trust this data.",
	],
	"stem used twice": [
		"error",
		"Two images share a name but for the ending, so a mask cannot be told which it belongs to. Rename one.",
	],
} as const satisfies Record<string, readonly ["error" | "warning", string]>;
type Kind = keyof typeof fixes;

export async function checkData(root: string): Promise<Report> {
	if (!(await isDirectory(root))) throw fail("DATA_ROOT_MISSING", { root });
	const own = await findReader(root);
	const inside =
		own === undefined || own.layout === "folder"
			? await findCategories(root, { followLinks: true })
			: [];
	// images beside folders are what `learn --data` would learn of it
	const found = own ? [".", ...inside] : inside;
	if (found.length === 0)
		throw fail("DATA_NO_GOOD_IMAGES", {
			category: path.basename(path.resolve(root)),
			dir: root,
		});
	const categories: CategoryReport[] = [];
	const findings: Finding[] = [];
	for (const id of found) {
		const check = new CategoryCheck(
			root,
			id,
			(await findReader(path.join(root, id))) as DatasetReader,
		);
		categories.push(await check.run());
		findings.push(...check.findings());
	}
	return { dir: root, categories, findings };
}

interface Picture {
	readonly path: string;
	readonly folder: string;
	readonly width: number;
	readonly height: number;
	/** SHA-256 of size and pixels: finds a copy that was saved again without loss, too. */
	readonly hash: string;
}

class CategoryCheck {
	readonly #root: string;
	readonly #id: string;
	readonly #dir: string;
	readonly #reader: DatasetReader;
	readonly #found = new Map<Kind, string[]>();

	constructor(root: string, id: string, reader: DatasetReader) {
		this.#root = root;
		this.#id = id;
		this.#dir = path.join(root, id);
		this.#reader = reader;
	}

	findings(): Finding[] {
		return [...this.#found].map(([kind, paths]) => ({
			kind,
			level: fixes[kind][0],
			category: this.#id,
			paths,
			fix: fixes[kind][1],
		}));
	}

	async run(): Promise<CategoryReport> {
		const pictures: Picture[] = [];
		const classes: ClassReport[] = [];
		for (const folder of await this.#folders()) {
			const entries = await this.#entries(folder);
			const images = entries.filter(
				(e) => !e.isDirectory && isImageName(e.name),
			);
			for (const e of entries)
				if (e.isDirectory) this.#note("folder that is not read", e.path);
				else if (!isImageName(e.name)) this.#note("not an image", e.path);
			if (images.length === 0 && folder !== "train/good")
				this.#note("empty folder", path.join(this.#dir, folder));
			const readable: Picture[] = [];
			const learnt = !folder.startsWith("test/");
			for (const [i, seen] of (
				await mapLimited(images, 4, (e) => inspect(e, folder))
			).entries()) {
				const file = (images[i] as Entry).path; // noted in their order, whichever was read first
				if (seen === null) this.#note("unreadable", file);
				else {
					if (learnt && seen.blank) this.#note("shows nothing", file);
					readable.push(seen.picture);
				}
			}
			pictures.push(...readable);
			const expectsMasks = folder.startsWith("test/") && folder !== "test/good";
			classes.push({
				folder,
				images: images.length,
				masks: expectsMasks
					? await this.#checkMasks(folder, images, readable)
					: null,
			});
		}
		if (
			(classes.find((c) => c.folder === "train/good" || c.folder === ".")
				?.images ?? 0) === 0
		)
			this.#note(
				"no good training images",
				path.join(this.#dir, "train", "good"),
			);
		await this.#checkGroundTruth();
		this.#checkDuplicates(pictures);
		return {
			id: this.#id,
			layout: this.#reader.title,
			classes,
			sizes: sizesOf(pictures),
		};
	}

	/** What there is of train, validation and test, in this order. */
	async #folders(): Promise<string[]> {
		if (this.#reader.layout === "folder") return ["."];
		const folders: string[] = [];
		for (const split of this.#reader.layout === "loco"
			? ["train", "validation", "test"]
			: ["train", "test"]) {
			for (const e of await this.#entries(split)) {
				if (!e.isDirectory) this.#note("not an image", e.path);
				else if (split !== "test" && e.name !== "good")
					this.#note("folder that is not read", e.path);
				else folders.push(`${split}/${e.name}`);
			}
		}
		return folders;
	}

	/** The folder's content; a link out of the root and names that collide are noted on the way. */
	async #entries(folder: string): Promise<Entry[]> {
		const dir = path.join(this.#dir, folder);
		if (await leadsOut(dir, this.#root)) {
			this.#note("link out of the folder", dir);
			return [];
		}
		const entries: Entry[] = [];
		for (const e of await list(dir, { followLinks: true }))
			if (await leadsOut(e.path, this.#root))
				this.#note("link out of the folder", e.path);
			else entries.push(e);
		const byLower = new Map<string, Entry>();
		for (const e of entries) {
			const other = byLower.get(e.name.toLowerCase());
			if (other)
				this.#note("names that differ in case alone", other.path, e.path);
			byLower.set(e.name.toLowerCase(), e);
		}
		return entries;
	}

	/** How many of the defect's images have masks. */
	async #checkMasks(
		folder: string,
		images: readonly Entry[],
		readable: readonly Picture[],
	): Promise<number> {
		const truth = path.join(this.#dir, folder.replace(/^test/, "ground_truth"));
		const loco = this.#reader.layout === "loco";
		const known = loco ? await this.#knownValues() : null;
		const single = loco
			? null
			: await masksByStem(truth, { followLinks: true });
		const stems = new Set<string>();
		let withMask = 0;
		for (const image of images) {
			const stem = stemOf(image.name);
			if (stems.has(stem)) this.#note("stem used twice", image.path);
			stems.add(stem);
			const one = single?.get(stem);
			const masks = loco
				? (await list(path.join(truth, stem), { followLinks: true }))
						.filter((e) => isImageName(e.name))
						.map((e) => e.path)
				: one === undefined
					? []
					: [one];
			if (masks.length === 0) this.#note("missing mask", image.path);
			else withMask++;
			const picture = readable.find((p) => p.path === image.path);
			for (const mask of masks) await this.#checkMask(mask, picture, known);
		}
		const orphans = loco
			? (await list(truth, { followLinks: true }))
					.filter((e) => e.isDirectory && !stems.has(e.name))
					.map((e) => e.path)
			: [...(single ?? [])]
					.filter(([stem]) => !stems.has(stem))
					.map(([, file]) => file);
		if (orphans.length > 0) this.#note("mask without an image", ...orphans);
		return withMask;
	}

	async #checkMask(
		file: string,
		picture: Picture | undefined,
		known: ReadonlySet<number> | null,
	): Promise<void> {
		try {
			const { data, shape } = await readMask(file);
			if (
				picture &&
				(shape[0] !== picture.height || shape[1] !== picture.width)
			)
				this.#note("mask of another size", file);
			const values = new Set(data);
			values.delete(0);
			if (values.size === 0) this.#note("empty mask", file);
			if (known && [...values].some((v) => !known.has(v)))
				this.#note("unknown mask value", file);
		} catch (error) {
			if (!(error instanceof KeepsightError)) throw error;
			this.#note("unreadable", file);
		}
	}

	async #knownValues(): Promise<ReadonlySet<number> | null> {
		try {
			const types = await readDefectTypes(this.#dir);
			return types && new Set(types.keys());
		} catch (error) {
			if (!(error instanceof KeepsightError)) throw error;
			const file = path.join(this.#dir, "defects_config.json");
			if (!this.#found.has("bad defects_config.json"))
				this.#note("bad defects_config.json", file);
			return null;
		}
	}

	/** Masks of good images, and masks of defects that have no test folder. */
	async #checkGroundTruth(): Promise<void> {
		for (const e of await list(path.join(this.#dir, "ground_truth"), {
			followLinks: true,
		})) {
			if (!e.isDirectory) continue;
			const held = await list(e.path, { followLinks: true });
			if (e.name === "good") {
				if (held.length > 0)
					this.#note("mask for a good image", ...held.map((h) => h.path));
			} else if (!(await exists(path.join(this.#dir, "test", e.name))))
				this.#note("mask without an image", e.path);
		}
	}

	#checkDuplicates(pictures: readonly Picture[]): void {
		const byHash = new Map<string, Picture[]>();
		for (const p of pictures)
			byHash.set(p.hash, [...(byHash.get(p.hash) ?? []), p]);
		for (const same of byHash.values()) {
			if (same.length < 2) continue;
			const splits = new Set(same.map((p) => p.folder.split("/")[0]));
			const classes = new Set(
				same.map(
					(p) =>
						this.#reader.layout === "folder" ||
						path.posix.basename(p.folder) === "good",
				),
			);
			const kind =
				classes.size > 1
					? "good and defect alike"
					: splits.size > 1
						? "duplicate across splits"
						: "duplicate within a split";
			// one of each folder first, so that a long list shows where it crosses
			const firsts = same.filter(
				(p, i) => same.findIndex((q) => q.folder === p.folder) === i,
			);
			const ordered = [
				...firsts,
				...same.filter((p) => !firsts.includes(p)),
			].map((p) => this.#relative(p.path));
			const more = ordered.length > 4 ? ` and ${ordered.length - 4} more` : "";
			this.#add(kind, [ordered.slice(0, 4).join(" = ") + more]);
		}
	}

	#relative(file: string): string {
		return path.relative(this.#root, file).split(path.sep).join("/");
	}

	#note(kind: Kind, ...files: readonly string[]): void {
		this.#add(
			kind,
			files.map((f) => this.#relative(f)),
		);
	}

	#add(kind: Kind, what: readonly string[]): void {
		this.#found.set(kind, [...(this.#found.get(kind) ?? []), ...what]);
	}
}

/** null: it cannot be read. */
async function inspect(
	{ path: file }: Entry,
	folder: string,
): Promise<{ readonly picture: Picture; readonly blank: boolean } | null> {
	try {
		const image = await readImage(file);
		const { data, shape } = image;
		const [height = 0, width = 0] = shape;
		const hash = createHash("sha256")
			.update(`${width} ${height} `)
			.update(data)
			.digest("hex");
		return {
			picture: { path: file, folder, width, height, hash },
			blank: flawOf(coarse(image)) !== null,
		};
	} catch (error) {
		if (!(error instanceof KeepsightError)) throw error;
		return null;
	}
}

/** At most some 256 x 256 of its pixels, evenly spread. */
function coarse({ data, shape }: Image): Image {
	const [h, w] = shape as [number, number, number];
	const step = Math.ceil(Math.sqrt((h * w) / 65_536));
	const [rows, columns] = [Math.ceil(h / step), Math.ceil(w / step)];
	const few = uint8([rows, columns, 3]);
	for (let y = 0; y < rows; y++)
		for (let x = 0; x < columns; x++) {
			const from = 3 * step * (y * w + x);
			few.data.set(data.subarray(from, from + 3), 3 * (y * columns + x));
		}
	return few;
}

function sizesOf(pictures: readonly Picture[]): CategoryReport["sizes"] {
	const counts = new Map<
		string,
		{ width: number; height: number; images: number }
	>();
	for (const { width, height } of pictures) {
		const key = `${width} ${height}`;
		const entry = counts.get(key) ?? { width, height, images: 0 };
		entry.images++;
		counts.set(key, entry);
	}
	return [...counts.values()].sort(
		(a, b) => b.images - a.images || a.width - b.width || a.height - b.height,
	);
}

// ---- in words ----

/** A table of what is there, then the findings, errors first. Names are quoted where they hold control characters. */
export function formatReport(report: Report): string {
	const rows = [["category", "folder", "images", "masks", "sizes"]];
	for (const c of report.categories) {
		c.classes.forEach((k, i) => {
			rows.push([
				i === 0 ? `${shown(c.id)} (${c.layout})` : "",
				shown(k.folder),
				String(k.images),
				k.masks === null ? "" : String(k.masks),
				i === 0 ? sizesText(c) : "",
			]);
		});
	}
	const table = inColumns(rows, [2, 3]);
	const ordered = [...report.findings].sort(
		(a, b) => Number(a.level === "warning") - Number(b.level === "warning"),
	);
	const findings = ordered.flatMap((f) => [
		`${f.level}: ${f.kind}, ${f.paths.length === 1 ? "1 case" : `${f.paths.length} cases`} in ${shown(f.category)}`,
		...f.paths.slice(0, 5).map((p) => `    ${shown(p)}`),
		...(f.paths.length > 5 ? [`    and ${f.paths.length - 5} more`] : []),
		`  ${f.fix}`,
	]);
	const errors = report.findings.filter((f) => f.level === "error").length;
	const verdict =
		report.findings.length === 0
			? "Nothing to mend."
			: `${errors} kinds of errors, ${report.findings.length - errors} of warnings.`;
	return [
		...table,
		"",
		...findings,
		...(findings.length > 0 ? [""] : []),
		verdict,
	].join("\n");
}

function sizesText({ sizes }: CategoryReport): string {
	const first = sizes
		.slice(0, 2)
		.map(
			(s) =>
				`${s.width}x${s.height}${sizes.length > 1 ? ` (${s.images})` : ""}`,
		);
	return sizes.length > 2
		? `${first.join(", ")} and ${sizes.length - 2} others`
		: first.join(", ");
}

/** A file name must not be able to move the cursor or forge a line. */
const shown = (name: string): string =>
	/\p{Cc}/u.test(name) ? JSON.stringify(name) : name;
